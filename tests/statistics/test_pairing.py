"""Pairing: by id, on equal prompts, or not at all."""

import pytest

from memollm.statistics.pairing import Outcome, Unpairable, clusters, match, outcome_of
from tests.statistics.pairs import answers, losses


def test_samples_are_paired_by_id_whatever_their_order():
    ours, baseline = answers([1, 0, 1]), answers([0, 0, 1])
    found = match(ours, baseline[::-1])
    assert [(it.ours["id"], it.baseline["id"]) for it in found.pairs] == [(i, i) for i in "012"]
    assert found.leftover == 0


def test_samples_without_a_partner_are_counted_on_both_sides():
    ours = [*answers([1, 1]), {"id": "mine", "correct": True}]
    found = match(ours, answers([1, 1, 1, 1]))
    assert len(found.pairs) == 2 and found.leftover == 3


@pytest.mark.parametrize(
    ("key", "mine", "theirs"),
    [
        ("prompt_hash", "a" * 16, "b" * 16),
        ("text", "sha of one", "sha of another"),
        ("expected", "12345", "54321"),
        ("scored", [0, 10], [0, 11]),
    ],
)
def test_unequal_prompts_are_refused_by_name(key, mine, theirs):
    with pytest.raises(Unpairable, match=f"unequal prompts: {key} of sample 0 differs"):
        match(answers([1], **{key: mine}), answers([1], **{key: theirs}))


def test_what_only_one_side_says_is_no_difference():
    assert len(match(answers([1], prompt_hash="a"), answers([0])).pairs) == 1


def test_an_id_that_occurs_twice_is_refused():
    with pytest.raises(Unpairable, match="sample 0 occurs twice"):
        match(answers([1]) * 2, answers([1]))


def test_answers_to_one_prompt_are_one_cluster():
    prompts = ["a", "a", "b"]
    pairs = match(answers([1, 1, 0], prompts), answers([1, 0, 1], prompts)).pairs
    found = clusters(pairs, Outcome.correct)
    assert found.ours.tolist() == [2, 0] and found.baseline.tolist() == [1, 1]
    assert found.size.tolist() == [2, 1]


def test_losses_are_summed_over_their_tokens():
    pairs = match(losses([250.0, 300.0]), losses([240.0, 310.0])).pairs
    found = clusters(pairs, Outcome.nll)
    assert found.ours.tolist() == [250, 300] and found.size.tolist() == [100, 100]


def test_two_seeds_share_a_cluster_only_where_they_share_the_prompt():
    one, other = (
        match(answers([1], ["p"], prompt_hash=it), answers([0], ["p"], prompt_hash=it)).pairs
        for it in "ab"
    )
    assert len(clusters([*one, *other], Outcome.correct).size) == 2
    assert len(clusters([*one, *one], Outcome.correct).size) == 1


def test_an_outcome_is_what_all_samples_have():
    both = [{"id": "0", "correct": True, "score": 0.5}]
    assert outcome_of(match(both, both).pairs) is Outcome.correct
    graded = [{"id": "0", "score": 0.5}]
    assert outcome_of(match(both, graded).pairs) is Outcome.score
    assert outcome_of(match(losses([1.0]), graded).pairs) is None
    assert outcome_of([]) is None
