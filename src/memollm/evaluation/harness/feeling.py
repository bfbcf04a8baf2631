"""Whether a request can feel forgetting at all: from token counts alone.

A short prompt scores the same under any memory, and a benchmark of short prompts says nothing
about one. Forgetting is felt by a query only if something was forgotten before it, and a memory
forgets at the ends of chunks.
"""

from __future__ import annotations


def last_application(fed: int, chunk: int, decoded: int = 0) -> int:
    """Tokens seen when forgetting was last applied before the last query.

    Args:
        fed: tokens of the prompt.
        chunk: prompt tokens between two applications.
        decoded: most tokens that are generated after the prompt, one a time.

    >>> last_application(600, 256), last_application(600, 256, decoded=3)
    (512, 601)
    """
    if decoded > 1:  # the prompt ends in an application, and so does each token that is fed back
        return fed + decoded - 2
    return max(fed - 1, 0) // chunk * chunk


def can_feel(fed: int, chunk: int, certain: float, decoded: int = 0) -> bool:
    """Whether a memory that keeps ``certain`` tokens for certain can change an answer.

    False is certain; True is not: what is forgotten may be what nobody needs.
    """
    return last_application(fed, chunk, decoded) > certain
