"""What becomes of a forgetting cache while text is generated: who goes, when, and at what cost.

  python experiments/sparsity_analysis.py                          outputs/sparsity_analysis/
  python experiments/sparsity_analysis.py --threshold 0.1 --memory_strength 1 --out folder
  python experiments/sparsity_analysis.py --model Qwen/Qwen2.5-0.5B --file story.txt

Sparsity of each layer over the text, the share of attention that is masked, quality against the
baseline, which kinds of words are forgotten first, and attention received against retention: tables
here, sparsity.png, sparsity.html, and retention.html to walk through the text.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as with python -m

from experiments import script

OUT = Path("outputs/sparsity_analysis")


def main(arguments: Sequence[str] | None = None) -> int:
    """Refuse what is wrong before a model is loaded, with exit code 2."""
    return script.run(_parser(), _run, arguments)


def _run(given: argparse.Namespace) -> None:
    memory = replace(script.memory(given), prefill_chunk=given.prefill_chunk)
    for name, least in (("prompt_tokens", 1), ("max_tokens", 1)):
        if getattr(given, name) < least:
            raise ValueError(f"--{name}={getattr(given, name)} is not allowed, at least {least} is")

    from experiments.sparsity import charts, course, page, tables
    from experiments.sparsity.kinds import kinds
    from experiments.sparsity.quality import quality
    from experiments.timing.loading import source
    from memollm.evaluation.streaming import greedy
    from memollm.evaluation.text import load, tokenise
    from memollm.hf.subject import HFSubject
    from memollm.hf.tracing import TracedSubject
    from memollm.modes.sparse_attention import SparseAttention
    from memollm.report import retention_page

    stretch = given.prompt_tokens + given.max_tokens
    text = load(str(given.file) if given.file else "bundled", "text", "--file").joined
    loaded = source(given.model).load()
    subject = HFSubject(loaded.model, loaded.tokenizer, memory, SparseAttention(), loaded.name)
    stream = tokenise((text,), loaded.tokenizer)[0]
    limit = min(subject.max_length, len(stream))
    if stretch > limit:
        raise ValueError(
            f"--prompt_tokens={given.prompt_tokens} and --max_tokens={given.max_tokens} are not "
            f"allowed: together they may be {limit} (of the model's context and of the text)"
        )
    ids = stream[: given.prompt_tokens]
    traced = TracedSubject(subject)
    with traced.session() as session:
        answer = greedy(session, ids, given.max_tokens, device=subject.device)
        use = session.memory_use()
    trace = traced.trace(len(ids))

    of = kinds(trace.tokens)
    kept, listened = course.survival(trace, of), course.heard(trace)
    lifetime = memory.lifetime_tokens(given.threshold)
    cost = quality(subject, stream[:stretch])
    found = tables.tables(trace, of, kept, listened, use, cost)
    given.out.mkdir(parents=True, exist_ok=True)
    picture = given.out / "sparsity.png"
    charts.draw(trace, kept, listened, picture)
    about = {
        "model": loaded.name,
        "settings": f"memory_strength {memory.strength:g}, threshold {given.threshold:g}, "
        f"layer_fraction {memory.layer_fraction:g}: a token that nothing rehearses lives "
        f"{lifetime:.0f} tokens",
        "prompt_tokens": len(ids),
        "generated": len(answer),
        "text": str(loaded.tokenizer.decode(answer)),
    }
    (given.out / "sparsity.html").write_text(page.page(found, picture, about), encoding="utf-8")
    retention_page.write(trace, given.out)
    print(f"{about['model']}, {about['settings']}\n\n{tables.plain(found)}\n")
    print(f"{given.out}: sparsity.png, sparsity.html, retention.html")


def _parser() -> argparse.ArgumentParser:
    parser = script.parser("sparsity_analysis.py", __doc__)
    script.add_memory(parser, threshold=0.3, strength=0.2, layer_fraction=1.0)
    add = parser.add_argument
    add("--file", type=Path, help="text to begin with (the bundled novels)")
    add("--prompt_tokens", type=int, default=512, metavar="N", help="of it (%(default)s)")
    add("--max_tokens", type=int, default=192, metavar="N", help="to generate (%(default)s)")
    add(
        "--prefill_chunk",
        type=int,
        default=64,
        metavar="N",
        help="prompt tokens between two applications of retention (%(default)s)",
    )
    add("--out", type=Path, default=OUT, metavar="FOLDER", help="(%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
