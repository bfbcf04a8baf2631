"""Variable tracking: a value passed on from variable to variable, RULER's multi-hop tracing.

Templates and settings are those of variable_tracking.py and constants.py of
github.com/NVIDIA/RULER: one chain of four hops in repeated noise, after a solved example of some
500 tokens. Here the haystack's first line is cut at its front, so that the length is met.
"""

from __future__ import annotations

import random
import string
from dataclasses import dataclass

from memollm.evaluation.tasks.base import Material, Task, TooShort
from memollm.evaluation.tasks.example import Example, Part, lines
from memollm.evaluation.tasks.niah import NOISE

INTRODUCTION = (
    "Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n"
)
QUESTION = (
    "Question: Find all variables that are assigned the value {value} in the text above. "
    "Answer: According to the chain(s) of variable assignment in the text above, {count} variables "
    "are assigned the value {value}, they are: "
)
SHOWN_TOKENS = 500  # of the solved example, as far as its chain fits


@dataclass(frozen=True)
class VariableTracking(Task):
    """All names that a value went by."""

    tokens_to_generate: int = 30
    hops: int = 4
    letters: int = 5  # of a variable's name; 3 in the solved example
    shown: bool = True  # whether a solved example goes first

    @property
    def graded(self) -> bool:
        return True

    def example(self, rng: random.Random, length: int, material: Material) -> Example:
        names, chain, value = self._chain(rng, self.letters)
        question = QUESTION.format(count=self.hops + 1, value=value)
        head = [*self._solved(rng, material), Part(INTRODUCTION)] if self.shown else []
        head = head or [Part(INTRODUCTION)]
        room = self.room(length, material)
        room -= material.encoder.count(question, *(part.text for part in head))
        hidden = _hide(rng, chain, room, material)
        return Example((*head, *lines(hidden)), question, tuple(names))

    def _chain(self, rng: random.Random, letters: int) -> tuple[list[str], list[str], str]:
        names: list[str] = []
        while len(names) <= self.hops:
            name = "".join(rng.choices(string.ascii_uppercase, k=letters))
            names += [name] if name not in names else []
        value = str(rng.randrange(10000, 99999))
        # The blank at the end of an assignment is RULER's.
        links = [f"VAR {b} = VAR {a} " for a, b in zip(names, names[1:], strict=False)]
        return names, [f"VAR {names[0]} = {value}", *links], value

    def _solved(self, rng: random.Random, material: Material) -> tuple[Part, ...]:
        names, chain, value = self._chain(rng, letters=3)
        asked = QUESTION.format(count=self.hops + 1, value=value)
        answered = f"{asked} {' '.join(names)}\n\n"
        fixed = material.encoder.count(INTRODUCTION, answered, *(link + "\n" for link in chain))
        fitting = (SHOWN_TOKENS - fixed) // material.encoder.count(NOISE + "\n")
        hay = [NOISE] * max(fitting, len(chain))
        hidden = [(text, False) for text, _ in _scatter(rng, chain, hay)]
        return (Part(INTRODUCTION), *lines(hidden), Part(answered))


def _hide(
    rng: random.Random, chain: list[str], room: int, material: Material
) -> list[tuple[str, bool]]:
    encoder = material.encoder
    room -= encoder.count(*(link + "\n" for link in chain))
    whole, left = divmod(max(room, 0), encoder.count(NOISE + "\n"))
    if whole < len(chain):
        raise TooShort(f"{whole} lines of haystack for {len(chain)} assignments")
    cut = encoder.suffix(NOISE, left, after="\n")
    return _scatter(rng, chain, [cut] * bool(cut) + [NOISE] * whole)


def _scatter(rng: random.Random, chain: list[str], hay: list[str]) -> list[tuple[str, bool]]:
    """The chain's links in order, each before a line of its own."""
    hidden = [(line, False) for line in hay]
    for i, place in enumerate(sorted(rng.sample(range(len(hay)), len(chain)))):
        hidden.insert(place + i, (chain[i], True))
    return hidden
