"""The command line: what it refuses and in which words, what it costs to ask, and a whole sweep."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

import run
from memollm import cell, claims, devices, job, record
from memollm.config import register_schemas
from memollm.hf.models import ModelSource
from memollm.registry import groups
from tests.losing import Losing
from tests.scripted import Counting, DummyModels

REPOSITORY = Path(__file__).parents[1]
NEVER = "transformers, datasets, wandb, lm_eval, pandas, matplotlib"


@pytest.fixture
def call(monkeypatch, tmp_path, capfd):
    """Call the program in an empty folder; gives its exit code and what it wrote to stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(devices, "FOLDER", tmp_path.with_name("devices"))
    monkeypatch.setenv("COLUMNS", "400")

    def call(*arguments):
        monkeypatch.delenv("HYDRA_FULL_ERROR", raising=False)
        monkeypatch.setattr(sys, "argv", ["run.py", *arguments])
        code = run.main(list(arguments))
        return code, capfd.readouterr()

    return call


@pytest.fixture
def no_model(monkeypatch):
    """Fail if a model is loaded."""
    monkeypatch.setattr(job, "models", None)


@pytest.fixture
def scripted(monkeypatch):
    """The program with scripted parts: needles are counted, and nothing is loaded."""
    register_schemas()
    needle = groups()["evaluation"]["needle"]
    monkeypatch.setattr(job, "models", DummyModels())
    monkeypatch.setattr(ModelSource, "prepare", lambda self: None)
    for name in ("size", "samples", "metrics", "prepare", "check"):
        monkeypatch.setattr(needle, name, getattr(Counting, name))
    for name, default in (("count", 3), ("delay", 0), ("fail_at", None), ("with_memory", True)):
        monkeypatch.setattr(needle, name, default, raising=False)
    monkeypatch.setattr(needle, "measured", [], raising=False)
    return needle


REFUSED = [  # command line, what the message must name
    ("mode=sprase_attention", ["mode", "sprase_attention", "baseline", "'sparse_attention'?"]),
    ("threshold=2", ["threshold", "2", "[0, 1)"]),
    ("threshold=abc", ["threshold", "abc", "number"]),
    ("threshold=[0.1,3]", ["threshold", "3", "[0, 1)"]),
    ("layer_fraction=1.5", ["layer_fraction", "1.5", "(0, 1]"]),
    ("memory_strength=-1", ["memory_strength", "-1", "> 0"]),
    ("memory_strength=abc", ["memory_strength", "abc", "Float"]),
    ("model=nope", ["model", "nope", "reference", "hf"]),
    ("model=hf", ["model.name"]),
    ("model=hf model.name=./nowhere", ["model.name", "./nowhere"]),
    ("thresold=0.1", ["thresold", "'threshold'?", "layer_fraction"]),
    ("memory.sink=3", ["memory.sink", "'sinks'?", "recent"]),
    ("memory.sinks=-3", ["memory.sinks", "-3", ">= 0"]),
    ("memory.aggregation=vot", ["memory.aggregation", "vot", "layer, vote"]),
    ("memory.foo.bar=1", ["memory.foo"]),
    ("mode.floor=0.3", ["mode.floor", "storage"]),  # a setting of another mode
    ("mode=soft_delete mode.floor=3", ["mode.floor", "3", "[0, 1]"]),
    ("retention=power", ["retention", "power", "'power_law'?"]),
    ("evaluation=[perplexty]", ["evaluation", "perplexty", "'perplexity'?"]),
    ("evaluation=[]", ["evaluation", "perplexity", "needle"]),
    ("evaluation.ruler.x=1", ["evaluation.ruler", "perplexity"]),
    ("evaluation.perplexity.text=/nowhere/x.txt", ["evaluation.perplexity.text", "/nowhere/x.txt"]),
    ("tracker=wb", ["tracker", "wb", "none, wandb"]),
    ("tracker.mode=onlin", ["tracker.mode", "onlin", "offline, online"]),
    ("experiment=nope", ["experiment", "nope", "smoke"]),
    ("seed=abc", ["seed", "abc"]),
    ("seed", ["seed", "key=value"]),
    ("memory=null", ["memory", "null", "ebbinghaus"]),
    ("threshold=0.1,0.2", ["threshold=0.1,0.2", "-m"]),
    ("+foo=1", ["foo", "threshold"]),
    ("+memory.foo=1", ["memory.foo", "sinks"]),
    ("-m threshold=0.1,2 mode=baseline,sparse_attention", ["threshold", "2", "[0, 1)"]),
    ("mode=baseline,sprase -m", ["mode", "sprase", "baseline"]),
    ("experiment=three_modes threshold=4", ["threshold", "4"]),
    ("limit=0", ["limit", "0", "at least 1"]),
    ("limit=3", ["limit", "speed", "rounds, turns or contexts"]),
    ("evaluation=[lm_eval] limit=3", ["limit", "lm_eval", "documents of each task"]),
    ("-m hydra/launcher=jobli", ["hydra/launcher", "jobli", "joblib"]),
    ("outputs={file}/inside", ["outputs", "cannot be written"]),
    ("hydra.run.dir={file}", ["cannot be written"]),
]


