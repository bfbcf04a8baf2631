"""``memollm-lm-eval``: lm-eval's own command line and API, with a model that forgets."""

import functools
import logging
import sys

import lm_eval
import lm_eval.tasks
import pytest

from memollm import lm_eval_command
from memollm.modes.baseline import Baseline
from memollm.modes.sparse_attention import SparseAttention, Storage
from tests.evaluation.lm_eval_models import loaded

TASKS = """
task: rain
custom_dataset: !function made.documents
test_split: test
output_type: multiple_choice
doc_to_text: "{{text}}"
doc_to_choice: ["fell", "sang"]
doc_to_target: 0
metric_list:
  - metric: acc
"""
MADE = """
from datasets import Dataset
def documents(**told):
    return {"test": Dataset.from_list([{"text": "The rain " * n} for n in (2, 40)])}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint, and a task."""
    made = tmp_path_factory.mktemp("tiny model")  # a blank in its path, as users have them
    loaded().model.save_pretrained(made)
    loaded().tokenizer.save_pretrained(made)
    (made / "rain.yaml").write_text(TASKS)
    (made / "made.py").write_text(MADE)
    return made


@pytest.fixture
def run(folder, monkeypatch, capsys):
    """The command line, without lm-eval's 15 thousand own tasks, which take long to list."""
    few = functools.partial(lm_eval.tasks.TaskManager, include_defaults=False)
    monkeypatch.setattr(lm_eval.tasks, "TaskManager", few)
    monkeypatch.setattr(logging, "raiseExceptions", False)  # lm-eval keeps an earlier test's stderr

    def command(model_args, *rest):
        given = [f"pretrained={folder}", "dtype=float64", *model_args]
        options = ["--include_path", str(folder), "--tasks", "rain", *rest]
        monkeypatch.setattr(
            sys, "argv", ["memollm-lm-eval", "run", "--model_args", *given, *options]
        )
        code = lm_eval_command.main()
        return code, capsys.readouterr()

    return command


FORGETFUL = [
    "mode=sparse_attention", "threshold=0.3", "memory_strength=0.1", "layer_fraction=1.0",
    "memory.recent=4", "memory.prefill_chunk=16",
]  # fmt: skip


def test_a_command_line_gives_lm_evals_table(run):
    code, said = run(FORGETFUL, "--batch_size", "2")
    assert code == 0 and "|rain " in said.out and "memory_strength" in said.out


def test_a_cache_of_answers_bears_the_cells_hash(run, tmp_path):
    cache = tmp_path / "answers"
    for mode in ("baseline", "sparse_attention"):
        code, _ = run([f"mode={mode}"], "--use_cache", str(cache))
        assert code == 0
    assert len(list(tmp_path.glob("answers-*_rank0.db"))) == 2


@pytest.mark.parametrize(
    ("model_args", "message"),
    [
        (["mode=sparse_atention"], "did you mean 'sparse_attention'"),
        (["thresold=0.1"], "did you mean 'threshold'"),
        (["threshold=2"], "threshold=2"),
        (["evaluation=[speed]"], "evaluation is no key of a model and its memory"),
        (["batch_size=auto"], "batch_size='auto' is not allowed"),
    ],
)
def test_what_is_not_allowed_is_refused_in_a_line(run, model_args, message):
    code, said = run(model_args)
    assert code == 2 and message in said.err and "Traceback" not in said.err


def test_lm_evals_api_knows_the_model(folder):
    lm_eval_command.register()
    lm_eval_command.register()  # as often as one likes
    results = lm_eval.simple_evaluate(
        "memollm",
        model_args=f"pretrained={folder},mode=sparse_attention,threshold=0.3,too_long=cut",
        tasks=["rain"],
        task_manager=lm_eval.tasks.TaskManager(include_path=str(folder), include_defaults=False),
        batch_size=2,
    )
    assert results["config"]["memollm"]["memory"]["threshold"] == 0.3
    assert results["config"]["memollm"]["too_long"] == "cut"
    assert 0 <= results["results"]["rain"]["acc,none"] <= 1


def test_arguments_are_run_pys():
    config = lm_eval_command.cell(
        {"mode": "sparse_attention", "mode.storage": "mask", "threshold": [0.1, 0.2],
         "memory.sinks": 8, "memory.recall_threshold": None, "retention": "power_law"}
    )  # fmt: skip
    assert config.mode == SparseAttention(storage=Storage.mask)
    assert config.memory.threshold == [0.1, 0.2] and config.memory.sinks == 8
    assert config.memory.recall_threshold is None
    assert type(config.memory.retention).__name__ == "PowerLawRetention"
    assert lm_eval_command.cell({"mode": "baseline"}).mode == Baseline()


def test_a_cell_is_told_by_what_decides_its_answers():
    def hashed(**given):
        return lm_eval_command.cell_hash(given)

    assert hashed(mode="baseline") == hashed(mode="baseline", threshold=0.3)
    assert hashed(threshold=0.3) != hashed(threshold=0.2) != hashed(mode="baseline")
