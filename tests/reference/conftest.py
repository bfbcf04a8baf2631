"""A library of a few sentences, for samplers and for a training of seconds."""

import numpy as np
import pytest

from memollm.reference.corpus import Document
from memollm.reference.library import Library, build_library, encode_documents
from memollm.reference.tokenizer import train_tokenizer

SENTENCES = (
    "The old clock on the wall ran slow. She said nothing, and looked at the river. "
    'It had rained since morning. "Will you come?" he asked. Nobody answered him.\n'
)


@pytest.fixture(scope="session")
def library() -> Library:
    tokenizer = train_tokenizer([SENTENCES], vocabulary=700, key_word_count=5)
    stream = encode_documents(tokenizer, [Document("story", SENTENCES * 40)])
    return build_library(tokenizer, [stream], [1.0], ["morning", "nobody", "river"])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
