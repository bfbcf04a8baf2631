"""Ways of asking nsa_func the same thing, and limits in which it is something known."""

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from memollm.nsa import chunked, nsa_func
from memollm.nsa.block_major import block_major
from memollm.nsa.gathered import gathered
from memollm.nsa.means import BlockMeans
from tests.nsa.inputs import gates, qkv

FLOAT64 = dict(dtype=torch.float64)
EXACT = dict(rtol=0, atol=1e-12)  # float64: sums in another order
SMALL = dict(block_size=4, block_counts=4, window_size=6)
# Half precision of outputs of size about 1: sums are in float32, the result is rounded.
HALF = {torch.bfloat16: 2e-2, torch.float16: 2e-3}


def dense(q, k, v):
    q, k, v = (t.transpose(1, 2) for t in (q, k, v))
    mask = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
    return scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True).transpose(1, 2)


def selected(q, k, v, **settings):
    return nsa_func(q, k, v, None, torch.ones_like(q[..., 0]), None, **settings)


@pytest.mark.parametrize("queries", [30, 7])
@pytest.mark.parametrize("heads", [2, 6])
@pytest.mark.parametrize("counts", [8, 12])  # exactly all blocks, and more than there are
def test_selecting_every_block_is_dense_causal_attention(queries, heads, counts):
    q, k, v = qkv(2, queries, heads, 8, tokens=30, kv_heads=2, **FLOAT64)
    got = selected(q, k, v, block_size=4, block_counts=counts)
    torch.testing.assert_close(got, dense(q, k, v), **EXACT)


@pytest.mark.parametrize("queries", [1, 30])
def test_naming_every_block_is_dense_causal_attention(queries):
    q, k, v = qkv(2, queries, 4, 8, tokens=30, kv_heads=2, **FLOAT64)
    every = torch.arange(8).expand(2, queries, 2, 8)
    got = selected(q, k, v, block_size=4, block_indices=every)
    torch.testing.assert_close(got, dense(q, k, v), **EXACT)


@pytest.mark.parametrize("size", [30, 1000])
@pytest.mark.parametrize("heads", [2, 6])
def test_a_window_of_all_tokens_is_dense_causal_attention(size, heads):
    q, k, v = qkv(2, 30, heads, 8, kv_heads=2, **FLOAT64)
    got = nsa_func(q, k, v, None, None, torch.ones_like(q[..., 0]), window_size=size)
    torch.testing.assert_close(got, dense(q, k, v), **EXACT)


def test_the_output_is_linear_in_the_gates():
    q, k, v = qkv(1, 50, 4, 8, kv_heads=2, **FLOAT64)
    weighing, one = gates(q), torch.ones_like(q[..., 0])
    parts = []
    for at, gate in enumerate(weighing):
        alone = [one if other == at else None for other in range(3)]
        parts.append(gate[..., None] * nsa_func(q, k, v, *alone, **SMALL))
    torch.testing.assert_close(nsa_func(q, k, v, *weighing, **SMALL), sum(parts), **EXACT)


@pytest.mark.parametrize("queries", [1, 3, 20])
def test_the_last_queries_alone_get_what_they_get_among_all(queries):
    q, k, v = qkv(2, 50, 4, 8, kv_heads=2, **FLOAT64)
    weighing = gates(q)
    full = nsa_func(q, k, v, *weighing, **SMALL)
    last = [gate[:, -queries:] for gate in weighing]
    few = nsa_func(q[:, -queries:], k, v, *last, **SMALL)
    torch.testing.assert_close(few, full[:, -queries:], **EXACT)


def test_decoding_token_by_token_with_kept_means_is_the_whole_text():
    q, k, v = qkv(2, 23, 4, 8, kv_heads=2, **FLOAT64)
    weighing, means = gates(q), BlockMeans(SMALL["block_size"])
    full = nsa_func(q, k, v, *weighing, **SMALL)
    steps = []
    for t in range(23):
        now = slice(t, t + 1)
        means.append(k[:, now], v[:, now])
        mine = [gate[:, now] for gate in weighing]
        steps.append(nsa_func(q[:, now], k[:, : t + 1], v[:, : t + 1], *mine, means=means, **SMALL))
    torch.testing.assert_close(torch.cat(steps, dim=1), full, **EXACT)


