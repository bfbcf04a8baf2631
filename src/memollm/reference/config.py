"""What a training is made of, as types; ``task=train_reference`` takes any field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class Architecture:
    """A Qwen2 with grouped-query attention, small enough to train on one core."""

    vocabulary: int = 3072
    hidden: int = 192
    layers: int = 6
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 64
    feed_forward: int = 448
    max_positions: int = 8192
    # Large, so that half of each head barely turns within 8192 positions: matching a key
    # must not depend on how far away it stands.
    rope_theta: float = 1e8
    embedding_std: float = 0.1


@dataclass
class Stage:
    """A stretch of the training: how long the sequences are and what they hold."""

    steps: int
    length: int  # tokens a sequence
    sequences: int  # a step
    needle: float = 0.0  # shares of the sequences; the remainder is text
    dense: float = 0.0
    chain: float = 0.0
    copy: float = 0.0
    keyless: float = 0.0
    pairs: float = 0.0
    tracking: float = 0.0
    paraphrased: float = 0.0


def _stages() -> list[Stage]:
    return [
        Stage(1000, 256, 8, needle=0.10, dense=0.45, chain=0.05, copy=0.15),
        Stage(2500, 256, 8, needle=0.20, dense=0.18, chain=0.07),
        Stage(2200, 512, 4, needle=0.27, dense=0.12, chain=0.08),
        Stage(2200, 1024, 2, needle=0.42, dense=0.10, chain=0.08),
        Stage(400, 2048, 2, needle=0.45, dense=0.05, chain=0.08),
        Stage(30, 4096, 2, needle=0.45, dense=0.05, chain=0.08),
    ]


Course = Sequence[tuple[int, int, int]]  # of each stage: steps, length and sequences


def _course(stages: Course, **shares: float) -> list[Stage]:
    """Stages that differ in length and hold the same."""
    return [Stage(*stage, **shares) for stage in stages]


def _finish() -> list[Stage]:
    return _course(
        ((1600, 1024, 2), (200, 2048, 2), (20, 4096, 2)),
        needle=0.26, dense=0.03, chain=0.05, keyless=0.14, pairs=0.14, tracking=0.10,
    )  # fmt: skip


def _longer() -> list[Stage]:
    return _course(
        ((2400, 512, 4), (6500, 1024, 2), (1000, 2048, 2), (120, 4096, 2)),
        needle=0.12, dense=0.02, chain=0.05, keyless=0.05, pairs=0.05, tracking=0.09,
        paraphrased=0.10,
    )  # fmt: skip


def _grown() -> list[Stage]:
    """All lengths in turn, three times over: the last turn is at small rates."""
    turns = (
        *((700, 512, 8), (350, 1024, 4), (120, 2048, 2), (12, 4096, 2)),
        *((700, 512, 8), (300, 1024, 4), (100, 2048, 2), (12, 4096, 2), (6, 8192, 2)),
        *((700, 512, 8), (350, 1024, 4), (120, 2048, 2), (15, 4096, 2), (8, 8192, 2)),
    )
    return _course(
        turns, needle=0.10, dense=0.03, chain=0.06, keyless=0.04, pairs=0.05, tracking=0.08,
        paraphrased=0.14,
    )  # fmt: skip


def _far() -> list[Stage]:
    """Mostly text, and long sequences of it, for what far text is worth."""
    turn = ((450, 1024, 4), (230, 2048, 2), (45, 4096, 2), (18, 8192, 2))
    last = ((400, 1024, 4), (300, 2048, 2), (60, 4096, 2), (28, 8192, 2))
    return _course(
        (*turn, *turn, *last),
        needle=0.09, dense=0.03, chain=0.05, keyless=0.04, pairs=0.04, tracking=0.06,
        paraphrased=0.11,
    )  # fmt: skip


def _questions() -> list[Stage]:
    turn = ((130, 512, 8), (60, 1024, 4), (30, 2048, 2), (15, 4096, 2), (14, 8192, 2))
    return _course(
        (*turn, *turn),
        needle=0.10, dense=0.03, chain=0.10, keyless=0.04, pairs=0.08, tracking=0.10,
        paraphrased=0.24,
    )  # fmt: skip


def _polish() -> list[Stage]:
    turn = ((600, 1024, 4), (300, 2048, 2), (60, 4096, 2), (24, 8192, 2))
    return _course(
        (*turn, *turn),
        needle=0.08, dense=0.02, chain=0.04, keyless=0.04, pairs=0.04, tracking=0.07,
        paraphrased=0.15,
    )  # fmt: skip


def _named() -> list[Stage]:
    return _course(
        ((260, 512, 8), (120, 1024, 4), (50, 2048, 2), (30, 4096, 2), (40, 8192, 2)),
        needle=0.10, dense=0.02, chain=0.10, keyless=0.08, pairs=0.08, tracking=0.08,
        paraphrased=0.30,
    )  # fmt: skip


@dataclass
class Phase:
    """Stages under one course of the learning rate."""

    name: str  # of the field that has its stages
    stages: list[Stage]
    rate: float  # after a warm-up
    decay: float  # the last share of the steps, over which the rate falls to zero


@dataclass
class TrainConfig:
    """One training; with the seed it decides every weight."""

    output: str = ""  # folder: checkpoints, tokenized text, and the model itself in model/
    sources: list[str] = field(default_factory=list)  # as corpus.documents reads them
    shares: list[float] = field(default_factory=list)  # of the text, one a source; none: equal
    held_out: list[str] = field(default_factory=list)  # globs of documents never trained on
    architecture: Architecture = field(default_factory=Architecture)
    stages: list[Stage] = field(default_factory=_stages)
    # Then, at a rate of their own: the prompts of published tasks, on top of what was learnt.
    finish: list[Stage] = field(default_factory=_finish)
    # Then, at a rate of their own: more text, and facts asked for in other words.
    longer: list[Stage] = field(default_factory=_longer)
    # Then the model is widened (grow.py), and learns on; without stages it is not.
    grown: list[Stage] = field(default_factory=_grown)
    grown_hidden: int = 256
    grown_feed_forward: int = 768
    grown_shares: list[float] = field(default_factory=list)  # of the text; none: as before
    # Then, at a rate of their own: long sequences, of the same text.
    far: list[Stage] = field(default_factory=_far)
    # Then, briefly: what many pages of text without a question let slip.
    questions: list[Stage] = field(default_factory=_questions)
    # Then, once more: long text.
    polish: list[Stage] = field(default_factory=_polish)
    # Then, briefly: questions that name what they ask for.
    named: list[Stage] = field(default_factory=_named)
    # Weights to begin with, a folder of an equal model, and the phase whose first step is next;
    # without them training begins with the first phase, from the circuit.
    from_model: str = ""
    from_phase: str = ""
    scale: float = 1.0  # multiplies the steps of every stage: a larger or a smaller budget
    seed: int = 0
    learning_rate: float = 2e-3
    finish_rate: float = 1e-3  # falls to zero over the finish
    longer_rate: float = 1.5e-3
    grown_rate: float = 1e-3  # falls to zero over the phase
    far_rate: float = 8e-4  # falls to zero over the phase
    questions_rate: float = 4e-4  # falls to zero over the phase
    polish_rate: float = 6e-4  # falls to zero over the phase
    named_rate: float = 5e-4  # falls to zero over the phase
    warmup: int = 300  # steps at the start of each phase; fewer where ``scale`` is below 1
    decay: float = 0.3  # the last share of the steps, over which the rate falls to zero
    weight_decay: float = 0.1
    answer_weight: float = 2.0  # loss weight of a token that retrieval predicts
    jump_share: float = 0.5  # batches whose positions jump ahead, so that far ones are met early
    circuit: bool = True  # start from the hand-made retrieval circuit (initialise.py)
    # Of the learning rate, for the layers that the circuits are built into: at the whole rate, of
    # their attention or MLPs alone, the first is lost within a hundred steps of the beginning,
    # and retrieval falls to a third within fifty of the growth.
    circuit_rate: float = 0.1
    checkpoint_every: int = 100  # steps
    log_every: int = 50  # steps
    device: str = "cpu"
    bfloat16: bool = True  # autocast; weights and optimizer stay float32
    processes: int = 1  # that share a step's sequences (parallel.py)
    threads: int = 1  # a process; more threads than idle cores is slower than one

    @property
    def phases(self) -> list[Phase]:
        """All of it, in order."""
        courses = {
            "stages": (self.learning_rate, self.decay),
            "finish": (self.finish_rate, 1.0),
            "longer": (self.longer_rate, 0.5),
            "grown": (self.grown_rate, 1.0),
            "far": (self.far_rate, 1.0),
            "questions": (self.questions_rate, 1.0),
            "polish": (self.polish_rate, 1.0),
            "named": (self.named_rate, 1.0),
        }
        return [Phase(name, getattr(self, name), *course) for name, course in courses.items()]
