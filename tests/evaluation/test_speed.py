"""Speed: known times are recovered, turns are fair, and nothing that is not the model counts."""

import json
import math

import pytest
import torch

from memollm.evaluation import speed
from memollm.evaluation.bandwidth import ReadBenchmark
from memollm.evaluation.clock import Clock
from memollm.evaluation.speed import Speed
from tests.evaluation.ticking import Ticking, World

BANDWIDTH = 1e9  # bytes/s


class Benchmark(ReadBenchmark):
    def __init__(self, device):
        pass

    def measure(self, now):
        return BANDWIDTH


@pytest.fixture
def build(novel, monkeypatch):
    def new(subject, **settings):
        monkeypatch.setattr(speed, "ReadBenchmark", Benchmark)
        monkeypatch.setattr(speed, "reading", lambda clock, device, threads: subject.world.read)
        small = {"contexts": [200, 100], "turns": 5, "burst": 3, **settings}
        evaluation = Speed(text=novel, **small)
        evaluation.prepare()
        evaluation.check(subject)
        return evaluation

    return new


@pytest.fixture
def measure(build):
    def run(subject, **settings):
        evaluation = build(subject, **settings)
        return evaluation.metrics(list(evaluation.samples(subject)))

    return run


def value(metrics, name):
    return pytest.approx(metrics[name].value)


def test_known_times_are_recovered(measure):
    found = measure(Ticking())
    assert value(found, "decode_ratio_to_baseline") == 3
    assert value(found, "decode_tokens_per_second") == 500
    assert value(found, "prefill_ratio_to_baseline") == 0.5
    assert value(found, "prefill_tokens_per_second") == 10_000
    assert value(found, "aa_ratio") == 1
    assert value(found, "aa_noise") == 0
    assert value(found, "bandwidth_fraction") == (2_000_000 + 40) / 0.002 / BANDWIDTH


def test_attaching_counts_for_the_first_token_alone(measure):
    found = measure(Ticking(attaching=7.0))
    assert value(found, "time_to_first_token") == 7 + 185 * 0.0001
    assert value(found, "decode_tokens_per_second") == 500


def test_a_machine_that_slows_down_changes_rates_but_not_the_ratio(measure):
    found = measure(Ticking(World(weather=lambda now: 1 + 5 * now), attaching=0.0))
    assert found["decode_tokens_per_second"].value < 250
    assert found["decode_ratio_to_baseline"].value == pytest.approx(3, rel=0.1)
    assert abs(found["aa_ratio"].value - 1) <= found["aa_noise"].value


def test_steps_that_evict_count_as_often_as_they_come(measure):
    found = measure(Ticking(step=lambda seen: 0.016 if seen % 3 == 0 else 0.001))
    assert value(found, "decode_ratio_to_baseline") == 1


def test_metrics_are_of_the_longest_context_and_of_each(measure):
    found = measure(Ticking(step=lambda seen: seen / 10_000))
    assert found["decode_ratio_to_baseline"] == found["decode_ratio_to_baseline_200"]
    assert found["decode_ratio_to_baseline_100"].value > found["decode_ratio_to_baseline"].value
    assert value(found, "kept_tokens_100") == (40 + 100) / 2
    assert value(found, "kv_ratio_to_baseline") == 40 / 200


def test_every_metric_has_unit_count_and_error(measure):
    found = measure(Ticking())
    unsure = {name.rstrip("_0123456789") for name, it in found.items() if it.stderr is None}
    assert unsure == {"aa_noise"}
    assert all(it.unit and it.n >= 2 and math.isfinite(it.value) for it in found.values())
    assert found["decode_ratio_to_baseline"].n == 2 * 5
    assert found["decode_ratio_to_baseline"].higher_is_better
    assert found["time_to_first_token"].higher_is_better is False


def test_a_round_takes_the_context_exactly_and_all_read_the_same(build):
    subject = Ticking()
    evaluation = build(subject, contexts=[100], rounds=1)
    stream = evaluation.samples(subject)
    (sample,) = stream
    assert (sample["prompt"], sample["memory"]["seen_tokens"]) == (85, 100)
    race = subject.world.diary[2 * (1 + 3) :]  # after the warm-up: two prompts, two turns
    forgetful = [token for name, ids in race if name == "forgetful" for token in ids]
    untouched = [token for name, ids in race if name == "untouched" for token in ids]
    assert len(forgetful) == 100
    assert sorted(untouched) == sorted(2 * forgetful)  # it runs twice, against itself
    assert bytes(forgetful).decode() in evaluation._text.joined


