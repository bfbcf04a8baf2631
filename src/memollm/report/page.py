"""One run as a page: settings, metrics, pictures; one file, no network."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment

from memollm.record import RunRecord, replace
from memollm.report import inert
from memollm.report.plots import Samples, draw

FILE = "run.html"
TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
  :root { color-scheme: light dark; }
  body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem;
         padding: 0 1rem; }
  .wide { overflow-x: auto; }
  table { border-collapse: collapse; }
  th, td { padding: .2rem .8rem .2rem 0; text-align: left; }
  td.number { text-align: right; font-variant-numeric: tabular-nums; }
  img { background: white; max-width: 100%; }
  pre { overflow-x: auto; }
</style>
<h1>{{ title }}</h1>
<p>{{ status }}{% if error %}: {{ error }}{% endif %}</p>
{% for name, result in results.items() %}
<h2>{{ name }}</h2>
<div class="wide"><table>
<tr><th>metric</th><th>value</th><th>standard error</th><th>unit</th><th>n</th></tr>
{% for metric, it in result.metrics.items() %}
<tr><td>{{ metric }}</td><td class="number">{{ "%.6g" | format(it.value) }}</td>
<td class="number">{% if it.stderr is not none %}{{ "%.3g" | format(it.stderr) }}{% endif %}</td>
<td>{{ it.unit }}</td><td class="number">{{ it.n }}</td></tr>
{% endfor %}
</table></div>
{% endfor %}
{% for alt, data in pictures %}
<p><img alt="{{ alt }}" src="data:image/png;base64,{{ data }}"></p>
{% endfor %}
<h2>Settings</h2>
<pre>{{ config }}</pre>
<h2>Provenance</h2>
<pre>{{ provenance }}</pre>
</html>
"""


def illustrate(run: RunRecord, samples: Samples, folder: Path) -> list[Path]:
    """Leave pictures and the page of ``run`` in ``folder``: the page, then each picture."""
    pictures = draw(run, samples, folder / "plots")
    page = folder / FILE
    replace(page, render(run, pictures))
    return [page, *pictures]


def render(run: RunRecord, pictures: Sequence[Path] = ()) -> str:
    """The page as HTML, the pictures inside; every text is escaped."""
    mode = run.config.get("mode") or {}
    model = run.config.get("model") or {}
    return (
        Environment(autoescape=True)
        .from_string(TEMPLATE)
        .render(
            title=f"{mode.get('name_', 'a run')} on {model.get('name') or model.get('name_', '?')}",
            status=str(run.status),
            error=f"{run.error.type}: {inert.visible(run.error.message)}" if run.error else None,
            results=run.results,
            pictures=[
                (path.stem.replace("_", " "), base64.b64encode(path.read_bytes()).decode())
                for path in pictures
            ],
            config=json.dumps(run.config, indent=2, ensure_ascii=False, default=str),
            provenance=json.dumps(run.provenance, indent=2, ensure_ascii=False, default=str),
        )
    )
