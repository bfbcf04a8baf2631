"""The sweep's report in the tracker: a run of its own, and a page for W&B to build."""

import json
import sys
import warnings

import pytest

from memollm import report_run
from memollm.report.__main__ import main
from memollm.tracking import wandb_report
from memollm.tracking.comparison import Comparison, parse
from memollm.tracking.none import NoTracker
from memollm.tracking.weights_and_biases import WandbMode, WandbTracker
from tests.report import sweeps
from tests.scripted import Recording
from tests.tracking.test_weights_and_biases import inspect, summary

COMPARISON = Comparison(
    title="a sweep",
    group="2026-01-01-'quoted'",
    settings={"mode": "mode.name_", "threshold": "threshold"},
    measures={"perplexity/perplexity": False, "needle/accuracy": True},
    costs=["memory/kv_bytes"],
    table="report/table",
)


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    sweeps.sweep(root, thresholds=[0.1, 0.3], strengths=[0.5], needles=2)
    assert main([str(root)]) == 0
    return root


def test_the_report_is_a_run_beside_its_cells(reported):
    tracker = Recording()
    report_run.mirror(tracker, reported, "group")
    calls = dict(tracker.calls)
    started = calls["start"]
    assert (started["group"], started["job_type"]) == ("group", "report")
    name, rows = calls["log_table"]
    assert name == "report/table" and len(rows) == 5
    assert rows[0]["mode"] == "baseline"
    assert calls["log_html"] == ("report/report", str(reported / "report.html"))
    _, kind, files = calls["log_artifact"]
    assert kind == "report"
    assert {path.rpartition("/")[2] for path in files} >= {
        "report.html", "report.md", "table.md", "table.csv", "table.json", "report_plots",
    }  # fmt: skip
    names = [name for name, _ in tracker.calls]
    assert names.count("log_image") > 5 and names[-2:] == ["finish", "share"]
    shared, folder = calls["share"]
    assert folder == str(reported) and shared.group == "group"
    assert shared.settings == {"mode": "mode.name_", "threshold": "threshold"}
    assert shared.measures == {
        "perplexity/perplexity": False,
        "needle/accuracy": True,
        "speed/decode_ratio_to_baseline": True,
    }


def test_without_a_report_there_is_no_run(tmp_path):
    tracker = Recording()
    report_run.mirror(tracker, tmp_path, "group")
    report_run.mirror(NoTracker(), tmp_path, "group")
    assert tracker.calls == []


def test_a_comparison_survives_its_file():
    assert parse(COMPARISON.text()) == COMPARISON
    with pytest.raises(ValueError, match="no comparison of runs"):
        parse("[]")


def test_offline_it_is_a_run_on_disk_and_a_file_to_publish_later(
    reported, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("HOME", str(tmp_path))
    report_run.mirror(WandbTracker(mode=WandbMode.offline), reported, "group")
    said = summary(reported)
    assert said["config"]["cells"] == 5
    assert "report/table" in inspect(reported)
    kept = json.loads((reported / wandb_report.FILE).read_text())
    assert kept["group"] == "group" and "threshold" in kept["settings"]
    told = capsys.readouterr().out
    assert f"wandb sync {reported}/*/wandb/offline-run-* {reported}/wandb/offline-run-*" in told
    assert "python -m memollm.tracking.wandb_report" in told


def test_the_wandb_report_has_the_cells_by_group():
    pytest.importorskip("wandb_workspaces")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the library's own
        report = wandb_report.build(COMPARISON, "team", "memollm")
        # Without a login it can only be looked at from inside.
        plain = report._to_model().model_dump(by_alias=True, exclude_none=True)
    cells, compared = [block for block in plain["spec"]["blocks"] if block["type"] == "panel-grid"]
    assert filters(cells) == [("group", "=", COMPARISON.group), ("jobType", "!=", "report")]
    assert filters(compared) == [("group", "=", COMPARISON.group), ("jobType", "=", "report")]
    kinds = [panel["viewType"] for panel in panels(cells)]
    assert kinds == [
        "Parallel Coordinates Plot", "Scatter Plot", "Scatter Plot",
        "Parameter Importance", "Parameter Importance",
    ]  # fmt: skip
    columns = panels(cells)[0]["config"]["columns"]
    assert [it["accessor"] for it in columns] == [
        "config:mode.value.name_", "config:threshold.value", "summary:memory/kv_bytes",
        "summary:perplexity/perplexity", "summary:needle/accuracy",
    ]  # fmt: skip


def filters(block):
    [runs] = block["metadata"]["runSets"]
    return [(it["key"]["name"], it["op"], it["value"]) for it in runs["filters"]["filters"]]


def panels(block):
    return block["metadata"]["panelBankSectionConfig"]["panels"]


def test_without_the_library_it_says_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "wandb_workspaces.reports.v2", None)
    path = wandb_report.write(COMPARISON, tmp_path)
    with pytest.raises(SystemExit) as stopped:
        wandb_report.main([str(path)])
    assert stopped.value.code == 2
    assert "pip install 'memollm[wandb-report]'" in capsys.readouterr().err
