"""The table's differences: over pairs, with their doubt, corrected, and refused where unequal."""

import csv
import json
import math
from io import StringIO

import pytest
from rich.console import Console

from memollm.record import Measured, Result
from memollm.report import files
from memollm.report.__main__ import main
from memollm.report.cells import read
from memollm.report.notes import method, remarks
from memollm.report.paired import Samples
from memollm.report.table import table
from memollm.report.terminal import show
from memollm.report.wording import entry
from memollm.statistics.corrections import Correction, corrected
from tests.report.runs import needle, save, windows


@pytest.fixture
def compared(tmp_path):
    """A baseline that is always right, a mode that loses 3 of 30, and one that loses 20."""
    save(tmp_path / "0", "baseline", {"needle": needle([True] * 30)})
    save(tmp_path / "1", "mild", {"needle": needle([False] * 3 + [True] * 27)})
    save(tmp_path / "2", "harsh", {"needle": needle([False] * 20 + [True] * 10)})
    return table(read([tmp_path]))


def words(compared):
    (column,) = compared.columns
    return [entry(row.entries[column]) for row in compared.rows]


def test_a_difference_inside_the_noise_is_printed_as_such(compared):
    baseline, mild, harsh = words(compared)
    assert baseline == "100 ±10%"
    assert mild == "90 ±10%, -10 points (-26..+3), not resolved, p 0.25"
    assert harsh == "33 ±10%, -67 points (-81..-45), p < 0.001"


def test_only_a_resolved_difference_is_better_or_worse(compared):
    (column,) = compared.columns
    assert [row.entries[column].better for row in compared.rows] == [None, None, False]


def test_each_task_of_lm_eval_is_paired_on_its_own_documents(tmp_path):
    def leave(folder, mode, long, **flags):
        answers = {"a.long": long, "short": [True] * 9 + [False]}
        documents = [
            {"id": f"{task}/{i}", "task": task, "prompt_hash": f"{i}", "correct": right}
            for task, some in answers.items()
            for i, right in enumerate(some)
        ]
        parts = {"": [it["correct"] for it in documents], "_a_long": long}
        parts["_short"] = answers["short"]
        metrics = {
            f"accuracy{name}": Measured(sum(some) / len(some), "share", True, len(some))
            for name, some in parts.items()
        }
        told = {name: Measured(value, "share", None, 10) for name, value in flags.items()}
        results = {"lm_eval": Result(1.0, {**metrics, **told})}
        save(folder, mode, {"lm_eval": documents}, results=results)

    leave(tmp_path / "0", "baseline", [True] * 10)
    flags = {"a_long_can_feel_forgetting": 1.0, "short_can_feel_forgetting": 0.0}
    leave(tmp_path / "1", "harsh", [False] * 10, **flags)
    found = table(read([tmp_path]))
    long, short = found.columns
    assert [it.heading for it in found.columns] == ["a_long accuracy ↑", "short accuracy ↑"]
    lost = found.rows[1].entries
    assert lost[long].paired.pairs == lost[short].paired.pairs == 10
    assert lost[long].resolved and entry(lost[long]).startswith("0%, -100 points")
    assert entry(lost[short]).endswith("not resolved, p 1, cannot feel forgetting")


def test_the_whole_table_is_one_family(compared):
    (column,) = compared.columns
    entries = [row.entries[column] for row in compared.rows if row.entries[column].paired]
    assert [it.p for it in entries] == corrected([it.paired.p for it in entries], Correction.holm)
    assert compared.comparisons == 2 and "Holm correction for 2 comparisons" in method(compared)


def test_the_correction_can_be_chosen(tmp_path):
    save(tmp_path / "0", "baseline", {"needle": needle([True] * 30)})
    for index, lost in enumerate((6, 7), start=1):
        answers = needle([False] * lost + [True] * (30 - lost))
        save(tmp_path / str(index), f"mode{lost}", {"needle": answers})
    by_name = {it: table(read([tmp_path]), it) for it in Correction}
    last = {it: list(found.rows[1].entries.values())[0].p for it, found in by_name.items()}
    assert last[Correction.holm] == pytest.approx(2 / 2**6)
    assert last[Correction.bh] == pytest.approx(2 / 2**6)
    first = {it: list(found.rows[2].entries.values())[0].p for it, found in by_name.items()}
    assert first[Correction.holm] == pytest.approx(4 / 2**7)
    assert "Benjamini-Hochberg" in method(by_name[Correction.bh])


def test_unequal_prompts_are_named_and_never_paired(tmp_path):
    save(tmp_path / "0", "baseline", {"needle": needle([True] * 8)})
    save(tmp_path / "1", "other", {"needle": needle([True] * 8, prompt_hash="f" * 16)})
    found = table(read([tmp_path]))
    assert words(found)[1] == "100 ±10%, +0 points, unpaired"
    assert remarks(found) == [
        "mode=other, needle accuracy: not paired with its baseline: unequal prompts: prompt_hash "
        "of sample passkey/512/0 differs"
    ]


