"""Small models under presses, and the dense model that they are compared with."""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from transformers import AutoTokenizer

import kvpress
from memollm.hf.models import Loaded
from memollm.kvpress.inside.subject import PressSubject
from memollm.kvpress.mode import KVPress
from memollm.reference import weights_path
from tests.hf.tiny import tiny_model
from tests.kvpress.elsewhere import FAKE

REAL = not kvpress.__file__.startswith(str(FAKE))
CONTEXT, QUESTION = 120, 9  # tokens
FAMILY = "qwen2"


def subject(press: str, ratio: float | None = 0.5, settings=None, seed=0, layers=4) -> PressSubject:
    loaded = Loaded("tiny", tiny_model(FAMILY, layers=layers), _tokenizer())
    return PressSubject(loaded, KVPress(press, ratio, settings, seed))


@functools.cache
def _tokenizer():
    return AutoTokenizer.from_pretrained(str(weights_path()))


def asked(subject, context: Tensor, question: Tensor, pieces: int = QUESTION):
    """Logits of a question after a context, and what the cache held then."""
    with subject.session(ledger=True) as session:
        session.forward(context, last_only=True)
        logits = [session.forward(part) for part in question.split(pieces, dim=1)]
        return torch.cat(logits, dim=1), session


def masked(context: Tensor, question: Tensor, kept: list[int]) -> Tensor:
    """The dense model's logits of the question, which sees ``kept`` of the context and itself."""
    ids = torch.cat([context, question], dim=1)
    total, before = ids.shape[1], context.shape[1]
    seen = torch.ones(total, total, dtype=torch.bool).tril()
    dropped = torch.ones(before, dtype=torch.bool)
    dropped[kept] = False
    seen[before:, :before] &= ~dropped
    mask = torch.zeros(total, total, dtype=torch.float64).masked_fill(~seen, -torch.inf)
    with torch.no_grad():
        return tiny_model(FAMILY)(ids, attention_mask=mask[None, None]).logits[:, before:]


def window(tokens: int, count: int, sinks: int = 4) -> list[int]:
    """Positions that StreamingLLM keeps."""
    return [*range(sinks), *range(tokens - count + sinks, tokens)]
