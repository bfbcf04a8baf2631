"""Layers without memory: a slab in place of Transformers' dynamic layer, and nothing else."""

import pytest
import torch
from transformers.cache_utils import DynamicLayer

from memollm.hf.attachment import attach
from memollm.hf.slab_layer import SlabLayer
from tests.hf.tiny import FLOAT64, forgetful, prompt, tiny_model


def pair(batch, tokens, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 2, tokens, 4, generator=generator) for _ in range(2)]


DEEDS = {
    "crop": lambda layer: layer.crop(-3),
    "crop nothing": lambda layer: layer.crop(0),
    "reorder": lambda layer: layer.reorder_cache(torch.tensor([1, 1])),
    "repeat": lambda layer: layer.batch_repeat_interleave(2),
    "select": lambda layer: layer.batch_select_indices(torch.tensor([1])),
    "reset": lambda layer: layer.reset(),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_it_holds_what_a_dynamic_layer_holds(deed):
    ours, theirs = SlabLayer(), DynamicLayer()
    for layer in (ours, theirs):
        assert layer.get_seq_length() == 0
        for seed, count in enumerate((5, 1, 40, 1)):
            layer.update(*pair(2, count, seed))
        DEEDS[deed](layer)
        rows = 2 if layer.keys is None else len(layer.keys)
        for seed in range(3):
            found = layer.update(*pair(rows, 1, seed))
        layer.shown = found
    assert ours.get_seq_length() == theirs.get_seq_length()
    assert ours.get_mask_sizes(3) == theirs.get_mask_sizes(3)
    for mine, yours in zip(ours.shown, theirs.shown, strict=True):
        assert mine.equal(yours)
    assert ours.keys.equal(theirs.keys) and ours.values.equal(theirs.values)


def test_a_crop_to_an_absolute_length_is_refused_as_transformers_refuses_it():
    with pytest.raises(ValueError, match="negative"):
        SlabLayer().crop(3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_model_says_the_same_with_slabs_under_its_other_layers(dtype):
    model = tiny_model("qwen2", dtype)
    ids, new = prompt(90, batch=2), prompt(1, batch=2, seed=1)
    logits = []
    plain = model(ids, use_cache=True)
    logits.append((plain.logits, model(new, past_key_values=plain.past_key_values).logits))
    with attach(model, forgetful(threshold=0.0, layer_fraction=0.25)):
        ours = model(ids)
        logits.append((ours.logits, model(new, past_key_values=ours.past_key_values).logits))
    assert any(isinstance(it, SlabLayer) for it in ours.past_key_values.layers)
    # bfloat16: 8 bits, over 4 layers whose weights are large; logits are of size about 100
    bound = FLOAT64 if dtype == torch.float64 else 0.1 * plain.logits.abs().max()
    for untouched, mine in zip(*logits, strict=True):
        assert (untouched - mine).abs().max() <= bound
