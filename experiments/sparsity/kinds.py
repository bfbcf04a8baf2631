"""What kind of word each token belongs to, told from an English text alone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|\d+(?:[.,:]\d+)*|\s+|.", re.DOTALL)
ENDS = ".!?:\n"  # after which a capital says nothing
LOOK_BACK = 40  # characters within which a sentence must have ended, for a capital to begin one
QUOTES = "\"'“”‘’([—-_ "
CLOSED_CLASSES = """
    a an the this that these those such each every either neither some any no all both half many
    much few more most other another own same
    i me my mine myself you your yours yourself he him his himself she her hers herself it its
    itself we us our ours ourselves they them their theirs themselves who whom whose which what
    one ones somebody someone something anybody anyone anything nobody none nothing everybody
    everyone everything
    and or but nor so yet for if though although because since unless until while whereas whether
    than as
    of in on at by to from with without within into onto upon about above across after against
    along among around before behind below beneath beside besides between beyond despite down
    during except inside like near off out outside over past through throughout toward towards
    under up
    am is are was were be been being have has had having do does did doing done can could may might
    must shall should will would ought
    not never ever only just very too also then there here when where why how again once now still
    don't didn't doesn't isn't wasn't weren't can't couldn't won't wouldn't i'm i'll i've i'd
    it's he's she's that's there's you're they're we're let's
"""
FUNCTION_WORDS = frozenset(CLOSED_CLASSES.split())


class Kind(StrEnum):
    """The kinds that are told apart."""

    punctuation = "punctuation"
    function_word = "function words"
    number = "numbers"
    proper_name = "names"
    content_word = "other words"
    line_break = "line breaks"


def kinds(tokens: Sequence[str]) -> list[Kind]:
    """The kind of the word that each token is part of.

    A token that holds a space and a word belongs to the word. A name is a word with a capital
    inside a sentence: names that begin one are taken for other words.

    >>> [str(it) for it in kinds(["The", " door", " of", " Ann", "a", ",", " 12", ".", " Yes"])]
    ... # doctest: +NORMALIZE_WHITESPACE
    ['function words', 'other words', 'function words', 'names', 'names', 'punctuation', 'numbers',
     'punctuation', 'other words']
    """
    text = "".join(tokens)
    of_character: list[Kind] = []
    for found in WORD.finditer(text):
        before = text[max(0, found.start() - LOOK_BACK) : found.start()]
        of_character += [_kind(found.group(), before)] * len(found.group())
    of_character.append(Kind.line_break)  # of a token without a text, at the end
    result, at = [], 0
    for token in tokens:
        gap = len(token) - len(token.lstrip()) if token.strip() else 0
        result.append(of_character[at + gap])
        at += len(token)
    return result


def _kind(word: str, before: str) -> Kind:
    if word.isspace():
        return Kind.line_break
    if word[0].isdigit():
        return Kind.number
    if not word[0].isalpha():
        return Kind.punctuation
    if word.lower().replace("’", "'") in FUNCTION_WORDS:
        return Kind.function_word
    last = before.rstrip(QUOTES)
    begins = not last or last[-1] in ENDS
    return Kind.proper_name if word[0].isupper() and not begins else Kind.content_word
