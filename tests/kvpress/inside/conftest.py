"""Attention as it was is known only to who is there before kvpress is imported."""

import memollm.kvpress.inside.patching  # noqa: F401
