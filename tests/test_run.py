"""The command line: what it refuses and in which words, what it costs to ask, and a whole sweep."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import run
from memollm import command, record
from memollm.config import register_schemas
from memollm.hf.models import ModelSource
from memollm.registry import groups
from tests.scripted import Counting, DummyModels

REPOSITORY = Path(__file__).parents[1]
NEVER = "transformers, datasets, wandb, lm_eval, pandas, matplotlib"


@pytest.fixture
def call(monkeypatch, tmp_path, capfd):
    """Call the program in an empty folder; gives its exit code and what it wrote to stderr."""
    monkeypatch.chdir(tmp_path)
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
    monkeypatch.setattr(command, "models", None)


@pytest.fixture
def scripted(monkeypatch):
    """The program with scripted parts: needles are counted, and nothing is loaded."""
    register_schemas()
    needle = groups()["evaluation"]["needle"]
    monkeypatch.setattr(command, "models", DummyModels())
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
def test_asking_is_quick_and_imports_nothing_heavy(arguments, tmp_path):
    spy = f"import sys, run; code = 0\ntry: code = run.main({arguments!r})\n"
    spy += "except SystemExit as end: code = end.code\n"
    spy += f"print('heavy:', *set('{NEVER}'.split(', ')) & sys.modules.keys()); sys.exit(code)"
    path = os.pathsep.join([str(REPOSITORY / "src"), str(REPOSITORY)])
    command = [sys.executable, "-c", f"import sys; sys.argv = ['run.py', *{arguments!r}]\n{spy}"]
    began = time.monotonic()
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].strip() == "heavy:"
    assert len(done.stdout.splitlines()) > 1
    assert not list(tmp_path.iterdir())
    assert seconds < 3 * max(1.0, os.getloadavg()[0]), "3 s on a machine with nothing else to do"


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
    assert len(list(record.folders_below(table.parent))) == 4
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
