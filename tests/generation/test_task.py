"""task=generate: what it refuses before a model is loaded, and what a run is left with."""

import dataclasses
from types import SimpleNamespace

import pytest

from memollm.hf.models import ReferenceModel
from memollm.kvpress.mode import KVPress
from memollm.memory.ebbinghaus import Memory
from memollm.modes.soft_delete import SoftDelete
from memollm.modes.sparse_attention import SparseAttention
from memollm.tasks.generate import Generate


class Quiet:
    """Curves that nobody draws."""

    def log(self, metrics, *, step): ...


def cell(**changes):
    """As much of a RunConfig as the task reads."""
    settings = {
        "mode": SparseAttention(), "memory": Memory(strength=0.01, threshold=0.5),
        "model": ReferenceModel(), "seed": 0,
    }  # fmt: skip
    return SimpleNamespace(**{**settings, **changes})


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"max_tokens": 0}, "task.max_tokens=0 is not allowed"),
        ({"temperature": -1.0}, "task.temperature=-1.0 is not allowed"),
        ({"prompt": ""}, "task.prompt is empty"),
    ],
)
def test_wrong_settings_are_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        Generate(**changes)


def test_what_cannot_be_done_is_refused_before_a_model_is_loaded(tmp_path):
    with pytest.raises(ValueError, match="task=generate is not allowed with mode=kvpress"):
        Generate().prepare(cell(mode=KVPress()))
    with pytest.raises(OSError, match="none.txt"):
        Generate(prompts=str(tmp_path / "none.txt")).prepare(cell())
    Generate().prepare(cell())


def test_an_answer_streams_and_is_measured(tmp_path, capsys):
    task = Generate(prompt="The old house by the river was empty.", max_tokens=24)
    never_rehearsed = Memory(strength=0.01, threshold=0.5, reinforcement=0.0, recall_threshold=None)
    found = task.perform(cell(memory=never_rehearsed), tmp_path, Quiet())
    assert capsys.readouterr().out.startswith("The old house by the river was empty.")
    metrics = found["sparse_attention"].metrics
    assert metrics["tokens"].value == 24 and metrics["tokens_per_second"].value > 0
    assert 0.5 < metrics["kept_share"].value < 1
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_has_the_three_modes_and_the_cells_own_settings(tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("The road\nShe said\n")
    task = Generate(prompts=str(prompts), max_tokens=3)
    mode = dataclasses.replace(SoftDelete(), floor=0.5)
    found = task.perform(cell(mode=mode), tmp_path, Quiet())
    assert list(found) == ["baseline", "soft_delete", "sparse_attention"]
    assert {it.metrics["tokens"].n for it in found.values()} == {2}
    assert (tmp_path / "answers" / "answers.csv").is_file()
    assert "Prompt 2 of 2" in capsys.readouterr().out
