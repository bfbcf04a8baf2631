"""What a reader has to be warned of is found in the records."""

import math

import pytest

from memollm.record import Failure, Measured, Result, Status
from memollm.report.caveats import caveats
from memollm.report.cells import read
from memollm.report.evidence import gather
from memollm.report.influence import influences
from memollm.report.origin import facts
from memollm.report.table import table
from tests.report import sweeps


def warned(root):
    cells = read([root])
    compared = table(cells)
    evidence = gather(cells, compared)
    return caveats(compared, evidence, facts(compared, evidence), influences(compared))


@pytest.fixture
def root(tmp_path):
    sweeps.cell(tmp_path / "0", "baseline", 0.01, 5.0)
    sweeps.cell(tmp_path / "1", "sparse_attention", 0.3, 0.5)
    return tmp_path


def failed(folder, type, message):
    error = Failure(type, message, "...")
    sweeps.cell(folder, "sparse_attention", 0.2, 1.0, status=Status.failed, results={}, error=error)


def test_a_sound_pair_has_no_grave_caveat(root):
    told = warned(root)
    grave = ("Failed", "Dead", "Mixed", "No finite", "No effect", "Not finished", "Partial")
    assert not [it for it in told if it.startswith(grave)]
    assert any(it.startswith("One seed") for it in told)


def test_failed_dead_killed_and_unreadable_runs_are_named(root):
    failed(root / "2", "ValueError", "too long")
    failed(root / "3", "DeadMethodError", "no logit changed")
    sweeps.cell(root / "4", "soft_delete", 0.2, 1.0, status=Status.running, results={})
    sweeps.broken(sweeps.cell(root / "5", "soft_delete", 0.4, 1.0))
    sweeps.edited(root / "3", lambda plain: plain.update(config_hash="another"))
    told = "\n".join(warned(root))
    assert "Failed: mode=sparse_attention threshold=0.2 memory_strength=1.0: ValueError" in told
    assert "Dead method" in told and "no logit changed" in told
    assert "Not finished: mode=soft_delete threshold=0.2" in told
    assert "1 record.json could not be read" in told


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cpu": "Another"}, "processor A processor (1), Another (1)"),
        ({"versions": {"torch": "2.12.0"}}, "torch version 2.13.0 (1), 2.12.0 (1)"),
        ({"source": "0" * 16, "commit": "f" * 40}, "commit 0123456789ab (1), ffffffffffff (1)"),
    ],
)
def test_mixed_origins_are_told(root, change, words):
    sweeps.changed(root / "1", **change)
    (mixed,) = [it for it in warned(root) if it.startswith("Mixed")]
    assert words in mixed


def test_another_commit_of_the_same_code_is_no_mixture(root):
    sweeps.changed(root / "1", commit="f" * 40)
    assert not [it for it in warned(root) if it.startswith("Mixed")]


def test_a_number_that_is_none_is_told(root):
    nan = {"perplexity": Result(1.0, {"perplexity": Measured(math.nan, "", False, 4, math.nan)})}
    sweeps.cell(root / "2", "soft_delete", 0.2, 1.0, results=nan)
    assert any(
        it.startswith("No finite number: mode=soft_delete") and "perplexity" in it
        for it in warned(root)
    )


def test_a_memory_that_did_nothing_is_told(root):
    sweeps.cell(root / "2", "soft_delete", 0.2, 1.0)
    (idle,) = [it for it in warned(root) if it.startswith("No effect")]
    assert "mode=soft_delete" in idle and "sparse_attention" not in idle


def test_empty_and_torn_samples_are_told(root):
    (root / "1" / "samples.jsonl").write_text('{"evaluation": "needle", "id": 1, "length"')
    told = "\n".join(warned(root))
    assert "needle: no samples were found, only totals: mode=sparse_attention" in told


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [("debug", True, "Measured with debug=true"), ("limit", 3, "1 cells measured the first 3 ")],
)
def test_shortened_runs_are_told(root, key, value, words):
    sweeps.edited(root / "1", lambda plain: plain["config"].update({key: value}))
    assert len([it for it in warned(root) if words in it]) == 1


def test_the_noise_of_the_clock_is_told(root):
    assert any("deviate from 1 by up to 0.05" in it for it in warned(root))
