"""Checkpoints: model, optimizer and step, enough to go on bit for bit.

Batches are a function of seed and step and nothing in the model is random, so no generator's
state is needed.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import nn

NAME = "checkpoint.pt"


def save(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Write at once or not at all: a killed training keeps its previous checkpoint."""
    unfinished = folder / f"{NAME}.unfinished"
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(state, unfinished)
    os.replace(unfinished, folder / NAME)


def step_of(folder: Path) -> int:
    """The step to go on with, without reading more than that."""
    path = folder / NAME
    if not path.exists():
        return 0
    return torch.load(path, weights_only=True, mmap=True)["step"]


def load(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Restore what was saved, if anything was, and return the step to go on with."""
    path = folder / NAME
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    return state["step"]


def take_weights(model: nn.Module, folder: Path, tokenizer: Tokenizer) -> None:
    """Give ``model`` the weights of an equal one, as ``from_pretrained`` reads it from a folder.

    Raises:
        ValueError: if that one has other tokens; what it says would mean something else.
    """
    theirs = Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
    if theirs != tokenizer.get_vocab():
        raise ValueError(
            f"task.from_model={folder} is not allowed, its tokens are not those of task.sources: "
            "train on the text that it was trained on"
        )
    found = load_file(folder / "model.safetensors")
    missing, unknown = model.load_state_dict(found, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unknown, (missing, unknown)  # tied
