"""The record: complete at every moment, valid JSON, read back as it was written."""

import json
import math
import os

import pytest

from memollm import record, samples
from memollm.record import Failure, Measured, Memory, Result, RunRecord, Status

FULL = RunRecord(
    status=Status.failed,
    config={"mode": {"name_": "soft_delete", "floor": 0.8}, "threshold": [0.1, 0.2]},
    config_hash="abc",
    provenance={"commit": None, "dirty": None, "started": "2026-01-02T03:04:05+00:00"},
    error=Failure("ValueError", "no", "Traceback ..."),
    seconds=1.5,
    results={"a": Result(0.5, {"m": Measured(math.inf, "nats", False, 3, math.nan)})},
    memory=Memory([1.0, 2.0], 3, 4.0, 5.0),
    evaluation_hashes={"a": "1"},
    baseline_hashes={"a": "2"},
    resumed_from="outputs/x",
    reused_from={"a": "outputs/x"},
    tracker_error="gone",
)


def test_a_record_is_read_back_as_it_was_written(tmp_path):
    record.save(FULL, tmp_path)
    again = record.load(tmp_path)
    metric = again.results["a"].metrics["m"]
    assert metric.value == math.inf and math.isnan(metric.stderr)
    assert repr(again) == repr(FULL)  # nan differs from itself, its name does not


def test_the_file_has_the_keys_that_people_rely_on(tmp_path):
    record.save(FULL, tmp_path)
    data = json.loads((tmp_path / "record.json").read_text())
    documented = ["status", "error", "config", "config_hash", "seconds", "results", "memory"]
    assert {*documented, "provenance"} <= data.keys()
    assert data["status"] == "failed"
    assert set(data["error"]) == {"type", "message", "traceback"}
    metric = {"value": "Infinity", "unit": "nats", "higher_is_better": False, "n": 3}
    assert data["results"]["a"] == {"seconds": 0.5, "metrics": {"m": {**metric, "stderr": "NaN"}}}
    sizes = {"kept_tokens", "seen_tokens", "kv_bytes", "kv_bytes_baseline"}
    assert set(data["memory"]) == {*sizes, "kept_share", "thresholds"}


def test_the_file_is_json_that_strict_readers_take(tmp_path):
    record.save(FULL, tmp_path)

    def refuse(constant):
        raise AssertionError(constant)

    plain = json.loads((tmp_path / "record.json").read_text(), parse_constant=refuse)
    assert plain["config_hash"] == FULL.config_hash


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_record(tmp_path, monkeypatch, step):
    record.save(FULL, tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, step, full)
        with pytest.raises(OSError, match="No space left"):
            record.save(RunRecord(Status.finished, {}, "new", {}), tmp_path)
    assert record.load(tmp_path).config_hash == "abc"
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "3",
        '{"status": "finished"}',
        '{"results": 3}',
        '"record"',
        "\x00\xff",
    ],
)
def test_what_is_no_record_is_refused_in_one_way(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(record.UnreadableRecord, match="is not a run record"):
        record.load(tmp_path)


def test_a_record_cut_off_anywhere_is_refused(tmp_path):
    record.save(FULL, tmp_path)
    path = tmp_path / "record.json"
    text = path.read_text()
    for length in range(0, len(text) - 2, 37):
        path.write_text(text[:length])
        with pytest.raises(record.UnreadableRecord):
            record.load(tmp_path)


def test_folders_are_found_but_not_those_inside_a_run(tmp_path):
    for folder in ("b/1", "b/2", "a", "a/wandb/inside", ".hidden/x"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "record.json").touch()
    found = [path.relative_to(tmp_path).as_posix() for path in record.folders_below(tmp_path)]
    assert found == ["a", "b/1", "b/2"]


def test_samples_come_back_by_evaluation_with_their_nans(tmp_path):
    samples.rewrite(tmp_path, {"a": [{"id": "0", "loss": math.nan, "all": [1, -math.inf]}]})
    samples.append(tmp_path, "b", {"id": "0", "text": "ü\n"})
    found = samples.read(tmp_path)
    assert math.isnan(found["a"][0]["loss"]) and found["a"][0]["all"] == [1, -math.inf]
    assert found["b"] == [{"id": "0", "text": "ü\n"}]


def test_a_torn_last_line_is_no_sample(tmp_path):
    for index in range(3):
        samples.append(tmp_path, "a", {"id": str(index), "text": "é" * 5})
    path = tmp_path / "samples.jsonl"
    content = path.read_bytes()
    for cut in range(1, len(content) // 3):
        path.write_bytes(content[:-cut])
        ids = [sample["id"] for sample in samples.read(tmp_path)["a"]]
        assert ids in (["0", "1"], ["0", "1", "2"])  # the last is whole without its newline


def test_no_samples_file_means_no_samples(tmp_path):
    assert samples.read(tmp_path) == {}
