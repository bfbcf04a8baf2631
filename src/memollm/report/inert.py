r"""Text of others, made harmless: what a model or a setting says is shown, never obeyed.

A terminal code must not colour a page, a bidirectional override must not turn a line around, and
a setting of ten thousand characters must not push a table off the screen.
"""

from __future__ import annotations

import re

TURNING = "\u202a-\u202e\u2066-\u2069"  # embeddings, overrides and isolates of direction
# C1 controls, and halves of characters, which no file could hold
UNPRINTABLE = re.compile(f"[\x00-\x1f\x7f-\x9f{TURNING}\ud800-\udfff]")
MARKDOWN = re.compile(r"([\\|`*\[\]~$])|(?<!\w)(_)|(_)(?!\w)")
SHOWN = 120  # characters


def visible(text: str) -> str:
    r"""``text`` with the number of every character that is a command; line ends as an arrow.

    >>> print(visible("\x1b[31mred\n"), visible("a\u202eb"), visible("שלום 👋"))
    \x1b[31mred↵ a\u202eb שלום 👋
    """
    return UNPRINTABLE.sub(lambda found: _number(ord(found.group())), text)


def clipped(text: str, limit: int = SHOWN) -> str:
    """The beginning of a long text, and how long it is.

    >>> clipped("a" * 10_000, 3), clipped("short")
    ('aaa… (10,000 characters)', 'short')
    """
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text):,} characters)"


def markdown(text: str) -> str:
    r"""``text`` as one line of Markdown that says just that.

    >>> markdown("<b> a|b `c` _d_ layer_fraction")
    '&lt;b> a\\|b \\`c\\` \\_d\\_ layer_fraction'
    """
    escaped = MARKDOWN.sub(lambda found: "\\" + found.group(), visible(text))
    return escaped.replace("&", "&amp;").replace("<", "&lt;")


def _number(code: int) -> str:
    if code == ord("\n"):
        return "↵"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