def test_leftovers_are_counted(tmp_path):
    save(tmp_path / "0", "baseline", {"needle": needle([True] * 8)})
    save(tmp_path / "1", "shorter", {"needle": needle([True] * 6)})
    assert "2 samples without a partner" in remarks(table(read([tmp_path])))[0]


def test_a_metric_that_is_no_mean_of_its_samples_is_not_paired(tmp_path):
    save(tmp_path / "0", "baseline", {"needle": needle([True] * 8)})
    other = {"needle": Result(1.0, {"accuracy": Measured(0.5, "share", True, 8)})}
    save(tmp_path / "1", "other", {"needle": needle([True] * 8)}, results=other)
    found = table(read([tmp_path]))
    assert "accuracy is no mean of the samples" in " ".join(remarks(found))


def test_perplexities_are_paired_by_window(tmp_path):
    losses = [2.0, 2.2, 1.9, 2.1, 2.0, 1.8, 2.3]
    save(tmp_path / "0", "baseline", {"perplexity": windows(losses)})
    worse = [it + 0.1 + 0.02 * i for i, it in enumerate(losses)]
    save(tmp_path / "1", "forgetful", {"perplexity": windows(worse)})
    found = table(read([tmp_path]))
    (it,) = (e for e in found.rows[1].entries.values())
    assert it.paired.value == pytest.approx(it.value - it.baseline)
    assert it.p == 2 / 2**7 and it.better is False


def test_each_way_of_asking_is_compared_by_its_own_samples(tmp_path):
    def asked(right):
        streamed = needle([True] * 8, asking="streamed")
        unseen = [it | {"id": f"u{it['id']}"} for it in needle(right, asking="unseen")]
        share = Measured(sum(right) / len(right), "share", True, len(right))
        metrics = {"accuracy": Measured(1.0, "share", True, 8), "accuracy_unseen": share}
        return {"needle": [*streamed, *unseen]}, {"needle": Result(1.0, metrics)}

    for index, (name, right) in enumerate([("baseline", [True] * 8), ("mild", [False] * 8)]):
        some, results = asked(right)
        save(tmp_path / str(index), name, some, results=results)
    found = table(read([tmp_path]))
    seen, unseen = found.rows[1].entries.values()
    assert (seen.paired.pairs, seen.paired.value) == (8, 0)
    assert (unseen.paired.pairs, unseen.paired.value) == (8, -1)


def test_a_part_whose_mean_is_the_wholes_by_chance_is_compared_by_its_own_samples(tmp_path):
    def asked(passkey, other):
        some = [it | {"kind": "passkey"} for it in needle(passkey)]
        some += [it | {"kind": "other", "id": f"o{it['id']}"} for it in needle(other)]
        share = Measured(sum(passkey) / len(passkey), "share", True, len(passkey))
        return {"needle": some}, {"needle": Result(1.0, {"accuracy_passkey": share})}

    mild = ([True] * 8, [True] * 8)  # here a part's mean is the whole's, in the baseline it is not
    for index, (name, right) in enumerate(
        [("baseline", ([True] * 8, [False] * 8)), ("mild", mild)]
    ):
        some, results = asked(*right)
        save(tmp_path / str(index), name, some, results=results)
    baseline, cell = sorted(read([tmp_path]).cells, key=lambda it: it.folder)
    found = Samples().compare([(cell, baseline)], "needle", "accuracy_passkey")
    assert (found.pairs, found.value) == (8, 0)


def test_each_text_of_several_is_compared_by_its_own_windows(tmp_path):
    def read_texts(shift):
        some, metrics = [], {}
        for label, base in (("novel", 2.0), ("wiki", 3.0)):
            part = windows([base + 0.1 * i + shift for i in range(6)])
            some += [it | {"id": f"{label}/{it['id']}", "corpus": label} for it in part]
            perplexity = math.exp(base + 0.25 + shift)
            metrics[f"perplexity_{label}"] = Measured(perplexity, "per token", False, 600)
        return {"perplexity": some}, {"perplexity": Result(1.0, metrics)}

    for index, (name, shift) in enumerate([("baseline", 0.0), ("mild", 0.5)]):
        some, results = read_texts(shift)
        save(tmp_path / str(index), name, some, results=results)
    found = table(read([tmp_path]))
    assert [it.heading for it in found.columns] == ["perplexity novel ↓", "perplexity wiki ↓"]
    novel, wiki = found.rows[1].entries.values()
    assert (novel.paired.pairs, wiki.paired.pairs) == (6, 6)
    assert wiki.paired.value == pytest.approx(math.exp(3.75) - math.exp(3.25))


