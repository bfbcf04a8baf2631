"""Answers as a page: side by side, what differs marked; one file, no network."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment

from memollm.generation.comparison import Comparison
from memollm.report.inert import visible

TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Answers under {{ modes | join(", ") }}</title>
<style>
  :root { color-scheme: light dark; --line: #8884; --mark: #e8a33d55; }
  body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem;
         padding: 0 1rem; }
  h2 { font-size: 1.1rem; font-weight: 600; margin-top: 2.5rem; }
  .wide { overflow-x: auto; }
  table { border-collapse: collapse; width: 100%; }
  th, td { border-bottom: 1px solid var(--line); padding: .4rem 1rem .4rem 0; text-align: left;
           vertical-align: top; }
  .number { font-variant-numeric: tabular-nums; white-space: nowrap; }
  td.text { min-width: 16rem; }
  mark { background: var(--mark); color: inherit; }
  pre { overflow-x: auto; }
</style>
<h1>Answers under {{ modes | join(", ") }}</h1>
<p>Marked: the text from where it leaves that of <b>{{ modes[0] }}</b>. Times are of one
run each, after a warm-up. Kept: tokens that can still be seen, mean over all layers.</p>
{% for it in prompts %}
<h2 dir="auto">{{ loop.index }}. {{ it.prompt }}</h2>
<div class="wide"><table>
<tr><th scope="col">mode</th><th scope="col">text</th><th scope="col">tokens</th>
<th scope="col">tokens/s</th><th scope="col">kept</th></tr>
{% for row in it.rows %}
<tr><th scope="row">{{ row.mode }}</th>
<td class="text" dir="auto">{{ row.same }}{% if row.other %}<mark>{{ row.other }}</mark>{% endif %}
</td><td class="number">{{ row.tokens }}</td>
<td class="number">{{ "%.1f" | format(row.rate) }}</td>
<td class="number">{{ "%.0f %%" | format(100 * row.kept) }}</td></tr>
{% endfor %}
</table></div>
{% endfor %}
<h2>Settings</h2>
<pre>{{ settings }}</pre>
</html>
"""


def page(comparisons: Sequence[Comparison], settings: Mapping[str, Any]) -> str:
    """The page as HTML; no text in it is markup, whatever it says."""
    template = Environment(autoescape=True, trim_blocks=True).from_string(TEMPLATE)
    return template.render(
        modes=list(comparisons[0].answers),
        prompts=[{"prompt": visible(it.first.prompt), "rows": _rows(it)} for it in comparisons],
        settings="\n".join(
            visible(line) for line in json.dumps(settings, indent=1, ensure_ascii=False).split("\n")
        ),
    )


def _rows(comparison: Comparison) -> list[dict[str, Any]]:
    return [
        {
            "mode": mode,
            "same": visible(same),
            "other": visible(other),
            "tokens": len(answer.ids),
            "rate": answer.tokens_per_second,
            "kept": answer.kept_share,
        }
        for mode, answer in comparison.answers.items()
        for same, other in [_split(comparison.first.text, answer.text)]
    ]


def _split(first: str, text: str) -> tuple[str, str]:
    """``text`` up to where it leaves ``first``, and from there on."""
    pairs = zip(first, text, strict=False)
    at = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(first), len(text)))
    return text[:at], text[at:]
