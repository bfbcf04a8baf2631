"""Who is forgotten, on sequences small enough to check by eye."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memollm.memory.forgetting import faded, over_budget, protected
from memollm.memory.rehearsal import rehearse


def test_protected_tokens_are_counted_per_row_and_not_by_slot():
    position = torch.tensor([[0, 1, 2, 3], [3, 1, 0, -1]])
    seen = torch.tensor([4, 4])
    assert protected(position, seen, sinks=1, recent=1).tolist() == [
        [True, False, False, True],
        [True, False, True, True],  # a free slot (-1) is protected too: nothing happens to it
    ]


def test_nothing_is_protected_when_both_counts_are_zero():
    assert not protected(torch.arange(5)[None], torch.tensor([5]), 0, 0).any()


def test_faded_tokens_lie_below_the_threshold_and_are_not_spared():
    retention = torch.tensor([[0.05, 0.1, 0.2, 0.01]])
    spared = torch.tensor([[False, False, False, True]])
    assert faded(retention, 0.1, spared).tolist() == [[True, False, False, False]]


def test_budgets_forget_the_weakest_of_each_row_oldest_first():
    retention = torch.tensor([[0.9, 0.2, 0.2, 0.2], [0.1, 0.2, 0.3, 0.4]])
    position = torch.tensor([[0, 3, 1, 2], [0, 1, 2, 3]])
    present = torch.tensor([[True] * 4, [True, True, True, False]])
    spared = torch.tensor([[False] * 4, [True, False, False, False]])
    dying = over_budget(retention, position, present, spared, torch.tensor([2, 1]))
    assert dying.tolist() == [[False, False, True, True], [False, True, True, False]]


@settings(max_examples=60)
@given(
    rows=st.lists(
        st.lists(
            st.tuples(st.sampled_from([0.0, 0.5]), st.booleans(), st.booleans()),
            min_size=6, max_size=6,
        ),
        min_size=1, max_size=3,
    ),
    excess=st.integers(0, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_budgets_choose_as_a_sorted_list_does(rows, excess, seed):
    table = torch.tensor(rows, dtype=torch.float64)  # of tuples: flags become 0 and 1
    retention, present, spared = table[..., 0], table[..., 1] == 1, table[..., 2] == 1
    generator = torch.Generator().manual_seed(seed)
    position = torch.stack([torch.randperm(6, generator=generator) for _ in rows]).int()
    keep = present.sum(dim=1) - excess
    dying = over_budget(retention, position, present, spared, keep)
    for row, chosen in enumerate(dying.tolist()):
        mortal = (present[row] & ~spared[row]).nonzero().flatten().tolist()
        order = sorted(mortal, key=lambda it: (retention[row, it], position[row, it]))
        assert {slot for slot, dies in enumerate(chosen) if dies} == set(order[:excess])


def test_a_budget_below_the_spared_tokens_keeps_them():
    spared = torch.ones(1, 3, dtype=torch.bool)
    dying = over_budget(torch.rand(1, 3), torch.arange(3)[None], spared, spared, torch.tensor([1]))
    assert not dying.any()


def test_rehearsal_sums_attention_and_keeps_the_last_recall():
    strength, recalled = torch.full((1, 3), 5.0), torch.tensor([[0, 1, 2]], dtype=torch.int32)
    attention = torch.tensor([[[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]]])
    queries = torch.tensor([[7, 8]], dtype=torch.int32)
    rehearse(strength, recalled, attention, queries, 2.0, 0.4)
    torch.testing.assert_close(strength, torch.tensor([[6.2, 6.4, 6.4]]))
    assert recalled.tolist() == [[7, 7, 8]]


def test_without_gain_and_recall_rehearsal_changes_nothing():
    strength, recalled = torch.full((1, 2), 5.0), torch.zeros(1, 2, dtype=torch.int32)
    rehearse(
        strength, recalled, torch.rand(1, 4, 2), torch.arange(4, dtype=torch.int32)[None], 0.0, None
    )
    assert strength.eq(5).all() and recalled.eq(0).all()
