"""Scoring and answering as a stream: what a memory has forgotten is missed by what follows.

A single forward over a whole text cannot feel forgetting, since every token is scored before
anything is forgotten. Here text goes in chunk by chunk, and each chunk meets what the memory
kept of the earlier ones.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float32
from torch import Tensor

from memollm.evaluation.base import Session, Tokenizer


@torch.no_grad()
def score(
    session: Session, ids: Sequence[int], chunk: int, device: torch.device | None = None
) -> Float32[Tensor, " predicted"]:
    """Negative log-likelihood of each token after the first, teacher forced, in nats.

    Args:
        session: a cache, fresh or not; afterwards it has seen all of ``ids``.
        ids: the tokens.
        chunk: tokens a forward; the subject's ``prefill_chunk``, so that one chunk of logits
            is all that ever exists (4096 tokens of a 150k vocabulary would be 2.4 GB).
        device: where the model is.

    Returns:
        One number a token, on the CPU: the i-th belongs to ``ids[i + 1]``.
    """
    tokens = torch.tensor(ids, dtype=torch.long, device=device)
    losses = []
    for start in range(0, len(tokens), chunk):
        logits = session.forward(tokens[None, start : start + chunk])[0]
        targets = tokens[start + 1 : start + 1 + chunk]  # one fewer in the last chunk
        losses.append(F.cross_entropy(logits[: len(targets)].float(), targets, reduction="none"))
    return torch.cat(losses).cpu()


@torch.no_grad()
def greedy(
    session: Session,
    ids: Sequence[int],
    max_new_tokens: int,
    stop_ids: Collection[int] = (),
    device: torch.device | None = None,
    ended: Callable[[list[int]], bool] | None = None,
) -> list[int]:
    """The likeliest continuation of ``ids``, token by token, as ``generate`` does greedily.

    The prompt is one forward, each new token but the last another. A stop token ends the
    answer and is its last token; so does a token after which ``ended``, given the answer so far,
    says so. The last token has not been fed.

    There is no batched variant: the prompt, where the time goes, gains nothing from it on two
    cores, and padding would move each row's chunks, hence what it has forgotten.
    """
    answer: list[int] = []
    fed = torch.tensor([list(ids)], dtype=torch.long, device=device)
    while len(answer) < max_new_tokens:
        logits = session.forward(fed, last_only=True)[0, -1]
        # float() first, as generate does: in bfloat16 the two largest may tie either way.
        answer.append(int(logits.float().argmax()))
        if answer[-1] in stop_ids or (ended is not None and ended(answer)):
            break
        fed = torch.tensor([[answer[-1]]], dtype=torch.long, device=device)
    return answer


def opening(tokenizer: Tokenizer) -> list[int]:
    """What the tokenizer puts before every text (a BOS token), if anything.

    Models trained with one need it: Gemma and Llama take it for their attention sink.
    """
    plain = tokenizer.encode("a", add_special_tokens=False)
    marked = tokenizer.encode("a", add_special_tokens=True)
    for start in range(len(marked) - len(plain) + 1):
        if marked[start : start + len(plain)] == plain:
            return marked[:start]
    return []
