"""The slab, with keys whose value is their own position."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memollm.cache.ledger import Ledger
from memollm.cache.packing import pack, packing, unpack
from memollm.cache.slab import Slab


def filled(batch, *counts):
    slab, at = Slab(), 0
    for count in counts:
        position = torch.arange(at, at + count).expand(batch, count)
        slab.append(
            keys=position.float()[:, None, :, None].expand(batch, 2, count, 3), position=position
        )
        at += count
    return slab


def test_appending_keeps_what_is_there_through_every_growth():
    slab = filled(2, 1, 5, 40, 1)
    assert slab["position"].tolist() == [list(range(47))] * 2
    assert (slab["keys"][1, 1, :, 2] == torch.arange(47)).all()
    assert slab.capacity >= 47


@given(
    keeps=st.lists(st.lists(st.booleans(), min_size=23, max_size=23), min_size=1, max_size=3),
)
def test_keeping_drops_the_rest_of_every_row_and_moves_pairs_together(keeps):
    keep = torch.tensor(keeps)
    slab = filled(len(keeps), 20, 3)
    slab.keep(keep)
    assert slab.length == int(keep.sum(dim=1).max())
    for row, flags in enumerate(keeps):
        count = sum(flags)
        held = slab["position"][row, :count].tolist()
        assert sorted(held) == [i for i, flag in enumerate(flags) if flag]
        assert slab["keys"][row, 0, :count, 0].tolist() == held


def test_evicting_one_token_moves_one_token():
    slab = filled(1, 6)
    slab.keep(torch.tensor([[True, False, True, True, True, True]]))
    assert slab["position"].tolist() == [[0, 5, 2, 3, 4]]


def test_memory_is_given_back_when_most_is_evicted():
    slab = filled(1, 1000)
    keep = torch.zeros(1, 1000, dtype=torch.bool)
    keep[:, ::10] = True
    slab.keep(keep)
    assert slab.length == 100 and slab.capacity <= 200


def test_views_write_through():
    slab = filled(1, 4)
    slab["position"].add_(10)
    assert slab["position"].tolist() == [[10, 11, 12, 13]]


def test_rows_can_be_repeated_and_dropped():
    slab = filled(2, 3)
    slab["position"][1] += 7
    slab.select_rows(torch.tensor([1, 1, 0]))
    assert slab["position"].tolist() == [[7, 8, 9], [7, 8, 9], [0, 1, 2]]


def test_truncating_forgets_the_newest():
    slab = filled(1, 5)
    slab.truncate(3)
    slab.append(keys=torch.zeros(1, 2, 1, 3), position=torch.tensor([[9]]))
    assert slab["position"].tolist() == [[0, 1, 2, 9]]


def test_every_append_must_fill_the_same_tensors():
    with pytest.raises(AssertionError):
        filled(1, 2).append(position=torch.tensor([[2]]))


def test_bytes_are_those_of_the_slots_in_use():
    slab = filled(1, 10)
    assert slab.nbytes("keys") == 10 * 2 * 3 * 4
    assert slab.nbytes() == 10 * 2 * 3 * 4 + 10 * 8


@given(rows=st.lists(st.lists(st.booleans(), min_size=7, max_size=7), min_size=1, max_size=3))
def test_packing_moves_pads_to_the_end_and_back(rows):
    valid = torch.tensor(rows)
    data = torch.arange(valid.numel(), dtype=torch.float32).view(len(rows), 1, 7, 1) + 1
    order = packing(valid)
    packed, flags = pack(data, order), valid.gather(1, order)
    for row, count in enumerate(valid.sum(dim=1).tolist()):
        assert packed[row, 0, :count, 0].tolist() == data[row, 0, valid[row], 0].tolist()
    torch.testing.assert_close(unpack(packed, order, flags), data * valid[:, None, :, None])


def test_the_ledger_remembers_what_was_known_of_the_forgotten():
    ledger = Ledger()
    position = torch.tensor([[0, 3, 1], [2, 0, 1]])
    dying = torch.tensor([[False, True, False], [True, False, True]])
    strength = torch.tensor([[5.0, 6.0, 7.0], [8.0, 9.0, 10.0]])
    ledger.note(dying, position, torch.tensor([4, 3]), {"strength": strength})
    assert ledger.forgotten_at[:, :4].tolist() == [[-1, -1, -1, 3], [-1, 2, 2, -1]]
    assert ledger.state["strength"][0, 3] == 6 and ledger.state["strength"][1, 2] == 8
    ledger.select_rows(torch.tensor([1]))
    assert ledger.forgotten_at[:, :4].tolist() == [[-1, 2, 2, -1]]
