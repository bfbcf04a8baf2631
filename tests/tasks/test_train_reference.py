"""``task=train_reference``: any field of the recipe, resumed, in one process or in two."""

import re

import pytest
import torch
from safetensors.torch import load_file

from memollm import errand, record
from memollm.reference import checkpoint, weights_path
from memollm.reference.config import Architecture, Stage
from memollm.replay import composed
from memollm.tasks.train_reference import TrainReference
from tests.scripted import cell, start_nothing

SMALL = {
    "architecture": Architecture(vocabulary=700, feed_forward=32, layers=4),
    "stages": [Stage(3, 384, 2, needle=0.5)],
    "finish": [],
    "longer": [Stage(1, 384, 2, paraphrased=0.5)],
    "grown": [Stage(2, 384, 2, needle=0.5)],
    "grown_feed_forward": 96,
    "far": [Stage(1, 512, 2)],
    "questions": [],
    "polish": [],
    "named": [],
    "warmup": 2,
    "bfloat16": False,
    "log_every": 1,
}


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "story.txt"
    path.write_text("The river ran past an old mill, and nobody knew why it stood.\n" * 500)
    return path


def training(text, outputs, **changes):
    task = TrainReference(**{"sources": [str(text)], **SMALL, **changes})
    return cell(task=task, outputs=str(outputs))


def weights(outputs):
    (made,) = outputs.glob("trained/*/model/model.safetensors")
    return load_file(made)


@pytest.mark.slow
def test_one_process_two_and_a_stopped_training_end_alike(text, tmp_path, monkeypatch, capsys):
    done = errand.run(training(text, tmp_path / "whole"), tmp_path / "run", start_nothing)
    (told,) = re.findall(r"python run.py (model=\S+ model.name=\S+)", capsys.readouterr().out)
    composed(told.split()).model.prepare()
    assert done.status == record.Status.finished
    assert {"text_loss", "answer_loss", "steps_per_second"} == set(done.results["training"].metrics)
    whole = weights(tmp_path / "whole")

    errand.run(training(text, tmp_path / "two", processes=2), tmp_path / "of two", start_nothing)
    two = weights(tmp_path / "two")
    moved = torch.cat(
        [(two[name].float() - it.float()).abs().flatten() for name, it in whole.items()]
    )
    # Gradients are summed in another order, and Adam divides by their size where they are next to
    # nothing; where they are not summed at all it is 2.6e-3, and a third of the learning rate.
    assert moved.mean() < 5e-4

    saved = checkpoint.save

    def save_and_die(*args):
        saved(*args)
        raise KeyboardInterrupt

    stopped = training(text, tmp_path / "stopped", checkpoint_every=2)
    monkeypatch.setattr(checkpoint, "save", save_and_die)
    with pytest.raises(KeyboardInterrupt):
        errand.run(stopped, tmp_path / "first", start_nothing)
    monkeypatch.undo()
    errand.run(stopped, tmp_path / "second", start_nothing)
    resumed = weights(tmp_path / "stopped")
    assert all(torch.equal(resumed[name], it) for name, it in whole.items())


def test_a_process_that_fails_ends_the_training(text, tmp_path):
    config = training(text, tmp_path, processes=2, device="nowhere")
    with pytest.raises(RuntimeError):
        errand.run(config, tmp_path / "run", start_nothing)
    assert record.load(tmp_path / "run").status == record.Status.failed


REFUSED = [
    ({"sources": []}, r"task.sources=\[\] is not allowed"),
    ({"sources": ["nowhere.txt"]}, "task.sources=nowhere.txt is not allowed"),
    ({"shares": [0.5, 0.5]}, r"task.shares=\[0.5, 0.5\] is not allowed, .* each of 1"),
    ({"scale": 0.0}, "task.scale=0.0 is not allowed"),
    ({"circuit_rate": -0.1}, "task.circuit_rate=-0.1 is not allowed, it must be >= 0"),
    ({"processes": 3}, r"task.stages\[0\].sequences=2 is not allowed, .* task.processes=3"),
    ({"longer": [Stage(1, 9000, 2)]}, r"task.longer\[0\].length=9000 is .*max_positions=8192"),
    ({"far": [Stage(1, 9000, 2)]}, r"task.far\[0\].length=9000 is .*max_positions=8192"),
    ({"finish": [Stage(1, 64, 2, needle=0.6, pairs=0.5)]}, r"task.finish\[0\]: needle.* at most 1"),
    ({"architecture": Architecture(kv_heads=0)}, "task.architecture.kv_heads=0 is not allowed"),
    ({"architecture": Architecture(hidden=128)}, "hidden=128 .* >= 192 with task.circuit=true"),
    ({"grown_hidden": 243}, "task.grown_hidden=243 is not allowed, it must be >= 244"),
    ({"grown_feed_forward": 83}, "task.grown_feed_forward=83 is not allowed, .* >= 84"),
    ({"grown_shares": [1.0, 1.0]}, r"task.grown_shares=\[1.0, 1.0\] is not allowed, .* each of 1"),
    ({"stages": []}, r"task.stages=\[\] is not allowed"),
    ({"from_phase": "polisch"}, "task.from_phase='polisch' is not .* did you mean 'polish'"),
    ({"from_phase": "far"}, "task.from_model= is not allowed, it must be a folder with"),
    ({"from_model": "nowhere", "from_phase": "far"}, "from_model=nowhere .* with config.json"),
    (
        {"from_model": str(weights_path()), "from_phase": "far"},
        "of vocab_size 700 to begin far, not of 3",
    ),
    (
        {
            "from_model": str(weights_path()),
            "from_phase": "finish",
            "architecture": Architecture(),
            "grown_feed_forward": 768,
        },
        "of hidden_size 192 to begin finish, not of 256",
    ),
]


@pytest.mark.parametrize(("changes", "said"), REFUSED, ids=lambda it: str(it)[:40])
def test_what_cannot_be_trained_is_refused_first(changes, said, text, tmp_path):
    config = training(text, tmp_path, **changes)
    with pytest.raises(ValueError, match=said):
        config.task.prepare(config)


def test_any_field_of_the_recipe_is_given_on_the_command_line():
    config = composed([
        "task=train_reference", "task.sources=[docstrings]", "seed=3",
        "task.architecture.hidden=256", "task.longer=[{steps:2,length:64,sequences:2}]",
    ])  # fmt: skip
    task = config.task
    assert isinstance(task, TrainReference)
    assert (task.sources, task.architecture.hidden, task.seed) == (["docstrings"], 256, 3)
    assert [it.steps for it in task.longer] == [2] and len(task.stages) == 6
