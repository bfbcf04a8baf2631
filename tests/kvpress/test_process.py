"""The process of kvpress: what is asked there, what comes back, and how it may end."""

import os
import sys
from pathlib import Path

import pytest

from memollm import command, record
from memollm.kvpress import process
from memollm.kvpress.mode import KVPress
from memollm.record import Status
from tests.kvpress.elsewhere import FAKE, python_path
from tests.kvpress.requests import Dying, Failing, Note

CONF = Path(__file__).parents[2] / "conf"
TINY = [
    "model=random",
    "model.model_type=qwen2",
    "+model.settings={vocab_size: 3072, hidden_size: 32, intermediate_size: 48, "
    "num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 2, "
    "max_position_embeddings: 1024}",
]
SHORT = [
    "evaluation=[continuation]",
    "evaluation.continuation.context=128",
    "evaluation.continuation.scored=16",
    "evaluation.continuation.windows=3",
    "tracker=none",
]


@pytest.fixture(scope="module", autouse=True)
def faked():
    """The fake kvpress, found by this process's search and imported by the other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FAKE))
        patch.setenv("PYTHONPATH", python_path(fake=True))
        yield
        process.end()


def test_it_is_another_process_that_imports_kvpress(tmp_path, monkeypatch):
    process.running().ask(Note(tmp_path / "note"))
    pid, where, typed = (tmp_path / "note").read_text().splitlines()
    assert int(pid) != os.getpid() and where.startswith(str(FAKE)) and typed == sys.argv[0]
    assert "kvpress" not in sys.modules
    assert process.running() is process.running()


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (KVPress("snapkw", 0.5), "mode.press='snapkw' .* did you mean 'snapkv'"),
        (KVPress("snapkv", 0.5, {"window": 1}), "mode.settings.window is not a key: SnapKVPress"),
    ],
)
def test_a_refusal_comes_back_as_one(mode, words):
    process.running().ask(process.Check(KVPress("snapkv", 0.5)))
    with pytest.raises(ValueError, match=words):
        process.running().ask(process.Check(mode))


def test_a_cell_is_run_there_and_leaves_its_record(tmp_path, monkeypatch, capfd):
    code = run(tmp_path, monkeypatch, "mode.press=streaming_llm", "budget=0.25")
    assert code == 0, capfd.readouterr()
    (folder,) = record.folders_below(tmp_path)
    run_record = record.load(folder)
    assert run_record.status == Status.finished
    assert run_record.config["mode"]["compression_ratio"] == 0.75
    assert run_record.config["memory"] == {} and "threshold" not in run_record.config
    kept = int(127 * 0.25) + 17  # of what was read, and what was scored after it
    assert run_record.memory is not None and run_record.memory.kept_tokens == [kept, kept]
    assert run_record.memory.kv_bytes == run_record.memory.kv_bytes_baseline * kept / (127 + 17)
    assert "kvpress" not in sys.modules


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["mode.press=snapkw", "budget=0.5"], "did you mean 'snapkv'"),
        (["mode.press=snapkv"], "mode.compression_ratio is not set"),
        (["mode.press=snapkv", "evaluation=[continuation,perplexity]"], "take continuation"),
        (["mode.press=snapkv", "budget=64"], "a press keeps a share"),
    ],
)
def test_what_is_wrong_is_said_before_a_model_is_loaded(tmp_path, monkeypatch, capfd, given, words):
    assert run(tmp_path, monkeypatch, *given) == 2
    assert words in capfd.readouterr().err
    assert not list(record.folders_below(tmp_path))


def run(folder, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["run.py"])
    monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)  # set by an earlier call
    return command.main(CONF, [*TINY, *SHORT, "mode=kvpress", f"outputs={folder}", *arguments])


def test_a_process_that_dies_is_reported_and_replaced(tmp_path):
    first = process.running()
    with pytest.raises(process.ProcessEnded, match="ended by signal 9, for want of memory?"):
        first.ask(Dying())
    process.running().ask(Note(tmp_path / "note"))
    assert process.running() is not first


def test_a_defect_ends_the_process():
    with pytest.raises(process.ProcessEnded, match="ended with exit code 1"):
        process.running().ask(Failing())