def test_tasks_of_one_evaluation_are_compared_by_the_outcome_they_have(tmp_path):
    def mixed(right):
        graded = [{"id": f"g{i}", "score": 0.5} for i in range(3)]
        metrics = {
            "accuracy": Measured(sum(right) / len(right), "share", True, len(right)),
            "score": Measured(0.5, "share", True, 3),
        }
        return {"needle": [*needle(right), *graded]}, {"needle": Result(1.0, metrics)}

    for index, (name, right) in enumerate([("baseline", [True] * 8), ("mild", [False] * 8)]):
        some, results = mixed(right)
        save(tmp_path / str(index), name, some, results=results)
    accuracy, score = table(read([tmp_path])).rows[1].entries.values()
    assert (accuracy.paired.outcome, accuracy.paired.pairs, accuracy.paired.value) == (
        "correct",
        8,
        -1,
    )
    assert (score.paired.outcome, score.paired.pairs, score.paired.value) == ("score", 3, 0)


def test_few_windows_have_no_interval_and_resolve_nothing(tmp_path):
    save(tmp_path / "0", "baseline", {"perplexity": windows([2.0, 2.2, 1.9, 2.1])})
    save(tmp_path / "1", "forgetful", {"perplexity": windows([2.5, 2.7, 2.4, 2.6])})
    told = words(table(read([tmp_path])))[1]
    assert told.endswith(", not resolved, p 0.12") and "(" not in told


def test_seeds_of_a_cell_are_pooled_in_one_row(tmp_path):
    for seed in range(3):
        for name, answers in (("baseline", [True] * 4), ("mild", [seed > 0, False, False, True])):
            some = [it | {"prompt_hash": f"{seed}{i}"} for i, it in enumerate(needle(answers))]
            save(tmp_path / f"{name}{seed}", name, {"needle": some}, seed=seed)
    found = table(read([tmp_path]))
    assert [row.settings["mode"] for row in found.rows] == ["baseline", "mild"]
    assert found.shared["seed"] == "0, 1, 2"
    (it,) = found.rows[1].entries.values()
    assert it.value == pytest.approx(5 / 12) and it.paired.pairs == it.paired.prompts == 12
    assert it.paired.value == pytest.approx(-7 / 12) and it.resolved
    assert "mean of 3 seeds (25, 50, 50); their pairs are pooled" in remarks(found)[1]


def test_what_differs_in_more_than_its_seed_is_not_pooled(tmp_path):
    save(tmp_path / "0", "mild", {"needle": needle([True])}, seed=0)
    save(tmp_path / "1", "mild", {"needle": needle([True])}, seed=1, threshold=0.2)
    save(tmp_path / "2", "mild", {"needle": needle([True])}, config_hash="another commit's")
    assert len(table(read([tmp_path])).rows) == 3


def test_all_files_have_the_same_comparison(compared):
    (_, mild, _) = csv.DictReader(StringIO(files.comma_separated(compared)))
    assert float(mild["needle/accuracy/difference"]) == pytest.approx(-0.1)
    assert float(mild["needle/accuracy/p"]) == 0.25 and mild["needle/accuracy/worse"] == "3"
    whole = json.loads(files.plain_json(compared))
    assert whole["rows"][1]["needle/accuracy/high"] == float(mild["needle/accuracy/high"])
    assert whole["comparisons"] == 2
    assert "-10 points (-26..+3), not resolved, p 0.25" in files.markdown(compared)


def test_the_terminal_table_fits_120_columns(tmp_path, capsys):
    answers, losses = needle([True] * 30), windows([2.0 + i / 10 for i in range(8)])
    save(tmp_path / "0", "baseline", {"needle": answers, "perplexity": losses})
    for index, threshold in enumerate((0.1, 0.3), start=1):
        worse = {"needle": needle([False] * 20 + [True] * 10), "perplexity": losses}
        save(tmp_path / str(index), "sparse_attention", worse, threshold=threshold)
    show(table(read([tmp_path])), Console(width=120))
    lines = capsys.readouterr().out.splitlines()
    grid = [line for line in lines if line[:1] in "┃│"]
    assert max(map(len, grid)) <= 120
    assert any("-67 points (-81..-45)" in line for line in grid), "a difference is broken in two"


def test_the_command_takes_a_correction_and_an_amount(tmp_path, capsys):
    save(tmp_path / "0", "baseline", {"needle": needle([True] * 8)})
    save(tmp_path / "1", "mild", {"needle": needle([False] * 8)})
    assert main([str(tmp_path), "--correction", "bh", "--failures", "--examples", "2"]) == 0
    assert "Benjamini-Hochberg" in capsys.readouterr().out
    assert "8 lost, 0 won; 2 are shown" in (tmp_path / "failures.md").read_text()
    with pytest.raises(SystemExit):
        main([str(tmp_path), "--examples", "0"])
    assert "--examples=0 is not allowed" in capsys.readouterr().err
