"""How much each parameter explains, with its interval: one picture a measure."""

from __future__ import annotations

from memollm.report import methods
from memollm.report.figures.figure import Figure, file_name
from memollm.report.figures.style import INK, SERIES, SOFT, canvas
from memollm.report.inert import clipped, visible
from memollm.report.influence import METHOD, Influence, sentence


def importance(influence: Influence) -> Figure | None:
    """Bars, the most important first; None where nothing can be told."""
    told = [it for it in influence.parameters if it.explained is not None]
    if not told:
        return None
    figure, axes = canvas(height=0.9 + 0.34 * len(told))
    for place, it in enumerate(told):
        assert it.explained is not None
        colour = SERIES[0] if it.resolved else SOFT
        share = 100 * it.explained.share
        axes.barh(place, share, color=colour, alpha=0.75 if it.resolved else 0.35, height=0.55)
        if it.explained.interval is not None:
            low, high = (100 * limit for limit in it.explained.interval)
            axes.plot([low, high], [place, place], color=INK, linewidth=1.2)
            axes.plot([low, high], [place, place], "|", color=INK, markersize=6)
    axes.axvline(0, color=SOFT, linewidth=0.8)
    axes.set_yticks(range(len(told)), [clipped(visible(it.name), 28) for it in told])
    axes.set_ylim(len(told) - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    heading = methods.heading(influence.column)
    axes.set_xlabel(f"% of the variance of {heading} between cells")
    return Figure(
        name=file_name(f"importance_for_{heading}"),
        title=f"What explains {heading}",
        caption=METHOD,
        alt=sentence(influence),
        data=[
            {
                "parameter": it.name,
                "values": it.levels,
                "share": it.explained.share if it.explained else None,
                "low": it.explained.interval[0] if it.explained and it.explained.interval else None,
                "high": it.explained.interval[1]
                if it.explained and it.explained.interval
                else None,
                "p": it.explained.p if it.explained else None,
                "verdict": it.verdict,
            }
            for it in influence.parameters
        ],
        picture=figure,
    )
