"""Writing down what memory layers know, step by step: the making of a ``Trace``.

It looks at the layers from outside, after each step, and changes nothing of what they do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from memollm.attention.kernel import head_mean
from memollm.hf.remembering import Remembering
from memollm.memory.ebbinghaus import Memory
from memollm.memory.ebbinghaus_rule import EbbinghausRule
from memollm.traces.trace import MAX_TOKENS, Trace

RAW_BYTES = 64 * 2**20  # of moments, before neighbours are merged
COLUMNS = ("strength", "recalled")  # of a rule with a forgetting curve
CURVE_POINTS = 1024  # of the tabulated curve: R is off by 0.2 % at most between two
CURVE_REACH = 14.0  # age, in units of S, up to which it is tabulated at least: exp(-14) is 1e-6


@dataclass
class Moment:
    """All memories as one step left them; (memories, tokens seen) each."""

    seen: int
    received: Float[np.ndarray, "memories tokens"]
    strength: Float[np.ndarray, "memories tokens"] | None
    recalled: Int[np.ndarray, "memories tokens"] | None

    @property
    def nbytes(self) -> int:
        arrays = (self.received, self.strength, self.recalled)
        return sum(it.nbytes for it in arrays if it is not None)


class Recorder:
    """What the memories of one cache knew, step by step; a cache of one sequence.

    A layer has one memory, or one for each key-value head.
    """

    def __init__(self, raw_bytes: int = RAW_BYTES) -> None:
        self.raw_bytes = raw_bytes
        self.ids: list[int] = []
        self.steps_taken = 0
        self.moments: list[Moment] = []
        self._layers: Sequence[Remembering] = ()
        self._received: dict[int, Float[np.ndarray, "rows tokens"]] = {}

    def attend(self, layer: Remembering, weights: Float[Tensor, "1 heads queries columns"]) -> None:
        """Note the attention that a step's queries gave in ``layer``."""
        _, heads, queries, columns = weights.shape
        rows = layer.heads
        grouped = weights[0].view(rows, heads // rows, queries, columns)
        given = head_mean(grouped).float()
        given.diagonal(offset=columns - queries, dim1=1, dim2=2).zero_()
        self._received[layer.layer] = given.sum(dim=1).cpu().numpy()

    def settle(self, ids: Sequence[int], layers: Sequence[Remembering]) -> None:
        """Note what the ``layers`` know, now that they have read ``ids`` and decided.

        Raises:
            ValueError: beyond ``MAX_TOKENS`` tokens.
        """
        self.ids += ids
        self._layers = layers
        seen = len(self.ids)
        if seen > MAX_TOKENS:
            raise ValueError(f"a trace holds {MAX_TOKENS} tokens at most, and this text has more")
        fading = set(COLUMNS) <= layers[0].rule.columns.keys()
        states = [
            [_column(it, row, name, seen) for it, row in self._memories()]
            for name in COLUMNS
            if fading
        ]
        self.steps_taken += 1
        self.moments.append(
            Moment(
                seen,
                np.concatenate([self._received[it.layer] for it in layers]),
                np.stack(states[0]).astype(np.float32) if fading else None,
                np.stack(states[1]).astype(np.int32) if fading else None,
            )
        )
        if sum(it.nbytes for it in self.moments) > self.raw_bytes and len(self.moments) > 2:
            self.moments = _merged(self.moments)

    def trace(self, tokens: Sequence[str], prompt_tokens: int, layers: Sequence[int]) -> Trace:
        """All that was noted.

        Args:
            tokens: the text, token by token.
            prompt_tokens: how many of them are the prompt.
            layers: index in the model of each memory layer.
        """
        width, memories = len(self.ids), list(self._memories())
        memory = memories[0][0].memory
        thresholds = [_threshold(it) for it, _ in memories]
        lifetimes = [memory.retention.lifetime(it) if it else None for it in thresholds]
        received = np.stack([_padded(it.received, width) for it in self.moments], axis=1)
        strengths = [_padded(it.strength, width) for it in self.moments if it.strength is not None]
        recalled = [_padded(it.recalled, width) for it in self.moments if it.recalled is not None]
        return Trace(
            tokens=tokens,
            prompt_tokens=prompt_tokens,
            seen=np.array([it.seen for it in self.moments], dtype=np.int32),
            received=received,
            forgotten_at=np.stack([_forgotten_at(it, row, width) for it, row in memories]),
            strength=np.stack(strengths, axis=1) if strengths else None,
            recalled=np.stack(recalled, axis=1) if recalled else None,
            layers=[
                f"{layers[it.layer]}.{row}" if it.by_head else str(layers[it.layer])
                for it, row in memories
            ],
            thresholds=thresholds,
            curve=_curve(memory, lifetimes) if strengths else None,
            lifetimes=lifetimes,
            time_step=memory.time_step,
            initial_strength=None if "strength" in memories[0][0].rule.given else memory.strength,
            sinks=memory.sinks,
            recent=memory.recent,
            steps_taken=self.steps_taken,
        )

    def _memories(self) -> Iterator[tuple[Remembering, int]]:
        """Layers and rows: a row for the whole layer, or one for each key-value head."""
        return ((layer, row) for layer in self._layers for row in range(layer.heads))


def _threshold(layer: Remembering) -> float | None:
    """The number that decides in this layer; None where it moves, or a budget decides."""
    rule = layer.rule
    if not isinstance(rule, EbbinghausRule) or layer.memory.schedule.moves:
        return None
    return rule.threshold.value


def _column(layer: Remembering, row: int, name: str, seen: int) -> Float[np.ndarray, " tokens"]:
    """A column of the rule's by position: as it is, or as it was when the token went."""
    values = torch.zeros(seen, dtype=torch.float64)
    ledger = layer.ledger
    if ledger is not None and name in ledger.state:
        noted = ledger.state[name][row, :seen]
        values[: len(noted)] = noted.double()
    position = layer.slab["position"][row]
    held = position >= 0
    values[position[held].long().cpu()] = layer.slab[name][row][held].double().cpu()
    return values.numpy()


def _forgotten_at(layer: Remembering, row: int, seen: int) -> Int[np.ndarray, " tokens"]:
    at = np.zeros(seen, dtype=np.int32)
    if layer.ledger is not None and layer.ledger.forgotten_at.numel():
        noted = layer.ledger.forgotten_at[row, :seen].numpy() + 1
        at[: len(noted)] = noted
    return at


def _padded(values: np.ndarray, tokens: int) -> np.ndarray:
    return np.pad(values, ((0, 0), (0, tokens - values.shape[1])))


def _merged(moments: list[Moment]) -> list[Moment]:
    """Every two moments made one, counted from the last, as ``traces.trace.merged`` does."""
    for earlier, later in zip(moments[-2::-2], moments[-1::-2], strict=False):
        later.received[:, : earlier.seen] += earlier.received
    return moments[-1::-2][::-1]


def _curve(memory: Memory, lifetimes: Sequence[float | None]) -> dict[str, list[float]]:
    reach = max([CURVE_REACH, *(1.5 * it for it in lifetimes if it)])
    points = np.concatenate([[0.0], np.geomspace(1e-4, reach, CURVE_POINTS - 1)])
    left = memory.retention.retention(torch.from_numpy(points), torch.ones(1, dtype=torch.float64))
    return {
        "age": [float(f"{it:.6g}") for it in points],
        "retention": [float(f"{it:.6g}") for it in left.tolist()],
    }
