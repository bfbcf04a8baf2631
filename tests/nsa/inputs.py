"""Random tensors of the shapes that nsa_func takes."""

import torch


def qkv(batch, queries, heads, dim, *, tokens=None, kv_heads=None, value_dim=None, seed=0, **kind):
    random = torch.Generator().manual_seed(seed)
    tokens, kv_heads = tokens or queries, kv_heads or heads
    shapes = (
        (batch, queries, heads, dim),
        (batch, tokens, kv_heads, dim),
        (batch, tokens, kv_heads, value_dim or dim),
    )
    return [torch.randn(shape, generator=random, **kind) for shape in shapes]


def gates(q, seed=0):
    """As the seed document makes them: softmax over heads, so that the three do not sum to 1."""
    random = torch.Generator().manual_seed(seed)
    shape = q.shape[:3]
    return [torch.randn(shape, generator=random).softmax(-1).to(q.dtype) for _ in range(3)]
