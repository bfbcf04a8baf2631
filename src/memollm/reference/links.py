"""Neurons that follow links: "VAR PMKKW = VAR UCNDO." read backwards, from UCNDO to PMKKW.

Training alone did not find this in 45 million tokens. It is built into dimensions and neurons
that a trained model has just been given (``grow.py``), and into a head of little worth:

* layer 1's head 2 looks back from the end of a link to the first letter of its first name and
  writes it down (head 3, which has the same keys and values, begins anew);
* layer 1's new neurons pass the letter on where a link does end, and nothing elsewhere;
* layer 2, which finds that end by the name it was asked for, copies the letter as it would copy
  the letter's own token, and the rest of the name by itself.

What letter stands at a place, and whether a link ends there, is read off the trained model by
ridge regression on samples (``spots.py``), since training has moved what was built in.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import Qwen2ForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2DecoderLayer

from memollm.reference.initialise import head_rows, look_back, sharp_heights
from memollm.reference.library import Library
from memollm.reference.spots import (
    LETTERS,
    Spots,
    distance,
    draw_spots,
    first_letters,
    shifted,
)

HEAD, KV_HEAD = 2, 1  # of layer 1
SIZE = len(LETTERS)
WIDTH = 2 * SIZE  # new dimensions: letters as they are fetched, and those that were passed on
NEURONS = 2 * SIZE  # new ones: half of them for what origins.py builds later
# Tried on a model of three tenths of the steps and one of a tenth before they grew: with these a
# name's letter wins in 85 to 100 % of the cases, for less than 0.01 of the loss of text.
COPIED = 8.0  # times what layer 2 copies of a letter's own token
OPEN = 6.0  # what a neuron's gate is given where a link ends, minus that elsewhere
RIDGE = 1e-5  # of the mean square of what is read
LETTER, END, ELSEWHERE = 5.0, 10.0, 0.002  # weights in the regressions


def follow_links(
    model: Qwen2ForCausalLM, library: Library, hidden: int, feed_forward: int, seed: int = 0
) -> None:
    """Build the circuit into ``model``, which had ``hidden`` dimensions before it grew.

    And ``feed_forward`` neurons a layer. ``seed`` draws the samples.

    Raises:
        ValueError: if the model has too few layers, new dimensions or new neurons for it, or if
            names are not written letter by letter.
    """
    size = model.config
    if (
        size.num_hidden_layers < 3
        or size.hidden_size - hidden < WIDTH
        or size.intermediate_size - feed_forward < NEURONS
    ):
        raise ValueError(
            f"links need 3 layers, {WIDTH} new dimensions and {NEURONS} new neurons: "
            f"{size.num_hidden_layers=} {size.hidden_size=} {size.intermediate_size=}"
        )
    spots = draw_spots(library, seed)
    back = distance(library.tokenizer)
    second, third = cast(list[Qwen2DecoderLayer], list(model.model.layers[1:3]))
    with torch.no_grad():
        _fetch(model, second, spots, back, hidden)
        _pass_on(model, second, spots, back, hidden, feed_forward)
        _copy(third, model.model.embed_tokens.weight[first_letters(library.tokenizer)], hidden)


def _fetch(
    model: Qwen2ForCausalLM, layer: Qwen2DecoderLayer, spots: Spots, back: int, hidden: int
) -> None:
    """Write the letters that stand so many tokens back into the first new dimensions."""
    attention = layer.self_attn
    size = attention.head_dim
    rows, both = head_rows(KV_HEAD, size), slice(HEAD * size, (HEAD + 2) * size)
    for name, cleared in (("q_proj", both), ("k_proj", rows), ("v_proj", rows)):
        projection = cast(nn.Linear, attention.get_submodule(name))
        projection.weight[cleared] = 0
        projection.bias[cleared] = 0
    attention.o_proj.weight[:, both] = 0
    states = inputs_of(model, attention.v_proj, spots.tokens)
    states[..., hidden:] = 0
    letters = fetched_letters(spots).to(states)
    attention.v_proj.weight[rows][:SIZE] = read_off(states, letters, 1 + LETTER * letters.sum(-1))
    frequencies = model.model.rotary_emb.inv_freq.float()
    look_back(attention, frequencies, KV_HEAD, HEAD, back, sharp_heights(frequencies, 5.0))
    written = attention.o_proj.weight[hidden : hidden + SIZE, head_rows(HEAD, size)]
    written[:, :SIZE] = torch.eye(SIZE)


def _pass_on(
    model: Qwen2ForCausalLM,
    layer: Qwen2DecoderLayer,
    spots: Spots,
    back: int,
    hidden: int,
    feed_forward: int,
) -> None:
    states = inputs_of(model, layer.mlp.up_proj, spots.tokens)
    own = torch.arange(feed_forward, feed_forward + SIZE)
    pass_letters_on(layer, states, spots.ends, fetched_letters(spots, back), own, hidden)


def pass_letters_on(
    layer: Qwen2DecoderLayer,
    states: Tensor,
    ends: Tensor,
    letters: Tensor,
    own: Tensor,
    hidden: int,
) -> None:
    """Make neurons ``own``, one for a letter, that are open at ``ends`` and pass on ``letters``."""
    neurons, ended = layer.mlp, ends.to(states)
    fetched = letters.to(states) * ended[..., None]
    opened = read_off(states, 2 * ended[..., None] - 1, 1 + END * ended)
    neurons.gate_proj.weight[own] = OPEN * opened
    neurons.up_proj.weight[own] = read_off(states, fetched, ended + ELSEWHERE)
    written = torch.zeros_like(neurons.down_proj.weight[:, own])
    written[hidden + SIZE : hidden + 2 * SIZE] = torch.eye(SIZE).to(states) / OPEN
    neurons.down_proj.weight[:, own] = written


def _copy(layer: Qwen2DecoderLayer, embedding: Tensor, hidden: int) -> None:
    """Read a letter that was passed on as the letter's token would be, and match as before."""
    attention, norm = layer.self_attn, layer.input_layernorm.weight
    passed = slice(hidden + SIZE, hidden + 2 * SIZE)
    for name in ("q_proj", "k_proj", "v_proj"):
        cast(nn.Linear, attention.get_submodule(name)).weight[:, hidden : hidden + WIDTH] = 0
    values = attention.v_proj.weight
    copied = (values[:, :hidden] * norm[:hidden]) @ embedding[:, :hidden].T
    values[:, passed] = COPIED * copied / norm[passed]


def fetched_letters(spots: Spots, back: int = 0) -> Tensor:
    """One-hot, (samples, length, letters): the first letter of a name so many tokens back."""
    letters = shifted(spots.letters + 1, back)
    return F.one_hot(letters, SIZE + 1)[..., 1:]


def inputs_of(model: Qwen2ForCausalLM, module: nn.Module, tokens: Tensor) -> Tensor:
    """What a module of the model reads, (samples, length, size)."""
    found: list[Tensor] = []
    hook = module.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0].clone()))
    model.model(tokens.to(model.device), use_cache=False)
    hook.remove()
    return found[0]


def read_off(states: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Ridge regression: the matrix that reads ``wanted`` off ``states``, (wanted, size)."""
    states, wanted = states.flatten(0, 1).double(), wanted.flatten(0, 1).double()
    weighted = states * weights.double().flatten()[:, None]
    square = weighted.T @ states
    square.diagonal().add_(RIDGE * square.diagonal().mean())
    return torch.linalg.solve(square, weighted.T @ wanted).T.float()