def test_variants_take_turns_in_a_random_order_that_the_seed_decides(build):
    def order(**settings):
        subject = Ticking()
        list(
            build(subject, contexts=[100], rounds=1, burst=2, turns=20, **settings).samples(subject)
        )
        steps = [name for name, ids in subject.world.diary if len(ids) == 1][-20 * 2 * 3 :]
        return [tuple(steps[i : i + 6 : 2]) for i in range(0, len(steps), 6)]

    turns = order()
    assert {tuple(sorted(turn)) for turn in turns} == {("forgetful", "untouched", "untouched")}
    assert len(set(turns)) == 3  # each of the places
    assert order() == turns != order(seed=1)


def test_a_resumed_run_measures_what_is_missing(build):
    subject = Ticking()
    whole = list(build(subject).samples(subject))
    assert len(whole) == build(subject).size(subject) == len({sample["id"] for sample in whole})
    assert json.loads(json.dumps(whole)) == whole
    kept = whole[::2]
    rest = list(build(subject).samples(subject, done={sample["id"] for sample in kept}))
    assert {sample["id"] for sample in [*rest, *kept]} == {sample["id"] for sample in whole}
    assert len(rest) + len(kept) == len(whole)
    before = len(subject.world.diary)
    assert not list(build(subject).samples(subject, done={sample["id"] for sample in whole}))
    assert len(subject.world.diary) == before  # not even warmed up
    found = build(subject).metrics(whole)
    assert found == build(subject).metrics(json.loads(json.dumps(whole))[::-1])


def test_a_baseline_is_run_against_itself_only_to_check(build):
    subject = Ticking(has_memory=False)  # whose untouched() may not be asked for
    samples = list(build(subject).samples(subject))
    assert [set(s["variants"]) for s in samples] == 2 * [{"untouched", "again"}, {"untouched"}]
    found = build(subject).metrics(samples)
    assert (found["decode_ratio_to_baseline"].value, found["aa_ratio"].value) == (1, 1)


def test_samples_say_how_they_were_timed(build):
    subject = Ticking()
    sample = next(build(subject, threads=2).samples(subject))
    assert (sample["clock"], sample["threads"], sample["device"]) == ("wall", 2, "cpu")
    assert next(build(subject).samples(subject))["clock"] == "cpu"
    assert sample["dtype"] == "float32" and sample["batch"] == 1 and sample["load_average"] >= 0


def test_rows_of_a_batch_count(measure):
    assert value(measure(Ticking(), batch=3), "decode_tokens_per_second") == 1500


def test_samples_of_two_texts_are_not_mixed(build):
    subject = Ticking()
    evaluation = build(subject)
    samples = list(evaluation.samples(subject))
    with pytest.raises(ValueError, match="has changed"):
        evaluation.metrics([{**samples[0], "text": "another"}, *samples[1:]])
    with pytest.raises(ValueError, match="no rounds"):
        evaluation.metrics([])


@pytest.mark.parametrize(
    "settings",
    [
        {"contexts": []},
        {"contexts": [100, 100]},
        {"contexts": [15]},
        {"contexts": [5000]},
        {"rounds": 0},
        {"turns": 0},
        {"burst": 0},
        {"batch": 0},
        {"threads": 0},
    ],
    ids=str,
)
def test_what_cannot_be_measured_is_refused(build, settings):
    (name,) = settings
    with pytest.raises(ValueError, match=rf"evaluation\.speed\.{name}=.*not allowed"):
        build(Ticking(), **settings)


def test_a_text_shorter_than_the_context_is_refused(tmp_path):
    text = tmp_path / "short.txt"
    text.write_text("A few words.")
    with pytest.raises(ValueError, match="holds 12 tokens"):
        Speed(text=str(text), contexts=[100]).check(Ticking())


def test_a_processor_clock_is_refused_where_it_tells_nothing(build):
    with pytest.raises(ValueError, match="clock=cpu"):
        build(Ticking(device=torch.device("meta")), clock=Clock.cpu)
