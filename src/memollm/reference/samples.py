"""Samples to learn from: plain text, facts in a haystack, dense facts, copies.

Every sample is exactly as long as asked, and a pure function of its random generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memollm.reference.facts import Fact, draw_facts
from memollm.reference.library import Library
from memollm.reference.pieces import Piece, Role, encode
from memollm.reference.wordings import KEPT_OUT_WORDS, KEYLESS

INTRODUCTIONS = (
    "Some special magic numbers are hidden within the following text. Make sure to memorize it. "
    "I will quiz you about the numbers afterwards.\n",
    "There is an important info hidden inside a lot of irrelevant text. Find it and memorize it. "
    "I will quiz you about the important information there.\n",
)
COUNTS = (1, 2, 4, 8, 16)  # needles in a haystack


class TooShortError(ValueError):
    """Fewer tokens than one fact and its question take."""


@dataclass(frozen=True)
class Sample:
    """Token ids and the role of each; ``spans``: where each fact stands (start, end)."""

    tokens: np.ndarray
    roles: np.ndarray
    spans: tuple[tuple[int, int], ...] = ()
    asked: tuple[int, ...] = ()  # the facts asked for, in order


def text(rng: np.random.Generator, library: Library, length: int) -> Sample:
    """A window of text, and nothing to look up but what the author repeats."""
    return Sample(library.window(rng, length), np.full(length, int(Role.TEXT)))


def copy(rng: np.random.Generator, library: Library, length: int) -> Sample:
    """Random tokens whose second mention can be copied: the purest call for induction."""
    vocabulary = library.tokenizer.get_vocab_size()
    period = int(rng.integers(8, max(9, length // 2)))
    pool = rng.integers(2, vocabulary, max(4, int(period * rng.uniform(0.2, 1))))
    segment = (
        rng.choice(pool, period) if rng.random() < 0.5 else rng.integers(2, vocabulary, period)
    )
    tokens: list[int] = []
    roles: list[int] = []
    while len(tokens) < length:
        repeated = [int(Role.UNPREDICTABLE)] + [int(Role.ANSWER)] * (period - 1)
        roles += repeated if tokens else [int(Role.UNPREDICTABLE)] * period
        tokens += segment.tolist()
        gap = int(rng.integers(0, 6))
        tokens += rng.integers(2, vocabulary, gap).tolist()
        roles += [int(Role.UNPREDICTABLE)] * gap
    return Sample(np.array(tokens[:length]), np.array(roles[:length]))


def dense(rng: np.random.Generator, library: Library, length: int) -> Sample:
    """Facts back to back, then questions about them to the end: much to look up per token."""
    budget, used = length * rng.uniform(0.3, 0.6), 0.0
    drawn = draw_facts(rng, library.vocabulary, max(4, length // 16))
    facts: list[Fact] = []
    encoded: list[tuple[np.ndarray, np.ndarray]] = []
    for fact in drawn:
        if used > budget:
            break
        facts.append(fact)
        encoded.append(encode(library.tokenizer, [("\n", Role.TEXT), *_stated(rng, library, fact)]))
        used += len(encoded[-1][0])
        if rng.random() < 0.15:
            aside = library.window(rng, int(rng.integers(1, 25)))
            encoded.append((aside, np.full(len(aside), int(Role.TEXT))))
            used += len(aside)
    order: list[int] = []
    while used < length:
        order = order or rng.permutation(len(facts)).tolist()
        encoded.append(_question(rng, library, facts[order.pop()]))
        used += len(encoded[-1][0])
    tokens, roles = (np.concatenate(parts)[:length] for parts in zip(*encoded, strict=True))
    return Sample(tokens, roles)


def needle(
    rng: np.random.Generator,
    library: Library,
    length: int,
    facts: Sequence[Fact] | None = None,
    questions: int | None = None,
) -> Sample:
    """Facts at random depths of a haystack, questions at the end.

    Facts that do not fit into ``length`` are left out, the ones asked for last; ``TooShortError``
    if not even one of those given fits.
    """
    drawn = facts is None
    if facts is None:
        facts = draw_facts(
            rng, library.vocabulary, int(rng.choice(COUNTS, p=[0.2, 0.15, 0.3, 0.2, 0.15]))
        )
    count = min(len(facts), int(rng.integers(1, 7)) if questions is None else questions)
    order = rng.permutation(len(facts)).tolist()
    opening = None
    if rng.random() < 0.3:
        introduction = INTRODUCTIONS[rng.integers(len(INTRODUCTIONS))]
        opening = encode(library.tokenizer, [(introduction, Role.TEXT)])
    before, after = ((" ", ""), ("\n", ""), ("\n", "\n"))[rng.integers(3)]
    stated = {
        i: encode(
            library.tokenizer,
            [(before, Role.TEXT), *_stated(rng, library, facts[i]), (after, Role.TEXT)],
        )
        for i in order
    }
    asked = [(i, _question(rng, library, facts[i])) for i in order[:count]]
    fixed = 0 if opening is None else len(opening[0])

    def room() -> int:
        needles = sum(len(tokens) for tokens, _ in stated.values())
        return length - fixed - needles - sum(len(tokens) for _, (tokens, _) in asked)

    while room() < 8 and len(stated) > 1:
        dropped = order.pop()
        del stated[dropped]
        asked = [(i, question) for i, question in asked if i != dropped]
    if room() < 0 and drawn:  # a long key, asked for in many words: draw another
        return needle(rng, library, length)
    if room() < 0:
        raise TooShortError(f"length {length} is too short for one needle and its question")
    haystack = library.noise(room()) if rng.random() < 0.1 else library.window(rng, room())
    return _assemble(rng, library, opening, haystack, stated, asked)


def keyless(rng: np.random.Generator, library: Library, length: int) -> Sample:
    """One fact without a name in a haystack, as passkeys are."""
    return needle(rng, library, length, draw_facts(rng, library.vocabulary, 1, KEYLESS))


def _assemble(rng, library, opening, haystack, stated, asked) -> Sample:
    parts = [opening] if opening is not None else []
    places = np.sort(rng.integers(0, len(haystack) + 1, len(stated)))
    order = rng.permutation(list(stated))
    spans: dict[int, tuple[int, int]] = {}
    done, used = 0, sum(len(tokens) for tokens, _ in parts)
    for which, place in zip(order.tolist(), places.tolist(), strict=True):
        place = max(done, _sentence_end(library, haystack, place))
        parts.append((haystack[done:place], np.full(place - done, int(Role.TEXT))))
        used += place - done
        spans[which] = (used, used + len(stated[which][0]))
        parts.append(stated[which])
        used, done = spans[which][1], place
    parts.append((haystack[done:], np.full(len(haystack) - done, int(Role.TEXT))))
    parts += [question for _, question in asked]
    tokens, roles = (np.concatenate(column) for column in zip(*parts, strict=True))
    ordered = sorted(spans)
    return Sample(
        tokens, roles, tuple(spans[i] for i in ordered), tuple(ordered.index(i) for i, _ in asked)
    )


def _sentence_end(library: Library, haystack: np.ndarray, place: int, within: int = 48) -> int:
    ends = library.sentence_ends[haystack[max(0, place - 1) : place + within]]
    return place + int(ends.argmax()) if ends.any() and place else place


def _filler(rng: np.random.Generator, library: Library) -> str:
    shape = rng.random()
    if shape < 0.4:
        return ""
    if shape < 0.6:
        return " mentioned in the provided text"
    return f", {library.snippet(rng, 8)}," if shape < 0.8 else f" {library.snippet(rng, 8)}"


def _words(rng: np.random.Generator, library: Library) -> str:
    """One to five words of text, three times in ten of those that serve as keys, one by one.

    Of these rare ones come as often as common ones, and so do the tokens that they end with: an
    answer has to begin behind any of them. None is a word of a wording that is not trained on.
    """
    if rng.random() < 0.7:
        return library.snippet(rng, 5)
    drawn = (library.vocabulary[i] for i in rng.integers(len(library.vocabulary), size=5))
    known = [word for word in drawn if word not in KEPT_OUT_WORDS]
    return " ".join(known[: int(rng.integers(1, 6))]) or library.snippet(rng, 5)


def _stated(rng: np.random.Generator, library: Library, fact: Fact) -> list[Piece]:
    return fact.stated(_filler(rng, library), lambda: _words(rng, library))


def _question(rng: np.random.Generator, library: Library, fact: Fact):
    question = fact.questions[rng.integers(len(fact.questions))]
    pieces: list[Piece] = [("\n" if rng.random() < 0.7 else " ", Role.TEXT)]
    return encode(
        library.tokenizer,
        [*pieces, *fact.asked(question, _filler(rng, library), lambda: _words(rng, library))],
    )
