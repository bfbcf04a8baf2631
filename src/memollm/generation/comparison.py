"""The same prompts under several modes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from memollm.generation.answer import Answer, answer
from memollm.generation.settings import Settings
from memollm.hf.llm import EbbinghausLLM
from memollm.modes.base import Mode

WARM_UP = 4  # tokens


@dataclass(frozen=True)
class Comparison:
    """Answers to one prompt, by mode; the first is what the others are compared with."""

    answers: Mapping[str, Answer]

    @property
    def first(self) -> Answer:
        return next(iter(self.answers.values()))

    def differs_at(self, mode: str) -> int | None:
        """The first token of ``mode``'s answer that is not the first mode's; None: none."""
        return first_difference(self.first.ids, self.answers[mode].ids)


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """Where two sequences part; None where they are the same.

    >>> first_difference([1, 2, 3], [1, 2, 4]), first_difference([1, 2], [1, 2])
    (2, None)
    >>> first_difference([1, 2], [1, 2, 3])
    2
    """
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return None if len(one) == len(other) else min(len(one), len(other))


def compare(
    llm: EbbinghausLLM,
    prompts: Sequence[str],
    modes: Mapping[str, Mode],
    settings: Settings,
    *,
    details: bool = False,
    progress: Callable[[Answer], None] = lambda _: None,
) -> Iterator[Comparison]:
    """Answer each of ``prompts`` under each of ``modes``.

    Every mode is run for a few tokens first and nothing of that is kept: what libraries set up
    on first use would otherwise count as the first mode's time. The mode that goes first changes
    from prompt to prompt, since a machine's speed drifts.
    """
    names = list(modes)
    short = replace(settings, max_tokens=min(WARM_UP, settings.max_tokens))
    for name in names:
        answer(llm, prompts[0], name, modes[name], short)
    for number, prompt in enumerate(prompts):
        turn = number % len(names)
        found = {}
        for name in names[turn:] + names[:turn]:
            found[name] = answer(llm, prompt, name, modes[name], settings, details=details)
            progress(found[name])
        yield Comparison({name: found[name] for name in names})
