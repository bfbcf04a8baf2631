"""Learned strength: a gate for each layer says at insertion how long a token will be remembered."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from memollm.memory.strength.base import Reads, Source, Strength
from memollm.memory.strength.gate import Gate
from memollm.memory.strength.gates_file import NAME, Gates, load, read_fit
from memollm.native.gate import CompiledGate, kernel
from memollm.reference import gates_path
from memollm.registry import register

BUNDLED = "reference"


@register("strength", "learned")
@dataclass
class Learned(Strength):
    """Gates trained by ``task=train_strength``, read from a file.

    Retention gates are TRIM-KV's (Bui et al., 2025, arXiv:2512.03324). The memory's ``strength``
    has no effect: a gate gives lifetimes in tokens. Gates with one output for each key-value head
    serve a memory whose heads forget together by the largest of them.
    """

    reads: ClassVar[Reads] = Reads.inputs

    # reference: those of the bundled model; else a file, its folder, or a hub id (owner/name)
    weights: str = BUNDLED
    rehearsed: bool = False  # whether attention strengthens tokens further
    any_model: bool = False  # use them with other weights than those they were trained for

    def __post_init__(self) -> None:
        if not self.weights:
            raise ValueError(
                "strength.weights is not set: give reference, a file of gates, its folder, or a "
                "hub id (owner/name)"
            )

    @property
    def rehearses(self) -> bool:
        return self.rehearsed

    @property
    def ignored(self) -> frozenset[str]:
        return super().ignored | {"strength"}

    def fingerprint(self) -> str:
        """Which gates these are."""
        return hashlib.sha256(located(self.weights).read_bytes()).hexdigest()

    def prepare(self) -> None:
        read_fit(located(self.weights))

    def gates(self) -> Gates:
        """The gates, on the CPU."""
        return load(located(self.weights))

    def sources(self, layers: Sequence[int], unit: float, time_step: float) -> list[Source | None]:
        gates = self.gates()
        if missing := [layer for layer in layers if layer not in gates.layers]:
            raise ValueError(
                f"strength.weights={self.weights} has gates for layers "
                f"{sorted(gates.layers)}, none for {missing}: choose a smaller layer_fraction, or "
                "train gates for them (task=train_strength)"
            )
        of_keys = gates.fit.reads == Reads.keys
        return [GateSource(gates.layers[layer], time_step, of_keys) for layer in layers]


class GateSource:
    """Strengths of one layer by its gate.

    A gate's softplus and the exponential that follows it are one: e^softplus(x) = 1 + e^x.
    """

    def __init__(self, gate: Gate, time_step: float, of_keys: bool) -> None:
        self.width, self.of_keys, self.time_step = gate.width, of_keys, time_step
        inner, outer = gate.inner, gate.outer
        shifted = outer.bias.detach() + math.log(time_step)  # tokens to time, in the exponent
        self._weights = [] if inner is None else [inner.weight.detach(), inner.bias.detach()]
        self._weights += [outer.weight.detach(), shifted]
        self._compiled = _compiled(self._weights, time_step)

    def __call__(
        self,
        keys: Float[Tensor, "rows heads new dim"],
        inputs: Float[Tensor, "batch new width"] | None,
    ) -> Float[Tensor, "rows new"]:
        if self.of_keys:
            heads = self.width // keys.shape[3]
            inputs = together(keys.reshape(-1, heads, *keys.shape[2:]))
        assert inputs is not None
        few = None if self._compiled is None else self._compiled.strengths(inputs)
        found = self._strength(inputs.detach()) if few is None else few
        return _by_row(found, keys.shape[0] // inputs.shape[0])

    def leave_to_torch(self) -> None:
        """Do without the compiled kernel from now on."""
        self._compiled = None

    def _strength(
        self, given: Float[Tensor, "batch new width"]
    ) -> Float[Tensor, "batch new outputs"]:
        """In float32 at least: bfloat16 would round lifetimes by up to 6 %."""
        weights, precise = self._weights, torch.promote_types(given.dtype, torch.float32)
        if weights[0].device != given.device or weights[0].dtype != precise:
            weights = self._weights = [it.to(given.device, precise) for it in weights]
        given = given.to(precise)
        if len(weights) == 4:
            given = functional.silu(functional.linear(given, weights[0], weights[1]))
        return functional.linear(given, weights[-2], weights[-1]).exp_().add_(self.time_step)


def _compiled(weights: Sequence[Tensor], least: float) -> CompiledGate | None:
    """The kernel with these weights; None: there is none, or not for them."""
    fits = all(it.device.type == "cpu" and it.dtype == torch.float32 for it in weights)
    function = kernel() if fits else None
    return None if function is None else CompiledGate(function, weights, least)


def together(
    keys: Float[Tensor, "batch kv_heads tokens dim"],
) -> Float[Tensor, "batch tokens width"]:
    """The keys of all heads of a token in one vector."""
    return keys.transpose(1, 2).flatten(2)


def _by_row(strength: Float[Tensor, "batch new outputs"], heads: int) -> Float[Tensor, "rows new"]:
    """For rows that are sequences, the longest-lived head's; for ``heads`` rows each, theirs."""
    if heads == 1:
        return strength.squeeze(2) if strength.shape[2] == 1 else strength.amax(dim=2)
    return strength.transpose(1, 2).expand(-1, heads, -1).flatten(0, 1)


@functools.cache
def located(weights: str) -> Path:
    """The file that ``strength.weights`` names; a hub id is downloaded once.

    Raises:
        ValueError: if there is none.
    """
    path = gates_path() if weights == BUNDLED else Path(weights).expanduser()
    if path.is_dir():
        path = path / NAME
    if path.is_file():
        return path
    hub_id = weights.count("/") == 1 and not weights.startswith((".", "/", "~"))
    if not hub_id:
        raise ValueError(
            f"strength.weights={weights!r} is not allowed, there is no file of gates: give "
            f"{BUNDLED}, a {NAME}, its folder, or a hub id (owner/name)"
        )
    from huggingface_hub import hf_hub_download  # slow to import, and needed by this branch alone

    try:
        return Path(hf_hub_download(weights, NAME))
    except (OSError, ValueError) as error:  # what the hub's client raises
        raise ValueError(
            f"strength.weights={weights!r} is not allowed, the hub has no {NAME} under that id: "
            f"{error}"
        ) from error
