"""Gates while they are trained: on standardised features, which are folded in afterwards."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from memollm.gating.config import GateTraining, Scope
from memollm.hf.gates import shape_of, weights_fingerprint
from memollm.memory.strength.gate import Gate
from memollm.memory.strength.gates_file import Fit, Gates


class Standardised(nn.Module):
    """A gate that is given (x - mean) / spread, both of the first batch."""

    mean: Tensor
    spread: Tensor

    def __init__(self, gate: Gate, features: Float[Tensor, "*tokens width"]) -> None:
        super().__init__()
        self.gate = gate
        flat = features.flatten(0, -2).float()
        self.register_buffer("mean", flat.mean(dim=0))
        self.register_buffer("spread", flat.std(dim=0).clamp(min=1e-4))

    def forward(self, given: Float[Tensor, "*tokens width"]) -> Float[Tensor, "*tokens outputs"]:
        with torch.autocast(given.device.type, enabled=False):
            return self.gate((given.float() - self.mean) / self.spread)

    def folded(self) -> Gate:
        """The same gate for features as they come, on the CPU."""
        return self.gate.standardised(self.mean, self.spread).cpu()


class Gating(nn.Module):
    """A gate for each of a model's layers."""

    def __init__(
        self,
        features: Mapping[int, Float[Tensor, "*tokens width"]],
        config: GateTraining,
        kv_heads: int,
    ) -> None:
        """``features``: what each layer's gate reads, of some tokens. Draws from ``seed``."""
        super().__init__()
        outputs = 1 if config.scope is Scope.layer else kv_heads
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            gates = {
                str(layer): Standardised(
                    Gate(given.shape[-1], config.hidden, outputs, config.lifetime), given.cpu()
                )
                for layer, given in features.items()
            }
        self.by_layer = nn.ModuleDict(gates)

    def layers(self) -> dict[int, nn.Module]:
        """The gates, by layer."""
        return {int(layer): gate for layer, gate in self.by_layer.items()}

    def folded(self, model: PreTrainedModel, name: str, config: GateTraining) -> Gates:
        """What is kept: see ``memory.strength.gates_file``."""
        layers = {
            layer: gate.folded()
            for layer, gate in self.layers().items()
            if isinstance(gate, Standardised)
        }
        width = next(iter(layers.values())).width
        fit = Fit(config.reads, name, weights_fingerprint(model), width, **shape_of(model))
        return Gates(fit, layers)
