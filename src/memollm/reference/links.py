"""Heads that follow links: "VAR PMKKW = VAR UCNDO." read backwards, from UCNDO to PMKKW.

Training alone did not find this in 45 million tokens. It is built into dimensions that a trained
model has just been given (``grow.py``), and into four heads that had been worth 1 % of perplexity:

* layer 1, heads 2 and 3, look back from the end of a link to the first letter of its first name
  and to the token before that, and write both into the new dimensions;
* layer 3, heads 2 and 3, match as layer 2's first head does, but only where a link ends, and copy
  that letter.

Layer 2 copies the rest of the name by itself.
"""

from __future__ import annotations

import string
from typing import cast

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import Qwen2ForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from memollm.reference.initialise import PASSED_THROUGH, head_rows, look_back, sharp_heights

BACK = 14  # tokens from behind " VAR PMKKW = VAR UCNDO" to " P"
HEADS, KV_HEAD = (2, 3), 1  # of layers 1 and 3
# Parameters of both circuits, and between their parts.
WITH_LINKS = (*PASSED_THROUGH, "model.layers.3.input_layernorm.", "model.layers.3.self_attn.")
LETTER, BEFORE = 44, 20  # widths of what is written about the letter and about the token before
# Tried on the bundled model before it grew: with these the right name's letter wins most often
# for less than 2 of 38 perplexity, which training takes back.
WRITTEN, COPIED, GATE, LOUDER = 0.1, 10.0, 8.0, 2.0


def follow_links(model: Qwen2ForCausalLM, tokenizer: Tokenizer, old: int) -> None:
    """Build the circuit into ``model``, whose residual dimensions from ``old`` on are new.

    Raises:
        ValueError: if the model has too few layers, heads or new dimensions for it.
    """
    config, size = model.config, LETTER + BEFORE
    if config.num_hidden_layers < 4 or config.hidden_size - old < size:
        raise ValueError(f"links need 4 layers and {size} new dimensions, {config.hidden_size=}")
    layers = cast(list[Qwen2DecoderLayer], list(model.model.layers))
    frequencies = model.model.rotary_emb.inv_freq.float()
    embedding = model.model.embed_tokens.weight[:, :old]
    capitals = [mark + letter for letter in string.ascii_uppercase for mark in ("", "Ġ")]
    names = [it for it in map(tokenizer.token_to_id, capitals) if it is not None]
    with torch.no_grad():
        letters = torch.linalg.svd(embedding[names], full_matrices=True)[2][:LETTER]
        before = torch.linalg.qr(torch.randn(old, BEFORE))[0].T.to(embedding)
        end = before @ embedding[tokenizer.token_to_id("R")]  # of "VAR"
        _collect(layers[1], frequencies, torch.cat([letters, before]))
        _match(layers[2], layers[3], letters, end / end.norm())


def _collect(layer: Qwen2DecoderLayer, frequencies: Tensor, read: Tensor) -> None:
    """Write what stands ``BACK`` tokens back, and one further, into the new dimensions."""
    attention, (size, old) = layer.self_attn, read.shape
    _clear(layer, ("q_proj", "k_proj", "v_proj"))
    attention.v_proj.weight[head_rows(KV_HEAD, size), :old] = (
        read / layer.input_layernorm.weight[:old]
    )
    heights = sharp_heights(frequencies, 5.0)
    parts = (slice(LETTER), slice(LETTER, size))
    for head, distance, part in zip(HEADS, (BACK, BACK + 1), parts, strict=True):
        look_back(attention, frequencies, KV_HEAD, head, distance, heights)
        written = attention.o_proj.weight[old:, head_rows(head, size)]
        written[part, part] = WRITTEN * torch.eye(size)[part, part]


def _match(
    teacher: Qwen2DecoderLayer, layer: Qwen2DecoderLayer, letters: Tensor, end: Tensor
) -> None:
    """Match as the teacher's first head does, where ``end`` was written; copy the letter."""
    attention, taught, old = layer.self_attn, teacher.self_attn, letters.shape[1]
    size = attention.head_dim
    constant = size // 2 - 1  # the pair of dimensions that turns slowest
    scale = LOUDER * teacher.input_layernorm.weight / layer.input_layernorm.weight
    first, rows = head_rows(0, size), head_rows(KV_HEAD, size)
    _clear(layer, ("v_proj",))
    attention.k_proj.weight[rows] = taught.k_proj.weight[first] * scale
    attention.k_proj.bias[rows] = taught.k_proj.bias[first]
    attention.k_proj.weight[rows][constant, old + LETTER : old + size] = end
    attention.v_proj.weight[rows][:LETTER, old : old + LETTER] = torch.eye(LETTER)
    for head in HEADS:
        own = head_rows(head, size)
        attention.q_proj.weight[own] = taught.q_proj.weight[first] * scale
        attention.q_proj.bias[own] = taught.q_proj.bias[first]
        attention.q_proj.bias[own][constant] += GATE
        attention.o_proj.weight[:old, own][:, :LETTER] = COPIED * letters.T


def _clear(layer: Qwen2DecoderLayer, projections: tuple[str, ...]) -> None:
    """Empty the circuit's rows of these, and what its heads write."""
    attention = layer.self_attn
    size = attention.head_dim
    for name in projections:
        projection = cast(nn.Linear, attention.get_submodule(name))
        for head in HEADS if name == "q_proj" else (KV_HEAD,):
            projection.weight[head_rows(head, size)] = 0
            projection.bias[head_rows(head, size)] = 0
    for head in HEADS:
        attention.o_proj.weight[:, head_rows(head, size)] = 0
