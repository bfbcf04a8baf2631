"""What a memory makes, it makes where the model is: no tensor of its own stays on the CPU.

There is no GPU in the tests, so they watch instead: every tensor that the package makes from
numbers during a forward pass must say on which device.
"""

import dataclasses
import sys

import pytest
import torch
from torch.overrides import TorchFunctionMode

from memollm.attention.patterns.local import Local
from memollm.hf.attachment import attach
from memollm.memory.ebbinghaus import Memory
from memollm.memory.granularity import Granularity
from memollm.memory.kernel import Kernel
from memollm.memory.strength.surprisal import Surprisal
from memollm.modes.soft_delete import SoftDelete
from memollm.modes.sparse_attention import SparseAttention
from memollm.policies.h2o import H2O
from memollm.policies.snapkv import SnapKV
from memollm.policies.tova import Tova
from tests.hf.tiny import forgetful, padded, prompt, tiny_model

FACTORIES = {
    torch.empty, torch.zeros, torch.ones, torch.full, torch.arange, torch.tensor, torch.rand,
    torch.randn, torch.randint, torch.randperm, torch.linspace, torch.eye,
}  # fmt: skip
BUDGET = Memory(threshold="auto", budget=0.4, sinks=2, recent=4, prefill_chunk=8)
# What is never used together with tensors of the model.
APART = {
    "memollm.hf.attenuation.weights_of",  # asks a mode which parts its treatments have
    "memollm.hf.store.Store.__init__",  # no rows yet: replaced by the first tokens
}
MEMORIES = {
    "fading": forgetful(),
    "budget": BUDGET,
    "by head": dataclasses.replace(BUDGET, granularity=Granularity.head),
    "h2o": dataclasses.replace(BUDGET, policy=H2O()),
    "snapkv": dataclasses.replace(BUDGET, policy=SnapKV()),
    "tova": dataclasses.replace(BUDGET, policy=Tova()),
    "surprisal": dataclasses.replace(BUDGET, birth=Surprisal(), prefill_chunk=64),
    "pattern": dataclasses.replace(BUDGET, pattern=Local(window=6)),
}


class Homeless(TorchFunctionMode):
    """Notes where the package makes a tensor without saying on which device."""

    def __init__(self):
        super().__init__()
        self.found = set()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in FACTORIES and kwargs.get("device") is None:
            frame = sys._getframe(1)
            name = frame.f_globals.get("__name__", "")
            if name.startswith("memollm."):
                self.found.add(f"{name}.{frame.f_code.co_qualname}")
        return func(*args, **kwargs)


CASES = [(name, SparseAttention()) for name in MEMORIES] + [("fading", SoftDelete())]


@pytest.mark.parametrize(("name", "mode"), CASES, ids=str)
def test_every_tensor_is_made_on_a_device_that_is_named(name, mode):
    memory = dataclasses.replace(MEMORIES[name], kernel=Kernel.torch, layer_fraction=1.0)
    model = tiny_model("qwen3", torch.float32)
    inputs = padded([prompt(30, seed=1), prompt(21, seed=2)])
    with attach(model, memory, mode), Homeless() as homeless:
        model.generate(**inputs, max_new_tokens=12, do_sample=False, eos_token_id=None)
    assert homeless.found <= APART


def test_the_watch_sees_what_has_no_device():
    with Homeless() as homeless:
        exec("torch.zeros(2)", {"torch": torch, "__name__": "memollm.example"})
        exec("torch.zeros(2, device='cpu')", {"torch": torch, "__name__": "memollm.fine"})
    assert homeless.found == {"memollm.example.<module>"}
