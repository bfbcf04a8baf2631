"""A run's page and pictures, from its record alone."""

from memollm.record import Failure, Measured, Result, RunRecord, Status
from memollm.report.page import illustrate, render


def measured(value=0.5):
    return Measured(value, "nats", False, 3, 0.1)


def run(**changes):
    results = {
        "perplexity": Result(
            1.0, {f"nll_position_{n}_{2 * n}": measured(float(n)) for n in (64, 128)}
        ),
        "needle": Result(1.0, {"accuracy": measured()}),
        "speed": Result(
            1.0, {"decode_ratio_to_baseline_512": measured(), "aa_noise_512": measured()}
        ),
    }
    fields = dict(
        status=Status.finished,
        config={"mode": {"name_": "sparse_attention"}, "model": {"name_": "reference"}},
        config_hash="abc",
        provenance={},
        results=results,
    )
    return RunRecord(**{**fields, **changes})


NEEDLES = {"needle": [{"length": 512, "depth": 0.5, "correct": True, "answer": "12345"}]}


def test_every_evaluation_that_has_a_picture_gets_it(tmp_path):
    files = illustrate(run(), NEEDLES, tmp_path)
    assert [file.name for file in files] == [
        "run.html",
        "perplexity_by_position_and_distance.png",
        "needle_by_length_and_depth.png",
        "speed_by_context.png",
    ]
    assert all(file.read_bytes()[:4] == b"\x89PNG" for file in files[1:])
    page = files[0].read_text()
    assert page.count("data:image/png;base64,") == 3 and "http" not in page


def test_a_run_without_results_has_a_page_too(tmp_path):
    error = Failure("ValueError", "<script>alert(1)</script> \x1b[31m", "trace")
    files = illustrate(run(results={}, status=Status.failed, error=error), {}, tmp_path)
    assert len(files) == 1
    page = files[0].read_text()
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page


def test_texts_are_escaped():
    hostile = {"mode": {"name_": "<b>bold</b>"}, "model": {"name": "&amp;<i>"}}
    page = render(run(config=hostile))
    assert "<b>bold" not in page and "<i>" not in page
