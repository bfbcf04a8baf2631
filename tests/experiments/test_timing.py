"""Claims beside measurements: what the table says follows from the numbers given."""

import itertools

import pytest
import torch
from transformers import AutoTokenizer

from experiments.timing import honest
from experiments.timing.claims import BASELINE, CLAIMS, MODES, contradictions, ratios
from experiments.timing.fresh import Timing, timed
from experiments.timing.honest import AGAIN, Pace, noise, paces
from experiments.timing.loading import source
from experiments.timing.verdict import SAME, conclusions, orders, table
from memollm.generation.run import three_modes
from memollm.hf.models import HubModel, RandomModel, ReferenceModel
from memollm.hf.subject import HFSubject
from memollm.memory.ebbinghaus import Memory
from memollm.reference import weights_path
from tests.hf.tiny import forgetful, tiny_model


def pace(mode=BASELINE, length="short", **changes):
    settings = {
        "length": length, "context": 72, "mode": mode, "tokens_per_second": 50.0, "ratio": 1.0,
        "stderr": None, "prefill_seconds": 0.5, "prefill_ratio": 1.0, "kept_share": 1.0,
        "kv_share": 1.0,
    }  # fmt: skip
    return Pace(**{**settings, **changes})


TOKENIZER = AutoTokenizer.from_pretrained(str(weights_path()))
MEASURED = [
    pace(),
    pace("soft_delete", ratio=0.8, stderr=0.01),
    pace("sparse_attention", ratio=1.9, stderr=0.01),
    pace(AGAIN, ratio=1.02, stderr=0.01),
]


def test_the_claims_are_near_two():
    assert {mode: round(it, 2) for mode, it in ratios(CLAIMS).items()} == {
        "baseline": 1.0, "soft_delete": 1.88, "sparse_attention": 1.69,
    }  # fmt: skip
    assert len({line.split(": ")[1].split()[0] for line in contradictions()}) == 2


def test_noise_is_the_deviation_and_two_errors():
    assert noise(MEASURED, "short") == pytest.approx(0.04)


def test_conclusions_follow_from_the_numbers():
    same = [[Timing(BASELINE, 50, 10.0), Timing(BASELINE, 50, 5.0), Timing(BASELINE, 50, 4.0)]]
    said = "\n".join(conclusions(MEASURED, Memory(), {SAME: same}, 1.5))
    for words in (
        "soft_delete is claimed to be 1.88 times as fast as the baseline: measured 0.800 on the "
        "same work, not reproduced",
        "measured 1.900 on the same work, reproduced",
        "lives 3454 tokens at their threshold 0.001, 2303 at the one measured (0.01)",
        "kept 100% of 72 tokens: forgetting cannot be what makes it fast",
        "up to 2.50 times apart (load average 1.5), the first of a process always the slowest",
        "12.1 tokens/s for an answer of 8 tokens and 33.3 tokens/s for an answer of 50 tokens",
    ):
        assert words in said
    later = [[same[0][2], same[0][0]]]
    assert "always the slowest" not in "\n".join(conclusions(MEASURED, Memory(), {SAME: later}, 1))


def test_claims_stand_beside_the_short_texts_alone():
    rows = table([*MEASURED, pace("soft_delete", "long")], {"soft_delete": 12.3}).splitlines()
    assert "| 20.54 | 1.88 |" in rows[3] and "20.54" not in rows[-1] and "12.30" in rows[-1]
    assert len({row.count("|") for row in rows}) == 1


def test_fresh_processes_try_both_orders_and_the_same_mode_thrice():
    tried = orders(2)
    assert list(tried.values()) == [[MODES] * 2, [MODES[::-1]] * 2, [(BASELINE,) * 3] * 2]
    assert orders(0) == {}


def test_the_race_has_every_mode_and_the_untouched_model_again(monkeypatch):
    """A clock of one tick a reading: every step takes one, whatever the mode."""
    ticks = itertools.count()
    monkeypatch.setattr(honest, "reading", lambda *_: lambda: float(next(ticks)))
    model = tiny_model("qwen3", torch.float32)
    subjects = {
        name: HFSubject(model, TOKENIZER, forgetful(), mode) for name, mode in three_modes().items()
    }
    found = paces(
        subjects, [3 + i % 90 for i in range(200)], {"short": 24, "long": 48}, rounds=2, turns=2,
        burst=4,
    )  # fmt: skip
    assert [(it.length, it.mode) for it in found] == [
        (length, mode) for length in ("short", "long") for mode in (*subjects, AGAIN)
    ]
    assert {(it.tokens_per_second, it.ratio, it.prefill_ratio) for it in found} == {(1.0, 1.0, 1.0)}
    long = {it.mode: it for it in found if it.length == "long"}
    assert long["sparse_attention"].kept_share < 0.6 < long["soft_delete"].kept_share == 1
    assert long["baseline"].kv_share == 1 > long["sparse_attention"].kv_share


def test_timing_as_the_documents_do_counts_tokens_by_all_the_time():
    class Slow:
        def generate(self, prompt, max_new_tokens, generation_mode, **options):
            assert options == {"temperature": 0.7, "do_sample": True, "seed": 0}
            return {"num_tokens": 10, "generation_time": 4.0}

    (found,) = timed(Slow(), ["soft_delete"])
    assert found == Timing("soft_delete", 10, 4.0) and found.tokens_per_second == 2.5


def test_models_are_named_as_on_the_command_line():
    assert isinstance(source("reference"), ReferenceModel)
    random = source("random_qwen2_5_0_5b")
    assert isinstance(random, RandomModel) and random.settings["hidden_size"] == 896
    assert source(str(weights_path())) == HubModel(name=str(weights_path()))