@pytest.mark.parametrize(("line", "named"), REFUSED, ids=[line for line, _ in REFUSED])
def test_a_bad_command_is_refused_in_a_line_that_helps(call, no_model, tmp_path, line, named):
    (tmp_path / "file").touch()
    code, wrote = call(*line.format(file=tmp_path / "file").split())
    assert code == 2
    assert wrote.err.startswith("error: ") and len(wrote.err.strip().splitlines()) == 1
    assert all(word in wrote.err for word in named), wrote.err
    assert [path.name for path in tmp_path.iterdir()] == ["file"], "something was begun"


def test_a_full_disk_is_refused(call, no_model, monkeypatch):
    monkeypatch.setattr("memollm.cells.ROOM_NEEDED", 2**80)
    code, wrote = call()
    assert code == 2 and "MiB left" in wrote.err


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--cfg", "job"], ["--cfg", "job", "-p", "mode"]]
)
def test_asking_imports_nothing_heavy_and_writes_nothing(arguments, tmp_path):
    spy = f"import sys, run; code = 0\ntry: code = run.main({arguments!r})\n"
    spy += "except SystemExit as end: code = end.code\n"
    spy += f"print('heavy:', *set('{NEVER}'.split(', ')) & sys.modules.keys()); sys.exit(code)"
    path = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    command = [sys.executable, "-c", f"import sys; sys.argv = ['run.py', *{arguments!r}]\n{spy}"]
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "heavy:"
    assert len(done.stdout.splitlines()) > 1
    assert not list(tmp_path.iterdir())


def test_one_cell_is_recorded_and_shown(call, scripted, tmp_path):
    code, wrote = call("evaluation=[needle]", "tracker=none", "seed=1")
    (folder,) = record.folders_below(tmp_path / "outputs")
    cell = record.load(folder)
    assert code == 0 and cell.status == "finished" and cell.config["seed"] == 1
    assert (folder / ".hydra" / "overrides.yaml").exists()
    assert "needle mean" in wrote.out and str(folder.relative_to(tmp_path)) in wrote.out


def test_one_cell_is_compared_with_the_latest_baseline(call, scripted, tmp_path):
    call("evaluation=[needle]", "tracker=none", "mode=baseline")
    code, wrote = call("evaluation=[needle]", "tracker=none", "threshold=0.3")
    lines = [line for line in wrote.out.splitlines() if "│" in line]
    assert code == 0 and "baseline" in lines[0] and "+0" in lines[3]


def test_a_cell_that_fails_ends_with_one_and_keeps_its_traceback(call, scripted, tmp_path):
    scripted.fail_at = 1
    code, wrote = call("evaluation=[needle]", "tracker=none")
    (folder,) = record.folders_below(tmp_path / "outputs")
    assert code == 1 and "sample 1 cannot be" in wrote.err and "Traceback" not in wrote.err
    assert "Traceback" in record.load(folder).error.traceback


def test_a_refusal_by_the_model_ends_with_two(call, scripted, monkeypatch):
    def check(self, subject):
        raise ValueError("evaluation.needle.lengths=[9999] is longer than the model's 100")

    monkeypatch.setattr(scripted, "check", check)
    code, wrote = call("evaluation=[needle]", "tracker=none")
    assert code == 2 and "lengths=[9999]" in wrote.err


def test_an_interrupted_sweep_stops_and_can_be_gone_on_with(call, scripted, monkeypatch, tmp_path):
    sweep = ["-m", "mode=baseline,soft_delete", "evaluation=[needle]", "tracker=none"]

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(scripted, "metrics", interrupted)
        code, wrote = call(*sweep)
    assert code == 130 and "goes on from here" in wrote.err
    assert len(list(record.folders_below(tmp_path))) == 1
    scripted.measured.clear()
    code, _ = call(*sweep)
    assert code == 0 and scripted.measured == ["0", "1", "2"]  # the second cell's alone


