"""A model with a memory, as lm-eval sees it: its own Hugging Face model, with streamed scoring.

``HFLM`` scores a request in one parallel forward pass of right-padded rows without a mask, in
which nothing has been forgotten when the answer is predicted. Here every request goes through a
fresh memory chunk by chunk, as a prompt does in ``generate``, and rows never see each other's
padding. Nothing is cut unsaid: what is longer than the model's context is refused, or cut as
lm-eval cuts it and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook
from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import normalize_gen_kwargs
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from memollm.evaluation.base import MemoryUse, Session, Subject
from memollm.evaluation.harness.scoring import Row, Scores, score_rows
from memollm.evaluation.harness.too_long import TooLong
from memollm.registry import describe

OWNER = "memollm cell"  # key under which a cache of answers says whose they are
Stock: Any = HFLM  # whose decorator hides its type
Request = tuple[tuple[str, str] | None, list[int], list[int]]  # texts, context, continuation


@runtime_checkable
class CachedSession(Session, Protocol):
    """A session whose cache ``generate`` can be given, and that can be gone on with twice."""

    cache: Any

    def fork(self) -> CachedSession: ...


@runtime_checkable
class GeneratingSubject(Subject, Protocol):
    """A subject that wraps a Hugging Face model, and can tell what its memory keeps."""

    model: Any
    memory: Any
    mode: Any

    @property
    def keeps_for_certain(self) -> float:
        """Most tokens that leave the memory without effect; infinite for a baseline."""
        ...

    @property
    def memory_layers(self) -> list[int]:
        """Indices of the layers that have the memory."""
        ...

    def session(
        self, earlier: Session | None = None, ledger: bool = False
    ) -> AbstractContextManager[CachedSession]: ...


@dataclass(frozen=True)
class Fed:
    """What a request comes to in tokens."""

    ids: tuple[int, ...]  # all that is fed before the answer is complete, but what is generated
    prompt: int  # how many of them are the prompt: the same for every answer to choose from
    decoded: int = 0  # most tokens that may be generated
    cut: int = 0  # tokens that do not fit in the model's context

    @property
    def prompt_hash(self) -> str:
        """Equal for equal prompts, in whatever mode they are put."""
        text = ",".join(map(str, self.ids[: self.prompt]))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class StreamedLM(Stock):
    """``HFLM`` on a subject: every request meets a fresh memory.

    Args:
        subject: the model under its memory and mode.
        batch_size: rows a forward pass, >= 1; answers do not depend on it.
        max_length: tokens of the longest input; default, and at most, the model's context.
        too_long: what becomes of longer ones.
        add_bos_token: as in ``HFLM``; so are the following.
        prefix_token_id: what an empty context is replaced by; default BOS.
        think_end_token: generated text counts from there on.
        enable_thinking: passed to the chat template.
        chat_template_args: passed to the chat template.
        cell: what decides the answers; a cache filled by another cell is refused.
    """

    def __init__(
        self,
        subject: GeneratingSubject,
        *,
        batch_size: int | str = 1,
        max_length: int | None = None,
        too_long: TooLong | str = TooLong.refuse,
        add_bos_token: bool | None = None,
        prefix_token_id: int | None = None,
        think_end_token: str | int | None = None,
        enable_thinking: bool | None = None,
        chat_template_args: dict[str, Any] | None = None,
        cell: str = "",
    ) -> None:
        if not str(batch_size).isdecimal() or int(batch_size) < 1:
            raise ValueError(
                f"batch_size={batch_size!r} is not allowed, it must be a whole number >= 1; "
                "'auto' probes with the longest context there is, which a stream never holds"
            )
        if max_length is not None and not 1 <= max_length <= subject.max_length:
            raise ValueError(
                f"max_length={max_length} is not allowed, {subject.name} takes 1 to "
                f"{subject.max_length} tokens"
            )
        self.subject, self.too_long, self.cell = subject, TooLong(too_long), cell
        self.uses: list[MemoryUse] = []  # what the memory held after each batch
        super().__init__(
            pretrained=subject.model,
            tokenizer=subject.tokenizer,
            backend="causal",
            batch_size=int(batch_size),
            max_length=max_length or subject.max_length,
            add_bos_token=add_bos_token,
            prefix_token_id=prefix_token_id,
            think_end_token=think_end_token,
            enable_thinking=enable_thinking,
            chat_template_args=chat_template_args,
        )

    # --- requests in tokens --------------------------------------------------------------------

    def fed(self, request: Instance) -> Fed:
        """What ``request`` comes to, before any of it is cut."""
        if request.request_type == "loglikelihood":
            context, continuation = self._pair(*request.args)
            whole = (*context, *continuation)[:-1]
            return Fed(whole, len(context), cut=max(len(whole) - self.max_length, 0))
        if request.request_type == "loglikelihood_rolling":
            tokens = self.tok_encode(request.args[0])
            ids = (self.prefix_token_id, *tokens)[: max(len(tokens), 1)]
            return Fed(ids, len(ids), cut=max(len(ids) - self.max_length, 0))
        ids = self.tok_batch_encode([request.args[0]])[0][0].tolist()
        settings: Any = normalize_gen_kwargs(request.arguments[1], self.max_gen_toks)
        room = settings["max_gen_toks"]
        excess = len(ids) + room - self.max_length
        return Fed(tuple(ids), len(ids), room, cut=max(excess, 0))

    def require_room(self, fed: Fed, what: str) -> None:
        """Refuse a request that does not fit, unless it may be cut.

        Raises:
            ValueError: naming ``what`` is too long, and by how much.
        """
        if fed.cut and self.too_long is TooLong.refuse:
            room = f" and room for {fed.decoded} more" if fed.decoded else ""
            raise ValueError(
                f"{what} has {len(fed.ids)} tokens{room}, {fed.cut} more than the "
                f"{self.max_length} that {self.subject.name} takes at once; choose shorter "
                "documents or fewer examples (num_fewshot), or too_long=cut, which cuts as lm-eval "
                "does: prompts lose their beginning, documents fall into separate windows"
            )

    def _pair(self, context: str, continuation: str) -> tuple[list[int], list[int]]:
        """Context and continuation in tokens, as ``TemplateLM.loglikelihood`` splits them."""
        if context:
            return self._encode_pair(context, continuation)
        ids = self.tok_encode(continuation, add_special_tokens=False)
        if self.prefix_token_id != ids[0]:
            return [self.prefix_token_id], ids
        return ids[:1], ids[1:]

    # --- scoring -------------------------------------------------------------------------------

    def _loglikelihood_tokens(
        self,
        requests: Sequence[Request],
        disable_tqdm: bool = False,
        override_bs: int | None = None,
    ) -> list[tuple[float, bool]]:
        inputs: dict[tuple[int, ...], list[int]] = {}  # requests that feed the same tokens
        for index, request in enumerate(requests):
            inputs.setdefault(self._input(request), []).append(index)
        answers: list[tuple[float, bool]] = [(0.0, False)] * len(requests)
        rows = [_row(ids, [requests[index][2] for index in those]) for ids, those in inputs.items()]
        bar = tqdm(total=len(requests), disable=disable_tqdm, desc="Streaming requests")
        for row, scores in self._score(rows):
            for place, index in enumerate(inputs[row.ids]):
                texts, _context, continuation = requests[index]
                answers[index] = _answer(scores, place, len(continuation))
                if texts is not None:
                    self.cache_hook.add_partial("loglikelihood", texts, answers[index])
                bar.update(1)
        bar.close()
        return answers

    def loglikelihood_rolling(
        self, requests: list[Instance], disable_tqdm: bool = False
    ) -> list[float]:
        """Log-likelihood of each document as one stream, which remembers from end to end."""
        parts: list[Request] = []
        owners: list[int] = []
        for index, request in enumerate(requests):
            self.require_room(self.fed(request), "a document")
            windows = get_rolling_token_windows(
                token_list=self.tok_encode(request.args[0]),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            for window in windows:
                parts.append((None, *make_disjoint_window(window)))
                owners.append(index)
        totals = [0.0] * len(requests)
        answers = self._loglikelihood_tokens(parts, disable_tqdm=disable_tqdm)
        for owner, (value, _greedy) in zip(owners, answers, strict=True):
            totals[owner] += value
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def _input(self, request: Request) -> tuple[int, ...]:
        _, context, continuation = request
        whole = (*context, *continuation)
        if not 1 <= len(continuation) <= self.max_length:
            raise ValueError(
                f"an answer to be scored has {len(continuation)} tokens of its own, it must have "
                f"1 to {self.max_length} (the context of {self.subject.name})"
            )
        cut = max(len(whole) - 1 - self.max_length, 0)
        self.require_room(Fed(whole[:-1], len(context), cut=cut), "a prompt with its answer")
        return whole[cut:-1]

    def _score(self, rows: Sequence[Row]) -> Iterator[tuple[Row, Scores]]:
        """In batches of like lengths; or one by one, where what rows begin with is fed once."""
        longest_first = sorted(rows, key=lambda row: len(row.ids), reverse=True)
        if self.batch_size == 1:
            stems: dict[tuple[int, ...], list[Row]] = {}
            for row in longest_first:
                stems.setdefault(row.stem(self.subject.prefill_chunk), []).append(row)
            for stem, those in stems.items():
                yield from self._score_alike(stem, those)
            return
        for start in range(0, len(longest_first), self.batch_size):
            batch = longest_first[start : start + self.batch_size]
            chunk = self._chunk(len(batch[0].ids))
            with self.subject.session() as session:
                scores = score_rows(session, batch, chunk, self.device)
                self._note(session.memory_use(), [len(row.ids) for row in batch])
            yield from zip(batch, scores, strict=True)

    def _score_alike(
        self, stem: tuple[int, ...], rows: Sequence[Row]
    ) -> Iterator[tuple[Row, Scores]]:
        chunk, stem = self.subject.prefill_chunk, stem if len(rows) > 1 else ()
        with self.subject.session() as session:
            for start in range(0, len(stem), chunk):
                ids = torch.tensor([stem[start : start + chunk]], device=self.device)
                session.forward(ids, last_only=True)
            for row in rows:
                branch = session.fork() if len(rows) > 1 else session
                pieces = chunk if stem else self._chunk(len(row.ids))
                (scores,) = score_rows(branch, [row], pieces, self.device, fed=len(stem))
                self._note(branch.memory_use(), [len(row.ids)])
                yield row, scores

    def _chunk(self, longest: int) -> int:
        """Tokens a forward pass: without a memory all, as ``HFLM`` does it, to the same bits."""
        return self.subject.prefill_chunk if self.subject.has_memory else longest

    # --- generation ----------------------------------------------------------------------------

    def tok_batch_encode(
        self,
        strings: Sequence[str],
        padding_side: str = "left",
        left_truncate_len: int | None = None,
        truncation: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As in ``HFLM``; a prompt that leaves no room for the answer is refused or cut."""
        ids, mask = super().tok_batch_encode(list(strings), padding_side, None, truncation)
        excess = ids.shape[1] - (left_truncate_len or ids.shape[1])
        if excess <= 0:
            return ids, mask
        room = self.max_length - (left_truncate_len or 0)
        longest = tuple(ids[int(mask.sum(dim=1).argmax())].tolist())
        self.require_room(Fed(longest, len(longest), room, excess), "a prompt")
        return ids[:, excess:], mask[:, excess:]

    def _model_generate(
        self, context: torch.Tensor, max_length: int, stop: list[str], **generation_kwargs: Any
    ) -> torch.Tensor:
        with self.subject.session() as session:
            generated = super()._model_generate(
                context, max_length, stop, past_key_values=session.cache, **generation_kwargs
            )
            if len(context) == 1:  # a longer one goes on feeding rows whose text has ended
                use = session.memory_use()
                self._note(use, [use.seen_tokens])
        return generated

    # --- what is known of all this -------------------------------------------------------------

    def _note(self, use: MemoryUse, lengths: Sequence[int]) -> None:
        """Remember ``use`` of a batch whose rows have so many tokens, and check it."""
        self.uses.append(use)
        tokens = sum(lengths) / len(lengths)
        certain = self.subject.keeps_for_certain
        if use.seen_tokens > certain or len(use.kept_tokens) <= max(
            self.subject.memory_layers, default=-1
        ):
            return  # some may be forgotten; or layers without keys left the list short
        kept = [use.kept_tokens[layer] for layer in self.subject.memory_layers]
        if any(abs(each - tokens) > 1e-6 for each in kept):
            raise RuntimeError(
                f"the memory kept {kept} of {tokens:g} tokens, though it was said to keep "
                f"{certain:g} for certain: what is reported to feel no forgetting does"
            )

    def drain(self) -> list[MemoryUse]:
        """What the memory held after each batch since the last call."""
        uses, self.uses = self.uses, []
        return uses

    def set_cache_hook(self, cache_hook: CacheHook) -> None:
        """Use a cache of answers, unless they are another cell's: its keys are prompts alone.

        Raises:
            ValueError: if it holds answers of unknown origin, or of another model or memory.
        """
        database = cache_hook.dbdict
        if database is not None:
            if len(database) and database.get(OWNER) != self.cell:
                raise ValueError(
                    f"use_cache={database.filename!r} holds answers of another model or memory; "
                    "give each its own file"
                )
            database[OWNER] = self.cell
        super().set_cache_hook(cache_hook)

    def get_model_info(self) -> dict[str, Any]:
        """What lm-eval notes of a model, and the memory's settings."""
        subject = self.subject
        settings = {
            "model": subject.name,
            "mode": describe(subject.mode),
            "memory": describe(subject.memory) if subject.has_memory else None,
            "keeps_for_certain": subject.keeps_for_certain,
            "too_long": str(self.too_long),
        }
        return {**super().get_model_info(), "memollm": settings}


def _row(ids: tuple[int, ...], continuations: list[list[int]]) -> Row:
    longest = max(map(len, continuations))
    return Row(ids, len(ids) + 1 - longest, tuple(it[-1] for it in continuations))


def _answer(scores: Scores, place: int, length: int) -> tuple[float, bool]:
    """Log-likelihood of the last ``length - 1`` tokens fed and of one end, and whether greedy.

    Added up in the model's own type, as ``HFLM`` does: of a document of 10,000 nats the last digit
    of a float32 is 1e-3, and an exact sum would differ from lm-eval's by its rounding.
    """
    first = len(scores.inner) - (length - 1)
    value = float(torch.cat([scores.inner[first:], scores.ends[place : place + 1]]).sum())
    return value, bool(scores.inner_greedy[first:].all() and scores.ends_greedy[place])
