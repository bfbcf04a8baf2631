"""A small picture of one example: where its evidence stood, and how long each layer held it.

Left to right are the tokens of the prompt, which are also the time at which they were read. A
layer's curve begins where the evidence does, and is as high as the share of the evidence that
the layer holds when so many tokens have been read.
"""

from __future__ import annotations

from collections.abc import Sequence

from memollm.report.examples import Example, Fate

WIDTH, LEFT, RIGHT = 330, 42, 74  # of the picture, and of its margins; units of the drawing
ROW, GAP, TOP = 13, 4, 16
AXIS = 22


def draw(example: Example) -> str:
    """The picture as an SVG element; its colours are the page's (``--evidence``, ``--gone``).

    Nothing in it is text from a model.
    """
    if not example.evidence or not example.seen:
        return ""
    scale = (WIDTH - LEFT - RIGHT) / example.seen
    rows = [_prompt(example, scale)]
    for index, fate in enumerate(example.fates):
        rows.append(_layer(example, fate, scale, TOP + (index + 1) * (ROW + GAP)))
    bottom = TOP + (len(example.fates) + 1) * (ROW + GAP)
    rows.append(_axis(example.seen, scale, bottom))
    height = bottom + AXIS
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{summary(example)}">{"".join(rows)}</svg>'
    )


def summary(example: Example) -> str:
    """The picture in words.

    >>> fates = [Fate(0, [None, None]), Fate(1, [40, 48])]
    >>> summary(Example("a", None, "", "", "", 100, [(10, 12)], fates))
    'needed: tokens 10-11 of 100; layer 0 kept all; layer 1 forgot all at 40-48'
    """
    spans = ", ".join(
        str(start) if stop - start == 1 else f"{start}-{stop - 1}"
        for start, stop in example.evidence
    )
    told = [f"needed: tokens {spans} of {example.seen}"]
    for fate in example.fates:
        if fate.died is None:
            told.append(f"layer {fate.layer} kept all")
        else:
            first, last = fate.died
            gone = len(fate.forgotten_at) - fate.kept
            how_many = "all" if not fate.kept else f"{gone} of {len(fate.forgotten_at)}"
            when = str(first) if first == last else f"{first}-{last}"
            told.append(f"layer {fate.layer} forgot {how_many} at {when}")
    return "; ".join(told)


def held(positions: Sequence[int], forgotten_at: Sequence[int | None]) -> list[tuple[int, float]]:
    """The share of needed tokens held after so many were read, where it changes.

    >>> held([10, 11], [40, None])
    [(10, 0.5), (11, 1.0), (40, 0.5)]
    """
    changes: dict[int, int] = {}
    for position, when in zip(positions, forgotten_at, strict=True):
        changes[position] = changes.get(position, 0) + 1
        if when is not None:
            changes[when] = changes.get(when, 0) - 1
    steps, now = [], 0
    for time in sorted(changes):
        now += changes[time]
        steps.append((time, now / len(positions)))
    return steps


def _prompt(example: Example, scale: float) -> str:
    y = TOP
    bars = "".join(
        f'<rect class="evidence" x="{LEFT + start * scale:.1f}" y="{y}" '
        f'width="{max((stop - start) * scale, 2):.1f}" height="{ROW}"/>'
        for start, stop in example.evidence
    )
    return (
        _label("prompt", y)
        + f'<rect class="track" x="{LEFT}" y="{y}" width="{example.seen * scale:.1f}" '
        f'height="{ROW}"/>{bars}'
        + f'<text x="{WIDTH}" y="{y - 5}" class="end">needed / all held</text>'
    )


def _layer(example: Example, fate: Fate, scale: float, y: int) -> str:
    needed = example.needed
    line = f'<path class="base" d="M{LEFT} {y + ROW}h{example.seen * scale:.1f}"/>'
    total = "" if fate.held is None else f" · {fate.held:.0%}"
    told = f"{fate.kept}/{len(fate.forgotten_at)}{total}"
    labels = _label(f"layer {fate.layer}", y) + _end(told, y)
    if len(needed) != len(fate.forgotten_at):
        return labels + line
    steps = held(needed, fate.forgotten_at)
    path = [f"M{LEFT + steps[0][0] * scale:.1f} {y + ROW}"]
    for time, share in steps:
        path.append(f"H{LEFT + time * scale:.1f}V{y + ROW * (1 - share):.1f}")
    path.append(f"H{LEFT + example.seen * scale:.1f}V{y + ROW}Z")
    ends = ""
    if fate.died and not fate.kept:
        x = LEFT + fate.died[1] * scale
        ends = f'<path class="gone" d="M{x - 3:.1f} {y + ROW - 6}l6 6m0 -6l-6 6"/>'
    return labels + line + f'<path class="held" d="{"".join(path)}"/>' + ends


def _axis(seen: int, scale: float, y: int) -> str:
    marks = {0: LEFT, seen // 2: LEFT + (seen // 2) * scale, seen: LEFT + seen * scale}
    return "".join(
        f'<text x="{x:.1f}" y="{y + 12}" text-anchor="middle">{value}</text>'
        for value, x in marks.items()
    ) + (f'<text x="{WIDTH}" y="{y + 12}" class="end">tokens read</text>')


def _label(text: str, y: int) -> str:
    return f'<text x="{LEFT - 6}" y="{y + ROW - 3}" class="end">{text}</text>'


def _end(text: str, y: int) -> str:
    return f'<text x="{WIDTH}" y="{y + ROW - 3}" class="end">{text}</text>'
