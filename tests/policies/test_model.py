"""Policies and budgets in whole models: batches, storage, what is recorded, and the solver."""

import functools
from dataclasses import asdict

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memollm import journal, record
from memollm.evaluation.base import MemoryUse
from memollm.hf import calibration
from memollm.hf.attachment import attach
from memollm.hf.models import ReferenceModel
from memollm.hf.subject import HFSubject
from memollm.memory.budget import BudgetBy
from memollm.memory.ebbinghaus import Aggregation, Memory
from memollm.modes.baseline import Baseline
from memollm.modes.soft_delete import SoftDelete
from memollm.modes.sparse_attention import SparseAttention, Storage
from memollm.policies.full import Full
from memollm.policies.h2o import H2O
from memollm.policies.snapkv import SnapKV
from memollm.policies.window import Window
from tests.hf.tiny import FLOAT64, kept_positions, padded, prompt, tiny_model

from .test_kept import by_policy

NEW = 6  # tokens to generate


def bounded(policy, **changes):
    settings = {"budget": 0.4, "sinks": 1, "recent": 2, "layer_fraction": 1.0, "prefill_chunk": 9}
    return Memory(policy=policy, **{**settings, **changes})


def generated(model, memory, inputs, mode=None):
    """The text, and the positions that each layer keeps of each row."""
    with attach(model, memory, mode) as attachment:
        text = model.generate(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"],
            max_new_tokens=NEW, do_sample=False, eos_token_id=None,
        )  # fmt: skip
        rows = range(len(text))
        return text, [kept_positions(attachment, row) for row in rows]


@by_policy
def test_a_row_of_a_batch_keeps_what_it_keeps_alone_and_says_the_same(policy):
    model, memory = tiny_model(layers=2), bounded(policy)
    prompts = [prompt(count, seed=count) for count in (31, 12, 23)]
    texts, kept = generated(model, memory, padded(prompts))
    for row, ids in enumerate(prompts):
        text, (alone,) = generated(model, memory, padded([ids]))
        assert kept[row] == alone
        assert texts[row, -NEW:].tolist() == text[0, -NEW:].tolist()
    if policy.bounded:
        decoded = NEW - 1 if isinstance(policy, SnapKV) else 0  # which it forgets nothing at
        seen = 31 + NEW - 1  # the last token is never fed
        budget = round(0.4 * 31) + decoded if decoded else round(0.4 * seen)
        assert [len(layer) for layer in kept[0]] == [budget] * 2


@by_policy
def test_masking_equals_evicting_in_a_whole_model(policy):
    model, memory = tiny_model(layers=2), bounded(policy)
    inputs = padded([prompt(count, seed=count) for count in (26, 19)])
    logits, kept = [], []
    for storage in Storage:
        with attach(model, memory, SparseAttention(storage)) as attachment:
            logits.append(model(**inputs).logits[inputs["attention_mask"].bool()])
            kept.append([kept_positions(attachment, row) for row in range(2)])
    torch.testing.assert_close(*logits, rtol=0, atol=FLOAT64)
    assert kept[0] == kept[1]


def test_full_changes_nothing_and_a_baseline_knows_no_policy():
    model, ids = tiny_model(layers=2), prompt(40)
    plain = model(ids).logits
    with attach(model, bounded(Full())), torch.no_grad():
        full = model(ids).logits
    assert (full - plain).abs().max() <= 1e-5 * plain.abs().max()  # eager softmax is in float32
    with attach(model, bounded(H2O()), Baseline()), torch.no_grad():
        assert torch.equal(model(ids).logits, plain)
    assert torch.equal(model(ids).logits, plain)


def test_soft_deletion_of_a_ranking_is_refused_before_anything_runs():
    with pytest.raises(ValueError, match="policy=window is not allowed with mode=soft_delete"):  # noqa: SIM117
        with attach(tiny_model(layers=2), bounded(Window()), SoftDelete()):
            pass


@functools.cache
def reference():
    return ReferenceModel(dtype="float32", device="cpu").load()


def subject(memory):
    loaded = reference()
    return HFSubject(loaded.model, loaded.tokenizer, memory, SparseAttention(), loaded.name)


@pytest.mark.parametrize("fraction", [0.5, 1.0])
def test_the_share_that_was_kept_is_told_of_the_memory_layers_alone(fraction):
    found = subject(Memory(policy=Window(), budget=0.25, layer_fraction=fraction))
    with found.session() as session:
        session.forward(torch.arange(3, 203)[None], last_only=True)
        use = session.memory_use()
    assert use.kept_share == 0.25 and use.thresholds is None
    layers = len(use.kept_tokens)
    assert sum(use.kept_tokens) == layers * (200 - 150 * fraction)


