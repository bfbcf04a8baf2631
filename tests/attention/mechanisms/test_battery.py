"""What every mechanism promises; a new file in the room is met by itself."""

import dataclasses

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memollm.attention.mechanisms.base import Supports
from memollm.attention.mechanisms.full import Full
from memollm.attention.mechanisms.scope import Scope
from memollm.evaluation.peak import Peak
from memollm.registry import groups
from tests.attention.mechanisms.battery import (
    NAMES,
    WIDTH,
    attend,
    hidden,
    plain,
    qkv,
    small,
    supporting,
    weights_of,
)

EXACT = {"rtol": 0, "atol": 1e-10}  # float64: sums of some dozen numbers of size 1
TOKENS = 22  # several blocks, windows and strides of the battery's settings, and a ragged end
ONE = {it: True for it in ("mask", "padding", "slopes", "scale")}


@pytest.mark.parametrize("name", NAMES)
def test_outputs_have_the_shape_and_type_of_the_queries(name):
    mechanism = small(name)
    for scope in plain(name):
        q, k, v = qkv(mechanism, TOKENS, dtype=torch.float32)
        out = attend(mechanism, q, k, v, scope, weights_of(mechanism, dtype=torch.float32))
        assert out.shape == q.shape and out.dtype == q.dtype and out.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_the_same_call_gives_the_same_bits(name):
    for scope in plain(name):
        outs = []
        for _ in range(2):
            mechanism = small(name)
            weights = weights_of(mechanism)
            outs.append(attend(mechanism, *qkv(mechanism, TOKENS), scope, weights))
        assert torch.equal(*outs)


@pytest.mark.parametrize("parts", [[1] * TOKENS, [9, 1, 1, 7, 4], [TOKENS]])
@pytest.mark.parametrize("name", supporting("cache"))
def test_reading_in_parts_is_reading_at_once(name, parts):
    mechanism = small(name)
    weights, (q, k, v) = weights_of(mechanism), qkv(mechanism, TOKENS)
    cache, outs, states = mechanism.cache(), [], hidden(q)
    for q_part, k_part, v_part, part in zip(
        *(it.split(parts, 2) for it in (q, k, v)), states.split(parts, 1), strict=True
    ):
        outs.append(cache.attend(q_part, k_part, v_part, Scope(hidden=part), weights))
    whole = attend(mechanism, q, k, v, Scope(), weights)
    torch.testing.assert_close(torch.cat(outs, 2), whole, **EXACT)
    assert cache.tokens == TOKENS


