"""A slab: tensors of growing length that share one axis of slots.

Keys, values and everything else known of a cached token lie in the same slot of tensors that are
larger than they need be, so that appending copies only what is new, and evicting moves only as
many tokens as die: the holes are filled from the end. The order of the slots therefore says
nothing; a token's position is one of the things known of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Int
from torch import Tensor

GROWTH = 1.5  # capacity after a growth, in units of what is needed
SHRINK = 0.5  # share of the capacity in use below which it is given back


class Slab:
    """Named tensors (batch, slots) or (batch, heads, slots, dim), all of one ``length``.

    >>> import torch
    >>> slab = Slab()
    >>> slab.append(index=torch.tensor([[0, 1, 2, 3]]))
    >>> slab.keep(torch.tensor([[True, False, True, True]]))
    >>> slab["index"]
    tensor([[0, 3, 2]])
    """

    def __init__(self, constant: Mapping[str, tuple[float | bool, torch.dtype]] | None = None):
        """``constant`` tensors (batch, slots) hold one value in every slot that is appended."""
        self.length = 0  # slots in use, in the fullest row
        self.capacity = 0
        self.generation = 0  # grows whenever tensors are replaced, and lie elsewhere
        self._constant = dict(constant or {})  # slots that are not in use hold it already
        self._tensors: dict[str, Tensor] = {}
        self._views: dict[str, Tensor] = {}  # of the slots in use, made when first asked for

    def __getitem__(self, name: str) -> Tensor:
        """The slots in use of one tensor: a view, to be written in place."""
        view = self._views.get(name)
        if view is None:
            tensor = self._tensors[name]
            view = self._views[name] = tensor.narrow(_axis(tensor), 0, self.length)
        return view

    def head(self, name: str, length: int) -> Tensor:
        """The first ``length`` slots of one tensor, likewise."""
        view = self[name]
        return view if length == self.length else view.narrow(_axis(view), 0, length)

    def whole(self, name: str) -> Tensor:
        """One tensor with the slots that are not in use: for who writes to its address."""
        return self._tensors[name]

    def reserve(self, count: int) -> None:
        """Make room for ``count`` more slots."""
        if self.length + count > self.capacity:
            self._resize(self.length + count)

    def extend(self, **new: Tensor) -> None:
        """Take one reserved slot into use; the caller writes the tensors that are not named."""
        for name, tensor in new.items():
            self._tensors[name].narrow(_axis(tensor), self.length, 1).copy_(tensor)
        self.length += 1
        self._views.clear()

    def append(self, **new: Tensor) -> None:
        """Add slots at the end; every call names every tensor that is not constant."""
        if not self._tensors:
            self._begin(new)
        assert len(new) + len(self._constant) == len(self._tensors)
        first = next(iter(new.values()))
        begin, count = self.length, first.shape[_axis(first)]
        self.reserve(count)
        for name, tensor in new.items():
            self._tensors[name].narrow(_axis(tensor), begin, count).copy_(tensor)
        self.length = begin + count
        self._views.clear()

    def keep(self, keep: Bool[Tensor, "batch length"]) -> None:
        """Drop every slot that is False; rows that keep fewer than the fullest end in free slots.

        The caller marks free slots (it knows which of its tensors says so) and never keeps them.
        """
        counts = keep.sum(dim=1).tolist()
        for row, count in enumerate(counts):
            holes = (~keep[row, :count]).nonzero().squeeze(1)
            if holes.numel():
                movers = keep[row, count:].nonzero().squeeze(1) + count
                self._move(row, movers, holes)
        self.truncate(max(counts, default=0))
        if self.length < SHRINK * self.capacity:
            self._resize(self.length)

    def truncate(self, length: int) -> None:
        """Forget the slots that were appended last."""
        for name, (value, _) in self._constant.items():
            self._tensors[name].narrow(1, length, self.length - length).fill_(value)
        self.length = length
        self._views.clear()

    def select_rows(self, rows: Int[Tensor, " rows"]) -> None:
        """Make ``rows`` of the batch the new batch (repeats allowed)."""
        for name, tensor in self._tensors.items():
            self._tensors[name] = tensor.index_select(0, rows.to(tensor.device))
        self.generation += 1
        self._views.clear()

    def nbytes(self, *names: str) -> int:
        """Bytes of the slots in use, of all tensors or of those named."""
        return sum(
            self[name].numel() * self[name].element_size() for name in names or self._tensors
        )

    def _begin(self, new: Mapping[str, Tensor]) -> None:
        first = next(iter(new.values()))
        for name, tensor in new.items():
            self._tensors[name] = tensor.narrow(_axis(tensor), 0, 0).clone()
        for name, (_, dtype) in self._constant.items():
            self._tensors[name] = first.new_empty(first.shape[0], 0, dtype=dtype)

    def _move(self, row: int, source: Int[Tensor, " moved"], target: Int[Tensor, " moved"]) -> None:
        for tensor in self._tensors.values():
            slots = tensor[row].transpose(0, _axis(tensor) - 1)
            slots[target] = slots[source]

    def _resize(self, needed: int) -> None:
        self.capacity = max(int(needed * GROWTH), 16)
        for name, tensor in self._tensors.items():
            axis = _axis(tensor)
            shape = list(tensor.shape)
            shape[axis] = self.capacity
            if name in self._constant:
                larger = tensor.new_full(shape, self._constant[name][0])
            else:
                larger = tensor.new_empty(shape)
            held = min(self.length, self.capacity)
            larger.narrow(axis, 0, held).copy_(tensor.narrow(axis, 0, held))
            self._tensors[name] = larger
        self.generation += 1
        self._views.clear()


def _axis(tensor: Tensor) -> int:
    return 2 if tensor.dim() == 4 else 1
