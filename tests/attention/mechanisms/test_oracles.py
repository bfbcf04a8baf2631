"""Each mechanism against its own formula, written out."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from memollm.attention.config import AttentionConfig, attention_types
from memollm.attention.factory import AttentionFactory
from memollm.attention.mechanisms import kernelised
from memollm.attention.mechanisms.base import HeadShape
from memollm.attention.mechanisms.cosformer import Cosformer
from memollm.attention.mechanisms.flash import Flash
from memollm.attention.mechanisms.flash_v1 import FlashV1
from memollm.attention.mechanisms.full import Full
from memollm.attention.mechanisms.learnable import Learnable
from memollm.attention.mechanisms.linear import Linear
from memollm.attention.mechanisms.linformer import Linformer
from memollm.attention.mechanisms.lsh import LSH
from memollm.attention.mechanisms.native_sparse import NativeSparse
from memollm.attention.mechanisms.nystrom import Nystrom
from memollm.attention.mechanisms.performer import Performer
from memollm.attention.mechanisms.scope import Scope
from memollm.attention.operations import operations
from memollm.registry import groups

attention_types()  # so that all are registered
EXACT = {"rtol": 0, "atol": 1e-10}  # float64: sums of some dozen numbers of size 1


def qkv(tokens=37, heads=2, dim=8, batch=1, seed=0, draw=torch.randn):
    lots = torch.Generator().manual_seed(seed)
    return [draw(batch, heads, tokens, dim, generator=lots, dtype=torch.float64) for _ in range(3)]


def off(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


def written_out(weights, values):
    return weights / weights.sum(-1, keepdim=True) @ values


def part(name, **settings):
    return groups()["mechanism"][name](**settings)


def test_full_is_the_sum_written_out():
    q, k, v = qkv()
    weights = torch.tril(torch.exp(q @ k.mT / math.sqrt(8)))
    torch.testing.assert_close(Full().attend(q, k, v), written_out(weights, v), **EXACT)


@pytest.mark.parametrize("flash", [Flash, FlashV1])
@given(data=st.data())
def test_flash_is_full_whatever_its_blocks(flash, data):
    tokens = data.draw(st.integers(1, 40), "tokens")
    queries = data.draw(st.integers(1, tokens), "queries")
    blocks = data.draw(st.tuples(st.integers(1, 50), st.integers(1, 50)), "blocks")
    causal = data.draw(st.booleans(), "causal")
    slopes = torch.tensor([0.5, 0.1]) if data.draw(st.booleans(), "ALiBi") else None
    q, k, v = qkv(tokens)
    q = q[:, :, -queries:]
    out, sums = flash(*blocks).with_sums(q, k, v, Scope(causal, slopes=slopes))
    torch.testing.assert_close(out, Full().attend(q, k, v, Scope(causal, slopes=slopes)), **EXACT)
    ago = torch.arange(tokens - queries, tokens)[:, None] - torch.arange(tokens)
    scores = q @ k.mT / math.sqrt(8)
    if slopes is not None:
        scores = scores - slopes.double()[:, None, None] * ago.abs()
    if causal:
        scores = scores.masked_fill(ago < 0, -torch.inf)
    torch.testing.assert_close(sums, scores.logsumexp(-1), **EXACT)


@pytest.mark.parametrize("flash", [Flash, FlashV1])
def test_flash_gives_0_where_everything_is_hidden(flash):
    q, k, v = qkv(20)
    mask = torch.zeros(1, 1, 20, 20, dtype=torch.bool)
    mask[..., 3, 2] = True
    out, sums = flash(4, 4).with_sums(q, k, v, Scope(False, mask=mask))
    assert torch.equal(out[:, :, 3], v[:, :, 2])
    assert not out[:, :, [*range(3), *range(4, 20)]].any() and sums.isfinite().all()


@pytest.mark.parametrize(
    ("name", "causal"), [("multi_head", True), ("self", False), ("cross", False), ("gqa", True)]
)
def test_layers_are_torch_s_multi_head_attention(name, causal):
    config = AttentionConfig(name, d_model=24, n_heads=4, dropout=0.0, causal=causal, bias=True)
    torch.manual_seed(0)
    ours = AttentionFactory.create_attention(config).double()
    theirs = nn.MultiheadAttention(24, 4, batch_first=True, dtype=torch.float64)
    repeat = 4 // ours.kv_heads

    def of_every_head(parameter):  # the same for all heads that share it
        heads = parameter.unflatten(0, (ours.kv_heads, -1))
        return heads.repeat_interleave(repeat, 0).flatten(0, 1)

    with torch.no_grad():
        for kind in ("weight", "bias"):
            q, k, v = (getattr(it, kind) for it in (ours.queries, ours.keys, ours.values))
            theirs.get_parameter(f"in_proj_{kind}").copy_(
                torch.cat([q, of_every_head(k), of_every_head(v)])
            )
            theirs.out_proj.get_parameter(kind).copy_(getattr(ours.outputs, kind))
    x, other = torch.randn(2, 2, 9, 24, dtype=torch.float64)
    source = other if name == "cross" else x
    hidden = torch.ones(9, 9, dtype=torch.bool).triu(1) if causal else None
    wanted = theirs(x, source, source, attn_mask=hidden, need_weights=False)[0]
    found = ours(x, context=other if name == "cross" else None)
    torch.testing.assert_close(found, wanted, **EXACT)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("chunk", [1, 5, 64])
def test_linear_is_its_quadratic_form_whatever_its_chunks(causal, chunk, monkeypatch):
    monkeypatch.setattr(kernelised, "CHUNK", {"cpu": chunk})
    q, k, v = qkv()
    weights = (nn.functional.elu(q) + 1) @ (nn.functional.elu(k) + 1).mT
    weights = weights.tril() if causal else weights
    out = Linear().attend(q, k, v, Scope(causal))
    torch.testing.assert_close(out, written_out(weights, v), **EXACT)


@pytest.mark.parametrize("causal", [True, False])
def test_cosformer_is_its_cosine_written_out(causal):
    q, k, v = qkv()
    at = torch.arange(37, dtype=torch.float64)
    cosine = torch.cos(math.pi / 2 * (at[:, None] - at) / 50)
    weights = q.relu() @ k.relu().mT * cosine
    assert (weights >= 0).all()
    weights = weights.tril() if causal else weights
    out = Cosformer(max_seq_len=50).attend(q, k, v, Scope(causal))
    wanted = written_out(weights, v).nan_to_num(0.0)  # a query of weights 0 alone
    torch.testing.assert_close(out, wanted, **EXACT)


def test_cosformer_refuses_a_text_beyond_its_cosine():
    with pytest.raises(ValueError, match="max_seq_len=36 tokens at most, got 37"):
        Cosformer(max_seq_len=36).attend(*qkv())


def test_performer_nears_softmax_for_small_queries_and_keys():
    q, k, v = qkv(64, dim=32)
    q, k = q / 2, k / 2  # at scale 1 even 8192 features are not enough
    wanted = Full().attend(q, k, v, Scope(False))
    errors = [
        sum(off(Performer(m, seed=s).attend(q, k, v, Scope(False)), wanted) for s in range(3)) / 3
        for m in (32, 128, 512, 2048)
    ]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.15


def test_orthogonal_features_are_no_worse():
    q, k, v = qkv(64, dim=32)
    wanted = Full().attend(q / 2, k / 2, v, Scope(False))
    errors = {
        kind: sum(
            off(Performer(256, kind, seed).attend(q / 2, k / 2, v, Scope(False)), wanted)
            for seed in range(8)
        )
        for kind in (True, False)
    }
    assert errors[True] < errors[False]


def test_performer_s_features_are_positive_and_finite_for_large_vectors():
    q, k, v = (20 * it for it in qkv(dim=64))
    asking, asked = Performer(64).features(q.float(), k.float(), 0, 0)
    assert (asking >= 0).all() and (asked >= 0).all()
    assert Performer(64).attend(q.float(), k.float(), v.float()).isfinite().all()


def test_linformer_of_a_permutation_is_full():
    q, k, v = qkv()
    mechanism = Linformer(projection_dim=37, max_seq_len=37)
    weights = mechanism.weights(HeadShape(16, 2, 2, 8)).double()
    order = torch.eye(37, dtype=torch.float64)[torch.randperm(37)]
    with torch.no_grad():
        weights.keys.copy_(order)
        weights.values.copy_(order)
    out = mechanism.attend(q, k, v, Scope(False), weights)
    torch.testing.assert_close(out, Full().attend(q, k, v, Scope(False)), **EXACT)
    with pytest.raises(ValueError, match="max_seq_len=37 tokens at most, got 38"):
        mechanism.attend(*qkv(38), Scope(False), weights)


def test_nystrom_with_every_token_a_landmark_is_full():
    q, k, v = qkv()
    wanted = Full().attend(q, k, v, Scope(False))
    few, many = (off(Nystrom(37, it).attend(q, k, v, Scope(False)), wanted) for it in (6, 20))
    assert many < 1e-5 < few < 0.2  # 6 iterations, as in the paper, stop before the inverse


def test_nystrom_is_near_where_few_landmarks_say_much():
    q, k, v = qkv(128, draw=torch.rand)  # all vectors point one way
    out = Nystrom(8).attend(q, k, v, Scope(False))
    assert off(out, Full().attend(q, k, v, Scope(False))) < 0.01


def test_one_bucket_is_full():
    q, k, v = qkv()
    for causal in (True, False):
        out = LSH(buckets=1, rounds=3).attend(q, k, v, Scope(causal))
        torch.testing.assert_close(out, Full().attend(q, k, v, Scope(causal)), **EXACT)


@pytest.mark.parametrize("causal", [True, False])
def test_pairs_weigh_as_often_as_they_meet(causal):
    q, k, v = qkv()
    mechanism = LSH(buckets=4, rounds=3)
    rounds = range(3)
    meetings = sum(
        (mechanism.bucket(q, r)[..., None] == mechanism.bucket(k, r)[..., None, :]).double()
        for r in rounds
    )
    meetings.diagonal(dim1=-2, dim2=-1).fill_(3.0)  # a token meets itself in every round
    weights = meetings * torch.exp(q @ k.mT / math.sqrt(8))
    weights = weights.tril() if causal else weights
    out = mechanism.attend(q, k, v, Scope(causal))
    torch.testing.assert_close(out, written_out(weights, v), **EXACT)


def test_more_rounds_do_not_make_hashing_worse():
    errors = []
    for rounds in (1, 4, 16):
        error = 0.0
        for seed in range(3):
            q, _, v = qkv(64, seed=seed)
            k = 3 * q / q.norm(dim=-1, keepdim=True)  # alike ones hash alike
            out = LSH(8, rounds, seed).attend(q, k, v, Scope(False))
            error += off(out, Full().attend(q, k, v, Scope(False)))
        errors.append(error)
    assert errors == sorted(errors, reverse=True)


DENSE = [
    ("local", {"window_size": 37}),
    ("dilated", {"window_size": 37, "dilation": 1}),
    ("strided", {"stride": 1}),
    ("strided", {"stride": 40}),
    ("global", {"global_tokens": 40}),
    ("longformer", {"window_size": 1, "global_tokens": 37}),
    ("block_sparse", {"block_size": 8, "neighbours": 4}),
    ("random", {"block_size": 8, "random_blocks": 9}),
    ("bigbird", {"block_size": 8, "global_blocks": 5}),
]


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("name", "settings"), DENSE)
def test_a_pattern_that_leaves_nothing_out_is_full(name, settings, causal):
    q, k, v = qkv()
    out = part(name, **settings).attend(q, k, v, Scope(causal))
    torch.testing.assert_close(out, Full().attend(q, k, v, Scope(causal)), **EXACT)


PICTURES = {
    ("local", "window_size=2"): ["##....", "###...", ".###..", "..###.", "...###", "....##"],
    ("dilated", "window_size=2,dilation=2"): [
        "#.#...", ".#.#..", "#.#.#.", ".#.#.#", "..#.#.", "...#.#",
    ],
    ("strided", "stride=2"): ["###.#.", "####.#", "#####.", ".#####", "#.####", ".#.###"],
    ("global", "global_tokens=1"): ["######", "##....", "#.#...", "#..#..", "#...#.", "#....#"],
    ("longformer", "window_size=2,global_tokens=1"): [
        "######", "###...", "####..", "#.###.", "#..###", "#...##",
    ],
    ("block_sparse", "block_size=2,neighbours=0,global_blocks=1"): [
        "##....", "##....", "####..", "####..", "##..##", "##..##",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("name", "settings"), PICTURES)
def test_patterns_look_like_their_pictures(name, settings):
    given = {key: int(value) for key, value in (it.split("=") for it in settings.split(","))}
    seen = part(name, **given).seen(6, 6, causal=False)
    drawn = ["".join(".#"[cell] for cell in row) for row in seen.int().tolist()]
    assert drawn == PICTURES[name, settings]


@pytest.mark.parametrize(("name", "blocks"), [("random", 1 + 2), ("bigbird", 3 + 1 + 2)])
def test_lots_are_drawn_once_and_for_all(name, blocks):
    first = part(name, block_size=2, random_blocks=2, seed=5).seen(40, 40, causal=False)
    assert torch.equal(part(name, block_size=2, random_blocks=2, seed=5).seen(40, 40, False), first)
    other = part(name, block_size=2, random_blocks=2, seed=6).seen(40, 40, causal=False)
    assert not torch.equal(first, other)
    assert (first[8:38].sum(1) == 2 * blocks).all()  # away from both ends
    shorter = part(name, block_size=2, random_blocks=2, seed=5).seen(20, 20, causal=True)
    longer = part(name, block_size=2, random_blocks=2, seed=5).seen(40, 40, causal=True)
    assert torch.equal(longer[:20, :20], shorter)


@pytest.mark.parametrize("name", ["bigbird", "learnable", "local", "longformer", "lsh", "strided"])
def test_what_is_left_out_is_not_computed(name):
    q, k, v = (it.float() for it in qkv(1024, heads=1))
    mechanism = part(name, **({"window_size": 64} if name in ("local", "longformer") else {}))
    weights = mechanism.weights(HeadShape(8, 1, 1, 8))
    dense = operations(lambda: Full().attend(q, k, v))
    with torch.no_grad():
        assert operations(lambda: mechanism.attend(q, k, v, Scope(), weights)) < dense / 2


def selecting(block_counts):
    mechanism = Learnable(block_size=4, block_counts=block_counts, rank=3)
    torch.manual_seed(0)
    return mechanism, mechanism.weights(HeadShape(16, 2, 2, 8)).double()


def test_a_learned_pattern_of_all_blocks_is_full():
    q, k, v = qkv()
    mechanism, weights = selecting(10)
    torch.testing.assert_close(
        mechanism.attend(q, k, v, Scope(), weights), Full().attend(q, k, v), **EXACT
    )


def test_a_learned_pattern_sees_the_best_blocks_and_its_own():
    q, k, v = qkv()
    mechanism, weights = selecting(3)
    means = k[:, :, :36].unflatten(2, (9, 4)).mean(3)
    scores = weights.queries(q) @ weights.keys(means).mT
    seen = torch.zeros(1, 2, 37, 37, dtype=torch.bool)
    for head in range(2):
        for query in range(37):
            own = query // 4
            best = scores[0, head, query, :own].topk(min(2, own)).indices.tolist()
            for block in [own, *best]:
                seen[0, head, query, 4 * block : 4 * block + 4] = True
    wanted = Full().attend(q, k, v, Scope(mask=seen))
    found = mechanism.attend(q, k, v, Scope(), weights)
    torch.testing.assert_close(found, wanted, **EXACT)
    with torch.no_grad():  # without the way back for gradients
        alone = mechanism.attend(q, k, v, Scope(), weights)
    torch.testing.assert_close(alone, found, **EXACT)


def test_a_selector_is_trained_to_find_the_block_that_helps():
    mechanism = Learnable(block_size=4, block_counts=2, rank=4)
    torch.manual_seed(0)
    weights = mechanism.weights(HeadShape(16, 1, 1, 8)).double()
    q, k, v = qkv(64, heads=1)
    q, k, v = 0.3 * q, torch.zeros_like(k), torch.zeros_like(v)
    q[..., 0] = k[0, 0, 8:12, 0] = 1.0  # by which block 2 can be told
    v[0, 0, 8:12] = 1.0  # what is to be found
    optimiser = torch.optim.Adam(weights.parameters(), 0.05)

    def missed():
        return (1 - mechanism.attend(q, k, v, Scope(), weights)[0, 0, 12:]).square().mean()

    before = float(missed().detach())
    for _ in range(30):
        optimiser.zero_grad()
        missed().backward()
        optimiser.step()
    assert float(missed().detach()) < 0.5 * before


def test_nsa_by_its_selection_alone_is_full_if_every_block_is_chosen():
    q, k, v = qkv()
    mechanism = NativeSparse(block_size=4, block_counts=10, window_size=4)
    weights = mechanism.weights(HeadShape(16, 2, 2, 8)).double()
    with torch.no_grad():
        weights.gates.weight.zero_()
        weights.gates.bias.copy_(torch.tensor([-40.0, -40, 40, 40, -40, -40]))
    hidden = torch.zeros(1, 37, 16, dtype=torch.float64)
    out = mechanism.attend(q, k, v, Scope(hidden=hidden), weights)
    torch.testing.assert_close(out, Full().attend(q, k, v), **EXACT)
