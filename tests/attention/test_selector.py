"""The choice follows from the costs, and the costs from this machine."""

import pytest

from memollm.attention import AttentionConfig, AttentionProfiler, AttentionSelector, measurements
from memollm.attention.measurements import Cost
from memollm.attention.selector import FIDELITY, SCENARIOS, Candidate, cache_mb, choose


def candidates(**costs):
    return [
        Candidate(AttentionConfig(k), Cost(*map(float, v)), "measured") for k, v in costs.items()
    ]


def chosen(by_memory=False, memory=None, latency=None, **costs):
    return choose(candidates(**costs), by_memory, memory, latency)


def test_the_most_faithful_of_the_affordable_is_chosen():
    assert chosen(full=(9, 9), flash=(8, 1), linear=(5, 1)).attention_type == "flash"
    assert chosen(full=(11, 9), local=(9, 1), linear=(5, 1)).attention_type == "local"
    assert chosen(full=(99, 9), local=(11, 1), linear=(5, 1)).attention_type == "linear"


def test_memory_decides_where_it_is_the_price():
    assert chosen(True, flash=(1, 9), mqa=(9, 4), linear=(9, 3)).attention_type == "mqa"


def test_constraints_come_first():
    costs = {"full": (4, 100), "local": (5, 10), "linear": (9, 1)}
    assert chosen(**costs).attention_type == "full"
    assert chosen(memory=50, **costs).attention_type == "local"
    assert chosen(memory=5, **costs).attention_type == "linear"
    with pytest.raises(ValueError, match=r"no attention meets memory_mb <= 0.5: full 4.0 ms"):
        chosen(memory=0.5, **costs)
    with pytest.raises(ValueError, match="no attention meets memory_mb <= 50, latency_ms <= 2"):
        chosen(memory=50, latency=2, **costs)


def test_the_reason_says_what_was_compared():
    reason = chosen(full=(11, 9), local=(9, 1), linear=(5, 1), latency=10).reason
    assert reason == (
        "local (sparse): the most faithful of those that cost at most 2 times the least time and "
        "meet latency_ms <= 10; measured: full 11.0 ms 9.0 MB; local 9.0 ms 1.0 MB; linear 5.0 ms "
        "1.0 MB"
    )


def test_every_candidate_has_its_place():
    named = {name for scenario in SCENARIOS.values() for name in scenario.candidates}
    assert named == set(FIDELITY)


def test_caches_are_as_large_as_they_are():
    assert cache_mb(AttentionConfig("full"), 1024) == 2 * 512 * 1024 * 4 / 2**20
    assert cache_mb(AttentionConfig("mqa"), 1024) == 2 * 64 * 1024 * 4 / 2**20
    assert cache_mb(AttentionConfig("linear"), 1024) == cache_mb(AttentionConfig("linear"), 1)


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(measurements, "_known", {})
    return tmp_path / "memollm" / "attention.json"


def test_a_long_text_is_extrapolated_and_measurements_are_kept(fresh, monkeypatch):
    asked = []

    def profile(seq_len, **_):
        asked.append(seq_len)
        return {"best_latency_ms": seq_len**2 / 1e6, "memory_mb": seq_len / 1e3}

    monkeypatch.setattr(AttentionProfiler, "profile_attention", profile)
    cost, known = measurements.cost(AttentionConfig(), 8192, False)
    assert asked == [1024, 2048] and known == "extrapolated from 1024 and 2048 tokens"
    assert cost.latency_ms == pytest.approx(8192**2 / 1e6)
    assert cost.memory_mb == pytest.approx(8.192)
    assert measurements.cost(AttentionConfig(), 2048, False)[1] == "measured"
    monkeypatch.setattr(measurements, "_known", {})  # another process
    measurements.cost(AttentionConfig(), 8192, False)
    assert asked == [1024, 2048] and fresh.exists()


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_every_scenario_is_decided_by_measurements(scenario, fresh, monkeypatch):
    monkeypatch.setattr(measurements, "LENGTHS", (16, 32))
    monkeypatch.setattr(measurements, "ITERATIONS", 1)
    config = AttentionSelector.select_for_scenario(scenario, 64, d_model=32, n_heads=4)
    assert config.attention_type in SCENARIOS[scenario].candidates and config.causal
    assert config.reason.startswith(f"{config.attention_type} (")
    assert "extrapolated from 16 and 32 tokens" in config.reason


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trainin", 512), "scenario='trainin' is not allowed, .* did you mean 'training'"),
        (("training", 0), "seq_len must be an integer >= 1, got 0"),
    ],
)
def test_bad_questions_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        AttentionSelector.select_for_scenario(*arguments)
