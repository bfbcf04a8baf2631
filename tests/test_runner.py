"""The runner: measured once, on disk at once, and found again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from memollm import identity, record, runner, samples
from memollm.memory.ebbinghaus import Memory
from memollm.modes.baseline import Baseline
from memollm.modes.soft_delete import SoftDelete
from memollm.progress import Voice
from memollm.record import Status
from tests.scripted import Counting, DummyModel, DummyModels, Recording, cell, start_nothing

REPOSITORY = Path(__file__).parents[1]


@pytest.fixture
def go(tmp_path):
    """Run a cell in a folder of this test, quietly; all its earlier runs are seen."""

    def run(config, name="run", tracker=None, models=None, roots=None):
        start = start_nothing
        if tracker is not None:
            start = lambda described: tracker.start(config=described)  # noqa: E731
        roots = [tmp_path] if roots is None else roots
        quiet = Voice(Console(quiet=True))
        return runner.run(config, tmp_path / name, start, models or DummyModels(), roots, quiet)

    return run


def test_a_run_leaves_a_finished_record_and_its_samples(go, tmp_path):
    go(cell({"one": Counting(4), "two": Counting(2)}))
    run = record.load(tmp_path / "run")
    assert run.status == Status.finished and run.error is None and run.seconds > 0
    assert list(run.results) == ["one", "two"]
    assert run.results["one"].metrics["mean"].value == 1.5
    assert run.results["one"].metrics["mean"].n == 4
    assert [it["id"] for it in samples.read(tmp_path / "run")["one"]] == ["0", "1", "2", "3"]
    known = {
        "commit",
        "dirty",
        "versions",
        "device",
        "threads",
        "seed",
        "started",
        "cpu",
        "command",
    }
    assert known <= run.provenance.keys() and run.provenance["device"] == "cpu"
    assert run.config["threshold"] == 0.01 and run.config["memory"]["sinks"] == 4


def test_the_memory_is_the_mean_over_the_longest_samples(go):
    run = go(cell({"one": Counting(3), "none": Counting(1, with_memory=False)}))
    assert run.memory == record.Memory([11.0, 20.0], 100, 300.0, 1000.0)


def test_a_baseline_says_that_it_has_no_memory(go):
    assert go(cell(mode=Baseline())).config["memory"] is None


def test_a_failure_keeps_what_was_measured_and_says_what_happened(go, tmp_path):
    with pytest.raises(ArithmeticError, match="sample 2 cannot be"):
        go(cell({"good": Counting(2), "bad": Counting(4, fail_at=2)}))
    run = record.load(tmp_path / "run")
    assert run.status == Status.failed and list(run.results) == ["good"]
    assert run.error.type == "ArithmeticError" and run.error.message == "sample 2 cannot be"
    assert "Traceback" in run.error.traceback
    assert len(samples.read(tmp_path / "run")["bad"]) == 2


def test_an_interruption_is_recorded_and_passed_on(go, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Counting, "metrics", interrupted)
    with pytest.raises(KeyboardInterrupt):
        go(cell())
    run = record.load(tmp_path / "run")
    assert run.status == Status.failed and run.error.type == "KeyboardInterrupt"


def test_the_record_on_disk_is_running_while_evaluations_run(go, tmp_path, monkeypatch):
    seen = []
    measure = Counting.metrics

    def spy(self, some):
        seen.append(record.load(tmp_path / "run"))
        return measure(self, some)

    monkeypatch.setattr(Counting, "metrics", spy)
    go(cell({"one": Counting(), "two": Counting()}))
    assert [(it.status, list(it.results)) for it in seen] == [("running", []), ("running", ["one"])]


def test_missing_data_is_refused_before_a_model_is_asked_for(go, monkeypatch):
    def missing(self):
        raise ValueError("text='x' is not there")

    monkeypatch.setattr(Counting, "prepare", missing)
    models = DummyModels()
    with pytest.raises(runner.Refused, match="evaluation.counting: text='x' is not there"):
        go(cell(), models=models)
    assert models.asked == 0


def test_what_the_model_cannot_do_is_refused_before_anything_is_measured(go, monkeypatch):
    evaluations = {"one": Counting(), "two": Counting(7)}

    def check(self, subject):
        if self.count == 7:
            raise ValueError(f"7 > {subject.max_length}")

    monkeypatch.setattr(Counting, "check", check)
    with pytest.raises(runner.Refused, match="evaluation.two: 7 > 100"):
        go(cell(evaluations))
    assert evaluations["one"].measured == []


# What earlier runs measured


def test_a_finished_cell_is_not_measured_again(go, tmp_path):
    first = go(cell(), "first")
    models = DummyModels()
    again = go(cell(), "again", models=models)
    assert models.asked == 0 and again.status == Status.finished
    assert again.results == first.results and again.memory == first.memory
    assert again.reused_from == {"counting": str(tmp_path / "first")}
    assert again.resumed_from is None
    assert samples.read(tmp_path / "again").keys() == {"counting"}


def test_without_earlier_runs_all_is_measured(go):
    go(cell(), "first")
    models = DummyModels()
    assert not go(cell(), "again", models=models, roots=[]).reused_from
    assert models.asked == 1


def test_another_list_of_evaluations_reuses_what_it_shares(go):
    go(cell({"one": Counting(2)}), "first")
    two = Counting(3)
    run = go(cell({"one": Counting(2), "two": two}), "second")
    assert list(run.reused_from) == ["one"] and run.results.keys() == {"one", "two"}
    assert two.measured == ["0", "1", "2"]


def test_a_failed_evaluation_goes_on_from_its_last_sample(go, tmp_path, monkeypatch):
    broken = {"good": Counting(2), "bad": Counting(4)}
    measure = Counting.metrics
    monkeypatch.setattr(
        Counting, "metrics", lambda self, some: 1 / 0 if len(some) == 4 else measure(self, some)
    )
    with pytest.raises(ZeroDivisionError):
        go(cell(broken), "broken")
    path = tmp_path / "broken" / "samples.jsonl"
    path.write_bytes(path.read_bytes()[:-20])  # torn
    monkeypatch.setattr(Counting, "metrics", measure)
    mended = {"good": Counting(2), "bad": Counting(4)}
    run = go(cell(mended), "mended")
    assert run.resumed_from == str(tmp_path / "broken")
    assert mended["good"].measured == [] and mended["bad"].measured == ["3"]
    assert run.results["bad"].metrics["mean"].value == 1.5
    assert len(samples.read(tmp_path / "mended")["bad"]) == 4


def test_a_run_in_the_same_folder_goes_on_there(go, tmp_path):
    with pytest.raises(ArithmeticError):
        go(cell({"one": Counting(2), "two": Counting(3, fail_at=0)}))
    one = Counting(2)
    run = go(cell({"one": one, "two": Counting(3)}))
    assert run.status == Status.finished and one.measured == []


def test_foreign_and_broken_files_are_passed_over(go, tmp_path):
    hashes = identity.evaluation_hashes(cell())
    for name, text in {"a": "{", "b": "[]", "c": '{"status": "done"}', "d": ""}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "record.json").write_text(text + hashes["counting"])
    (tmp_path / "e" / "record.json").mkdir(parents=True)
    assert go(cell(), "run").status == Status.finished


def test_a_killed_run_is_gone_on_with(go, tmp_path):
    command = [sys.executable, "-m", "tests.scripted", str(tmp_path)]
    path = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}  # as in conftest.py
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL)
    killed = tmp_path / "killed"
    try:
        deadline = time.monotonic() + 60
        while len(samples.read(killed).get("slow", [])) < 2:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    left = record.load(killed)
    assert left.status == Status.running and list(left.results) == ["quick"]

    evaluations = {"quick": Counting(2), "slow": Counting(6, delay=0.4)}
    run = go(cell(evaluations), "again")
    assert run.status == Status.finished and run.resumed_from == str(killed)
    assert evaluations["quick"].measured == []
    assert 1 <= len(evaluations["slow"].measured) <= 4 and "0" not in evaluations["slow"].measured
    assert run.results["slow"].metrics["mean"].value == 2.5


# What decides a result


def whole(config):
    return identity.config_hash(identity.evaluation_hashes(config))


@pytest.mark.parametrize(
    "other",
    [
        cell(seed=1),
        cell(mode=SoftDelete()),
        cell(memory=Memory(threshold=0.5)),
        cell(model=DummyModel(flavour="other")),
        cell({"counting": Counting(5)}),
        cell({"renamed": Counting()}),
    ],
)
def test_what_decides_a_result_changes_the_hash(other):
    assert whole(other) != whole(cell())


def test_who_watches_and_where_it_lies_does_not(tmp_path):
    assert whole(cell(outputs="elsewhere", resume=False, force=True)) == whole(cell())


def test_a_baseline_has_no_memory_to_tell_apart():
    strong = cell(mode=Baseline(), memory=Memory(strength=9.0), memory_strength=9.0)
    assert whole(strong) == whole(cell(mode=Baseline()))
    assert identity.baseline_hashes(cell()) == identity.evaluation_hashes(strong)


def test_a_file_that_changed_is_another_evaluation():
    class Read(Counting):
        content = "a"

        def fingerprint(self):
            return self.content

    before = whole(cell({"counting": Read()}))
    Read.content = "b"
    assert whole(cell({"counting": Read()})) != before


# The tracker, a mirror


def test_the_tracker_sees_all_that_the_record_has(go, tmp_path):
    tracker = Recording()
    run = go(cell(), tracker=tracker)
    calls = dict(reversed(tracker.calls))  # the first of each name
    assert calls["start"]["config"] == run.config
    assert calls["log"] == (
        {"counting/value": 0.0, "counting/loss": pytest.approx(float("nan"), nan_ok=True)},
        0,
    )
    assert ("log", ({"counting/mean": 1.5, "counting/worst": float("inf")}, None)) in tracker.calls
    assert calls["log_table"][0] == "counting/samples" and len(calls["log_table"][1]) == 4
    assert calls["summary"]["counting/mean"] == 1.5 and calls["summary"]["status"] == "finished"
    assert calls["log_artifact"][2] == [
        str(tmp_path / "run" / it) for it in ("record.json", "samples.jsonl")
    ]
    assert tracker.calls[-1] == ("finish", 0)


def test_the_tracker_hears_of_a_failure(go):
    tracker = Recording()
    with pytest.raises(ArithmeticError):
        go(cell({"bad": Counting(fail_at=1)}), tracker=tracker)
    assert tracker.calls[-1] == ("finish", 1)


@pytest.mark.parametrize(
    "moment", ["start", "log", "log_table", "summary", "log_artifact", "finish"]
)
def test_a_tracker_that_fails_costs_nothing(go, tmp_path, moment):
    run = go(cell(), tracker=Recording(fail_at=moment))
    assert run.status == Status.finished and run.results["counting"].metrics["mean"].value == 1.5
    saved = record.load(tmp_path / "run")
    assert saved.tracker_error == "ConnectionError: the server has gone"


def test_the_record_is_plain_json(go, tmp_path):
    go(cell())
    assert json.loads((tmp_path / "run" / "record.json").read_text())["status"] == "finished"
