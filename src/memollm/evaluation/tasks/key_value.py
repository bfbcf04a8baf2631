"""Key-value retrieval: one value out of a JSON object.

The task of Liu et al. (2023, arXiv:2307.03172), in the words of github.com/nelson-liu/
lost-in-the-middle: keys and values are UUIDs, and the answer is right if it contains the value.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from memollm.evaluation.tasks.base import Material, TooShort, match_all
from memollm.evaluation.tasks.data_file import Field, read_json_lines
from memollm.evaluation.tasks.encoder import Encoder
from memollm.evaluation.tasks.example import Example, Part
from memollm.evaluation.tasks.niah import Thing, draw

INSTRUCTION = "Extract the value corresponding to the specified key in the JSON object below.\n\n"
ASKED_BEFORE = 'Key: "{key}"\n\n'
DATA = "JSON data:\n"
QUESTION = 'Key: "{key}"\nCorresponding value:'
Pair = tuple[str, str]


@dataclass(frozen=True)
class KeyValue:
    """Prompts of pairs, one of them asked for."""

    tokens_to_generate: int = 100
    key: Thing = Thing.uuids
    value: Thing = Thing.uuids
    query_aware: bool = False  # whether the key is told before the data, too

    def generated(
        self, rng: random.Random, length: int, depth: float, material: Material
    ) -> Example:
        """An example that fills ``length`` tokens with its answer, one other pair shortened.

        Raises:
            TooShort: if there is no room for two pairs.
        """
        encoder, gold = material.encoder, (draw(rng, self.key), draw(rng, self.value))
        empty = self._example([gold], 0, encoder)
        room = length - self.tokens_to_generate - len(encoder.opening)
        room -= encoder.count(empty.question, *(part.text for part in empty.context))
        others: dict[str, str] = {}
        while room > 0:
            key, value = draw(rng, self.key), draw(rng, self.value)
            if key in others or key == gold[0]:
                continue
            if (cost := encoder.count(_line((key, value)))) > room:
                others.update(_shortened((key, value), room, encoder, {gold[0], *others}))
                break
            others[key] = value
            room -= cost
        if not others:
            raise TooShort(f"{max(room, 0)} tokens for other pairs")
        return self.placed([*others.items()], gold, depth, encoder)

    def placed(self, others: Sequence[Pair], gold: Pair, depth: float, encoder: Encoder) -> Example:
        """An example with ``gold`` at ``depth`` among the other pairs, 0 first and 1 last."""
        place = round(depth * len(others))
        return self._example([*others[:place], gold, *others[place:]], place, encoder)

    def score(self, answer: str, expected: tuple[str, ...]) -> float:
        """1 if the answer contains the value, else 0."""
        return match_all(answer, expected)

    def _example(self, pairs: Sequence[Pair], place: int, encoder: Encoder) -> Example:
        key, value = pairs[place]
        head = INSTRUCTION + (ASKED_BEFORE.format(key=key) if self.query_aware else "") + DATA
        texts = [_line(pair) for pair in pairs]
        texts[0] = "{" + texts[0].removeprefix(" ")
        texts[-1] = texts[-1].removesuffix(",\n") + "}\n\n"
        parts = [Part(text, i == place) for i, text in enumerate(texts)]
        return Example((Part(head), *parts), QUESTION.format(key=key), (value,))


@dataclass(frozen=True)
class Record:
    """One example of a file."""

    others: tuple[Pair, ...]
    gold: Pair
    where: str = field(compare=False)


def read(source: str, key: str) -> tuple[list[Record], str]:
    """The examples of a jsonl file, plain or .gz, and the SHA-256 of its content.

    Raises:
        ValueError: naming file, line and field of what is wrong.
    """
    found, fingerprint = read_json_lines(source, key)
    return [_record(line) for line in found], fingerprint


def _record(line: Field) -> Record:
    pairs: dict[str, str] = {}
    records = line["ordered_kv_records"]
    for pair in records.items():
        both = list(pair.items())
        if len(both) != 2:
            raise ValueError(f"{pair.where} must be a key and a value")
        key, value = (each.text() for each in both)
        if key in pairs:
            raise ValueError(f"{pair.where} has the key {key!r}, as a pair before it")
        pairs[key] = value
    asked, value = line["key"].text(), line["value"].text()
    if pairs.get(asked) != value:
        raise ValueError(
            f"{line.where}: ordered_kv_records has no pair of the key {asked!r} and the value "
            f"{value!r} that are asked for"
        )
    if len(pairs) < 2:
        raise ValueError(f"{records.where} must have at least two pairs")
    others = tuple(pair for pair in pairs.items() if pair[0] != asked)
    return Record(others, (asked, value), line.where)


def _line(pair: Pair) -> str:
    return f' "{pair[0]}": "{pair[1]}",\n'


def _shortened(pair: Pair, room: int, encoder: Encoder, taken: set[str]) -> dict[str, str]:
    """The pair cut to ``room`` tokens, first its value, then its key; nothing if it cannot be."""
    key, value = pair
    ends = [(key, value[i:]) for i in range(1, len(value))]
    ends += [(key[i:], value[-1:]) for i in range(1, len(key)) if key[i:] not in taken]
    for cut in ends:
        if encoder.count(_line(cut)) <= room:
            return {cut[0]: cut[1]}
    return {}
