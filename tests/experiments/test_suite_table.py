"""The suite's table: each method against the untouched model, and against recency."""

import csv
import importlib

import pytest

from memollm.record import Measured, Result
from memollm.report.cells import read
from tests.report.runs import needle, save

suite = importlib.import_module("experiments.004_suite.table")


def memory(policy="ebbinghaus", gain=1.0, recall=0.01, curve="exponential", birth="rehearsed"):
    return {
        "name_": "ebbinghaus",
        "policy": {"name_": policy},
        "retention": {"name_": curve},
        "birth": {"name_": birth},
        "reinforcement": gain,
        "recall_threshold": recall,
        "prefill_chunk": 256,
    }


def leave(folder, right, memory=None, mode="sparse_attention", **settings):
    held = {"kv_bytes": 1 if memory else 4, "kv_bytes_baseline": 4}
    config = {"mode": {"name_": mode, **settings}, "memory": memory, "budget": 0.25}
    share = Measured(sum(right) / len(right), "share", True, len(right))
    save(
        folder,
        mode,
        {"needle": needle(right, memory=held)},
        config=config,
        config_hash=folder.name,
        results={"needle": Result(1.0, {"accuracy_unseen": share})},
        provenance={"started": folder.name, "commit": "0123456789"},
    )


@pytest.fixture
def cells(tmp_path):
    third = [True] * 10 + [False] * 20
    leave(tmp_path / "0", [True] * 30, None, "baseline")
    leave(tmp_path / "1", third, memory("window"))
    leave(tmp_path / "2", third, memory(gain=0.0, recall=None))
    leave(tmp_path / "3", [False] * 30, memory())
    leave(tmp_path / "4", [True] * 29 + [False], memory(birth="learned"))
    leave(tmp_path / "5", third, {}, "kvpress", press="snapkv", compression_ratio=0.75)
    return read([tmp_path]).cells


def test_a_row_for_each_method_with_both_differences(cells):
    made = suite.rows(cells)
    assert [(it.budget, it.method) for it in made] == [
        (1.0, "untouched"),
        (0.25, "learned strength"),
        (0.25, "window"),
        (0.25, "constant strength"),
        (0.25, "rehearsed (ebbinghaus)"),
        (0.25, "press snapkv"),
    ]
    found = suite.entries(made)
    lost = {made[index].method: it.lost.value for (index, _), it in found.items() if it.lost}
    gained = {made[index].method: it.gained.value for (index, _), it in found.items() if it.gained}
    assert lost["window"] == lost["press snapkv"] == pytest.approx(-2 / 3)
    assert gained == {
        "learned strength": pytest.approx(19 / 30),
        "constant strength": 0,
        "rehearsed (ebbinghaus)": pytest.approx(-1 / 3),
    }  # a press is held against streaming_llm, which is not here


def test_a_strength_given_at_birth_has_a_row_of_its_own(tmp_path):
    for number, birth in enumerate(("surprisal", "key_norm", "rehearsed")):
        leave(tmp_path / str(number), [True] * 30, memory(birth=birth))
    names = [it.method for it in suite.rows(read([tmp_path]).cells)]
    assert names == ["rehearsed (ebbinghaus)", "key_norm strength", "surprisal strength"]


def test_a_row_is_not_made_of_two_memories(tmp_path):
    leave(tmp_path / "0", [True] * 30, memory())
    leave(tmp_path / "1", [False] * 30, memory())  # measured again: the newest counts
    assert suite.rows(read([tmp_path]).cells)[0].cells["needle"].folder == tmp_path / "1"
    leave(tmp_path / "2", [True] * 30, {**memory(), "sinks": 0, "recent": 1})
    with pytest.raises(
        ValueError, match=r"'rehearsed \(ebbinghaus\)'.*memory.recent, memory.sinks"
    ):
        suite.rows(read([tmp_path]).cells)


def test_the_table_says_what_is_the_same_and_what_is_luck(cells):
    made = suite.rows(cells)
    text = suite.markdown(made, suite.entries(made))
    assert "constant strength and window, 25% kept: 30 of 30 samples the same." in text
    assert "| 25% | learned strength | 96.7; [-3 (-17..+8)] | - | - | - | - | 25% |" in text
    assert "| 25% | constant strength | [+0 (" in text
    assert "after Holm's correction for 8 comparisons" in text


def test_the_figure_is_drawn_from_values_and_intervals(cells, tmp_path):
    made = suite.rows(cells)
    suite.comma_separated(tmp_path / "table.csv", made, suite.entries(made))
    lines = {it["method"]: it for it in csv.DictReader((tmp_path / "table.csv").open())}
    window = lines["window"]
    assert float(window["low"]) < float(window["value"]) < float(window["high"])
    assert lines["untouched"]["low"] == lines["untouched"]["high"] == "1.0"


def test_the_command_names_the_memories_that_would_share_a_row(tmp_path, monkeypatch, capsys):
    leave(tmp_path / "0", [True] * 30, memory())
    leave(tmp_path / "1", [True] * 30, {**memory(), "sinks": 0})
    monkeypatch.setattr("sys.argv", ["table.py", str(tmp_path), "--out", str(tmp_path)])
    with pytest.raises(SystemExit):
        suite.main()
    assert "differ in memory.sinks" in capsys.readouterr().err
    assert not (tmp_path / "table.md").exists()
