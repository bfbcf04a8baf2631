"""What every tracker promises, whatever it mirrors to."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from memollm.registry import groups
from memollm.tracking import none, weights_and_biases  # noqa: F401 - each registers its part

TRICKY = "\U0001f9e0 <script>alert(1)</script> \x1b[31mred\x1b[0m \x00 \ud83d " + "long " * 20_000


@pytest.fixture(params=sorted(groups()["tracker"]))
def tracker(request, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for key in [key for key in os.environ if key.startswith("WANDB_")]:
        monkeypatch.delenv(key)
    return groups()["tracker"][request.param]()


def start(tracker, run_dir, **other):
    run = dict(name="cell", group=None, job_type="evaluation", tags=[], config={})
    return tracker.start(run_dir=str(run_dir), **(run | other))


def test_both_trackers_are_there():
    assert set(groups()["tracker"]) == {"none", "wandb"}


def test_whatever_a_measurement_holds_can_be_mirrored(tracker, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(f"<p>{TRICKY}".replace("\ud83d", ""), encoding="utf-8")
    drawing = tmp_path / "drawing.svg"
    drawing.write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    samples = tmp_path / "samples.jsonl"
    samples.write_text(json.dumps({"text": TRICKY}))
    live = start(tracker, tmp_path, config={"text": TRICKY, "nan": float("nan"), "none": None})
    live.log({"nan": float("nan"), "inf": float("-inf"), "numpy": np.float32(1)})
    live.log({"torch": torch.tensor(2.0), "half": torch.tensor(2.0).bfloat16()}, step=3)
    live.log({TRICKY[:60]: 1.0})
    live.log_table("nothing", [])
    live.log_table("a/b", [{"x": 1, "t": TRICKY}, {"x": "one", "y": None}, {"y": torch.ones(2)}])
    live.log_table("c", [{"x": float("nan")}, {"x": [1, {"deep": np.int64(2)}]}, {"x": True}])
    live.log_html("page", str(page))
    live.log_image("drawing", str(drawing))
    live.log_artifact("a name / with: signs", "samples", [str(samples)])
    live.summary({"text": TRICKY, "nan": float("nan"), "array": np.ones(2), "deep": {"x": None}})
    live.finish(0)
    live.finish(0)
    assert json.loads(samples.read_text()) == {"text": TRICKY}  # read, and left alone


def test_the_environment_is_as_it_was(tracker, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_DATA_DIR", "mine")
    before = dict(os.environ)
    start(tracker, tmp_path).finish(0)
    assert dict(os.environ) == before


def test_without_a_tracker_wandb_is_never_imported(tmp_path):
    script = """
import sys
from memollm.registry import groups
from memollm.tracking import none, weights_and_biases
groups()["tracker"]["wandb"]()
tracker = groups()["tracker"]["none"]()
live = tracker.start(run_dir=sys.argv[1], name="", group=None, job_type="", tags=[], config={})
live.log({"x": 1.0})
live.finish(0)
print("wandb" in sys.modules)
"""
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], text=True, capture_output=True, check=True
    )
    assert ran.stdout.strip() == "False"
    assert not list(tmp_path.iterdir())
