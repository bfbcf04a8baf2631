"""Sentences made from numbers: right about what is worse, what is not resolved, and how surely."""

import pytest

from memollm.record import Measured, Result
from memollm.report.asked import question
from memollm.report.cells import read
from memollm.report.findings import Verdict, findings
from memollm.report.influence import influences, sentence
from memollm.report.table import table
from tests.report import sweeps


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    sweeps.sweep(root)
    return table(read([root]))


def of(found, start):
    return next(it for it in found if it.text.startswith(start))


def test_the_question_names_methods_and_what_varies(compared):
    asked = question(compared)
    assert asked.sentence == (
        "What does the reference model lose and gain with soft_delete and sparse_attention over "
        "threshold and memory_strength?"
    )
    assert asked.varied == {"threshold": "0.01, 0.1, 0.3", "memory_strength": "0.5, 5.0"}
    assert (asked.cells, asked.finished, asked.complete) == (13, 13, True)


def test_a_loss_is_told_with_its_worst_cell(compared):
    found = of(findings(compared), "needle accuracy: sparse_attention")
    assert found.verdict is Verdict.worse
    assert "threshold=0.3 memory_strength=0.5" in found.text
    worse = sum(
        entry.better is False
        for row in compared.rows
        for column, entry in row.entries.items()
        if column.metric == "accuracy"
    )
    assert f"worse in {worse} of 6 cells" in found.text and 0 < worse < 6


def test_nothing_resolved_is_not_called_nothing(compared):
    found = of(findings(compared), "needle accuracy: soft_delete")
    assert found.verdict is Verdict.unresolved
    assert "no difference is resolved in any of 6 cells; the largest is 0 points" in found.text


def test_a_cell_whose_interval_is_all_loss_is_no_free_lunch(compared):
    """Perplexity is worse beyond its interval in every cell that frees bytes."""
    assert not [it for it in findings(compared) if it.text.startswith("Smallest cache")]


def test_the_smallest_cache_says_what_its_interval_hides(tmp_path):
    sweeps.cell(tmp_path / "0", "baseline", 0.01, 5.0)
    mild = sweeps.cell(tmp_path / "1", "sparse_attention", 0.05, 5.0)
    only_needles(mild)
    only_needles(tmp_path / "0")
    found = of(findings(table(read([tmp_path]))), "Smallest cache")
    assert "100% of the untouched model's bytes" in found.text or "99%" in found.text
    assert "They still allow for -" in found.text and "points in needle accuracy" in found.text


def only_needles(folder):
    sweeps.edited(folder, lambda plain: plain["results"].pop("perplexity"))


def test_a_speed_within_the_clocks_noise_is_not_resolved(tmp_path):
    sweeps.cell(tmp_path / "0", "baseline", 0.01, 5.0)
    speed = {
        "decode_ratio_to_baseline": Measured(1.04, "times", True, 9, 0.01),
        "aa_noise": Measured(0.05, "times", False, 9),
    }
    sweeps.cell(tmp_path / "1", "sparse_attention", 0.1, 1.0, results={"speed": Result(1.0, speed)})
    found = of(findings(table(read([tmp_path]))), "Decoding")
    assert found.verdict is Verdict.unresolved and "not resolved" in found.text
    assert "1.040" in found.text


def test_without_a_baseline_no_difference_is_told(tmp_path):
    sweeps.cell(tmp_path / "1", "sparse_attention", 0.3, 0.5)
    found = findings(table(read([tmp_path])))
    assert {it.verdict for it in found} <= {Verdict.unresolved, Verdict.better}
    assert "no baseline was measured" in found[0].text


def test_what_decides_is_found_and_what_does_not_is_not(tmp_path):
    """Over sparse_attention alone, loss follows from threshold and strength, and from no sinks."""
    for sinks in (4, 8):
        for folder in sweeps.sweep(
            tmp_path / str(sinks), modes=["sparse_attention"], thresholds=[0.01, 0.3]
        ):
            sweeps.edited(folder, lambda plain, sinks=sinks: with_sinks(plain, sinks))
    found = next(
        it for it in influences(table(read([tmp_path]))) if it.column.metric == "perplexity"
    )
    by_name = {it.name: it for it in found.parameters}
    assert set(by_name) == {"threshold", "memory_strength", "memory.sinks"}
    assert by_name["threshold"].explained.share > by_name["memory.sinks"].explained.share
    assert not by_name["memory.sinks"].resolved and by_name["memory.sinks"].explained.share < 0


def with_sinks(plain, sinks):
    if plain["config"]["memory"]:
        plain["config"]["memory"]["sinks"] = sinks
        plain["config_hash"] += f" {sinks}"


def test_parameters_that_varied_together_cannot_be_told_apart(tmp_path):
    sweeps.cell(tmp_path / "0", "baseline", 0.01, 5.0)
    for index in range(6):
        strict, weak = (0.1, 1.0) if index % 2 else (0.3, 0.5)
        folder = sweeps.cell(tmp_path / str(index + 1), "sparse_attention", strict, weak)
        sweeps.edited(folder, lambda plain, index=index: with_sinks(plain, index // 2))
    found = influences(table(read([tmp_path])))[0]
    by_name = {it.name: it for it in found.parameters}
    assert by_name["threshold"].explained is None
    assert "cannot be told from memory_strength" in by_name["threshold"].verdict


def test_few_cells_tell_nothing(tmp_path):
    sweeps.sweep(tmp_path, modes=["sparse_attention"], thresholds=[0.1, 0.3], strengths=[1.0])
    found = influences(table(read([tmp_path])))[0]
    assert [it.verdict for it in found.parameters] == ["cannot be told from 2 cells, 6 are needed"]
    assert sentence(found).endswith("this design cannot tell which parameter matters.")
