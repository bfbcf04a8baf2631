"""Windows cover a text once, and losses are broken down without loss."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memollm.evaluation.breakdown import bucket, ratio, recurrence, tally
from memollm.evaluation.windows import windows


@given(
    lengths=st.lists(st.integers(0, 60), max_size=4),
    room=st.integers(2, 20),
    step=st.integers(1, 20),
    opened=st.booleans(),
)
def test_every_token_that_can_be_predicted_is_scored_once(lengths, room, step, opened):
    step = min(step, room)
    scored = []
    for window in windows(lengths, room, step, opened):
        assert window.start <= window.first < window.stop <= window.start + room
        scored += [(window.document, i) for i in range(window.first, window.stop)]
    assert len(set(scored)) == len(scored)
    every = {(d, i) for d, length in enumerate(lengths) for i in range(length)}
    unscored = every - set(scored)
    if opened:
        assert not unscored
    elif step < room:
        assert unscored == {(d, 0) for d, length in enumerate(lengths) if length}
    else:
        assert all(i % room == 0 for _, i in unscored)


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 4))
def test_recurrence_is_the_distance_to_the_last_equal_ending(ids, order):
    for i, distance in enumerate(recurrence(ids, order)):
        ending = ids[i - order + 1 : i + 1] if i >= order - 1 else None
        earlier = [j for j in range(order - 1, i) if ids[j - order + 1 : j + 1] == ending]
        assert distance == (i - earlier[-1] if ending and earlier else None)


@given(st.integers(0, 10**6))
def test_a_bucket_holds_its_number(tokens):
    low, high = map(int, bucket(tokens).split("_"))
    assert low <= tokens < high


def test_a_tally_keeps_the_sum():
    found = tally(["a", "b", "a"], [1.0, 2.0, 4.0])
    assert found == {"a": [2, 5.0], "b": [1, 2.0]}


def test_a_ratio_of_equal_parts_is_their_mean_with_its_standard_error():
    value, error = ratio([(v, 1.0) for v in (0.0, 1.0, 1.0, 0.0)])
    assert (value, error) == (0.5, pytest.approx(math.sqrt(1 / 3 / 4)))
    assert ratio([(3.0, 2.0)]) == (1.5, None)
    with pytest.raises(ValueError, match="nothing was scored"):
        ratio([])
