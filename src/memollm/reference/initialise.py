"""The hand-made start: a retrieval circuit that training refines instead of having to find it.

Left to itself a model of this size spends its whole budget before it retrieves anything. Qwen2's
query and key biases allow heads that look at positions alone, and from these a circuit is built:

* layer 0 looks 1, 2, 3 and 4 tokens back and writes each token found into a subspace of its own;
* layer 1 sums the rare words of the last ten and of the last thirty tokens into two "bags";
* layer 2 matches: a token like the query's *before* a place (induction), and at the same time a
  bag like the query's *around* it, so that a key is found even where a question ends in other
  words than the statement did; what stands at the place is copied into the prediction.

Layer 2 is in the first half of six layers on purpose: what is forgotten there is missed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from transformers import Qwen2ForCausalLM
from transformers.models.qwen2.modeling_qwen2 import Qwen2Attention

from memollm.reference.config import Architecture

PREVIOUS = (36, 36, 12, 12)  # width of the subspace of the token 1, 2, 3, 4 back
BAG = 18  # width of a bag, and of every part of a match
COPIED = 48  # width of what layer 2 copies
POSITION_BIAS = 5.0  # of a key, against content of about 1
# What the circuit's signal passes through, MLPs included: it is read beside what they write.
PASSED_THROUGH = (
    "model.layers.0.", "model.layers.1.", "model.layers.2.input_layernorm.",
    "model.layers.2.self_attn.",
)  # fmt: skip


@dataclass(frozen=True)
class Subspaces:
    """Orthonormal directions of the residual stream, (hidden, width) each."""

    rarity: Tensor
    previous: tuple[Tensor, ...]
    bags: tuple[Tensor, Tensor]
    copied: Tensor


def initialise(model: Qwen2ForCausalLM, architecture: Architecture, counts: Tensor) -> None:
    """Draw all weights anew from torch's global generator and build the circuit into them.

    ``counts`` says how often each token occurs in the training text.
    """
    with torch.no_grad():
        _scatter(model, architecture.embedding_std)
        spaces = _subspaces(architecture.hidden)
        _mark_rarity(model.model.embed_tokens.weight, spaces, counts, architecture.embedding_std)
        frequencies = model.model.rotary_emb.inv_freq.float()
        Circuit(model, architecture, spaces, frequencies).build()


def _scatter(model: Qwen2ForCausalLM, embedding_std: float) -> None:
    """Small outputs: at first every layer but the circuit's hardly speaks."""
    depth = model.config.num_hidden_layers
    for name, weight in model.named_parameters():
        if weight.ndim == 2:
            std = 1 / math.sqrt(weight.shape[1])
            if "o_proj" in name or "down_proj" in name:
                std *= 0.05 / math.sqrt(2 * depth)
            weight.normal_(0, embedding_std if "embed" in name else std)


def _subspaces(hidden: int) -> Subspaces:
    basis = torch.linalg.qr(torch.randn(hidden, hidden))[0]
    rarity, *parts = basis[:, : 1 + sum(PREVIOUS) + 2 * BAG + COPIED].split(
        [1, *PREVIOUS, BAG, BAG, COPIED], dim=1
    )
    return Subspaces(rarity[:, 0], tuple(parts[:4]), (parts[4], parts[5]), parts[6])


def _mark_rarity(embedding: Tensor, spaces: Subspaces, counts: Tensor, std: float) -> None:
    """Give each token's embedding its rarity along one direction, for layer 1 to read."""
    surprise = -torch.log((counts.float() + 1) / counts.sum())
    frequency = counts / counts.sum()
    mean = (frequency * surprise).sum()
    spread = (frequency * (surprise - mean) ** 2).sum().sqrt()
    rarity = ((surprise - mean) / spread).clamp(-2, 2)
    embedding -= (embedding @ spaces.rarity)[:, None] * spaces.rarity
    embedding += 4 * std * rarity[:, None] * spaces.rarity


