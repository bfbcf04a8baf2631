"""W&B runs, read back from disk by wandb's own inspector."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from memollm.tracking import weights_and_biases
from memollm.tracking.base import TrackerUnavailable
from memollm.tracking.none import Silent
from memollm.tracking.weights_and_biases import WandbMode, WandbTracker

NO_SERVER = "http://127.0.0.1:9"  # nothing listens on the discard port


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home of the test's own, in which the user is not logged in."""
    home = tmp_path / "home"
    home.mkdir()
    for key in list(os.environ):
        if key.startswith(("WANDB_", "XDG_")) or key == "NETRC":
            monkeypatch.delenv(key)
    monkeypatch.setenv("HOME", str(home))
    return home


@pytest.fixture
def run_dir(tmp_path):
    return tmp_path / "a run's folder"


def start(run_dir, tracker=None, **other):
    run_dir.mkdir(exist_ok=True)
    run = dict(name="cell", group="sweep", job_type="evaluation", tags=["fast"], config={})
    return (tracker or WandbTracker()).start(run_dir=str(run_dir), **(run | other))


def inspect(run_dir, *options):
    """What wandb's inspector says of the one offline run in ``run_dir``."""
    [run] = (run_dir / "wandb").glob("offline-run-*/run-*.wandb")
    wandb = Path(sys.executable).with_name("wandb")
    command = [str(wandb), "leet", "inspect", *options, "--json", str(run)]
    return subprocess.run(command, text=True, capture_output=True, check=True, timeout=60).stdout


def summary(run_dir):
    return json.loads(inspect(run_dir, "--summary"))


def records(run_dir, kind):
    lines = [json.loads(line) for line in inspect(run_dir).splitlines()]
    return [line[kind] for line in lines if line["type"] == kind]


def helpers():
    """Wandb's helper processes that are alive."""
    return [
        child
        for child in psutil.Process().children()
        if child.name().startswith("wandb-core") and child.status() != psutil.STATUS_ZOMBIE
    ]


def test_config_metrics_and_labels_can_be_read_back(run_dir):
    config = {"mode": {"name_": "soft_delete", "floor": 0.8}, "threshold": [0.1, None], "s": "é"}
    live = start(run_dir, WandbTracker(tags=["mine", "fast"]), config=config)
    live.log({"perplexity/nll": 2.5, "speed/ratio": float("nan")})
    live.summary({"needle/accuracy": 0.75, "status": "finished"})
    live.finish(0)
    said = summary(run_dir)
    assert said["config"] == config
    assert said["summary"]["perplexity/nll"] == 2.5
    assert said["summary"]["speed/ratio"] == "NaN"
    assert said["summary"]["needle/accuracy"] == 0.75
    assert said["summary"]["status"] == "finished"
    assert (said["project"], said["name"]) == ("memollm", "cell")
    assert sorted(said["tags"]) == ["fast", "mine"]
    assert (said["exit_code"], said["state"]) == (0, "finished")
    [run, *_] = records(run_dir, "run")
    assert (run["run_group"], run["job_type"]) == ("sweep", "evaluation")


def test_a_failed_run_says_so(run_dir):
    start(run_dir).finish(3)
    said = summary(run_dir)
    assert (said["exit_code"], said["state"]) == (3, "failed")


