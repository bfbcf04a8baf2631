"""The analysis as a page: one file that loads nothing."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment

from memollm.report.inert import visible

TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sparsity of {{ model }}</title>
<style>
  :root { color-scheme: light dark; --line: #8884; }
  body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 64rem;
         padding: 0 1rem; }
  .wide { overflow-x: auto; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  th, td { border-bottom: 1px solid var(--line); padding: .25rem 1.2rem .25rem 0;
           text-align: left; vertical-align: top; }
  img { background: white; max-width: 100%; }
  blockquote { border-left: 3px solid var(--line); margin: 1rem 0; padding-left: 1rem;
               white-space: pre-wrap; }
</style>
<h1>How a forgetting cache becomes sparse</h1>
<p>{{ model }}, {{ settings }}. {{ prompt_tokens }} tokens of prompt, then {{ generated }}
generated.</p>
<p><img alt="{{ alt }}" src="data:image/png;base64,{{ picture }}"></p>
{% for table in tables %}
<h2>{{ table.title }}</h2>
<p>{{ table.note }}</p>
<div class="wide"><table>
<tr>{% for it in table.head %}<th scope="col">{{ it }}</th>{% endfor %}</tr>
{% for row in table.rows %}
<tr>{% for it in row %}<td dir="auto">{{ it }}</td>{% endfor %}</tr>
{% endfor %}
</table></div>
{% endfor %}
<h2>What was generated</h2>
<blockquote dir="auto">{{ text }}</blockquote>
<p><a href="retention.html">Walk through the text step by step</a> (beside this page).</p>
</html>
"""
ALT = (
    "Four charts: forgotten share by layer over the text; age at which each token was forgotten, "
    "by layer and position; share of tokens kept by age, for kinds of words; attention received "
    "against retention. The tables below give the numbers."
)


def page(tables: Sequence[Mapping[str, Any]], picture: Path, about: Mapping[str, Any]) -> str:
    """The page as HTML; no text in it is markup, whatever it says."""
    template = Environment(autoescape=True, trim_blocks=True).from_string(TEMPLATE)
    lines = [visible(line) for line in about["text"].split("\n")]
    return template.render(
        **{**about, "text": "\n".join(lines)},
        tables=tables,
        alt=ALT,
        picture=base64.b64encode(picture.read_bytes()).decode(),
    )
