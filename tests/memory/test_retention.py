"""Retention curves: what every curve promises, then each curve's own formula."""

import math

import pytest
import torch

from memollm.memory import retention
from memollm.registry import groups

AGES = torch.arange(0, 4096, 7, dtype=torch.float64).expand(2, 3, -1) * 0.01
STRENGTH = torch.tensor([0.5, 5.0, 50.0]).view(1, 3, 1)


CURVES = groups()["retention"]
NAMES = sorted(CURVES)


@pytest.fixture(params=NAMES)
def curve(request):
    return CURVES[request.param]()


@pytest.fixture(params=[name for name in NAMES if CURVES[name].gradual])
def gradual(request):
    return CURVES[request.param]()


def test_nothing_is_forgotten_at_age_zero(curve):
    left = curve.retention(torch.zeros_like(AGES), STRENGTH)
    torch.testing.assert_close(left, torch.ones_like(left))


def test_retention_never_rises_with_age(curve):
    assert (curve.retention(AGES, STRENGTH).diff(dim=-1) <= 0).all()


def test_stronger_pairs_never_fade_faster(curve):
    weak, medium, strong = curve.retention(AGES, STRENGTH)[0]
    assert (weak <= medium).all() and (medium <= strong).all() and (weak < strong).any()


def test_stronger_pairs_fade_more_slowly(gradual):
    weak, medium, strong = gradual.retention(AGES, STRENGTH)[0, :, 1:100]
    assert (weak < medium).all() and (medium < strong).all()


@pytest.mark.parametrize("threshold", [0.01, 0.3, 0.9])
def test_retention_falls_below_the_threshold_past_the_lifetime_and_not_before(curve, threshold):
    age = curve.lifetime(threshold) * STRENGTH.double()
    before, past = (curve.retention(age * it, STRENGTH.double()) for it in (1 - 1e-9, 1 + 1e-9))
    assert (before >= threshold).all() and (past < threshold).all()


def test_lifetime_is_the_age_at_which_retention_meets_the_threshold(gradual):
    age = gradual.lifetime(0.3) * STRENGTH.double()
    left = gradual.retention(age, STRENGTH.double())
    torch.testing.assert_close(left, torch.full_like(left, 0.3))


def test_retention_is_of_age_in_units_of_strength(curve):
    """What feedback relies on: ages and strengths that grow together change nothing."""
    torch.testing.assert_close(
        curve.retention(4 * AGES, 4 * STRENGTH.double()), curve.retention(AGES, STRENGTH.double())
    )


def test_neighbouring_ages_stay_distinct_under_bfloat16(gradual):
    early, late = gradual.retention(torch.tensor([1024.0, 1025.0]), torch.tensor(512.0).bfloat16())
    assert early > late


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, math.nan])
def test_a_threshold_outside_the_open_unit_interval_has_no_lifetime(curve, threshold):
    with pytest.raises(ValueError, match="threshold=.* must lie strictly between 0 and 1"):
        curve.lifetime(threshold)


def test_exponential_leaves_one_over_e_at_its_strength():
    left = retention.ExponentialRetention().retention(torch.tensor(64.0), torch.tensor(64.0))
    torch.testing.assert_close(left, torch.tensor(1 / math.e))


def test_power_law_with_unit_decay_halves_at_its_strength():
    left = retention.PowerLawRetention(decay=1.0).retention(torch.tensor(64.0), torch.tensor(64.0))
    torch.testing.assert_close(left, torch.tensor(0.5))


def test_a_decay_of_zero_would_never_forget_and_is_refused():
    with pytest.raises(ValueError, match="retention.decay=0.0"):
        retention.PowerLawRetention(decay=0.0)


def test_wickelgrens_law_with_its_three_constants():
    law = retention.WickelgrenRetention(initial=0.6, rate=2.0, decay=1.5)
    left = law.retention(torch.tensor(30.0), torch.tensor(10.0))
    torch.testing.assert_close(left, torch.tensor(0.6 * 7**-1.5))


def test_wickelgrens_law_with_unit_constants_is_the_power_law():
    law, power = retention.WickelgrenRetention(decay=0.7), retention.PowerLawRetention(decay=0.7)
    torch.testing.assert_close(law.retention(AGES, STRENGTH), power.retention(AGES, STRENGTH))
    assert law.lifetime(0.2) == pytest.approx(power.lifetime(0.2))


def test_what_is_learnt_below_the_threshold_has_no_lifetime():
    assert retention.WickelgrenRetention(initial=0.4).lifetime(0.5) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"initial": 0.0}, r"retention.initial=0.0 is not allowed, it must lie in \(0, 1\]"),
        ({"initial": 1.1}, "retention.initial=1.1"),
        ({"rate": -1.0}, "retention.rate=-1.0 is not allowed, it must be > 0"),
        ({"decay": math.nan}, "retention.decay=nan"),
    ],
)
def test_constants_that_make_no_forgetting_curve_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        retention.WickelgrenRetention(**settings)