@dataclass
class Circuit:
    """Builder of the circuit: writes into the weights of layers 0, 1 and 2."""

    model: Qwen2ForCausalLM
    architecture: Architecture
    spaces: Subspaces
    frequencies: Tensor
    previous_gain: float = 2.5
    bag_gain: float = 6.0
    copy_gain: float = 5.0
    match: float = 4.0
    bag_match: float = 2.5
    repulsion: float = 10.0
    bag_height: float = 14.0
    gate: float = 6.0

    def build(self) -> None:
        first, second, third = (
            cast(Qwen2Attention, self.model.get_submodule(f"model.layers.{layer}.self_attn"))
            for layer in range(3)
        )
        read = torch.linalg.qr(torch.randn(self.architecture.hidden, max(PREVIOUS)))[0].T
        self._previous_tokens(first, read)
        self._bags(second)
        self._matches(third, read)

    def _previous_tokens(self, attention: Qwen2Attention, read: Tensor) -> None:
        heights = sharp_heights(self.frequencies, 5.0)
        gain = self.architecture.embedding_std * self.previous_gain
        for head, width in enumerate(PREVIOUS):
            kv_head = head // 2
            self._look_back(attention, kv_head, head, head + 1, heights)
            rows = self._rows(kv_head)
            attention.v_proj.weight[rows][: max(PREVIOUS)] = read
            columns = self._rows(head)
            attention.o_proj.weight[:, columns] *= 0.1
            written = attention.o_proj.weight[:, columns]
            written[:, :width] = self.spaces.previous[head] * gain

    def _bags(self, attention: Qwen2Attention) -> None:
        bounds = ((0.05, 0.4, 4), (0.015, 0.12, 12))  # slowest and fastest turn, centre
        read = torch.linalg.qr(torch.randn(self.architecture.hidden, BAG))[0].T
        gain = self.architecture.embedding_std * self.bag_gain
        for head, (slow, fast, centre) in enumerate(bounds):
            used = (self.frequencies > slow) & (self.frequencies < fast)
            height = self.bag_height * math.sqrt(self.head_dim) / int(used.sum())
            self._look_back(attention, 0, head, centre, height * used)
            constant = head * self.head_dim + self.head_dim // 2 - 1  # the slowest pair of dims
            attention.q_proj.bias[constant] = self.gate
            columns = self._rows(head)
            attention.o_proj.weight[:, columns] *= 0.1
            attention.o_proj.weight[:, columns][:, :BAG] = self.spaces.bags[head] * gain
        attention.k_proj.weight[self.head_dim // 2 - 1] = self.spaces.rarity
        attention.v_proj.weight[:BAG] = read

    def _matches(self, attention: Qwen2Attention, read: Tensor) -> None:
        half = self.head_dim // 2
        one, two = self.spaces.previous[:2]
        pairs = (  # what the query says, what the key must say: before, and around
            (2 * read[:BAG], one[:, :BAG].T, self.spaces.bags[0].T),  # embeddings are small here
            (one[:, BAG:].T, two[:, BAG:].T, self.spaces.bags[1].T),
        )
        copied = self.architecture.embedding_std * self.copy_gain
        near = (self.frequencies > 0.008) & (self.frequencies < 0.4)
        for kv_head, (asked, stored, bag) in enumerate(pairs):
            rows = self._rows(kv_head)
            attention.v_proj.weight[rows][:COPIED] = self.spaces.copied.T
            keys = attention.k_proj.weight[rows]
            keys *= 0.2
            keys[half - BAG : half] = stored * self.match
            keys[-BAG:] = bag * self.bag_match
            for head in (2 * kv_head, 2 * kv_head + 1):
                height = -self.repulsion * math.sqrt(self.head_dim) / int(near.sum())
                self._look_back(attention, kv_head, head, 0, height * near)
                queries = attention.q_proj.weight[self._rows(head)]
                queries *= 0.2 / 0.3
                queries[half - BAG : half] = asked * self.match
                queries[-BAG:] = bag * self.bag_match
                outputs = attention.o_proj.weight[:, self._rows(head)]
                outputs[:, :COPIED] = self.spaces.copied * copied

    def _look_back(
        self, attention: Qwen2Attention, kv_head: int, head: int, distance: int, heights: Tensor
    ) -> None:
        look_back(attention, self.frequencies, kv_head, head, distance, heights)

    @property
    def head_dim(self) -> int:
        return self.architecture.head_dim

    def _rows(self, head: int) -> slice:
        return head_rows(head, self.head_dim)


def look_back(
    attention: Qwen2Attention,
    frequencies: Tensor,
    kv_head: int,
    head: int,
    distance: int,
    heights: Tensor,
) -> None:
    """Score sum_i heights_i cos(w_i (delta - distance)), by the biases alone.

    The key's bias is constant in the first dimension of each rotating pair; the query's is
    turned back by ``distance`` tokens. Negative heights repel. The key's bias is large and its
    weights are made small there, lest the content of a token drown its position.
    """
    half = len(frequencies)
    turning = torch.cat([heights != 0, heights != 0])
    rows = head_rows(kv_head, 2 * half)
    attention.k_proj.bias[rows][:half] = torch.where(heights != 0, POSITION_BIAS, 0.0)
    keys = attention.k_proj.weight[rows]
    keys[turning] *= 0.3
    turn_back(attention, frequencies, head, distance, heights)


def turn_back(
    attention: Qwen2Attention, frequencies: Tensor, head: int, distance: int, heights: Tensor
) -> None:
    """The query's part of ``look_back``, where another head has made the keys so already."""
    half, angles = len(frequencies), -frequencies * distance
    queries = attention.q_proj.bias[head_rows(head, 2 * half)]
    queries[:half] = heights * angles.cos() / POSITION_BIAS
    queries[half:] = heights * angles.sin() / POSITION_BIAS
    attention.q_proj.weight[head_rows(head, 2 * half)] *= 0.3


def head_rows(head: int, head_dim: int) -> slice:
    """A head's rows of a projection."""
    return slice(head * head_dim, (head + 1) * head_dim)


def sharp_heights(frequencies: Tensor, logits: float) -> Tensor:
    """Heights that put one distance ``logits`` above the next, for a head that turns so."""
    fast = frequencies > 0.02
    drop = float((1 - frequencies[fast].cos()).sum())
    return fast * (logits * math.sqrt(2 * len(frequencies)) / drop)
