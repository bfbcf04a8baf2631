"""Left-padded rows of a batch behave exactly as each of them alone."""

import pytest
import torch

from memollm.hf.attachment import attach
from memollm.memory.ebbinghaus import Aggregation
from memollm.modes.soft_delete import SoftDelete, Target
from memollm.modes.sparse_attention import SparseAttention, Storage
from tests.hf.tiny import FLOAT64, forgetful, kept_positions, padded, prompt, states, tiny_model

MODES = {
    "evict": SparseAttention(),
    "mask": SparseAttention(Storage.mask),
    **{target.name: SoftDelete(target, floor=0.1) for target in Target},
    "compounding": SoftDelete(Target.both, floor=0.9, compounding=True),
}
LENGTHS = [(30, 13, 24), (40, 1, 8), (9, 9), (33, 32, 31, 17)]
MEMORIES = {
    "threshold": forgetful(),
    "schedule": forgetful(threshold={"first": 0.1, "last": 0.5}),
    "share": forgetful(threshold="auto", budget=0.4),
    "count": forgetful(threshold="auto", budget=9),
    "vote": forgetful(aggregation=Aggregation.vote, prefill_chunk=64),
    "sinks": forgetful(sinks=4, recent=0),
}


def same(ours, theirs):
    """Positions and recalls are the same, strengths and weights to rounding."""
    for mine, yours in zip(ours, theirs, strict=True):
        assert mine[:2].equal(yours[:2])
        assert (mine[2:] - yours[2:]).abs().max() <= FLOAT64


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
def test_in_every_mode(mode, lengths):
    model, prompts = tiny_model(layers=2), [prompt(count, seed=count) for count in lengths]
    with attach(model, forgetful(), MODES[mode]) as attachment:
        alone = []
        for ids in prompts:
            logits = model(ids).logits
            alone.append((logits[0], states(attachment)))
        batch = model(**padded(prompts)).logits
        for row, (logits, state) in enumerate(alone):
            assert (batch[row, -len(logits) :] - logits).abs().max() <= FLOAT64
            same(states(attachment, row), state)


@pytest.mark.parametrize("memory", MEMORIES)
def test_with_every_rule_of_forgetting(memory):
    lengths = (40, 13, 29)
    model, prompts = tiny_model(layers=2), [prompt(count, seed=count) for count in lengths]
    options = {"max_new_tokens": 12, "eos_token_id": None}
    with attach(model, MEMORIES[memory]) as attachment:
        alone = []
        for ids in prompts:
            text = model.generate(ids, **options)[0, -12:]
            alone.append((text, states(attachment)))
            assert len(kept_positions(attachment)[0]) < ids.shape[1] + 11
        batch = model.generate(**padded(prompts), **options)
        for row, (text, state) in enumerate(alone):
            assert batch[row, -12:].equal(text)
            same(states(attachment, row), state)


def test_pads_are_neither_sinks_nor_kept():
    model = tiny_model(layers=2)
    with attach(model, forgetful(sinks=3, threshold=0.9, recall_threshold=None)) as attachment:
        model(**padded([prompt(40), prompt(12, seed=1)]))
        assert [layer[:3] for layer in kept_positions(attachment, 1)] == [[0, 1, 2]] * 2
        slab = attachment.cache.layers[0].remembering.slab
        assert slab.length == max(len(kept_positions(attachment, row)[0]) for row in (0, 1))


def test_a_batch_without_pads_may_have_a_mask():
    model, ids = tiny_model(layers=2), prompt(40, batch=2)
    with attach(model, forgetful()) as attachment:
        bare = model(ids).logits
        kept = kept_positions(attachment)
        masked = model(ids, attention_mask=torch.ones_like(ids)).logits
        assert (bare - masked).abs().max() <= FLOAT64
        assert kept_positions(attachment) == kept


@pytest.mark.parametrize("storage", Storage)
def test_pads_between_two_turns_are_left_out(storage):
    """A second forward pass may be padded on its left as well."""
    model = tiny_model(layers=2)
    first, second = [prompt(30), prompt(13, seed=1)], [prompt(4, seed=2), prompt(12, seed=3)]
    with attach(model, forgetful(), SparseAttention(storage)) as attachment:
        alone = []
        for turns in zip(first, second, strict=True):
            cache = attachment.new_cache()
            for ids in turns:
                out = model(ids, past_key_values=cache, output_attentions=True)
            alone.append((out, states(attachment)))
        cache = attachment.new_cache()
        one, two = padded(first), padded(second)
        model(**one, past_key_values=cache)
        mask = torch.cat([one["attention_mask"], two["attention_mask"]], dim=1)
        positions = (mask.cumsum(dim=1) - 1).clamp(min=0)[:, -12:]
        out = model(
            two["input_ids"], attention_mask=mask, position_ids=positions, past_key_values=cache,
            output_attentions=True,
        )  # fmt: skip
        for row, (one, state) in enumerate(alone):
            count = one.logits.shape[1]
            assert (out.logits[row, -count:] - one.logits[0]).abs().max() <= FLOAT64
            same(states(attachment, row), state)
            for ours, theirs in zip(out.attentions, one.attentions, strict=True):
                columns = ours[row, :, -count:][..., mask[row].bool()]
                assert (columns - theirs[0]).abs().max() <= FLOAT64


def test_pads_on_the_right_are_left_out_too():
    model = tiny_model(layers=2)
    ids = prompt(40)
    long = torch.cat([ids, torch.zeros(1, 7, dtype=torch.long)], dim=1)
    mask = (torch.arange(47) < 40).long()[None]
    with attach(model, forgetful()) as attachment:
        alone = model(ids, output_attentions=True)
        kept = kept_positions(attachment)
        batch = model(long, attention_mask=mask, output_attentions=True)
        assert kept_positions(attachment) == kept
    assert (batch.logits[:, :40] - alone.logits).abs().max() <= FLOAT64
    for ours, theirs in zip(batch.attentions, alone.attentions, strict=True):
        assert (ours[:, :, :40, :40] - theirs).abs().max() <= FLOAT64
