"""A small byte-level BPE: digits one by one, every key word one token.

Digits stay apart, as in Qwen2, so that a number is copied digit by digit and an exact match is
as hard for every number of the same length.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from memollm.reference.words import ADJECTIVES, NOUNS, PROMPT_WORDS

END_OF_TEXT, PAD = "<|endoftext|>", "<|pad|>"
# Qwen2's pre-tokenizer: a contraction, a word with its space, one digit, punctuation, blanks.
_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int, key_word_count: int = 600) -> Tokenizer:
    """Train on ``texts`` and on the key words, each repeated ``key_word_count`` times."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_OF_TEXT, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    key_words = " " + " ".join(ADJECTIVES + NOUNS + PROMPT_WORDS)
    tokenizer.train_from_iterator(
        itertools.chain(texts, itertools.repeat(key_words, key_word_count)), trainer
    )
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, folder: Path, max_length: int) -> None:
    """Write ``tokenizer.json`` and its config as ``AutoTokenizer`` reads them."""
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TEXT,
        bos_token=END_OF_TEXT,
        pad_token=PAD,
        model_max_length=max_length,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    ).save_pretrained(folder)
