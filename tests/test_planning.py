"""What a run will resolve, said before it is measured and kept in its record."""

import pytest
from rich.console import Console

from memollm import planning, record
from memollm.evaluation.needle import NeedleInAHaystack
from memollm.evaluation.perplexity import Perplexity
from memollm.modes.baseline import Baseline
from memollm.progress import Voice
from memollm.runner import run
from memollm.statistics.detectable import of_answers
from memollm.statistics.pairing import Outcome
from tests.evaluation.scripted import Scripted, copying, retrieving
from tests.report.runs import needle, save, windows
from tests.scripted import Counting, DummyModels, cell, start_nothing


def plan(tmp_path, outcome=Outcome.correct, prompts=20, name="needle"):
    return planning.plan(name, outcome, prompts, f"{name} baseline 0", [tmp_path])


def test_without_earlier_runs_the_worst_is_assumed(tmp_path):
    found = plan(tmp_path)
    assert found == of_answers(20)
    assert planning.told("needle", Outcome.correct, found) == (
        "needle: 20 prompts: differences below 43 points will not be resolved (80% power, 5%; "
        "worst case: both right half the time, independently)"
    )


def test_earlier_pairs_tell_how_many_answers_change_both_ways(tmp_path):
    save(tmp_path / "0", "baseline", {"needle": needle([True] * 8 + [False] * 2)})
    save(tmp_path / "1", "mild", {"needle": needle([False] + [True] * 8 + [False])})
    save(tmp_path / "2", "harsh", {"needle": needle([False] * 10)})  # only lost: no noise
    found = plan(tmp_path)
    assert found == of_answers(20, 0.1) and "10% of the answers changed" in found.basis


def test_a_run_that_was_taken_over_counts_once(tmp_path):
    save(tmp_path / "0", "baseline", {"needle": needle([True] * 9 + [False])})
    for copy in "12":
        save(tmp_path / copy, "mild", {"needle": needle([False] + [True] * 9)})
    save(tmp_path / "3", "none", {"needle": needle([True] * 9 + [False])})
    assert plan(tmp_path) == of_answers(20, 0.1)


def test_pairs_of_another_baseline_tell_nothing(tmp_path):
    save(tmp_path / "0", "baseline", {"needle": needle([True] * 10)}, seed=1)
    save(tmp_path / "1", "mild", {"needle": needle([False] * 10)}, seed=1)
    assert plan(tmp_path) == of_answers(20)


def test_losses_are_planned_from_their_spread(tmp_path):
    assert "not known yet" in planning.told(
        "perplexity", Outcome.nll, plan(tmp_path, Outcome.nll, 8, "perplexity")
    )
    save(tmp_path / "0", "baseline", {"perplexity": windows([2.0, 2.0, 2.0])})
    save(tmp_path / "1", "mild", {"perplexity": windows([2.1, 2.2, 2.3])})
    found = plan(tmp_path, Outcome.nll, 8, "perplexity")
    assert found.smallest == pytest.approx(2.80 * 0.1 / 8**0.5, rel=1e-3)
    told = planning.told("perplexity", Outcome.nll, found)
    assert told.startswith("perplexity: 8 windows: differences below 0.099 nats/token")


def test_too_few_prompts_are_said_to_be(tmp_path):
    told = planning.told("perplexity", Outcome.nll, plan(tmp_path, Outcome.nll, 4))
    assert told == (
        "perplexity: 4 windows: no difference to the baseline can be resolved, that takes 6 or more"
    )


class Asking(Counting):
    outcome = "correct"

    def prompts(self, subject):
        return self.count // 2


def test_a_run_says_it_first_and_keeps_it(tmp_path, capsys):
    config = cell({"asking": Asking(40), "counting": Counting(4)}, mode=Baseline())
    run(config, tmp_path, start_nothing, DummyModels(), [tmp_path], Voice(Console(width=200)))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("asking: 20 prompts: differences below 43 points")
    assert lines[1].startswith("asking: mean") and not any("counting: 4 pro" in it for it in lines)
    kept = record.load(tmp_path).detectable
    assert kept.keys() == {"asking"} and kept["asking"]["prompts"] == 20
    assert kept["asking"]["smallest"] == pytest.approx(0.431, abs=1e-3)


@pytest.mark.parametrize(
    ("evaluation", "predict"),
    [
        (Perplexity(max_tokens=600, context=300), copying),
        (NeedleInAHaystack(lengths=[1800], depths=[0.0, 1.0]), retrieving),
    ],
)
def test_samples_have_the_outcome_that_their_evaluation_announces(evaluation, predict, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text("It was the best of times. It was the worst of times, so they say. " * 60)
    evaluation.text = str(text)
    subject = Scripted(predict, window=1000)
    found = list(evaluation.samples(subject))
    assert found and all(evaluation.outcome in it for it in found)
    assert len({it.get("prompt", it["id"]) for it in found}) == evaluation.prompts(subject)
