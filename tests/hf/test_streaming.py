"""Streaming: chunks, cuts, positions and sizes; what the model is told about its cache."""

import pytest
import torch

from memollm.hf.attachment import attach
from memollm.memory.aggregation import Council
from memollm.memory.ebbinghaus import Aggregation
from memollm.modes.soft_delete import SoftDelete, Target
from memollm.modes.sparse_attention import SparseAttention, Storage
from tests.hf.tiny import FLOAT64, forgetful, kept_positions, prompt, states, tiny_model

MODES = {
    "evict": SparseAttention(),
    "mask": SparseAttention(Storage.mask),
    **{target.name: SoftDelete(target, floor=0.1) for target in Target},
    "compounding": SoftDelete(Target.both, floor=0.9, compounding=True),
}
TOKENS = 40
FAMILIES = ["qwen3", "gemma2", "gpt_oss", "lfm2", "gpt2", "opt", "gpt_neox"]


def feed(model, attachment, ids, sizes):
    """Logits of all tokens, fed in passes of ``sizes``."""
    cache = attachment.new_cache()
    parts = [model(part, past_key_values=cache).logits for part in ids.split(sizes, dim=1)]
    return torch.cat(parts, dim=1)


def same(ours, theirs):
    """The same memory, to rounding."""
    for mine, yours in zip(ours, theirs, strict=True):
        assert mine[:2].equal(yours[:2])
        assert (mine[2:] - yours[2:]).abs().max() <= FLOAT64


@pytest.mark.parametrize("mode", MODES)
def test_chunks_of_one_are_single_tokens(mode):
    model, ids = tiny_model(layers=2), prompt(TOKENS)
    with attach(model, forgetful(prefill_chunk=1), MODES[mode]) as attachment:
        whole = model(ids).logits
        expected = states(attachment)
        single = feed(model, attachment, ids, 1)
        assert (whole - single).abs().max() <= FLOAT64
        same(states(attachment), expected)
    assert (whole - model(ids).logits).abs().max() > 1e-2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sizes", [[24, 1, 1, 14], [1] * 24 + [16], [3, 37]], ids=str)
def test_any_cut_is_the_same_with_chunks_of_one(mode, sizes):
    model, ids = tiny_model(layers=2), prompt(TOKENS)
    with attach(model, forgetful(prefill_chunk=1), MODES[mode]) as attachment:
        whole = model(ids).logits
        expected = states(attachment)
        assert (feed(model, attachment, ids, sizes) - whole).abs().max() <= FLOAT64
        same(states(attachment), expected)


def test_cuts_at_chunk_ends_change_nothing():
    model, ids = tiny_model(layers=2), prompt(TOKENS)
    with attach(model, forgetful(prefill_chunk=8)) as attachment:
        whole = model(ids).logits
        for sizes in ([8] * 5, [16, 24], [32, 8]):
            assert (feed(model, attachment, ids, sizes) - whole).abs().max() <= FLOAT64


def test_a_block_of_queries_is_not_a_chunk():
    """More than a block of 64 queries: each still rehearses what it sees, one by one."""
    model, ids = tiny_model(layers=2), prompt(150)
    long = {"strength": 0.3, "reinforcement": 0.1}
    with attach(model, forgetful(prefill_chunk=150, **long)) as attachment:
        model(ids)
        in_blocks = states(attachment)
        reference = [(layer.remembering) for layer in attachment.cache.layers]
        weights = model(ids, output_attentions=True).attentions
    for table, layer, given in zip(in_blocks, reference, weights, strict=True):
        attention = given[0].mean(dim=0).tril(-1)
        strength = 0.3 + 0.1 * attention.sum(dim=0)
        recalls = torch.where(attention >= 0.4, torch.arange(150)[:, None], -1).amax(dim=0)
        recalled = torch.maximum(recalls, torch.arange(150))
        age = (149 - recalled) * layer.memory.time_step
        keep = (torch.exp(-age / strength) >= 0.3) | (torch.arange(150) < 1)
        keep[-2:] = True
        position = table[0].long()
        assert position.tolist() == keep.nonzero().flatten().tolist()
        assert (table[2] - strength[position]).abs().max() <= FLOAT64
        assert table[1].long().equal(recalled[position])


@pytest.mark.parametrize("family", FAMILIES)
def test_positions_go_on_after_eviction(family):
    """What is left of the keys is where it was: a reference that masks what is not kept agrees."""
    model, ids = tiny_model(family, layers=2), prompt(TOKENS)
    new = prompt(1, seed=9)
    with attach(model, forgetful()) as attachment:
        cache = attachment.new_cache()
        model(ids, past_key_values=cache)
        kept = kept_positions(attachment)
        assert max(map(len, kept)) < TOKENS / 2
        evicted = model(new, past_key_values=cache).logits
        assert cache.get_seq_length() == TOKENS + 1
    with attach(model, forgetful(), SparseAttention(Storage.mask)) as attachment:
        cache = attachment.new_cache()
        model(ids, past_key_values=cache)
        masked = model(new, past_key_values=cache, position_ids=torch.tensor([[TOKENS]])).logits
        slab = attachment.memory_layers(cache)[0].remembering.slab
        assert slab.length == TOKENS + 1
    assert (evicted - masked).abs().max() <= FLOAT64


