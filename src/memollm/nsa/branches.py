"""The three branches over one sequence of every row of a batch, weighed by their gates."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from memollm.nsa.choice import limited
from memollm.nsa.compression import compressed_attention, compressed_attention_and_choice
from memollm.nsa.flash_linear_attention import fla_selected_attention
from memollm.nsa.layout import BlockIndices, Gate, Keys, LogSumExp, Output, Queries, Values, wide
from memollm.nsa.means import Means, block_means
from memollm.nsa.request import Backend, Request
from memollm.nsa.selection import chooses_all, selected_attention
from memollm.nsa.window import dense_attention, window_attention


@dataclass(frozen=True)
class Gates:
    """How much each branch counts, per query and head; None leaves a branch out."""

    cmp: Gate | None
    slc: Gate | None
    swa: Gate | None


@dataclass(frozen=True)
class Trace:
    """What is left to see of the weights; None for a branch that was left out."""

    cmp: LogSumExp | None = None
    slc: LogSumExp | None = None
    swa: LogSumExp | None = None
    indices: BlockIndices | None = None

    @staticmethod
    def join(traces: list[Trace]) -> Trace:
        """The traces of sequences that lie behind each other."""
        joined = {}
        for field in fields(Trace):
            parts = [getattr(trace, field.name) for trace in traces]
            axis = 1 if field.name == "indices" else 2  # of the queries
            joined[field.name] = None if parts[0] is None else torch.cat(parts, dim=axis)
        return Trace(**joined)


def attend(
    queries: Queries, keys: Keys, values: Values, gates: Gates, request: Request
) -> tuple[Output, Trace]:
    """The gated sum of the branches, and their trace where the request inspects."""
    tokens, inspect, scale = keys.shape[1], request.inspect, request.scale
    outputs = None
    indices = request.block_indices
    dense = indices is None and chooses_all(request.block_counts, tokens, request.block_size)
    selecting = gates.slc is not None and not dense
    needed = indices is None and (inspect or selecting)  # a choice of blocks, by someone
    cmp = slc = swa = None
    if needed:
        compressed, cmp, indices = _compressed_and_choice(queries, keys, values, request)
    elif gates.cmp is not None:
        compressed, cmp = compressed_attention(queries, *_means(queries, keys, values, request))
    if gates.cmp is not None:
        outputs = _add(outputs, gates.cmp, compressed)
    if gates.slc is not None:
        if dense:
            selected = dense_attention(queries, keys, values, scale)
            if inspect:  # torch's kernel keeps the log-sum-exp to itself
                with torch.no_grad():
                    slc = window_attention(queries, keys, values, tokens, scale)[1]
        else:
            assert indices is not None
            selected, slc = _selected(queries, keys, values, indices, request)
        outputs = _add(outputs, gates.slc, selected)
    if gates.swa is not None:
        near, swa = window_attention(queries, keys, values, request.window_size, scale)
        outputs = _add(outputs, gates.swa, near)
    trace = Trace(cmp if gates.cmp is not None else None, slc, swa, indices)
    assert outputs is not None  # some gate is given
    return outputs.to(queries.dtype), trace if inspect else Trace()


def _add(outputs: Output | None, gate: Gate, branch: Output) -> Output:
    """A branch's share on top of the others', in float32 at least."""
    dtype = wide(branch.dtype)
    share = gate.unsqueeze(-1).to(dtype)
    if outputs is None:
        return share * branch.to(dtype)
    return torch.addcmul(outputs, share, branch.to(dtype))


def _means(
    queries: Queries, keys: Keys, values: Values, request: Request
) -> tuple[Means, Float[Tensor, "batch blocks kv_heads value_dim"], int, int, float]:
    """What compression works on: the means, the first position, the block size, the scale."""
    size, means = request.block_size, request.means
    return (
        block_means(keys, size) if means is None else means.keys,
        block_means(values, size) if means is None else means.values,
        keys.shape[1] - queries.shape[1],
        size,
        request.scale,
    )


def _compressed_and_choice(
    queries: Queries, keys: Keys, values: Values, request: Request
) -> tuple[Output, LogSumExp, BlockIndices]:
    settled = _means(queries, keys, values, request)
    outputs, lse, indices = compressed_attention_and_choice(queries, *settled, request.selected)
    if isinstance(request.block_counts, Tensor):
        indices = limited(indices, request.block_counts)
    return outputs, lse, indices


def _selected(
    queries: Queries, keys: Keys, values: Values, indices: BlockIndices, request: Request
) -> tuple[Output, LogSumExp | None]:
    if request.backend is Backend.torch:
        return selected_attention(queries, keys, values, indices, request.block_size, request.scale)
    size, scale = request.block_size, request.scale
    outputs = fla_selected_attention(queries, keys, values, indices, size, scale)
    if not request.inspect:
        return outputs, None
    with torch.no_grad():  # fla's public call keeps the log-sum-exp to itself
        return outputs, selected_attention(queries, keys, values, indices, size, scale)[1]