@pytest.mark.parametrize("name", supporting("cache"))
def test_reading_in_parts_in_single_precision(name):
    mechanism = small(name)
    weights = weights_of(mechanism, dtype=torch.float32)
    q, k, v = qkv(mechanism, TOKENS, dtype=torch.float32)
    cache, states = mechanism.cache(), hidden(q)
    outs = [
        cache.attend(
            *(it[:, :, at : at + 1] for it in (q, k, v)),
            Scope(hidden=states[:, at : at + 1]), weights,
        )
        for at in range(TOKENS)
    ]  # fmt: skip
    whole = attend(mechanism, q, k, v, Scope(), weights)
    # 1e-5: what the project asks of a cache in float32.
    torch.testing.assert_close(torch.cat(outs, 2), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", supporting("cache", "padding"))
def test_a_padded_row_read_in_parts_is_the_row_alone(name):
    mechanism = small(name)
    weights, (q, k, v) = weights_of(mechanism), qkv(mechanism, TOKENS)
    real = torch.ones(2, TOKENS, dtype=torch.bool)
    real[1, :6] = False
    cache, outs, states, seen = mechanism.cache(), [], hidden(q), 0
    for part in (13, 1, 8):
        here = slice(seen, seen + part)
        seen += part
        scope = Scope(padding=real[:, :seen], hidden=states[:, here])
        outs.append(cache.attend(*(it[:, :, here] for it in (q, k, v)), scope, weights))
    alone = [it[1:, :, 6:] for it in (q, k, v)]
    lone = mechanism.attend(*alone, Scope(hidden=states[1:, 6:]), weights)
    torch.testing.assert_close(torch.cat(outs, 2)[1:, :, 6:], lone, **EXACT)


@pytest.mark.parametrize("name", supporting("causal"))
def test_the_future_changes_nothing(name):
    mechanism = small(name)
    weights, (q, k, v) = weights_of(mechanism), qkv(mechanism, TOKENS)
    before = attend(mechanism, q, k, v, Scope(), weights)
    for at in (1, 11, TOKENS - 1):
        q2, k2, v2 = q.clone(), k.clone(), v.clone()
        for tensor in (q2, k2, v2):
            tensor[:, :, at:] *= -30.0
        after = attend(mechanism, q2, k2, v2, Scope(), weights)
        torch.testing.assert_close(after[:, :, :at], before[:, :, :at], **EXACT)


@pytest.mark.parametrize("name", supporting("causal"))
def test_gradients_come_from_the_past_alone(name):
    mechanism = small(name)
    inputs = [it.requires_grad_() for it in qkv(mechanism, TOKENS)]
    out = attend(mechanism, *inputs, Scope(), weights_of(mechanism))
    for gradient in torch.autograd.grad(out[:, :, :9].sum(), inputs):
        assert not gradient[:, :, 9:].any() and gradient[:, :, :9].isfinite().all()


@given(data=st.data())
@pytest.mark.parametrize("name", supporting("padding"))
def test_a_padded_row_is_the_row_alone(name, data):
    mechanism = small(name)
    tokens = data.draw(st.integers(2, 24), "tokens")
    pads = data.draw(st.integers(1, tokens - 1), "pads")
    left = data.draw(st.booleans(), "left")
    scope = data.draw(st.sampled_from(plain(name)), "scope")
    real = torch.ones(2, tokens, dtype=torch.bool)
    place = slice(pads, None) if left else slice(0, tokens - pads)
    real[0] = False
    real[0, place] = True
    weights, (q, k, v) = weights_of(mechanism), qkv(mechanism, tokens)
    states = hidden(q)
    together = mechanism.attend(
        q, k, v, dataclasses.replace(scope, padding=real, hidden=states), weights
    )
    asking = slice(None) if scope.cross else place
    for row, mine, some in ((0, asking, place), (1, slice(None), slice(None))):
        here = slice(row, row + 1)
        alone = mechanism.attend(
            q[here, :, mine], k[here, :, some], v[here, :, some],
            dataclasses.replace(scope, hidden=states[here, mine]), weights,
        )  # fmt: skip
        torch.testing.assert_close(together[here, :, mine], alone, **EXACT)
    if not scope.cross:
        assert not together[0][:, ~real[0]].any()


@pytest.mark.parametrize("name", supporting("mask"))
def test_a_mask_hides(name):
    mechanism = small(name)
    weights, (q, k, v) = weights_of(mechanism), qkv(mechanism, TOKENS)
    for scope in plain(name):
        everything = torch.ones(1, 1, TOKENS, TOKENS, dtype=torch.bool)
        masked = dataclasses.replace(scope, mask=everything)
        free = attend(mechanism, q, k, v, scope, weights)
        torch.testing.assert_close(attend(mechanism, q, k, v, masked, weights), free, **EXACT)
        mask = torch.rand(2, 2, TOKENS, TOKENS, generator=torch.Generator().manual_seed(3)) < 0.7
        mask[..., 4] = False  # nobody sees token 4
        mask[1, :, 9] = False  # token 9 of the second row sees nobody
        masked = dataclasses.replace(scope, mask=mask)
        out = attend(mechanism, q, k, v, masked, weights)
        v2 = v.clone()
        v2[:, :, 4] += 100.0
        assert torch.equal(attend(mechanism, q, k, v2, masked, weights), out)
        assert not out[1, :, 9].any() and out.isfinite().all() and out[0, :, 9].any()
        mask = mask[:1, :1].expand(2, 2, -1, -1)
        one = dataclasses.replace(scope, mask=mask[:1, :1])
        torch.testing.assert_close(
            attend(mechanism, q, k, v, one, weights),
            attend(mechanism, q, k, v, dataclasses.replace(scope, mask=mask), weights), **EXACT,
        )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wanted", [it.name for it in dataclasses.fields(Supports)])
def test_what_is_not_supported_is_refused(name, wanted):
    mechanism = small(name)
    if getattr(mechanism.supports, wanted):
        return
    scopes = {
        "causal": Scope(causal=True),
        "bidirectional": Scope(causal=False),
        "mask": Scope(mask=torch.ones(1, 1, 5, 5, dtype=torch.bool)),
        "padding": Scope(padding=torch.ones(2, 5, dtype=torch.bool)),
        "cross": Scope(cross=True),
        "slopes": Scope(slopes=torch.ones(2)),
        "scale": Scope(scale=1.0),
    }
    if wanted == "cache":
        with pytest.raises(ValueError, match=rf"{name} does not support"):
            mechanism.cache()
        return
    scope = scopes[wanted]
    if wanted in ONE:
        scope = dataclasses.replace(scope, causal=plain(name)[0].causal, cross=plain(name)[0].cross)
    with pytest.raises(ValueError, match=rf"mechanism={name} does not support .*; these do: "):
        mechanism.attend(*qkv(mechanism, 5), scope, weights_of(mechanism))


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_right(name):
    mechanism = small(name)
    q, k, v = qkv(mechanism, 6, batch=1, dim=2)
    weights = weights_of(mechanism, dim=2)
    inputs = [it.requires_grad_() for it in (q, k, v)]
    scope = plain(name)[0]
    assert torch.autograd.gradcheck(
        lambda *it: attend(mechanism, *it, scope, weights), inputs, fast_mode=True
    )


@pytest.mark.parametrize("name", NAMES)
def test_what_is_learned_gets_gradients(name):
    mechanism = small(name)
    weights, (q, k, v) = weights_of(mechanism), qkv(mechanism, TOKENS)
    if weights is None:
        return
    attend(mechanism, q, k, v, plain(name)[0], weights).square().sum().backward()
    for parameter in weights.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()
        assert parameter.grad.any()


@pytest.mark.parametrize("name", NAMES)
def test_a_mechanism_that_learns_refuses_to_go_without_weights(name):
    mechanism = small(name)
    if weights_of(mechanism) is not None:
        with pytest.raises(ValueError, match=f"{name} needs the weights"):
            attend(mechanism, *qkv(mechanism, 5), plain(name)[0], None)


# Of half precision: outputs are means of numbers of size 1, rounded to 8 (bfloat16) or 11 bits.
@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_near(name, dtype, bound):
    mechanism = small(name)
    q, k, v = (it.to(dtype) for it in qkv(mechanism, TOKENS))
    for scope in plain(name):
        half = attend(mechanism, q, k, v, scope, weights_of(mechanism, dtype=dtype))
        wide = weights_of(mechanism, dtype=dtype)
        wide = None if wide is None else wide.double()
        exact = attend(mechanism, q.double(), k.double(), v.double(), scope, wide)
        assert half.dtype == dtype
        assert (half.double() - exact).norm() / exact.norm() < bound


@pytest.mark.parametrize("name", NAMES)
def test_heads_that_share_keys_are_heads_with_equal_keys(name):
    mechanism = small(name)
    q, k, v = qkv(mechanism, TOKENS)
    if k.shape[1] == q.shape[1] or name == "mqa":
        return
    if name in ("learnable", "nsa"):  # heads that share keys choose blocks together
        q = q[:, :1].expand(-1, 2, -1, -1)
    weights = weights_of(mechanism)
    for scope in plain(name):
        shared = attend(mechanism, q, k, v, scope, weights)
        repeated = (it.repeat_interleave(2, 1) for it in (k, v))
        torch.testing.assert_close(attend(mechanism, q, *repeated, scope, weights), shared, **EXACT)


@given(data=st.data())
@pytest.mark.parametrize(
    "name", [it for it in NAMES if hasattr(groups()["mechanism"][it], "tiles")]
)
def test_tiles_are_dense_attention_under_the_definition(name, data):
    mechanism = small(name)
    tokens = data.draw(st.integers(1, 40), "tokens")
    queries = data.draw(st.integers(1, tokens), "queries")
    causal = data.draw(st.booleans(), "causal")
    slopes = torch.tensor([0.5, 0.1]) if data.draw(st.booleans(), "ALiBi") else None
    q, k, v = qkv(mechanism, tokens, queries)
    seen = mechanism.seen(queries, tokens, causal)
    out = mechanism.attend(q, k, v, Scope(causal=causal, slopes=slopes))
    dense = Full().attend(q, k, v, Scope(causal=False, mask=seen[None, None], slopes=slopes))
    torch.testing.assert_close(out, dense, **EXACT)
    own = torch.arange(tokens - queries, tokens)
    assert seen[torch.arange(queries), own].all()  # every query sees itself


@pytest.mark.parametrize("name", NAMES)
def test_no_matrix_of_queries_and_keys_is_held(name):
    tokens, dim = 4096, 8
    part = groups()["mechanism"][name]
    few = {"projection_dim": 16, "max_seq_len": tokens}
    mechanism = part(**{k: v for k, v in few.items() if k in part.__dataclass_fields__})
    q, k, v = (
        it.requires_grad_()
        for it in qkv(mechanism, tokens, batch=1, heads=1, dim=dim, dtype=torch.float32)
    )
    weights = weights_of(mechanism, dim, 1, torch.float32)
    scope = dataclasses.replace(plain(name)[0], hidden=torch.zeros(1, tokens, WIDTH))
    peak = Peak(torch.device("cpu"))
    peak.restart()
    mechanism.attend(q, k, v, scope, weights).sum().backward()
    held = peak.read()
    if held is None:
        pytest.skip("this system does not tell a process's peak memory")
    # The matrix would be 64 MiB in float32; queries and outputs are 128 KiB.
    assert held < tokens**2 * 4 / 2