def test_sizes_are_of_tokens_seen_not_stored():
    model = tiny_model(layers=2)
    with attach(model, forgetful(layer_fraction=0.5)) as attachment:
        cache = attachment.new_cache()
        assert cache.get_seq_length() == 0
        model(prompt(TOKENS), past_key_values=cache)
        first, *_, last = cache.layers
        assert len(kept_positions(attachment)[0]) < TOKENS / 2
        for layer in (first, last):
            assert layer.get_seq_length() == TOKENS
            assert layer.get_mask_sizes(3) == (TOKENS + 3, 0)
            assert layer.get_max_length() == -1
        assert cache.get_seq_length() == TOKENS and not cache.is_compileable


def test_layers_of_different_lengths_take_several_tokens_at_once():
    model = tiny_model()
    memory = forgetful(threshold=[0.0, 0.2, 0.5, 0.9], recall_threshold=None)
    logits = []
    for storage in Storage:
        with attach(model, memory, SparseAttention(storage)) as attachment:
            logits.append(feed(model, attachment, prompt(90), [TOKENS, 17, 33]))
    lengths = list(map(len, kept_positions(attachment)))
    assert lengths[0] == 90 and lengths == sorted(lengths, reverse=True) and lengths[3] < 8
    assert (logits[0] - logits[1]).abs().max() <= FLOAT64


def test_layers_beyond_the_fraction_are_untouched():
    model = tiny_model()
    with attach(model, forgetful(layer_fraction=0.25)) as attachment:
        model(prompt(TOKENS))
        layers = attachment.cache.layers
    assert [layer.get_seq_length() for layer in layers] == [TOKENS] * 4
    assert [getattr(layer, "keys", None) is not None for layer in layers] == [False] + [True] * 3
    assert [layer.keys.shape[2] for layer in layers[1:]] == [TOKENS] * 3


def test_eviction_frees_the_keys():
    model = tiny_model(layers=2)
    held = {}
    for storage in Storage:
        with attach(model, forgetful(), SparseAttention(storage)) as attachment:
            model(prompt(160))
            held[storage] = [it.remembering.slab.capacity for it in attachment.cache.layers]
    assert min(held[Storage.mask]) >= 160
    assert max(held[Storage.evict]) <= 48


def test_soft_deletion_never_overwrites_keys_or_values():
    model, ids = tiny_model(layers=2), prompt(TOKENS)
    mode = SoftDelete(Target.both, floor=0.1, compounding=True)
    with attach(model, forgetful(), mode) as attachment:
        model(ids[:, :20])
        slab = attachment.cache.layers[0].remembering.slab
        before = [slab[name].clone() for name in ("keys", "values")]
        model(ids[:, 20:], past_key_values=attachment.cache)
        for name, then in zip(("keys", "values"), before, strict=True):
            assert slab[name][:, :, :20].equal(then)
        assert slab["key_scale"].min() < 0.9


def test_no_bias_at_all_is_eviction():
    """A weight that tends to 0 as a logit bias evicts; as a factor of keys it does not."""
    model, ids = tiny_model(layers=2), prompt(TOKENS)
    memory = forgetful(
        prefill_chunk=1, recall_threshold=None, reinforcement=0.0, threshold=0.5, strength=1e-4
    )
    logits = {}
    for target in (Target.logit_bias, Target.key):
        with attach(model, memory, SoftDelete(target, floor=1e-30)):
            logits[target] = model(ids).logits
    with attach(model, memory):
        evicted = model(ids).logits
    assert (logits[Target.logit_bias] - evicted).abs().max() <= FLOAT64
    assert (logits[Target.key] - evicted).abs().max() > 0.5


def test_a_reset_cache_of_voting_layers_votes_again():
    model = tiny_model(layers=2)
    memory = forgetful(aggregation=Aggregation.vote, prefill_chunk=TOKENS)
    with attach(model, memory) as attachment:
        first = model(prompt(TOKENS)).logits
        kept = kept_positions(attachment)
        cache = attachment.cache
        cache.reset()
        assert model(prompt(TOKENS), past_key_values=cache).logits.equal(first)
        assert kept_positions(attachment) == kept
        council = cache.layers[0].remembering.council
        assert isinstance(council, Council) and len(council.members) == 2