def test_tables_pages_pictures_and_files_are_in_the_run(run_dir):
    from PIL import Image

    live = start(run_dir)
    rows = [{"id": "a", "depth": 0.5}, {"id": 2, "text": "<b>\U0001f9e0"}]
    live.log_table("needle/samples", rows)
    (run_dir / "page.html").write_text("<p>memory\U0001f9e0</p>", encoding="utf-8")
    live.log_html("page", str(run_dir / "page.html"))
    Image.new("RGB", (2, 2)).save(run_dir / "dot.png")
    live.log_image("dot", str(run_dir / "dot.png"))
    (run_dir / "samples.jsonl").write_text("{}")
    live.log_artifact("sweep/cell 1", "samples", [str(run_dir / "samples.jsonl")])
    live.finish(0)
    [table] = run_dir.glob("wandb/offline-run-*/files/media/table/needle/samples_*.json")
    assert json.loads(table.read_text()) == {
        "columns": ["id", "depth", "text"],
        "data": [["a", 0.5, None], [2, None, "<b>\U0001f9e0"]],
    }
    [page] = run_dir.glob("wandb/offline-run-*/files/media/html/page_*.html")
    assert page.read_text(encoding="utf-8") == "<p>memory\U0001f9e0</p>"
    assert list(run_dir.glob("wandb/offline-run-*/files/media/images/dot_*.png"))
    [artifact] = [a for a in records(run_dir, "artifact") if a["type"] == "samples"]
    assert artifact["name"] == "sweep-cell-1"
    [file] = artifact["manifest"]["contents"]
    assert file["path"] == "samples.jsonl"
    assert Path(file["local_path"]).is_relative_to(run_dir)
    assert Path(file["local_path"]).read_text() == "{}"


def test_steps_of_two_evaluations_do_not_drop_each_other(run_dir):
    live = start(run_dir)
    live.log({"nll": 3.0}, step=512)
    live.log({"nll": 2.0}, step=1024)
    live.log({"accuracy": 1.0}, step=0)
    live.finish(0)
    points = [row["item"] for row in records(run_dir, "history")]
    assert [(p["step"], p.get("nll"), p.get("accuracy")) for p in points] == [
        (512, 3, None),
        (1024, 2, None),
        (0, None, 1),
    ]
    axes = {m["name"]: m["step_metric"] for m in records(run_dir, "metric") if "step_metric" in m}
    assert axes == {"nll": "step", "accuracy": "step"}


