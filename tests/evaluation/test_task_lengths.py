"""Prompts of all tasks: as long as they should be, and in the tokens of their whole text."""

import dataclasses
import functools
import random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from memollm.evaluation.tasks.base import Material, TooShort
from memollm.evaluation.tasks.conversation import converse
from memollm.evaluation.tasks.encoder import Encoder
from memollm.evaluation.tasks.key_value import KeyValue
from memollm.evaluation.tasks.niah import Thing
from memollm.evaluation.tasks.ruler import TASKS
from memollm.reference import text_path, weights_path
from tests.evaluation.question_files import documents
from tests.evaluation.scripted import Bytes

TOLERANCE = 0.02  # of the length, which is never passed
WITHOUT_FILE = sorted(set(TASKS) - {"qa_1", "qa_2"})


@functools.cache
def material(kind: str) -> Material:
    tokenizer = {
        "bundled": lambda: AutoTokenizer.from_pretrained(weights_path()),
        "bytes": Bytes,
        "bytes with BOS": lambda: Bytes(bos=7),
    }[kind]()
    return Material(Encoder(tokenizer), text_path().read_text(encoding="utf-8"))


def check(task, seed, length, source):
    """Meet the length, or refuse it; tokens of the parts are tokens of the whole."""
    try:
        example = task.example(random.Random(seed), length, source)
    except TooShort:
        assume(False)
        raise
    prompt = source.encoder.prompt(example)
    tokens = len(prompt.ids) + task.tokens_to_generate
    assert (1 - TOLERANCE) * length <= tokens <= length
    assert list(prompt.ids) == source.encoder.tokenizer.encode(example.text)
    for (first, past), part in zip(
        prompt.evidence, [part for part in example.context if part.evidence], strict=True
    ):
        assert source.encoder.tokenizer.decode(list(prompt.ids[first:past])) == part.text


@pytest.mark.parametrize("name", WITHOUT_FILE)
@given(length=st.integers(300, 9000), seed=st.integers(0, 99))
def test_bundled_tokenizer(name, length, seed):
    check(TASKS[name], seed, length, material("bundled"))


@pytest.mark.parametrize("name", WITHOUT_FILE)
@given(length=st.integers(900, 20000), seed=st.integers(0, 99), bos=st.booleans())
def test_bytes(name, length, seed, bos):
    check(TASKS[name], seed, length, material("bytes with BOS" if bos else "bytes"))


@pytest.mark.parametrize("name", ["qa_1", "qa_2"])
@pytest.mark.parametrize("kind", ["bundled", "bytes"])
def test_documents(name, kind, tmp_path_factory):
    task = dataclasses.replace(TASKS[name], documents=documents(name, tmp_path_factory))
    met = 0
    for length in range(400, 9000, 499):
        try:
            task.example(random.Random(0), length, material(kind))
        except TooShort:
            assert not met  # what fits a length fits all longer ones
            continue
        met += 1
        check(task, length, length, material(kind))
    assert met > 10


@given(
    length=st.integers(500, 9000),
    seed=st.integers(0, 99),
    depth=st.floats(0, 1),
    kind=st.sampled_from(["bundled", "bytes"]),
    things=st.sampled_from([(Thing.uuids, Thing.uuids), (Thing.words, Thing.numbers)]),
    query_aware=st.booleans(),
)
def test_key_value(length, seed, depth, kind, things, query_aware):
    task, source = KeyValue(100, *things, query_aware), material(kind)
    try:
        example = task.generated(random.Random(seed), length, depth, source)
    except TooShort:
        assume(False)
        raise
    prompt = source.encoder.prompt(example)
    assert (1 - TOLERANCE) * length <= len(prompt.ids) + 100 <= length
    assert list(prompt.ids) == source.encoder.tokenizer.encode(example.text)


@given(
    length=st.integers(600, 9000),
    seed=st.integers(0, 99),
    kind=st.sampled_from(["bundled", "bytes"]),
    turns=st.integers(2, 6),
    facts=st.integers(1, 3),
)
def test_conversation(length, seed, kind, turns, facts):
    source = material(kind)
    try:
        had = converse(random.Random(seed), length, turns, [1], facts, 7, source)
    except TooShort:
        assume(False)
        raise
    texts = [part.text for turn in had.turns for part in turn]
    tokens = source.encoder.count(*texts, *(fact.question for fact in had.facts)) + 7 * facts
    assert (1 - TOLERANCE) * length <= tokens <= length
    assert len(had.turns) == turns and len(had.facts) == facts
    for fact in had.facts:
        assert fact.value in had.turns[0][fact.part].text and fact.key in fact.question


@pytest.mark.parametrize("name", WITHOUT_FILE)
def test_a_length_that_is_too_short_is_refused(name):
    with pytest.raises(TooShort):
        TASKS[name].example(random.Random(0), 150, material("bundled"))
