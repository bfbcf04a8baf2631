"""README.zh-CN.md says what README.md says: the same commands, keys, numbers and links, in order.

What is compared is what a user types or a number that was measured; the words around it are free.
"""

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMENT = re.compile(r"\s*(?<!\S)#.*$", re.MULTILINE)
CODE = re.compile(r"`([^`\n]+)`")
NUMBER = re.compile(r"[+±-]?\d+(?:[.,]\d+)*%?")
LINK = re.compile(r"\]\(([^)\s]+)\)")
OTHER = {"README.md", "README.zh-CN.md"}  # each links to the other


@pytest.fixture(scope="module")
def both():
    names = ("README.md", "README.zh-CN.md")
    return [(REPOSITORY / name).read_text(encoding="utf-8") for name in names]


def blocks(text):
    """Fenced blocks: language and lines, without comments and without the gaps before them."""
    return [
        (language, [line.rstrip() for line in COMMENT.sub("", code).splitlines() if line.strip()])
        for language, code in FENCE.findall(text)
    ]


def rows(text):
    """Rows of tables: the code in the first cell, and every number."""
    plain = FENCE.sub("", text)
    found = []
    for line in plain.splitlines():
        if line.startswith("|") and not set(line) <= set("|-: "):
            first = line.split("|")[1]
            found.append((CODE.findall(first), NUMBER.findall(CODE.sub("", line))))
    return found


def test_the_commands_are_the_same(both):
    english, chinese = map(blocks, both)
    assert chinese == english and len(english) > 4


def test_the_tables_have_the_same_rows_and_numbers(both):
    english, chinese = map(rows, both)
    assert chinese == english and len(english) > 10


def test_headings_and_links_are_the_same(both):
    levels = [
        [line.split(" ")[0] for line in FENCE.sub("", text).splitlines() if line.startswith("#")]
        for text in both
    ]
    assert levels[0] == levels[1]
    english, chinese = ([it for it in LINK.findall(text) if it not in OTHER] for text in both)
    assert chinese == english


def test_what_is_typed_is_named_in_both(both):
    """Whatever stands in backquotes in one stands there in the other, in any order."""
    english, chinese = (set(CODE.findall(FENCE.sub("", text))) for text in both)
    assert chinese == english
