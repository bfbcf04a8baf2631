"""Retention curves: what every curve promises, then each curve's own formula."""

import math

import pytest
import torch

from memollm.memory import retention
from memollm.registry import groups

AGES = torch.arange(0, 4096, 7, dtype=torch.float64).expand(2, 3, -1) * 0.01
STRENGTH = torch.tensor([0.5, 5.0, 50.0]).view(1, 3, 1)


@pytest.fixture(params=sorted(groups()["retention"]))
def curve(request):
    return groups()["retention"][request.param]()


def test_nothing_is_forgotten_at_age_zero(curve):
    left = curve.retention(torch.zeros_like(AGES), STRENGTH)
    torch.testing.assert_close(left, torch.ones_like(left))


def test_retention_never_rises_with_age(curve):
    assert (curve.retention(AGES, STRENGTH).diff(dim=-1) <= 0).all()


def test_stronger_pairs_fade_more_slowly(curve):
    weak, medium, strong = curve.retention(AGES, STRENGTH)[0, :, 1:100]
    assert (weak < medium).all() and (medium < strong).all()


def test_lifetime_is_the_age_at_which_retention_meets_the_threshold(curve):
    age = curve.lifetime(0.3) * STRENGTH.double()
    left = curve.retention(age, STRENGTH.double())
    torch.testing.assert_close(left, torch.full_like(left, 0.3))


def test_neighbouring_ages_stay_distinct_under_bfloat16(curve):
    early, late = curve.retention(torch.tensor([1024.0, 1025.0]), torch.tensor(512.0).bfloat16())
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
