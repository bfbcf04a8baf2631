"""A sweep before it is run, and while it is: which cells are the same, and how far they are."""

from dataclasses import replace

import pytest
from rich.console import Console

from memollm import record, runner, sweep
from memollm.memory.ebbinghaus import Memory
from memollm.modes.baseline import Baseline
from memollm.progress import Voice
from memollm.record import RunRecord, Status
from memollm.sweep import Count, Planned, State, Tally, plan
from tests.scripted import Counting, DummyModels, cell, start_nothing


def measure(config, folder):
    quiet = Voice(Console(quiet=True))
    return runner.run(config, folder, start_nothing, DummyModels(), [folder], quiet)


def states(cells, outputs):
    return [(it.state, it.same_as) for it in plan(cells, [""] * len(cells), outputs)]


def test_cells_that_would_measure_the_same_are_one(tmp_path):
    cells = [
        cell(mode=Baseline(), memory=Memory(threshold=0.1)),
        cell(memory=Memory(threshold=0.1)),
        cell(mode=Baseline(), memory=Memory(threshold=0.2)),
        cell(memory=Memory(threshold=0.2)),
        cell(memory=Memory(threshold=0.1)),
    ]
    new = (State.new, None)
    assert states(cells, tmp_path) == [new, new, (State.same, 0), new, (State.same, 1)]


def test_what_earlier_runs_have_is_known(tmp_path):
    measure(cell(), tmp_path / "finished")
    failing = cell({"one": Counting(2), "two": Counting(3, fail_at=1)})
    with pytest.raises(ArithmeticError):
        measure(failing, tmp_path / "failed")
    cells = [cell(), cell({"one": Counting(2), "two": Counting(3)}), cell(seed=1)]
    cells[1].evaluation["two"].fail_at = 1  # what it is known by
    finished, begun, new = plan(cells, ["a", "b", "c"], tmp_path)
    assert (finished.state, finished.because) == (State.finished, str(tmp_path / "finished"))
    assert begun.state == State.begun
    assert begun.because == f"one finished, two 1 samples: {tmp_path / 'failed'}"
    assert new == Planned(2, "c", State.new)


@pytest.mark.parametrize("key", [{"force": True}, {"resume": False}])
def test_what_is_to_be_measured_again_is_not_taken_over(tmp_path, key):
    measure(cell(), tmp_path / "finished")
    assert states([cell(**key)], tmp_path) == [(State.new, None)]


def test_a_plan_is_told_cell_by_cell_and_summed_up():
    planned = [
        Planned(0, "baseline", State.finished, "outputs/1"),
        Planned(1, "baseline threshold=0.2", State.same, "as 0", 0),
        Planned(2, "soft_delete", State.new),
    ]
    assert list(sweep.told(planned)) == [
        "0  finished   baseline  (outputs/1)",
        "1  the same   baseline threshold=0.2  (as 0)",
        "2  to run     soft_delete",
        "3 cells: 1 finished, 1 to run, 1 the same. Nothing was run (dry_run=true).",
    ]


@pytest.fixture
def leave(tmp_path):
    """Leave a record for a cell of a sweep."""

    def leave(number, status=Status.finished, reused=False, started="now"):
        run = RunRecord(
            status=status,
            config={},
            config_hash=str(number),
            provenance={"started": started},
            results={"needle": record.Result(1.0, {})} if status == Status.finished else {},
            reused_from={"needle": "elsewhere"} if reused else {},
        )
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        record.save(run, folder)

    return leave


def test_cells_are_counted_by_what_became_of_them(tmp_path, leave):
    tally = Tally(tmp_path, total=8, same={1: 0, 3: 2, 7: 6}, costly=4)
    assert tally.count() == Count(8, 0, 0, 0, None) and tally.missing() == [0, 2, 4, 5, 6]
    leave(0)
    leave(2, Status.failed)
    leave(4, reused=True)
    leave(5, Status.running)
    count = replace(tally.count(), left=None)
    # 0 and its twin, 2 and its twin, 4
    assert count == Count(8, measured=1, skipped=2, failed=2, left=None)
    assert (count.settled, count.good) == (5, 3) and tally.missing() == [5, 6]
    leave(5)
    leave(6)
    count = tally.count()
    assert (count.settled, count.good, count.left) == (8, 6, None)
    assert str(count) == "8/8 cells: 3 measured, 3 skipped, 2 failed"


def test_the_rest_takes_as_long_as_what_was_measured(tmp_path, leave, monkeypatch):
    tally = Tally(tmp_path, total=5, same={}, costly=4, began=100.0)
    leave(0, reused=True)
    leave(1)
    monkeypatch.setattr(sweep.time, "time", lambda: 130.0)
    assert tally.count().left == pytest.approx(3 * 30.0)
    assert str(tally.count()).endswith("1 skipped, 0 failed, about 2 min left")


def test_records_of_an_earlier_sweep_in_the_same_folder_do_not_count(tmp_path, leave):
    leave(0, Status.failed, started="then")
    planned = [Planned(0, "", State.begun), Planned(1, "", State.new)]
    tally = Tally.of(planned, tmp_path)
    assert tally.missing() == [0, 1]
    leave(0, started="now")
    assert tally.missing() == [1] and tally.count().measured == 1
