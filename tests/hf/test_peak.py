"""What a chunk needs at 32k tokens beside the cache: blocks of scores, and no mask of them all."""

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from memollm.attention.view import View
from memollm.hf.remembering import Remembering
from memollm.hf.rules import rules
from memollm.memory.ebbinghaus import Memory
from memollm.memory.granularity import Granularity
from memollm.modes.soft_delete import SoftDelete, Target
from memollm.modes.sparse_attention import SparseAttention, Storage

TOKENS, HEADS, KV_HEADS, DIM, QUERIES = 32768, 6, 2, 8, 64
SCORES = 2**22 * 4  # bytes of a block of scores; see attention.plain


@pytest.mark.parametrize("granularity", Granularity)
@pytest.mark.parametrize(
    "mode", [SoftDelete(Target.both), SparseAttention(Storage.mask)], ids=["soft_delete", "mask"]
)
@pytest.mark.filterwarnings("ignore")  # the profiler's, of what was allocated before it began
def test_a_chunk_needs_a_few_blocks_of_scores(mode, granularity):
    memory = Memory(granularity=granularity)
    layer = Remembering(memory, mode, rules(memory, mode, [None])[0])
    view = View(scaling=DIM**-0.5)

    def random(heads, tokens):
        return torch.randn(1, heads, tokens, DIM)

    rows = KV_HEADS if granularity is Granularity.head else 1
    pairs = [random(KV_HEADS, TOKENS).view(rows, -1, TOKENS, DIM) for _ in range(2)]
    layer.heads = rows
    layer.store.append(*pairs)
    if mode.evicts or not mode.graded:
        layer.forget(torch.rand(rows, TOKENS) < 0.5)
    layer.forward(*(random(it, 1) for it in (HEADS, KV_HEADS, KV_HEADS)), view)  # grows the slab
    new = [random(it, QUERIES) for it in (HEADS, KV_HEADS, KV_HEADS)]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        layer.forward(*new, view)
    kineto = profiled.profiler.kineto_results.events()
    changes = sorted((it.start_ns(), it.nbytes()) for it in kineto if it.name() == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    assert SCORES < peak < 3 * SCORES  # scores and weights, and what is known of each token
