"""A sweep that is killed at random moments, and typed again until it is done."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import run
from memollm import record, samples
from memollm.record import Status
from tests.sweeping import NOTES, SAMPLES, script

REPOSITORY = Path(__file__).parents[1]
COMMON = ["evaluation=[needle]", "tracker=none", "-m"]
LITTLE = ["mode=baseline,sparse_attention", "threshold=0.1,0.2", "memory_strength=1,2"]
LARGE = [
    "mode=baseline,soft_delete,sparse_attention",
    "threshold=0.1,0.2,0.3",
    "memory_strength=1,2,4",
]


@pytest.fixture
def finish(monkeypatch, capfd):
    """Run a sweep to its end, in this process; gives its exit code and what it said."""

    def finish(folder: Path, cells: list[str]) -> tuple[int, str]:
        folder.mkdir(exist_ok=True)
        monkeypatch.chdir(folder)
        script(0, lambda *it: monkeypatch.setattr(*it, raising=False))
        monkeypatch.setattr(sys, "argv", ["run.py"])
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        return run.main([*cells, *COMMON]), capfd.readouterr().out

    return finish


def killed(folder: Path, cells: list[str], after: int) -> None:
    """Run a sweep in a process of its own, and kill it once so many samples are measured."""
    folder.mkdir(exist_ok=True)
    path = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.sweeping", "0.05", *cells, *COMMON]
    sweep = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    try:
        while len(noted(folder)) < after:
            assert sweep.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        sweep.send_signal(signal.SIGKILL)
        sweep.wait()


def noted(folder: Path) -> list[str]:
    notes = folder / NOTES
    return notes.read_text().splitlines() if notes.exists() else []


def result(folder: Path) -> list[dict]:
    """The newest table, without what tells one run from another."""
    table = max((folder / "outputs" / "multirun").rglob("table.json"))
    rows = json.loads(table.read_text())["rows"]
    return [{key: it for key, it in row.items() if key != "folder"} for row in rows]


@pytest.mark.parametrize(
    ("cells", "asked", "distinct", "kills"),
    [(LITTLE, 8, 5, 1), pytest.param(LARGE, 27, 19, 2, marks=pytest.mark.slow)],
    ids=["8", "27"],
)
def test_a_killed_sweep_ends_as_if_it_had_not_been(tmp_path, finish, cells, asked, distinct, kills):
    broken, total = tmp_path / "broken", distinct * SAMPLES
    for moment in sorted(random.Random(asked).sample(range(1, total), kills)):
        killed(broken, cells, moment)
    code, told = finish(broken, cells)
    assert code == 0 and f"{asked}/{asked} cells finished" in told

    # A sample that was measured but not yet written when the kill came is measured again.
    assert len(noted(broken)) <= total + kills and len(set(noted(broken))) == total
    runs = [record.load(it) for it in record.folders_below(broken)]
    measured = [
        run.evaluation_hashes[name] for run in runs for name in run.results
        if name not in run.reused_from
    ]  # fmt: skip
    assert len(measured) == len(set(measured)) == distinct, "what was finished was run twice"
    newest = max(broken.rglob("table.json")).parent
    for folder in record.folders_below(newest):
        assert record.load(folder).status == Status.finished
        assert len(samples.read(folder)["needle"]) == SAMPLES

    assert finish(tmp_path / "whole", cells)[0] == 0
    assert result(broken) == result(tmp_path / "whole")
