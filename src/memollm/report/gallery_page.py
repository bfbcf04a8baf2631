"""How the failure gallery looks: one file, light and dark, on a desk and on a phone."""

from __future__ import annotations

TEMPLATE = """<!doctype html>
<html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Lost and won against the baseline</title>
<style>
  :root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6675; --paper: #ffffff;
          --card: #f5f7f9; --line: #d5dbe2; --evidence: #2b6cb0; --gone: #b7410e;
          --won: #22704a; }
  @media (prefers-color-scheme: dark) {
    :root { --ink: #e6eaf0; --soft: #9aa7b6; --paper: #14181e; --card: #1d232b; --line: #37414d;
            --evidence: #6cb0f5; --gone: #f5955f; --won: #6fce9d; }
  }
  body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 48rem; padding: 1rem;
         color: var(--ink); background: var(--paper); overflow-wrap: anywhere; }
  h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .2rem; }
  h3 { font-size: 1rem; margin: 0 0 .5rem; font-weight: 600; }
  p.note, .words { color: var(--soft); font-size: .9rem; margin: .2rem 0 .8rem; }
  article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem;
            padding: .8rem 1rem; margin: .8rem 0; border-left: .3rem solid var(--gone); }
  article.won { border-left-color: var(--won); }
  .badge { color: var(--gone); } .won .badge { color: var(--won); }
  dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem .9rem; margin: 0; }
  dt { color: var(--soft); } dd { margin: 0; }
  dd span { font-family: ui-monospace, monospace; font-size: .92em; white-space: pre-wrap;
            unicode-bidi: isolate; }
  svg { display: block; width: 100%; max-width: 34rem; margin: .8rem 0 .2rem; }
  svg text { font: 10px system-ui, sans-serif; fill: var(--soft); }
  svg .end { text-anchor: end; }
  .track { fill: var(--line); } .evidence { fill: var(--evidence); }
  .held { fill: var(--evidence); fill-opacity: .55; }
  .base { stroke: var(--line); } .gone { stroke: var(--gone); stroke-width: 2; fill: none; }
  @media (max-width: 34rem) { dl { display: block; } dd { margin-bottom: .3rem; } }
</style>
<h1>Lost and won against the baseline</h1>
<p class="note">Each picture: the prompt from its first token to its last, the tokens that the
answer needs in colour. Below it, for each memory layer, how much of them it still held when so
many tokens had been read; a cross where the last was forgotten. Right: needed tokens held in the
end, and the share of all tokens held.</p>
{% if not groups %}
<p>No cell has a baseline to be compared with, and answers to compare.</p>
{% endif %}
{% for group in groups %}
<h2>{{ group.evaluation }}: {{ group.cell }}</h2>
<p class="note">{{ counted(group) }}.</p>
{% for kind, examples in (("lost", group.lost), ("won", group.won)) %}
{% for example in examples %}
<article class="{{ kind }}">
<h3><span class="badge">{{ kind }}</span> {{ example.id }}</h3>
<dl>
{% if example.question is not none %}
<dt>question</dt><dd><span>{{ example.question }}</span></dd>
{% endif %}
<dt>expected</dt><dd><span>{{ example.expected }}</span></dd>
<dt>with this memory</dt><dd><span>{{ example.answer }}</span></dd>
<dt>baseline</dt><dd><span>{{ example.baseline_answer }}</span></dd>
</dl>
{{ picture(example) }}
{% if example.evidence %}
<details class="words"><summary>in words</summary>{{ summary(example) }}</details>
{% endif %}
</article>
{% endfor %}
{% endfor %}
{% endfor %}
</html>
"""
