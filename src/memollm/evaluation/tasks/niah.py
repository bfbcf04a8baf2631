"""Needles in a haystack, RULER's eight: what is hidden, in what, how much of it is asked for.

Templates and settings are those of RULER (Hsieh et al., 2024, arXiv:2404.06654), niah.py and
constants.py of github.com/NVIDIA/RULER. Where this departs from it: essays are not bundled, the
haystack is the evaluation's text from a sentence drawn for each example; keys come from another
list and are distinct; the haystack's first line or sentence is cut at its front, so that the
length is met to a few tokens rather than to a line.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum

from memollm.evaluation.tasks.base import Material, Task, TooShort
from memollm.evaluation.tasks.example import Example, Part, lines, sentences
from memollm.evaluation.tasks.words import compounds, identifier, number

NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
NEEDLE = "One of the special magic {things} for {key} is: {value}."
MANY = (
    "Some special magic {things} are hidden within the following text. Make sure to memorize it. "
    "I will quiz you about the {things} afterwards.\n",
    "What are all the special magic {things} for {query} mentioned in the provided text? The "
    "special magic {things} for {query} mentioned in the provided text are",
)
ONE = (
    "A special magic {thing} is hidden within the following text. Make sure to memorize it. "
    "I will quiz you about the {thing} afterwards.\n",
    "What is the special magic {thing} for {query} mentioned in the provided text? The "
    "special magic {thing} for {query} mentioned in the provided text is",
)
DEPTHS = [round(100 * i / 39) for i in range(40)]  # percent; needles lie at different ones


class Hay(StrEnum):
    """What needles lie in."""

    noise = "noise"  # the same five sentences, over and over
    essay = "essay"  # running text
    needle = "needle"  # needles that nobody asks for


class Thing(StrEnum):
    """What a key or a value is; the plural stands in the text."""

    words = "words"
    numbers = "numbers"
    uuids = "uuids"


@dataclass(frozen=True)
class Niah(Task):
    """Values, hidden under keys, to be found again."""

    tokens_to_generate: int = 128
    hay: Hay = Hay.essay
    key: Thing = Thing.words
    value: Thing = Thing.numbers
    keys: int = 1
    values: int = 1  # under each key
    queries: int = 1  # keys asked for

    @property
    def graded(self) -> bool:
        return self.values * self.queries > 1

    def example(self, rng: random.Random, length: int, material: Material) -> Example:
        keys: list[str] = []
        while len(keys) < self.keys:
            keys.append(self._other_key(rng, keys))
        values = {key: [draw(rng, self.value) for _ in range(self.values)] for key in keys}
        asked = rng.sample(keys, self.queries)
        query = asked[0] if len(asked) == 1 else ", ".join(asked[:-1]) + ", and " + asked[-1]
        head, question = (
            text.format(things=self.value, thing=self.value.removesuffix("s"), query=query)
            for text in (MANY if self.graded else ONE)
        )
        needles = [(self._needle(k, v), k in asked) for k in keys for v in values[k]]
        rng.shuffle(needles)
        room = self.room(length, material) - material.encoder.count(head, question)
        if self.hay is Hay.essay:
            hidden = _in_running_text(rng, needles, room, material)
        else:
            hidden = self._in_lines(rng, needles, keys, room, material)
        answers = tuple(value for key in asked for value in values[key])
        return Example((Part(head), *hidden), question, answers)

    def _needle(self, key: str, value: str) -> str:
        return NEEDLE.format(things=self.value, key=key, value=value)

    def _other_key(self, rng: random.Random, keys: list[str]) -> str:
        while (key := draw(rng, self.key)) in keys:
            pass
        return key

    def _in_lines(
        self,
        rng: random.Random,
        needles: list[tuple[str, bool]],
        keys: list[str],
        room: int,
        material: Material,
    ) -> tuple[Part, ...]:
        encoder = material.encoder
        room -= encoder.count(*(text + "\n" for text, _ in needles))
        hay: list[tuple[str, bool]] = []
        while room > 0:
            line = NOISE
            if self.hay is Hay.needle:
                line = self._needle(self._other_key(rng, keys), draw(rng, self.value))
            if encoder.count(line + "\n") > room:
                line, room = encoder.suffix(line, room, after="\n"), 0
            else:
                room -= encoder.count(line + "\n")
            hay[:0] = [(line, False)] if line else []
        if len(hay) < len(needles):
            raise TooShort(f"{len(hay)} lines of haystack for {len(needles)} needles")
        places = sorted(rng.sample(range(len(hay)), len(needles)), reverse=True)
        for place, needle in zip(places, needles, strict=True):
            hay.insert(place, needle)
        return lines(hay)


def _in_running_text(
    rng: random.Random, needles: list[tuple[str, bool]], room: int, material: Material
) -> tuple[Part, ...]:
    encoder, text = material.encoder, material.sentences
    end, taken = rng.randrange(len(text)), 0
    left = room - encoder.count(*(" " + needle for needle, _ in needles)) - 1  # a line end
    while left > 0:  # sentences before ``end``, from the text's end again after its beginning
        taken += 1
        left -= encoder.count(" " + text[(end - taken) % len(text)])
    if taken == 0:
        raise TooShort(f"{room} tokens for {len(needles)} needles and their haystack")
    hay = [(text[i % len(text)], False) for i in range(end - taken, end)]
    places = sorted(int(taken * depth / 100) for depth in rng.sample(DEPTHS, len(needles)))
    for place, needle in reversed(list(zip(places, needles, strict=True))):
        hay.insert(place, needle)
    first = places.count(0)  # of the haystack's sentences
    rest = sentences([*hay[:first], ("", False), *hay[first + 1 :]])
    left = room - encoder.count(*(part.text for i, part in enumerate(rest) if i != first))
    before, after = rest[first].text[: first > 0], "\n" * (first == len(hay) - 1)
    cut = encoder.suffix(hay[first][0], left, before, after)
    kept = [(cut, False)] if cut else []
    return sentences([*hay[:first], *kept, *hay[first + 1 :]])


def draw(rng: random.Random, thing: Thing) -> str:
    """A random key or value."""
    match thing:
        case Thing.words:
            return rng.choice(compounds())
        case Thing.numbers:
            return number(rng)
        case Thing.uuids:
            return identifier(rng)