def test_a_sweep_runs_one_baseline_and_ends_in_a_table(call, scripted, tmp_path):
    code, wrote = call(
        "mode=baseline,sparse_attention",
        "threshold=0.1,0.3",
        "evaluation=[needle]",
        "tracker=none",
        "-m",
    )
    assert code == 0 and scripted.measured == ["0", "1", "2"] * 3
    (table,) = (tmp_path / "outputs" / "multirun").rglob("table.md")
    rows = [line for line in table.read_text().splitlines() if line.startswith("| ")][2:]
    assert [row.split("|")[1].strip() for row in rows] == ["baseline"] + ["sparse_attention"] * 2
    assert len(list(record.folders_below(table.parent))) == 3
    assert "4/4 cells finished: 3 measured, 1 skipped, 0 failed" in wrote.out
    assert "[3/4] sparse_attention threshold=0.1  (1 measured, 1 skipped" in wrote.out
    again = call("mode=baseline,sparse_attention", "evaluation=[needle]", "tracker=none", "-m")
    assert again[0] == 0


def test_a_sweep_outlives_a_cell_that_fails(call, scripted, monkeypatch, tmp_path):
    measure = Counting.samples

    def fragile(self, subject, done=()):
        if not subject.has_memory:
            raise MemoryError("too large")
        return measure(self, subject, done)

    monkeypatch.setattr(scripted, "samples", fragile)
    code, wrote = call("-m", "mode=baseline,soft_delete", "evaluation=[needle]", "tracker=none")
    states = [record.load(folder).status for folder in record.folders_below(tmp_path)]
    assert code == 1 and sorted(states) == ["failed", "finished"]
    assert "failed: mode=baseline: MemoryError: too large" in wrote.out


def test_force_measures_again_but_not_twice_in_a_sweep(call, scripted):
    sweep = ["-m", "mode=baseline", "threshold=0.1,0.2", "evaluation=[needle]", "tracker=none"]
    call(*sweep)
    assert scripted.measured == ["0", "1", "2"]
    call(*sweep)
    assert scripted.measured == ["0", "1", "2"]
    call(*sweep, "force=true")
    assert scripted.measured == ["0", "1", "2"] * 2


def test_the_record_has_the_configuration_resolved(call, scripted, tmp_path):
    call("evaluation=[needle]", "tracker=none", "threshold=0.2", "retention=power_law")
    (folder,) = record.folders_below(tmp_path)
    config = json.loads((folder / "record.json").read_text())["config"]
    assert config["memory"]["threshold"] == 0.2
    assert config["memory"]["retention"] == {"name_": "power_law", "decay": 0.5}


def test_a_dry_run_says_what_would_become_of_each_cell_and_runs_none(
    call, scripted, tmp_path, monkeypatch
):
    common = ["-m", "evaluation=[needle]", "tracker=none"]
    call(*common, "mode=baseline")
    scripted.fail_at = 2
    call(*common, "mode=soft_delete", "threshold=0.1")
    scripted.measured.clear()
    monkeypatch.setattr(job, "models", None)
    before = sorted(tmp_path.rglob("*"))
    sweep = [*common, "mode=baseline,soft_delete", "threshold=0.1,0.2", "dry_run=true"]
    code, wrote = call(*sweep)
    *cells, sums = wrote.out.splitlines()
    lines, ran = [line.partition("  (")[0].split() for line in cells], " (dry_run=true)."
    assert code == 0 and sorted(tmp_path.rglob("*")) == before and not scripted.measured
    assert lines == [
        ["0", "finished", "baseline", "threshold=0.1"],
        ["1", "the", "same", "baseline", "threshold=0.2"],
        ["2", "to", "resume", "soft_delete", "threshold=0.1"],
        ["3", "to", "run", "soft_delete", "threshold=0.2"],
    ]
    assert sums == "4 cells: 1 finished, 1 to resume, 1 to run, 1 the same. Nothing was run" + ran


def test_a_dry_run_of_a_single_cell(call, no_model, tmp_path):
    code, wrote = call("evaluation=[needle]", "tracker=none", "dry_run=true")
    assert code == 0 and "1 cell: 1 to run" in wrote.out and not list(tmp_path.iterdir())


def test_a_limit_is_the_number_of_samples_and_part_of_what_a_cell_is(call, scripted, tmp_path):
    one = ["evaluation=[needle]", "tracker=none"]
    assert call(*one, "limit=2")[0] == 0 and scripted.measured == ["0", "1"]
    call(*one, "limit=2")
    assert scripted.measured == ["0", "1"]
    call(*one)
    assert scripted.measured == ["0", "1", "0", "1", "2"]
    runs = [record.load(folder) for folder in record.folders_below(tmp_path)]
    assert [it.config["limit"] for it in runs] == [2, 2, None]
    assert [it.results["needle"].metrics["mean"].n for it in runs] == [2, 2, 3]