def test_what_was_kept_reaches_the_record(tmp_path):
    uses = [MemoryUse([10.0, 40.0], 40, 7, 9, share, [0.2]) for share in (0.25, 0.75)]
    samples = {"needle": [{"id": str(i), "memory": asdict(use)} for i, use in enumerate(uses)]}
    told = journal.memory_use(samples)
    assert told is not None and (told.kept_share, told.thresholds) == (0.5, [0.2])
    saved = record.RunRecord(record.Status.finished, {}, "", {}, memory=told)
    record.save(saved, tmp_path)
    assert record.load(tmp_path).memory == told


class TestSolving:
    """From a budget to a threshold."""

    @pytest.mark.parametrize("budget", [0.5, 0.25, 40])
    @pytest.mark.parametrize("rehearsal", [{}, {"reinforcement": 0.0, "recall_threshold": None}])
    def test_the_text_ends_with_the_budget(self, budget, rehearsal):
        memory = Memory(
            budget=budget, budget_by=BudgetBy.threshold, calibration_tokens=192, layer_fraction=1.0,
            **rehearsal,
        )  # fmt: skip
        solved = subject(memory).memory
        assert solved.budget is None and 0 < solved.threshold < 1
        loaded = reference()
        ids = calibration._text(loaded.tokenizer, 192)
        wanted = budget if isinstance(budget, int) else budget * 192
        kept = calibration.kept_tokens(loaded.model, ids, solved)
        assert abs(kept - wanted) <= calibration.TOLERATED * wanted

    def test_without_rehearsal_the_curve_alone_answers(self, monkeypatch):
        asked = []
        measure = calibration.kept_tokens
        monkeypatch.setattr(
            calibration, "kept_tokens", lambda *args: asked.append(0) or measure(*args)
        )
        constant = {"reinforcement": 0.0, "recall_threshold": None, "calibration_tokens": 160}
        solved = subject(Memory(budget=70, budget_by=BudgetBy.threshold, **constant)).memory
        assert len(asked) == 1
        # 4 sinks, and a window of 66 tokens: the youngest that dies is 66 tokens old
        assert solved.lifetime_tokens(solved.threshold) == pytest.approx(65.5)

    def test_what_was_solved_is_told_with_what_was_kept(self):
        memory = Memory(budget=0.5, budget_by=BudgetBy.threshold, calibration_tokens=128)
        solved = subject(memory)
        with solved.session() as session:
            session.forward(torch.arange(3, 131)[None], last_only=True)
            use = session.memory_use()
        assert use.thresholds == [solved.memory.threshold] * len(solved.memory_layers)
        assert use.kept_share is not None and 0 < use.kept_share < 1

    def test_layers_that_vote_can_be_solved_for(self):
        memory = Memory(
            budget=0.5, budget_by=BudgetBy.threshold, aggregation=Aggregation.vote,
            calibration_tokens=128, prefill_chunk=64,
        )  # fmt: skip
        assert 0 < subject(memory).memory.threshold < 1

    def test_a_budget_out_of_reach_is_refused(self):
        """Every token is recalled by every query, so that only a threshold of 1 could forget."""
        memory = Memory(
            budget=0.25, budget_by=BudgetBy.threshold, calibration_tokens=96,
            recall_threshold=1e-30, prefill_chunk=32,
        )  # fmt: skip
        with pytest.raises(ValueError, match="budget=0.25 cannot be met by a threshold: of 96"):
            subject(memory)

    def test_a_text_longer_than_the_context_is_refused(self):
        memory = Memory(budget=0.5, budget_by=BudgetBy.threshold, calibration_tokens=10**6)
        with pytest.raises(ValueError, match="memory.calibration_tokens=1000000 is not allowed"):
            subject(memory)

    @given(
        slope=st.floats(0.3, 3), wanted=st.integers(5, 95), step=st.sampled_from([0.0, 0.5, 1.0])
    )
    def test_bisecting_finds_what_a_monotone_count_comes_to(self, slope, wanted, step):
        def kept(lifetime):
            found = min(slope * lifetime, 100.0)
            return found if not step else round(found / step) * step

        lifetime, found = calibration.bisected(kept, float(wanted), 100, first=float(wanted))
        assert found == kept(lifetime)
        reach = kept(200.0)
        assert abs(found - min(wanted, reach)) <= max(0.2, step / 2)
