"""Measured speeds beside the claimed ones: a table, and what may be concluded from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from experiments.timing.claims import BASELINE, CLAIMS, MAX_TOKENS, MODES, contradictions, ratios
from experiments.timing.fresh import Timing
from experiments.timing.honest import Pace, noise
from memollm.memory.ebbinghaus import Memory

CLAIMED_THRESHOLD = 0.001  # of the documents' sparse attention


def table(found: Sequence[Pace], quality: Mapping[str, float]) -> str:
    """Modes by length, in Markdown; the claims beside the short texts, which they are about."""
    head = [
        "text", "mode", "tokens/s", "speed / baseline", "claimed tokens/s", "claimed ratio",
        "prefill (s)", "kept tokens", "KV bytes", "perplexity",
    ]  # fmt: skip
    claimed = ratios(CLAIMS)
    lines = [_row(head), _row(["---"] * len(head))]
    longest = found[-1].length
    for it in found:
        is_claim = it.length == found[0].length and it.mode in CLAIMS
        lines.append(
            _row([
                f"{it.length} ({it.context})",
                it.mode,
                f"{it.tokens_per_second:.2f}",
                f"{it.ratio:.3f}" + (f" ±{it.stderr:.3f}" if it.stderr else ""),
                f"{CLAIMS[it.mode]:.2f}" if is_claim else "",
                f"{claimed[it.mode]:.2f}" if is_claim else "",
                f"{it.prefill_seconds:.3f}",
                f"{it.kept_share:.0%}",
                f"{it.kv_share:.0%}",
                f"{quality[it.mode]:.2f}" if it.length == longest and it.mode in quality else "",
            ])
        )  # fmt: skip
    return "\n".join(lines)


SAME = "the untouched model three times"
ANSWERS = (8, 50)  # tokens, of answers that end where a draw ends them


def conclusions(
    found: Sequence[Pace],
    memory: Memory,
    fresh: Mapping[str, Sequence[Sequence[Timing]]],
    load: float,
) -> list[str]:
    """What is reproduced, what was an artefact of measuring, and by which of the numbers.

    Args:
        found: speeds that can be compared, short texts first.
        memory: the one measured.
        fresh: timings in fresh processes, by a name for the order of modes.
        load: average of the machine when those began.
    """
    short = found[0].length
    bound = noise(found, short)
    said = [
        f"A/A on {short} texts: the untouched model beside itself differs by up to {bound:.3f}; "
        "ratios within that of 1 say nothing."
    ]
    for mode in MODES[1:]:
        (it,) = [one for one in found if one.mode == mode and one.length == short]
        claim = ratios(CLAIMS)[mode]
        reached = "reproduced" if it.ratio + bound >= claim else "not reproduced"
        said.append(
            f"{mode} is claimed to be {claim:.2f} times as fast as the baseline: measured "
            f"{it.ratio:.3f} on the same work, {reached}."
        )
    said += [_lifetimes(memory, [it for it in found if it.length == short])]
    said += [_short_answers(found[-1].length, found)]
    for order, runs in fresh.items():
        said.append(f"Timed as the documents do, in a fresh process, {order}: {_told(runs)}.")
    if SAME in fresh:
        said.append(_same(fresh[SAME], load))
    said.append("The documents contradict one another: " + "; ".join(contradictions()) + ".")
    return said


def _same(runs: Sequence[Sequence[Timing]], load: float) -> str:
    """How far calls are apart that differ in nothing."""
    rates = [it.tokens_per_second for run in runs for it in run]
    said = (
        "Timed like that, calls that differ in nothing come out up to "
        f"{max(rates) / min(rates):.2f} times apart (load average {load:.1f})"
    )
    if all(min(run, key=lambda it: it.tokens_per_second) is run[0] for run in runs):
        said += (
            ", the first of a process always the slowest: what libraries set up on first use is "
            "counted as its time, and in the documents it is always the baseline"
        )
    return f"{said}."


def _short_answers(length: str, found: Sequence[Pace]) -> str:
    """What counting the prompt's time makes of one model, by where its answer ends."""
    (it,) = [one for one in found if one.mode == BASELINE and one.length == length]
    rates = [n / (it.prefill_seconds + n / it.tokens_per_second) for n in ANSWERS]
    told = " and ".join(
        f"{rate:.1f} tokens/s for an answer of {n} tokens"
        for n, rate in zip(ANSWERS, rates, strict=True)
    )
    return (
        "The documents divide the tokens of an answer by all the time, the prompt's included, and "
        f"let a draw decide where it ends: one and the same model gets {told} on a {length} text "
        f"(decoding: {it.tokens_per_second:.1f})."
    )


def _lifetimes(memory: Memory, short: Sequence[Pace]) -> str:
    """What there was to forget in texts as short as the documents'."""
    parts = [f"{memory.lifetime_tokens(CLAIMED_THRESHOLD):.0f} tokens at their threshold 0.001"]
    ours = memory.thresholds(1)[0].value
    if ours is not None:
        parts.append(f"{memory.lifetime_tokens(ours):.0f} at the one measured ({ours:g})")
    kept = {it.mode: it.kept_share for it in short}["sparse_attention"]
    said = (
        f"A token that nothing rehearses lives {', '.join(parts)}; their texts are a sentence and "
        f"{MAX_TOKENS} tokens. Here sparse_attention kept {kept:.0%} of {short[0].context} tokens"
    )
    return said + (": forgetting cannot be what makes it fast." if kept == 1 else ".")


def _told(runs: Sequence[Sequence[Timing]]) -> str:
    return "; ".join(
        ", ".join(f"{it.mode} {it.tokens_per_second:.2f} tokens/s ({it.tokens})" for it in run)
        for run in runs
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def orders(times: int) -> dict[str, list[tuple[str, ...]]]:
    """Which modes to time in fresh processes, and how often."""
    each = {
        "in their order": MODES,
        "in the opposite order": MODES[::-1],
        SAME: (BASELINE,) * 3,
    }
    return {name: [modes] * times for name, modes in each.items()} if times else {}