def test_a_limited_run_that_was_killed_ends_at_its_limit(call, scripted):
    one = ["evaluation=[needle]", "tracker=none", "limit=2"]
    scripted.fail_at = 1
    assert call(*one)[0] == 1
    scripted.fail_at = None
    scripted.measured.clear()
    assert call(*one)[0] == 0


def test_debug_is_short_and_says_so(call, scripted, tmp_path):
    one = ["evaluation=[needle]", "tracker=none", "debug=true"]
    _, wrote = call(*one, "evaluation.needle.depths=[0.1]")
    (folder,) = record.folders_below(tmp_path)
    config = record.load(folder).config
    assert config["debug"] is True and config["evaluation"]["needle"]["lengths"] == [512]
    assert config["evaluation"]["needle"]["depths"] == [0.1]  # what was asked for stays
    assert "debug=true" in wrote.out and "no findings" in wrote.out


def test_a_failed_cell_is_tried_again_by_the_next_call(call, scripted):
    sweep = ["-m", "mode=baseline,soft_delete", "evaluation=[needle]", "tracker=none"]
    measure = scripted.samples

    def fragile(self, subject, done=()):
        if subject.has_memory:
            raise MemoryError("too large")
        return measure(self, subject, done)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(scripted, "samples", fragile)
        code, wrote = call(*sweep)
    assert code == 1 and "1/2 cells finished: 1 measured, 0 skipped, 1 failed" in wrote.out
    scripted.measured.clear()
    code, wrote = call(*sweep)
    assert code == 0 and "2/2 cells finished: 1 measured, 1 skipped, 0 failed" in wrote.out
    assert scripted.measured == ["0", "1", "2"]


def test_two_sweeps_at_once_in_one_folder_measure_a_cell_once(call, scripted, monkeypatch):
    """The second call waits for the first, and takes over what that measured."""
    one = ["evaluation=[needle]", "tracker=none", "mode=baseline"]
    original, waited = claims.claimed, []

    def meeting(folder, name, waits):
        if name.startswith("cell") and not waited:
            waited.append(True)
            with monkeypatch.context() as patched:  # another process is a little faster
                patched.setattr(cell, "claimed", original)
                call(*one)
        return original(folder, name, waits)

    monkeypatch.setattr(cell, "claimed", meeting)
    assert call(*one)[0] == 0 and scripted.measured == ["0", "1", "2"]


@pytest.fixture
def losing(monkeypatch):
    plugin = pytest.importorskip("hydra_plugins.hydra_joblib_launcher.joblib_launcher")

    def losing(*lost):
        launch = Losing(lost)
        monkeypatch.setattr(
            plugin.JoblibLauncher, "launch", lambda *it, **named: launch(*it, **named)
        )
        return launch

    return losing


@pytest.mark.slow
def test_cells_that_were_lost_with_their_worker_are_launched_again(call, scripted, losing):
    launch = losing(1, 3)
    sweep = ["-m", "mode=baseline,soft_delete", "threshold=0.1,0.2", "hydra/launcher=joblib"]
    code, wrote = call(*sweep, "evaluation=[needle]", "tracker=none")
    # 1 is the same as 0 and never run.
    assert launch.calls == [[0, 2, 3], [3]] and code == 0
    assert "a worker was killed" in wrote.err and "1 cells were lost" in wrote.err
    assert "4/4 cells finished" in wrote.out and len(scripted.measured) == 9


def test_cells_that_are_lost_each_time_are_given_up(call, scripted, losing):
    launch = losing(0, 1)
    sweep = ["-m", "mode=baseline,soft_delete", "hydra/launcher=joblib"]
    code, wrote = call(*sweep, "evaluation=[needle]", "tracker=none")
    assert launch.calls == [[0, 1]] and code == 1
    assert "No record" in wrote.out and "0/2 cells finished" in wrote.out
    assert "2 not measured: 0, 1" in wrote.out


def test_a_launcher_that_is_not_there_is_refused_with_what_to_install(call, no_model, monkeypatch):
    monkeypatch.setattr("memollm.engines._installed", lambda module: False)
    code, wrote = call("-m", "hydra/launcher=joblib", "threshold=0.1,0.2")
    assert code == 2 and "pip install 'memollm[joblib]'" in wrote.err


def test_a_search_is_given_its_objectives(call, scripted, tmp_path):
    call("evaluation=[needle]", "tracker=none")
    (folder,) = record.folders_below(tmp_path)
    assert job.sought(folder, "needle/mean") == 1.0
    assert job.sought(folder, ["needle/mean", "memory/kv_bytes"]) == [1.0, 300.0]
    assert math.isnan(job.sought(folder, "needle/nothing"))
    assert math.isnan(job.sought(tmp_path, "needle/mean")) and job.sought(folder, None) is None
