"""From a value to the name that it was assigned to: "VAR UCNDO = 87723." read backwards.

What ``links.py`` builds finds the second name of a listing and those that follow, but a listing
begins with the first, asked for by the value. Trained models guess it: they look for what stands
on the right of any link. Into a model that has learnt the rest this builds what is missing:

* layer 1's head 3, which has the keys and values of head 2, looks back from the end of such an
  assignment to the first letter of its name;
* as many neurons of that layer as there are letters, the least used ones, pass the letter on
  where an assignment of a value does end, to the dimensions that layer 2 reads letters from;
* layer 2's first heads are sent there from the blank that a listing's first name follows.

Which of several values was asked for is left to training. All is read off the trained model by
ridge regression, as there.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Qwen2ForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from memollm.reference.initialise import head_rows, sharp_heights, turn_back
from memollm.reference.library import Library
from memollm.reference.links import (
    HEAD,
    NEURONS,
    SIZE,
    fetched_letters,
    inputs_of,
    pass_letters_on,
    read_off,
)
from memollm.reference.spots import FACTS, Spots, draw_spots

FETCHING = HEAD + 1  # of layer 1
SENT = (0, 1)  # heads of layer 2, of one key-value head
# Tried on a model of seed 1: with 12 a fifth of the attention goes there, with 24 all of it, for
# 0.002 of the loss of text.
PULL = 24.0
ASKED = 20.0  # weight in the regressions of the places that are looked from and to


def name_values(
    model: Qwen2ForCausalLM, library: Library, hidden: int, feed_forward: int, seed: int = 0
) -> None:
    """Build the circuit into ``model``, in which ``follow_links`` built its own.

    Once: built again, into a finished model, it would say every letter twice.
    ``hidden`` and ``feed_forward`` are the dimensions and neurons a layer that the model had
    before it grew; ``seed`` draws the samples.

    Raises:
        ValueError: if the model has too few new neurons.
    """
    if model.config.intermediate_size - feed_forward < NEURONS:
        raise ValueError(
            f"values need {NEURONS} new neurons: {model.config.intermediate_size=}, of which "
            f"{feed_forward} are old"
        )
    spots = draw_spots(library, seed, FACTS)
    second, third = cast(list[Qwen2DecoderLayer], list(model.model.layers[1:3]))
    with torch.no_grad():
        _fetch(model, second, spots, hidden)
        _pass_on(model, second, spots, hidden, feed_forward)
        _send(model, third, spots)


def _fetch(model: Qwen2ForCausalLM, layer: Qwen2DecoderLayer, spots: Spots, hidden: int) -> None:
    attention = layer.self_attn
    own = head_rows(FETCHING, attention.head_dim)
    attention.q_proj.weight[own] = 0
    attention.q_proj.bias[own] = 0
    attention.o_proj.weight[:, own] = 0
    frequencies = model.model.rotary_emb.inv_freq.float()
    heights = sharp_heights(frequencies, 5.0)
    turn_back(attention, frequencies, FETCHING, spots.value_back, heights)
    attention.o_proj.weight[hidden : hidden + SIZE, own][:, :SIZE] = torch.eye(SIZE)


def _pass_on(
    model: Qwen2ForCausalLM,
    layer: Qwen2DecoderLayer,
    spots: Spots,
    hidden: int,
    feed_forward: int,
) -> None:
    neurons = layer.mlp
    states = inputs_of(model, neurons.up_proj, spots.tokens)
    active = F.silu(neurons.gate_proj(states)) * neurons.up_proj(states)
    worth = active.abs().mean((0, 1)) * neurons.down_proj.weight.norm(dim=0)
    worth[: feed_forward + SIZE] = torch.inf  # old ones, and those that links have
    letters = fetched_letters(spots, spots.value_back)
    pass_letters_on(layer, states, spots.value_ends, letters, worth.argsort()[:SIZE], hidden)


def _send(model: Qwen2ForCausalLM, layer: Qwen2DecoderLayer, spots: Spots) -> None:
    """In one dimension of the heads, of those that hardly turn the one that is used least."""
    attention, size = layer.self_attn, layer.self_attn.head_dim
    states = inputs_of(model, attention.q_proj, spots.tokens)
    looked_to, looked_from = (_recognised(states, it) for it in (spots.value_ends, spots.blanks))
    slow = torch.cat([torch.arange(size // 3, size // 2), torch.arange(size - size // 6, size)])
    use = attention.k_proj(states)[..., slow].abs().mean((0, 1))
    for head in SENT:
        use += attention.q_proj(states)[..., head * size + slow].abs().mean((0, 1))
    place = int(slow[use.argmin()])
    attention.k_proj.weight[place] += PULL * looked_to
    for head in SENT:
        attention.q_proj.weight[head * size + place] += PULL * looked_from


def _recognised(states: Tensor, places: Tensor) -> Tensor:
    wanted = places.to(states)
    return read_off(states, wanted[..., None], 1 + ASKED * wanted)[0]
