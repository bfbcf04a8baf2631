"""The selection by flash-linear-attention: what it is asked, and that it is not needed."""

import sys
import types

import pytest
import torch

from memollm.nsa import nsa_func
from tests.nsa import definition
from tests.nsa.inputs import gates, qkv

SETTINGS = dict(block_size=16, block_counts=3, window_size=20)


def parallel_nsa(q, k, v, block_indices, block_counts, block_size, window_size, scale):
    """What fla.ops.nsa.parallel_nsa 0.6.0 computes and refuses, for given blocks."""
    group = q.shape[2] // k.shape[2]
    assert group >= 16 and group & (group - 1) == 0
    assert window_size == 0 and block_counts == block_indices.shape[-1]
    listed = [[h for h in m if h >= 0] for b in block_indices.tolist() for g in b for m in [*g]]
    assert all(len(blocks) == len(set(blocks)) for blocks in listed)  # it would count them twice
    sets = definition.as_sets(block_indices)
    assert all(heads for b in sets for m in b for heads in m)  # it would divide by zero
    return definition.selection(q, k, v, sets, block_size, scale)[0]


@pytest.fixture
def fla(monkeypatch):
    module = types.ModuleType("fla.ops.nsa")
    module.parallel_nsa = parallel_nsa
    for name, fake in (
        ("fla", types.ModuleType("fla")),
        ("fla.ops", types.ModuleType("fla.ops")),
        ("fla.ops.nsa", module),
    ):
        monkeypatch.setitem(sys.modules, name, fake)


@pytest.mark.parametrize("group", [1, 3, 16])
def test_both_backends_agree(fla, group):
    inputs = [
        t.requires_grad_()
        for t in qkv(1, 70, 2 * group, 8, kv_heads=2, value_dim=4, dtype=torch.float64)
    ]
    weighing = gates(inputs[0])
    results = []
    for backend in ("torch", "fla"):
        got, seen = nsa_func(
            *inputs, *weighing, backend=backend, return_attn_weights=True, **SETTINGS
        )
        grads = torch.autograd.grad(got.square().sum(), inputs)
        results.append((got, seen["selection"]["lse"], *grads))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_repeated_blocks_and_queries_without_blocks_agree_too(fla):
    q, k, v = qkv(1, 70, 2, 8, dtype=torch.float64)
    indices = torch.tensor([3, 1, 3, 1]).expand(1, 70, 2, 4)
    one = torch.ones_like(q[..., 0])
    mine, theirs = (
        nsa_func(q, k, v, None, one, None, block_size=16, block_indices=indices, backend=backend)
        for backend in ("torch", "fla")
    )
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)
    assert (theirs[:, :16] == 0).all()


def test_what_it_cannot_do_is_refused(fla):
    q, k, v = qkv(1, 70, 2, 8)
    weighing = gates(q)
    with pytest.raises(ValueError, match="block_size = 16, 32"):
        nsa_func(q, k, v, *weighing, block_size=24, block_counts=2, backend="fla")
    few = [gate[:, -9:] for gate in weighing]
    nsa_func(q[:, -9:], k, v, *few, backend="fla", **SETTINGS)
    with pytest.raises(ValueError, match="no gradients for 9 queries of 70 tokens"):
        nsa_func(q[:, -9:], k.requires_grad_(), v, *few, backend="fla", **SETTINGS)
    q, k, v = qkv(1, 70, 2, 300)
    with pytest.raises(ValueError, match="up to 256 dimensions, got 300"):
        nsa_func(q, k, v, *weighing, backend="fla", **SETTINGS)


def test_without_it_the_way_to_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "fla.ops.nsa", None)
    q, k, v = qkv(1, 70, 2, 8)
    with pytest.raises(ImportError, match="pip install 'memollm\\[gpu\\]'"):
        nsa_func(q, k, v, *gates(q), backend="fla", **SETTINGS)
