"""The branches against flash-linear-attention's plain PyTorch functions, where it is installed.

    pip install flash-linear-attention triton

Its reference keeps an incomplete last block's mean, which no query ever sees; and where no block
is complete yet its log-sum-exp is -inf, ours 0.
"""

import importlib
import warnings

import pytest
import torch

from memollm.nsa import nsa_func
from memollm.nsa.means import block_means
from tests.nsa.inputs import qkv

OUTPUTS, GRADIENTS = 2e-6, 2e-5  # float32, of values of size about 1
SHAPES = [  # batch, tokens, heads, kv_heads, dim, block size, blocks (powers of 2: it rounds up)
    (2, 128, 8, 8, 64, 64, 16),
    (1, 256, 16, 16, 64, 64, 16),
    (2, 128, 8, 8, 64, 16, 4),
    (1, 200, 8, 2, 32, 16, 4),
    (1, 256, 16, 1, 32, 16, 8),
    (1, 131, 4, 4, 16, 16, 4),
]


@pytest.fixture(scope="module")
def naive():
    pytest.importorskip("triton", reason="flash-linear-attention needs it, even on a CPU")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is no GPU
        pytest.importorskip("fla")
        return importlib.import_module("fla.ops.nsa.naive")


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_outputs_sums_blocks_and_gradients_are_those_of_the_reference(naive, shape):
    batch, tokens, heads, kv_heads, dim, size, counts = shape
    inputs = [it.requires_grad_() for it in qkv(batch, tokens, heads, dim, kv_heads=kv_heads)]
    q, k, v = inputs
    one, scale = torch.ones(batch, tokens, heads), dim**-0.5
    settings = {"block_size": size, "block_counts": counts, "return_attn_weights": True}
    rest = tokens % size
    means = [block_means(it, size) for it in (k, v)]
    if rest:
        means = [
            torch.cat([mean, it[:, -rest:].mean(1, keepdim=True)], 1)
            for mean, it in zip(means, (k, v), strict=True)
        ]
    compressed, sums = naive.naive_nsa_compression(q, *means, size, scale)
    blocks = naive.naive_nsa_topk(q, means[0], counts, size, scale)
    selected = naive.naive_nsa_selection(q, k, v, blocks, size, scale)
    ours, shown = nsa_func(q, k, v, one, None, None, **settings)
    chosen, told = nsa_func(q, k, v, None, one, None, **settings)

    near = {"rtol": 0, "atol": OUTPUTS}
    sums = sums.transpose(1, 2)
    torch.testing.assert_close(ours, compressed, **near)
    torch.testing.assert_close(
        shown["compression"]["lse"], sums.masked_fill(sums.isinf(), 0), **near
    )
    assert torch.equal(told["selection"]["block_indices"].sort(-1).values, blocks.sort(-1).values)
    torch.testing.assert_close(chosen, selected, **near)
    weighing = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    for mine, theirs in ((ours, compressed), (chosen, selected)):
        pairs = zip(
            torch.autograd.grad(mine, inputs, weighing, retain_graph=True),
            torch.autograd.grad(theirs, inputs, weighing, retain_graph=True),
            strict=True,
        )
        for found, wanted in pairs:
            torch.testing.assert_close(found, wanted, rtol=GRADIENTS, atol=GRADIENTS)
