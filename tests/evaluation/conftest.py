"""A text to measure on: sentences enough for every prompt, and no word of them magic."""

import random

import pytest


@pytest.fixture
def novel(tmp_path):
    rng = random.Random(0)
    words = [
        "the",
        "of",
        "rain",
        "house",
        "walked",
        "slowly",
        "under",
        "grey",
        "morning",
        "nobody",
        "heard",
        "café",
        "river",
    ]
    sentences = (" ".join(rng.choices(words, k=9)).capitalize() + "." for _ in range(400))
    path = tmp_path / "novel.txt"
    path.write_text(" ".join(sentences), encoding="utf-8")
    return str(path)
