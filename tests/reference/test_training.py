"""Training: resumable to the bit, the same for a seed, and configured without surprises."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from memollm.reference import spots
from memollm.reference.batches import grown_at, steps_of
from memollm.reference.config import Architecture, Stage, TrainConfig
from memollm.reference.step import learning_rate
from memollm.reference.train import train


class Notebook:
    """A tracker that remembers."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    def log(self, metrics: dict[str, float], *, step: int) -> None:
        assert set(metrics) <= {"text", "answer"}
        self.steps.append(step)


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "story.txt"
    path.write_text("The river ran past an old mill, and nobody knew why it stood.\n" * 500)
    return path


def small(output: Path, text: Path, **changes) -> TrainConfig:
    settings = {
        "output": str(output),
        "sources": [str(text)],
        "shares": [1.0],
        "architecture": Architecture(vocabulary=700, feed_forward=32, layers=3),
        "stages": [Stage(4, 384, 2, needle=0.5), Stage(2, 256, 2, dense=0.5, copy=0.5)],
        "finish": [],
        "longer": [],
        "grown": [],
        "far": [],
        "questions": [],
        "polish": [],
        "named": [],
        "warmup": 2,
        "checkpoint_every": 3,
        "log_every": 1,
    }
    return TrainConfig(**{**settings, **changes})


@pytest.fixture(autouse=True)
def few_samples():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spots, "CHAINS", 12)  # that growth reads: enough to grow at all
        yield


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def growing(checkpoint_every: int) -> dict:
    """Two steps, then growth, then four."""
    return {
        "checkpoint_every": checkpoint_every,
        "architecture": Architecture(vocabulary=700, feed_forward=32, layers=4),
        "stages": [Stage(2, 256, 2, needle=0.5)],
        "grown": [Stage(1, 256, 2, needle=0.5)],
        "far": [Stage(1, 512, 2)],
        "questions": [Stage(1, 256, 2)],
        "polish": [Stage(1, 256, 2)],
        "grown_feed_forward": 96,
        "grown_shares": [2.0],
    }


CASES = {
    "as it is": {},
    "before it grows": growing(2),
    "grown": growing(3),
    "before values are named": {**growing(6), "named": [Stage(2, 256, 2)]},
    "values named": {**growing(7), "named": [Stage(2, 256, 2)]},
    "far and never grown": {**growing(2), "grown": [], "longer": [Stage(1, 256, 2)]},
}


@pytest.mark.parametrize("changes", CASES.values(), ids=CASES)
def test_a_training_that_was_stopped_ends_in_the_same_weights(changes, tmp_path, text, monkeypatch):
    whole = weights(train(small(tmp_path / "whole", text, **changes)))
    from memollm.reference import checkpoint

    saved = checkpoint.save

    def save_and_die(*args):
        saved(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", save_and_die)
    stopped = small(tmp_path / "stopped", text, **changes)
    with pytest.raises(KeyboardInterrupt):
        train(stopped)
    monkeypatch.undo()
    notebook = Notebook()
    resumed = weights(train(stopped, notebook))
    first = changes.get("checkpoint_every", 3)
    assert notebook.steps == list(range(first, sum(steps_of(stopped))))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    width = stopped.grown_hidden if stopped.grown else stopped.architecture.hidden
    assert whole["model.norm.weight"].shape == (width,)


def test_it_grows_after_the_last_phase_of_the_small_model(tmp_path, text):
    config = small(tmp_path, text, **growing(3))
    assert grown_at(config) == 2
    assert grown_at(dataclasses.replace(config, finish=[Stage(4, 256, 2)])) == 6
    assert grown_at(dataclasses.replace(config, grown=[])) == 5  # never


def test_the_seed_decides_the_weights(tmp_path, text):
    one, other = (
        weights(train(small(tmp_path / str(seed), text, seed=seed, scale=0.25))) for seed in (0, 1)
    )
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_the_rate_rises_stays_and_falls_to_nearly_nothing(tmp_path, text):
    config = small(tmp_path, text, warmup=2, decay=0.5)
    rates = [learning_rate(config, step) / config.learning_rate for step in range(6)]
    assert rates == pytest.approx([1 / 2, 1, 1, 1, 2 / 3, 1 / 3])


def moved(begun: dict[str, torch.Tensor], ended: dict[str, torch.Tensor]) -> set[str]:
    return {name for name, weight in begun.items() if not torch.equal(weight, ended[name])}


def test_the_circuit_has_a_rate_of_its_own(tmp_path, text):
    begun, held, free = (
        weights(train(small(tmp_path / name, text, **changes)))
        for name, changes in (
            ("begun", {"learning_rate": 0.0}),
            ("held", {"circuit_rate": 0.0}),
            ("free", {"circuit_rate": 0.0, "circuit": False}),
        )
    )
    circuit = re.compile(r"model\.layers\.([01]\.|2\.(self_attn|input_layernorm)\.)")
    assert moved(begun, held) == {name for name in begun if not circuit.match(name)}
    assert moved(begun, free) == set(begun)  # what is not built in need not be kept
    later = growing(3) | {"learning_rate": 0.0, "circuit_rate": 0.0}
    rest = {"grown_rate": 0.0, "far_rate": 0.0, "questions_rate": 0.0, "polish_rate": 0.0}
    still = weights(train(small(tmp_path / "still", text, **later, **rest)))
    grown = weights(train(small(tmp_path / "grown", text, **later)))
    assert moved(still, grown) == {name for name in still if not circuit.match(name)}


def test_weights_of_another_training_go_on_where_a_phase_begins(tmp_path, text):
    first = train(small(tmp_path / "first", text, **growing(3)))
    kept, notebook = weights(first), Notebook()
    later = growing(3) | {"questions": [Stage(2, 256, 2)], "from_model": str(first)}
    still = {**later, "far_rate": 0.0, "questions_rate": 0.0, "polish_rate": 0.0}
    resting = weights(
        train(small(tmp_path / "rest", text, from_phase="questions", **still), notebook)
    )
    assert notebook.steps == [4, 5, 6]  # after stages (2), grown (1) and far (1)
    assert all(torch.equal(resting[name], it) for name, it in kept.items())
    moving = weights(train(small(tmp_path / "move", text, from_phase="questions", **later)))
    assert any(not torch.equal(moving[name], it) for name, it in kept.items())


def test_weights_of_other_tokens_are_refused(tmp_path, text):
    first = train(small(tmp_path / "first", text))
    tale = tmp_path / "tale.txt"
    tale.write_text("Whales sing beneath drifting ice, quoth an ancient mariner.\n" * 500)
    config = small(tmp_path / "second", tale, from_model=str(first), from_phase="stages")
    with pytest.raises(ValueError, match=r"task\.from_model=.* its tokens are not those"):
        train(config)
