"""What a run will be able to tell, said before it is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import stdev

from memollm import record, samples
from memollm.record import RunRecord
from memollm.statistics.detectable import Detectable, of_answers, of_losses, of_scores
from memollm.statistics.pairing import Matched, Outcome, Unpairable, clusters, match
from memollm.statistics.signs import FEWEST

EARLIER = 8  # runs that are looked at, the newest; more tell no more


def plan(
    evaluation: str,
    outcome: Outcome,
    prompts: int,
    baseline_hash: str,
    roots: Sequence[Path],
) -> Detectable:
    """The smallest difference to the baseline that ``prompts`` independent prompts resolve.

    Args:
        evaluation: its name.
        outcome: what its samples say.
        prompts: how many are planned.
        baseline_hash: of the same evaluation of the untouched model.
        roots: folders of earlier runs; pairs of them tell how much answers differ.
    """
    earlier = list(_earlier(evaluation, baseline_hash, roots))
    if outcome is Outcome.correct:
        earlier = [it for it in earlier if _tells(it, outcome)]
        pairs = sum(len(matched.pairs) for matched in earlier)
        noise = sum(_both_ways(matched) for matched in earlier) / pairs if pairs else None
        return of_answers(prompts, noise)
    spreads = [found for matched in earlier if (found := _spread(matched, outcome)) is not None]
    spread = max(spreads, default=None)
    return of_scores(prompts, spread) if outcome is Outcome.score else of_losses(prompts, spread)


def told(evaluation: str, outcome: Outcome, found: Detectable) -> str:
    """``found`` in one line, for whoever is about to wait."""
    noun = "windows" if outcome is Outcome.nll else "prompts"
    begun = f"{evaluation}: {found.prompts} {noun}: "
    if found.smallest is not None:
        loss = outcome is Outcome.nll
        size = f"{found.smallest:.2g} nats/token" if loss else f"{100 * found.smallest:.0f} points"
        sure = f"{found.power:.0%} power, {found.alpha:.0%}; {found.basis}"
        return f"{begun}differences below {size} will not be resolved ({sure})"
    if found.prompts < FEWEST:
        return f"{begun}no difference to the baseline can be resolved, that takes {FEWEST} or more"
    return f"{begun}what differences they resolve is not known yet: {found.basis}"


def _earlier(evaluation: str, baseline_hash: str, roots: Sequence[Path]) -> Iterator[Matched]:
    runs = _runs(evaluation, baseline_hash, roots)
    baselines = [it for it in runs if it[1].evaluation_hashes.get(evaluation) == baseline_hash]
    others: dict[str, Path] = {}  # each result once, however many runs took it over
    for folder, run in runs:
        others.setdefault(run.evaluation_hashes.get(evaluation, baseline_hash), folder)
    others.pop(baseline_hash, None)
    if not baselines:
        return
    untouched = samples.read(baselines[0][0]).get(evaluation, [])
    for folder in list(others.values())[:EARLIER]:
        try:
            yield match(samples.read(folder).get(evaluation, []), untouched)
        except Unpairable:  # the report names it
            continue


def _runs(
    evaluation: str, baseline_hash: str, roots: Sequence[Path]
) -> list[tuple[Path, RunRecord]]:
    found = []
    for folder in sorted({it.resolve() for root in roots for it in record.folders_below(root)}):
        try:
            if baseline_hash in (folder / record.FILE).read_text(encoding="utf-8"):
                run = record.load(folder)
                if evaluation in run.results:
                    found.append((folder, run))
        except (OSError, ValueError):
            continue
    return record.newest_first(found)


def _tells(matched: Matched, outcome: Outcome) -> bool:
    """Whether every sample has the outcome: those of older versions may not."""
    return all(outcome in it.ours and outcome in it.baseline for it in matched.pairs)


def _both_ways(matched: Matched) -> int:
    """Answers that differ, but for those by which one run is better than the other."""
    changes = [int(it.ours["correct"]) - int(it.baseline["correct"]) for it in matched.pairs]
    return 2 * min(changes.count(1), changes.count(-1))


def _spread(matched: Matched, outcome: Outcome) -> float | None:
    """Standard deviation of the prompts' mean differences."""
    if not matched.pairs or not _tells(matched, outcome):
        return None
    grouped = clusters(matched.pairs, outcome)
    means = (grouped.ours - grouped.baseline) / grouped.size
    return stdev(means.tolist()) if len(means) > 1 else None