def test_everything_it_writes_lies_in_the_run(run_dir, tmp_path, home, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    live = start(run_dir)
    live.log_table("samples", [{"id": "a"}])
    live.finish(0)
    assert {path.name for path in run_dir.iterdir()} == {"wandb"}
    assert not list(home.iterdir())
    assert not list(elsewhere.iterdir())
    assert {path.name for path in tmp_path.iterdir()} == {"home", "elsewhere", run_dir.name}


def test_runs_in_one_process_stay_apart(tmp_path):
    for number in range(2):
        live = start(tmp_path / str(number), config={"number": number})
        live.log({"x": float(number)})
        live.finish(number)
    for number in range(2):
        said = summary(tmp_path / str(number))
        assert said["config"] == {"number": number}
        assert said["summary"]["x"] == number
        assert said["exit_code"] == number
        assert (tmp_path / str(number) / "wandb" / "cache").is_dir()
    assert not helpers()


def test_it_says_how_to_upload_and_nothing_else(run_dir, capfd):
    live = start(run_dir)
    live.log({"x": 1.0})
    live.finish(0)
    live.finish(0)
    out, err = capfd.readouterr()
    [folder] = (run_dir / "wandb").glob("offline-run-*")
    shown = str(folder).replace("'", "'\"'\"'")
    assert out == f"W&B, to upload this run: wandb sync '{shown}'\n"
    assert err == ""


def test_it_starts_and_finishes_in_under_two_seconds(tmp_path):
    seconds = []
    for number in range(2):  # the better one: the machine may be busy with other things
        began = time.perf_counter()
        live = start(tmp_path / str(number))
        live.log({"x": 1.0})
        live.finish(0)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 2


@pytest.mark.parametrize("mode", [WandbMode.online, None])
def test_online_without_a_login_says_what_to_do(run_dir, monkeypatch, mode):
    monkeypatch.setenv("WANDB_MODE", "offline" if mode else "online")
    before = dict(os.environ)
    began = time.perf_counter()
    with pytest.raises(TrackerUnavailable, match="wandb login.*WANDB_API_KEY.*mode=offline"):
        start(run_dir, WandbTracker(mode=mode))
    assert time.perf_counter() - began < 5
    assert dict(os.environ) == before


def test_an_unreachable_server_is_given_up(run_dir, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", NO_SERVER)
    before = dict(os.environ)
    with pytest.raises(
        TrackerUnavailable, match="init_timeout=1 seconds.*refused.*tracker.mode=offline"
    ):
        start(run_dir, WandbTracker(mode=WandbMode.online, init_timeout=1.0))
    assert dict(os.environ) == before
    offline = start(run_dir)  # the next run is none the worse
    offline.finish(0)


@pytest.mark.parametrize(
    ("mode", "variable", "chosen"),
    [
        (None, None, "offline"),
        (None, "", "offline"),
        (None, "online", "online"),
        (None, "disabled", "disabled"),
        (WandbMode.offline, "online", "offline"),
        (WandbMode.online, "offline", "online"),
        (WandbMode.disabled, "online", "disabled"),
    ],
)
def test_an_explicit_mode_beats_the_variable_beats_the_default(monkeypatch, mode, variable, chosen):
    if variable is not None:
        monkeypatch.setenv("WANDB_MODE", variable)
    assert WandbTracker(mode=mode).chosen_mode() == chosen


def test_a_mode_that_does_not_exist_is_refused(run_dir, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    with pytest.raises(ValueError, match="WANDB_MODE='ofline'.*did you mean 'offline'"):
        start(run_dir)


def test_disabled_leaves_nothing(run_dir):
    live = start(run_dir, WandbTracker(mode=WandbMode.disabled))
    live.log({"x": 1.0})
    live.finish(0)
    assert isinstance(live, Silent)
    assert not list(run_dir.iterdir())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("project", "a/b"),
        ("project", ""),
        ("tags", ["x" * 65]),
        ("tags", [""]),
        ("init_timeout", 0.0),
        ("init_timeout", float("nan")),
        ("finish_timeout", -1.0),
    ],
)
def test_a_setting_that_wandb_would_refuse_is_refused_at_once(field, value):
    with pytest.raises(ValueError, match=f"tracker.{field}"):
        WandbTracker(**{field: value})


def test_a_long_tag_of_the_run_is_shortened(run_dir):
    start(run_dir, tags=["/models/" + "x" * 100]).finish(0)
    assert summary(run_dir)["tags"] == [("/models/" + "x" * 100)[:64]]


def test_a_helper_that_dies_costs_one_warning(run_dir, tmp_path):
    live = start(run_dir)
    [helper] = helpers()
    helper.kill()
    helper.wait()
    with pytest.warns(RuntimeWarning, match="rest of the run is only in the record"):
        live.log({"x": 1.0})
    live.log({"x": 1.0})
    live.summary({"x": 1.0})
    live.finish(0)
    start(tmp_path / "next").finish(0)
    assert summary(tmp_path / "next")["exit_code"] == 0


def test_a_helper_that_hangs_is_not_waited_for(run_dir, monkeypatch):
    monkeypatch.setattr(weights_and_biases, "GRACE", 0.5)
    live = start(run_dir, WandbTracker(finish_timeout=0.5))
    [helper] = helpers()
    helper.send_signal(signal.SIGSTOP)
    began = time.perf_counter()
    with pytest.warns(RuntimeWarning, match="W&B failed"):
        live.finish(0)
    assert time.perf_counter() - began < 10
    assert not helpers()


def test_a_file_that_is_not_there_costs_one_warning(run_dir):
    live = start(run_dir)
    with pytest.warns(RuntimeWarning, match="only in the record"):
        live.log_html("page", "nowhere.html")
    live.log({"x": 1.0})
    live.finish(0)
    assert summary(run_dir)["summary"]["x"] == 1


def test_the_callers_own_run_goes_on(run_dir, tmp_path):
    import wandb

    settings = wandb.Settings(root_dir=str(tmp_path), mode="offline", silent=True)
    with wandb.init(settings=settings) as own:
        start(run_dir).finish(0)
        own.log({"x": 1.0})
    with contextlib.suppress(SystemExit):
        wandb.teardown()
    [file] = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    assert file.stat().st_size > 0
    assert summary(run_dir)["exit_code"] == 0
