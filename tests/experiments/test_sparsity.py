"""The sparsity analysis: kinds of words, survival and masks against counts by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.sparsity.course import first_forgotten, heard, masked_share, sparsity, survival
from experiments.sparsity.kinds import Kind, kinds
from memollm.traces.trace import Trace

AGES = [0.0, 1.0, 100.0]


def trace(forgotten_at, seen, **changes):
    """A trace of as many tokens as the last step has seen; nothing is a sink."""
    gone = np.array(forgotten_at, dtype=np.int32)
    shape = (len(gone), len(seen), gone.shape[1])
    settings = {
        "tokens": [" word"] * gone.shape[1], "prompt_tokens": seen[0],
        "seen": np.array(seen, dtype=np.int32), "received": np.zeros(shape, dtype=np.float32),
        "forgotten_at": gone, "layers": [str(i) for i in range(len(gone))],
    }  # fmt: skip
    return Trace(**{**settings, **changes})


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (" river", Kind.content_word), (" the", Kind.function_word), ("They", Kind.function_word),
        (" don't", Kind.function_word), (" 1,024", Kind.number), ("...", Kind.punctuation),
        ("\n\n", Kind.line_break), ("River", Kind.content_word), ("I", Kind.function_word),
    ],
)  # fmt: skip
def test_a_word_alone(text, kind):
    assert set(kinds([text])) == {kind}


def test_a_capital_is_a_name_inside_a_sentence_alone():
    found = kinds(["Then", " An", "na", " said", ": “", "Come", ",", " John", ".”", " Now"])
    assert found == [
        Kind.function_word, Kind.proper_name, Kind.proper_name, Kind.content_word,
        Kind.punctuation, Kind.content_word, Kind.punctuation, Kind.proper_name,
        Kind.punctuation, Kind.function_word,
    ]  # fmt: skip


@given(
    st.lists(st.sampled_from(["a", " a", "Ann", " 7", "7", ".", "\n", " ", "é", "中"]), max_size=9)
)
def test_every_token_has_a_kind(tokens):
    assert len(kinds(tokens)) == len(tokens)


def test_sparsity_counts_what_is_gone_by_then():
    told = trace([[3, 0, 4, 0], [0, 0, 0, 0]], [2, 3, 4])
    assert sparsity(told).tolist() == [[0, 1 / 3, 2 / 4], [0, 0, 0]]


def test_masked_pairs_are_those_of_decoded_tokens_and_earlier_ones():
    """Decoded tokens 3 and 4 look at 2 and 3 earlier ones; one of the 3 is gone by then."""
    told = trace([[3, 0, 0, 0]], [2, 3, 4])
    assert masked_share(told).tolist() == [pytest.approx(1 / 5)]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=20))
def test_survival_is_kaplan_and_meiers_product(at):
    """Token i is read as number i + 1; a forgotten one is gone at a later number, or never."""
    gone = [number if i < number <= len(at) else 0 for i, number in enumerate(at)]
    told = trace([gone], [len(gone)])
    (found,) = survival(told, kinds(told.tokens)).values()
    for age in range(20):
        expected = 1.0
        for event in range(age + 1):
            died = sum(g > 0 and g - i - 1 == event for i, g in enumerate(gone))
            known = sum((g or len(gone)) - i - 1 >= event for i, g in enumerate(gone))
            expected *= 1 - died / known if known else 1.0
        assert found.at(age) == pytest.approx(expected)
    assert found.forgotten == sum(g > 0 for g in gone) and found.tokens == len(gone)


def test_sinks_are_left_out():
    told = trace([[0, 3, 0]], [3], sinks=1)
    (found,) = survival(told, kinds(told.tokens)).values()
    assert (found.tokens, found.forgotten) == (2, 1)


def test_who_is_listened_to_is_ranked_with_what_is_retained():
    """Strength grows with attention here, so that the ranks agree."""
    weights = np.array([4.0, 3.0, 2.0, 1.0, 0.0, 0.0])
    received = np.zeros((1, 3, 6), dtype=np.float32)
    received[0, 1:] = weights
    told = trace(
        [[0] * 6], [4, 5, 6], received=received,
        strength=np.broadcast_to(1 + weights, (1, 3, 6)).astype(np.float32),
        recalled=np.zeros((1, 3, 6), dtype=np.int32), recent=2,
        curve={"age": AGES, "retention": [1.0, 0.4, 0.0]},
    )  # fmt: skip
    (found,) = heard(told).values()
    assert found.attention.tolist() == [4, 3, 2, 1] and found.correlation == pytest.approx(1)
    assert heard(trace([[0, 0]], [2])) == {}  # a rule without retention


def test_the_youngest_dead_come_first():
    """Ages 4, 1 and 2; of equals the older position."""
    assert first_forgotten(trace([[5, 3, 0, 6, 0, 0]], [6]), 0, 2) == [(1, 1), (3, 2)]
