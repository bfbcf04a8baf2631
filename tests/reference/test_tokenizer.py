"""The shipped tokenizer: nothing lost, digits apart, key words whole."""

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer

from memollm.reference import text_path, weights_path
from memollm.reference.words import ADJECTIVES, NOUNS


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(weights_path() / "tokenizer.json"))


@pytest.mark.parametrize("text", ["Größe: 12 €, déjà vu\t\n\n  <x> 漢字", "  two  spaces ", "\n"])
def test_a_round_trip_loses_nothing(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_bundled_text_survives_a_round_trip(tokenizer):
    text = text_path().read_text(encoding="utf-8")[:50_000]
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_digits_are_tokens_one_by_one(tokenizer):
    assert tokenizer.encode(" 48213").tokens == ["Ġ", "4", "8", "2", "1", "3"]


def test_every_key_word_is_one_token(tokenizer):
    longer = [word for word in ADJECTIVES + NOUNS if len(tokenizer.encode(f" {word}").ids) > 1]
    assert longer == []


def test_transformers_reads_the_same_tokens(tokenizer):
    text = "The special magic number for violet-otter is: 48213.\n"
    ours = tokenizer.encode(text).ids
    theirs = AutoTokenizer.from_pretrained(weights_path())
    assert theirs(text)["input_ids"] == ours
    assert theirs.eos_token_id == 0 and theirs.pad_token_id == 1
