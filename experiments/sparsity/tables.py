"""The numbers behind the pictures, as rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from experiments.sparsity.course import (
    Heard,
    Survival,
    first_forgotten,
    masked_share,
    sparsity,
    summary,
)
from experiments.sparsity.kinds import Kind
from experiments.sparsity.quality import Quality
from memollm.evaluation.base import MemoryUse
from memollm.report.inert import visible
from memollm.traces.trace import Trace

EARLY = 10  # tokens named of each layer


def tables(
    trace: Trace,
    of: Sequence[Kind],
    kept: Mapping[Kind, Survival],
    listened: Mapping[str, Heard],
    use: MemoryUse,
    cost: Quality,
) -> list[dict[str, Any]]:
    """Title, note, headings and rows of each table."""
    return [
        _layers(trace, listened, use),
        _kinds(kept, int(trace.seen[-1]) // 4),
        _quality(cost),
        _early(trace, of),
    ]


def plain(found: Sequence[Mapping[str, Any]]) -> str:
    """All tables for a terminal."""
    parts = []
    for table in found:
        rows = [[str(it) for it in row] for row in (table["head"], *table["rows"])]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(it.ljust(width) for it, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        parts.append("\n".join([table["title"], table["note"], *lines]))
    return "\n\n".join(parts)


def _layers(trace: Trace, listened: Mapping[str, Heard], use: MemoryUse) -> dict[str, Any]:
    last, masked = sparsity(trace)[:, -1], masked_share(trace)
    read = int(trace.seen[-1])
    rows = [
        [
            layer,
            f"{100 * last[index]:.1f} %",
            f"{100 * masked[index]:.1f} %",
            f"{use.kept_tokens[int(layer)]:.0f} of {read}",
            f"{listened[layer].correlation:.2f}" if layer in listened else "",
        ]
        for index, layer in enumerate(trace.layers)
    ]
    held = use.kv_bytes / use.kv_bytes_baseline
    return {
        "title": "Layers",
        "note": f"Masked: share of the pairs (generated token, earlier token) that attention left "
        f"out. The cache holds {held:.0%} of an ordinary one's bytes, all layers and the memory's "
        "own numbers included. ρ: Spearman's, of attention received and retention.",
        "head": ["layer", "forgotten at the end", "masked", "held in the cache", "ρ"],
        "rows": rows,
    }


def _kinds(kept: Mapping[Kind, Survival], age: int) -> dict[str, Any]:
    rows = [
        [
            str(kind),
            it.tokens,
            it.forgotten,
            f"{100 * share:.1f} %",
            "outlive the text" if it.median is None else f"{it.median:.0f}",
        ]
        for kind, it, share in summary(kept, age)
    ]
    return {
        "title": "Kinds of words, the first to be forgotten first",
        "note": "All memory layers pooled, sinks left out; tokens that outlive the text are taken "
        "for censored (Kaplan and Meier, 1958). Counts are tokens times layers.",
        "head": ["kind", "n", "forgotten", f"kept past {age} tokens", "half live (tokens)"],
        "rows": rows,
    }


def _quality(cost: Quality) -> dict[str, Any]:
    return {
        "title": "Quality against the baseline",
        "note": f"The last {cost.tokens} tokens of a text that was read to the same length, "
        "streamed through the memory and through the untouched model.",
        "head": ["", "perplexity", "KL (nats a token)", "same next token"],
        "rows": [
            ["baseline", f"{cost.perplexity_baseline:.2f}", "0", "100 %"],
            ["with the memory", f"{cost.perplexity:.2f}", f"{cost.kl:.4f}",
             f"{100 * cost.agreement:.1f} %"],
        ],
    }  # fmt: skip


def _early(trace: Trace, of: Sequence[Kind]) -> dict[str, Any]:
    rows = [
        [
            layer,
            "  ".join(
                f"{visible(trace.tokens[i])!r} ({of[i]}, {age})"
                for i, age in first_forgotten(trace, index, EARLY)
            )
            or "none",
        ]
        for index, layer in enumerate(trace.layers)
    ]
    return {
        "title": "Forgotten youngest",
        "note": "In brackets: kind, and age in tokens.",
        "head": ["layer", "tokens"],
        "rows": rows,
    }