def test_packed_sequences_are_sequences_alone():
    q, k, v = qkv(1, 60, 4, 8, tokens=70, kv_heads=2, **FLOAT64)
    weighing = gates(q)
    of_queries, of_keys = torch.tensor([0, 3, 3, 41, 60]), torch.tensor([0, 9, 9, 50, 70])
    settings = dict(return_attn_weights=True, **SMALL)
    packed, seen = nsa_func(q, k, v, *weighing, cu_seqlens=(of_queries, of_keys), **settings)
    for at in (0, 2, 3):
        mine, theirs = slice(*of_queries[at : at + 2]), slice(*of_keys[at : at + 2])
        own = [gate[:, mine] for gate in weighing]
        alone, alone_seen = nsa_func(q[:, mine], k[:, theirs], v[:, theirs], *own, **settings)
        torch.testing.assert_close(packed[:, mine], alone, **EXACT)
        for branch in ("compression", "selection", "sliding_window"):
            got = seen[branch]["lse"][:, :, mine]
            torch.testing.assert_close(got, alone_seen[branch]["lse"], **EXACT)
        indices = seen["selection"]["block_indices"][:, mine]
        assert torch.equal(indices, alone_seen["selection"]["block_indices"])


@pytest.mark.parametrize("what", ["block_counts", "block_indices"])
def test_packed_sequences_keep_what_is_said_of_each_query(what):
    q, k, v = qkv(1, 30, 4, 8, kv_heads=2, **FLOAT64)
    weighing = gates(q)
    random = torch.Generator().manual_seed(0)
    shape = (1, 30, 2) if what == "block_counts" else (1, 30, 2, 3)
    said = torch.randint(0, 4, shape, generator=random)
    packed = nsa_func(
        q, k, v, *weighing, block_size=4, cu_seqlens=torch.tensor([0, 13, 30]), **{what: said}
    )
    last = slice(13, 30)
    own = [gate[:, last] for gate in weighing]
    alone = nsa_func(
        q[:, last], k[:, last], v[:, last], *own, block_size=4, **{what: said[:, last]}
    )
    torch.testing.assert_close(packed[:, last], alone, **EXACT)


def test_groups_filled_up_with_heads_of_zeros_change_nothing():
    q, k, v = qkv(1, 50, 2, 8, kv_heads=2, **FLOAT64)
    weighing = gates(q)
    filled = torch.zeros(1, 50, 2, 16, 8, **FLOAT64)
    filled[:, :, :, 0] = q
    wide = [g.repeat_interleave(16, dim=2) for g in weighing]
    got = nsa_func(filled.flatten(2, 3), k, v, *wide, **SMALL)
    torch.testing.assert_close(got[:, :, ::16], nsa_func(q, k, v, *weighing, **SMALL), **EXACT)


def test_neither_order_nor_repetition_of_blocks_says_anything():
    q, k, v = qkv(1, 40, 2, 8, **FLOAT64)
    indices = torch.tensor([0, 3, 7, 9]).expand(1, 40, 2, 4)
    same = torch.tensor([9, -1, 3, 0, 3, 7, -1, 9]).expand(1, 40, 2, 8)
    for queries in (40, 2):  # block after block, then gathered
        few = q[:, -queries:]
        got, other = (
            selected(few, k, v, block_size=4, block_indices=i[:, -queries:])
            for i in (indices, same)
        )
        torch.testing.assert_close(got, other, **EXACT)


