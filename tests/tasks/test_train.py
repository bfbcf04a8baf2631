"""``task=train``: what it refuses, that it goes on where it was stopped, and what it leaves."""

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from memollm import errand, record
from memollm.hf.models import HubModel, RandomModel
from memollm.hf.scratch import ScratchSource
from memollm.reference import checkpoint
from memollm.tasks.train import Train
from tests.scripted import cell, start_nothing

SMALL = {
    "hidden": 32, "layers": 2, "head_dim": 8, "feed_forward": 32, "vocabulary": 700,
    "max_positions": 512, "mechanisms": {"local": {"window_size": 32}},
}  # fmt: skip


@pytest.fixture(scope="module")
def text(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("text") / "story.txt"
    path.write_text("The river ran past an old mill, and nobody knew why it stood.\n" * 500)
    return path


def training(text, outputs, output=None, seed=0, **changes):
    """A cell that trains two layers for five steps."""
    model = ScratchSource(**{**SMALL, "attention": ["local", "full"], **changes.pop("model", {})})
    settings = {
        "sources": [str(text)], "steps": 5, "length": 384, "sequences": 2, "needle": 0.5,
        "dense": 0.0, "copy": 0.5, "warmup": 2, "checkpoint_every": 2, "log_every": 1,
    }  # fmt: skip
    task = Train(output=None if output is None else str(output), **{**settings, **changes})
    return cell(task=task, model=model, outputs=str(outputs), seed=seed)


def made(config, folder):
    """The weights that a training ends with, its record, and the folder of the model."""
    done = errand.run(config, folder, start_nothing)
    (model,) = Path(config.outputs).glob("trained/*/model")
    return load_file(model / "model.safetensors"), done, model


def test_a_training_that_was_stopped_ends_in_the_same_weights(text, tmp_path, monkeypatch, capsys):
    whole, done, model = made(training(text, tmp_path / "whole"), tmp_path / "run")
    assert done.status == record.Status.finished
    assert {"text_loss", "answer_loss", "tokens_per_second"} == set(
        done.results["training"].metrics
    )
    assert f"model=scratch model.name={model}" in capsys.readouterr().out
    saved = checkpoint.save

    def save_and_die(*args):
        saved(*args)
        raise KeyboardInterrupt

    stopped = training(text, tmp_path / "stopped")
    monkeypatch.setattr(checkpoint, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        errand.run(stopped, tmp_path / "first", start_nothing)
    assert record.load(tmp_path / "first").status == record.Status.failed
    monkeypatch.undo()
    resumed, done, _ = made(stopped, tmp_path / "second")
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)
    assert done.results["training"].metrics["tokens_per_second"].n == 2  # steps 2 to 4

    source = ScratchSource(name=str(model))
    source.prepare()
    loaded = source.load()
    assert loaded.model.config.attention == ["local", "full"]
    assert source.context_length() == 512 and len(source.fingerprint()) == 64
    hub = HubModel(name=str(model), dtype="float32").load()
    ids = loaded.tokenizer("The river ran past", return_tensors="pt").input_ids
    assert torch.equal(hub.model(ids).logits, loaded.model(ids).logits)


def test_the_folder_of_another_training_is_refused(text, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "training.json").write_text(json.dumps({"fingerprint": "another's"}))
    with pytest.raises(ValueError, match="task.output=.* is not allowed, another training"):
        errand.run(training(text, tmp_path, folder), tmp_path / "run", start_nothing)
    assert record.load(tmp_path / "run").status == record.Status.failed


REFUSED = [
    ({"steps": 0}, "task.steps=0 is not allowed"),
    ({"length": 600}, "task.length=600 is not allowed, it must be <= model.max_positions=512"),
    ({"needle": 0.9}, "task.needle, task.dense, task.copy=.* at most 1"),
    ({"sources": ["nowhere.txt"]}, "task.sources=nowhere.txt is not allowed"),
    ({"shares": [0.5, 0.5]}, "task.shares=.* is not allowed"),
    ({"model": {"attention": ["lokal"], "mechanisms": {}}}, "model.attention='lokal'.*'local'"),
    ({"model": {"attention": ["full"] * 3, "mechanisms": {}}}, "model.attention=.* model.layers=2"),
    ({"model": {"attention": "full"}}, "model.mechanisms='local' is not allowed"),
    ({"model": {"heads": 3}}, "model.heads=3 is not allowed"),
    ({"model": {"circuit": True}}, "model.head_dim=8 is not allowed.*model.circuit"),
    ({"model": {"name": "x"}}, "model.name=x is not allowed with task=train"),
]


@pytest.mark.parametrize(("changes", "said"), REFUSED, ids=lambda it: str(it)[:40])
def test_what_cannot_be_trained_is_refused_first(changes, said, text, tmp_path):
    config = training(text, tmp_path, **changes)
    with pytest.raises(ValueError, match=said):
        config.task.prepare(config)


def test_only_scratch_models_are_trained_and_only_trained_ones_measured():
    config = cell(task=Train(), model=RandomModel())
    with pytest.raises(ValueError, match="is not allowed with task=train: model=scratch"):
        config.task.prepare(config)
    with pytest.raises(ValueError, match=re.escape("task=train model=scratch")):
        ScratchSource().prepare()
    with pytest.raises(ValueError, match="has no config.json"):
        ScratchSource(name="nowhere").prepare()
