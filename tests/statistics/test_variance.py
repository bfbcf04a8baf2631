"""The share of variance that a setting explains, against its definition and under chance."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memollm.statistics.variance import explained


def epsilon(values, levels):
    """Epsilon squared, written out."""
    mean = sum(values) / len(values)
    groups = {}
    for value, level in zip(values, levels, strict=True):
        groups.setdefault(level, []).append(value)
    centres = {level: sum(some) / len(some) for level, some in groups.items()}
    within = sum((v - centres[g]) ** 2 for v, g in zip(values, levels, strict=True))
    total = sum((v - mean) ** 2 for v in values)
    error = within / (len(values) - len(groups))
    return (total - within - (len(groups) - 1) * error) / total


@given(
    st.lists(st.floats(-10, 10).map(lambda x: round(x, 3)), min_size=8, max_size=12, unique=True),
    st.integers(2, 3),
)
def test_the_share_is_its_definition(values, count):
    levels = [index % count for index in range(len(values))]
    found = explained(values, levels)
    assert found is not None
    assert found.share == pytest.approx(epsilon(values, levels), abs=1e-9)


def test_a_setting_that_decides_all_explains_all():
    found = explained([0.0, 0.1, 0.0, 0.1, 5.0, 5.1, 5.0, 5.1], list("aaaabbbb"))
    assert found is not None and found.share > 0.99 and found.p < 0.05
    assert found.interval is not None and found.interval[0] > 0.9


def test_a_setting_that_decides_nothing_is_rarely_taken_for_one_that_does():
    """Of 40 settings without influence 2 are expected at 5 %; 7 or more come once in 200 times."""
    rng, found = random.Random(0), 0
    for _ in range(40):
        it = explained([rng.gauss(0, 1) for _ in range(12)], list("abc") * 4)
        assert it is not None
        found += it.p <= 0.05
    assert found < 7


@pytest.mark.parametrize(
    ("values", "levels"),
    [
        ([1.0, 2.0, 3.0, 4.0, 5.0], list("aabbb")),  # too few
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], list("aaaaaa")),  # one level
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], list("abcdef")),  # none occurs twice
        ([1.0] * 6, list("aaabbb")),  # no variance
    ],
)
def test_where_nothing_can_be_told_nothing_is(values, levels):
    assert explained(values, levels) is None