def test_a_query_without_blocks_gets_nothing():
    q, k, v = qkv(1, 40, 2, 8)
    nothing = torch.full((1, 40, 2, 2), -1)
    nothing[:, 8:, :, 0] = 0
    nothing[:, :8, :, 0] = 5  # in the future
    for queries in (40, 33):
        got = selected(q[:, -queries:], k, v, block_size=4, block_indices=nothing[:, -queries:])
        assert (got[:, : queries - 32] == 0).all() and (got[:, queries - 32 :] != 0).all()


def test_gathered_and_block_major_agree_in_gradients_too():
    inputs = [t.requires_grad_() for t in qkv(2, 12, 6, 8, tokens=50, kv_heads=2, **FLOAT64)]
    indices = torch.randint(-1, 13, (2, 12, 2, 5), generator=torch.Generator().manual_seed(0))
    results = [way(*inputs, indices, 4, 0.3) for way in (gathered, block_major)]
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, **EXACT)
    grads = [torch.autograd.grad(o.square().sum(), inputs) for o, _ in results]
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs, **EXACT)


def test_the_size_of_chunks_changes_nothing(monkeypatch):
    inputs = [t.requires_grad_() for t in qkv(1, 100, 4, 8, kv_heads=2, **FLOAT64)]
    weighing = gates(inputs[0])

    def run():
        got = nsa_func(*inputs, *weighing, **SMALL)
        return got, *torch.autograd.grad(got.square().sum(), inputs)

    whole = run()
    monkeypatch.setattr(chunked, "SCORES_AT_A_TIME", {"cpu": 1})
    monkeypatch.setattr(chunked, "LEAST_CHUNK", 7)
    monkeypatch.setattr("memollm.nsa.block_major.ROWS_AT_A_TIME", {"cpu": 6})
    for mine, theirs in zip(run(), whole, strict=True):
        torch.testing.assert_close(mine, theirs, **EXACT)


def test_what_comes_later_changes_nothing_before_it():
    q, k, v = qkv(1, 60, 4, 8, kv_heads=2)
    weighing = gates(q)
    before = nsa_func(q, k, v, *weighing, **SMALL)
    for tensor in (q, k, v):
        tensor[:, 37:] = 100 * torch.randn_like(tensor[:, 37:])
    after = nsa_func(q, k, v, *weighing, **SMALL)
    assert torch.equal(before[:, :37], after[:, :37])
    assert not torch.equal(before[:, 37:], after[:, 37:])


@pytest.mark.parametrize(("dtype", "tolerance"), HALF.items())
def test_half_precision_differs_by_its_rounding(dtype, tolerance):
    q, k, v = (t.to(dtype) for t in qkv(1, 128, 4, 32, kv_heads=2))
    weighing = [gate.to(dtype) for gate in gates(q.float())]
    settings = dict(block_size=16, block_counts=8, window_size=32)
    half = nsa_func(q, k, v, *weighing, **settings)
    assert half.dtype == dtype
    exact = nsa_func(*(t.double() for t in (q, k, v, *weighing)), **settings)
    torch.testing.assert_close(half.double(), exact, rtol=0, atol=tolerance)


def test_gradients_in_half_precision_are_finite_and_have_its_type():
    inputs = [t.bfloat16().requires_grad_() for t in qkv(1, 70, 4, 16, kv_heads=2)]
    got = nsa_func(*inputs, *gates(inputs[0]), **SMALL)
    for tensor, grad in zip(inputs, torch.autograd.grad(got.sum(), inputs), strict=True):
        assert grad.dtype == tensor.dtype and grad.isfinite().all() and grad.any()


def test_the_same_call_gives_the_same_bits():
    inputs = [t.requires_grad_() for t in qkv(1, 200, 4, 16, kv_heads=2)]
    weighing = gates(inputs[0])
    runs = []
    for _ in range(2):
        got = nsa_func(*inputs, *weighing, **SMALL)
        runs.append((got, *torch.autograd.grad(got.sum(), inputs)))
    assert all(torch.equal(first, second) for first, second in zip(*runs, strict=True))
