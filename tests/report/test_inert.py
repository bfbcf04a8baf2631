"""Text of others is shown, and does nothing."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from memollm.report.inert import clipped, markdown, visible

LETTERS = st.text(st.characters(), max_size=60)  # any character at all, half ones too


@given(LETTERS)
def test_nothing_that_commands_is_left(text):
    shown = visible(text)
    assert not {unicodedata.category(letter) for letter in shown} & {"Cc", "Cs"}
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    shown.encode("utf-8")


def test_what_people_write_is_left_as_it_is():
    for text in ("שלום עולם", "👩‍👩‍👧 emoji", "naïve 日本語", "a\\b"):
        assert visible(text) == text


@given(LETTERS)
def test_markdown_has_one_line_and_no_tag(text):
    shown = markdown(text)
    assert "<" not in shown and "\n" not in shown
    bare = shown.replace("\\|", "").replace("\\`", "")
    assert "|" not in bare and "`" not in bare


def test_a_long_token_is_cut_and_says_how_long_it_was():
    assert clipped("x" * 10_000) == "x" * 120 + "… (10,000 characters)"
    assert clipped("x" * 120) == "x" * 120
