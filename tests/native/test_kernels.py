"""The compiled kernels compute what PyTorch does; without them nothing changes."""

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memollm.attention.kernel import attend
from memollm.attention.observed import attend_observed
from memollm.attention.plain import attend_plainly
from memollm.attention.view import View
from memollm.memory.ebbinghaus import Memory
from memollm.native import attending, library, softening
from memollm.native.attending import attend_natively, kernel

# Sums of some hundred products of numbers near 1, in single precision.
SINGLE = 2e-6
# The output is rounded to 8 bits once; queries, logits and weights are not.
HALF = 2**-7

here = pytest.mark.skipif(kernel() is None, reason="no C compiler")


def heads(rows, count, slots, dim, generator, dtype, room=0):
    """A random tensor, as a slab shows it: a slice of one with more slots."""
    shape = (rows, count, slots + room, dim)
    return torch.randn(shape, generator=generator).to(dtype)[:, :, :slots]


@here
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@given(
    rows=st.integers(1, 3), kv_heads=st.integers(1, 3), group=st.integers(1, 17),
    pairs=st.integers(1, 150), dim=st.sampled_from([16, 48, 64, 80, 128]),
    value_dim=st.sampled_from([16, 64, 96]), room=st.integers(0, 9), seed=st.integers(0, 999),
)  # fmt: skip
def test_one_query_attends_as_in_double_precision(
    dtype, rows, kv_heads, group, pairs, dim, value_dim, room, seed
):
    generator = torch.Generator().manual_seed(seed)
    queries = heads(rows, kv_heads * group, 1, dim, generator, dtype)
    keys = heads(rows, kv_heads, pairs, dim, generator, dtype, room)
    values = heads(rows, kv_heads, pairs, value_dim, generator, dtype, room)
    found = attend_natively(queries, keys, values, dim**-0.5)
    exact = (it.double() for it in (queries, keys, values))
    expected, _ = attend(*exact, View(scaling=dim**-0.5))
    bound = SINGLE if dtype == torch.float32 else HALF
    assert found is not None
    assert (found - expected).abs().max() <= bound * max(1, expected.abs().max())


@here
def test_several_threads_share_the_heads(monkeypatch):
    monkeypatch.setattr("memollm.native.step.BYTES_A_THREAD", 1)
    generator = torch.Generator().manual_seed(0)
    qkv = [heads(2, count, slots, 32, generator, torch.float32)
           for count, slots in ((6, 1), (3, 50), (3, 50))]  # fmt: skip
    alone = attend_natively(*qkv, 0.2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert torch.equal(attend_natively(*qkv, 0.2), alone)


@here
@given(
    rows=st.integers(1, 2), kv_heads=st.integers(1, 2), group=st.integers(1, 3),
    queries=st.integers(1, 20), older=st.integers(0, 70), causal=st.booleans(),
    hidden=st.booleans(), seed=st.integers(0, 999),
)  # fmt: skip
def test_a_block_is_observed_as_by_pytorch(
    rows, kv_heads, group, queries, older, causal, hidden, seed
):
    generator = torch.Generator().manual_seed(seed)
    pairs = older + queries
    qkv = (
        heads(rows, kv_heads * group, queries, 16, generator, torch.float32),
        heads(rows, kv_heads, pairs, 16, generator, torch.float32),
        heads(rows, kv_heads, pairs, 16, generator, torch.float32),
    )
    gone = torch.rand(rows, pairs, generator=generator) < 0.5
    gone[:, older:] = False  # a query sees its own pair
    view = View(scaling=0.4, causal_tail=causal, hidden=gone if hidden else None)
    found = attend_observed(*qkv, view, compiled=True, shown=True)
    expected = attend_observed(*qkv, view, compiled=False, shown=True)
    for name in ("out", "weights", "mean"):
        assert (getattr(found, name) - getattr(expected, name)).abs().max() <= SINGLE


@here
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@given(
    rows=st.integers(1, 2), heads=st.integers(1, 5), queries=st.integers(1, 20),
    older=st.integers(0, 70), causal=st.booleans(), seed=st.integers(0, 999),
)  # fmt: skip
def test_weights_are_those_of_a_softmax(dtype, rows, heads, queries, older, causal, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = 4 * torch.randn(rows, heads, queries, older + queries, generator=generator)
    logits = logits.to(dtype)
    future = torch.ones(queries, older + queries, dtype=torch.bool).triu(older + 1)
    seen = logits.double().masked_fill(future, -torch.inf) if causal else logits.double()
    expected = seen.softmax(dim=-1)
    unread = softening.soften(logits.clone(), causal, observed=False)
    mean = softening.soften(logits, causal)
    assert mean is not None and unread is not None and unread.numel() == 0
    assert (mean - expected.mean(dim=1)).abs().max() <= SINGLE
    rounded = SINGLE if dtype == torch.float32 else 2**-8 * expected
    assert ((logits - expected).abs() <= rounded + SINGLE).all()


@here
def test_what_the_kernel_does_not_know_goes_to_pytorch():
    generator = torch.Generator().manual_seed(0)
    odd = [heads(1, 2, slots, 24, generator, torch.float32) for slots in (1, 9, 9)]
    assert attend_natively(*odd, 0.2) is None
    double = [heads(1, 2, slots, 32, generator, torch.float64) for slots in (1, 9, 9)]
    assert attend_natively(*double, 0.2) is None
    spread = [heads(1, 2, it, 64, generator, torch.float32)[..., ::2] for it in (1, 9, 9)]
    assert attend_natively(*spread, 0.2) is None
    out = attend_plainly(*odd, 0.2, compiled=True)
    assert (out - attend(*odd, View(scaling=0.2))[0]).abs().max() <= SINGLE


@pytest.fixture
def unbuilt(monkeypatch, tmp_path):
    """As if nothing had been built or loaded yet, and nothing were kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cached = library.load, attending.kernel, softening.softening
    for function in cached:
        function.cache_clear()
    yield tmp_path
    for function in cached:
        function.cache_clear()


def test_without_a_compiler_there_is_no_kernel(unbuilt, monkeypatch):
    monkeypatch.setattr(library, "compiler", lambda: None)
    assert kernel() is None and softening.softening() is None
    with pytest.raises(ValueError, match=r"memory\.kernel=compiled .* no C compiler was found"):
        from memollm.memory.kernel import Kernel

        Memory(kernel=Kernel.compiled)


def test_a_compiler_that_fails_is_no_compiler(unbuilt, monkeypatch):
    monkeypatch.setattr(library, "compiler", lambda: sys.executable)
    assert kernel() is None
    with pytest.raises(library.NoKernelError, match="did not make a library"):
        library.load()
    assert not list((unbuilt / "memollm").iterdir())


@here
def test_a_kernel_that_is_wrong_is_none(unbuilt, monkeypatch):
    source = unbuilt / "kernels.c"
    source.write_text("void memollm_decode(void *it) {} void memollm_soften(void *it) {}")
    monkeypatch.setattr(library, "SOURCES", [source])
    assert kernel() is None and softening.softening() is None


@here
def test_a_library_is_built_once(unbuilt, monkeypatch):
    assert kernel() is not None
    (built,) = (unbuilt / "memollm").iterdir()

    def forbidden(*args, **kwargs):
        raise AssertionError("compiled again")

    monkeypatch.setattr(subprocess, "run", forbidden)
    for function in (library.load, attending.kernel):
        function.cache_clear()
    assert kernel() is not None
    assert list((unbuilt / "memollm").iterdir()) == [built]
