"""The lm-eval model: lm-eval's own numbers without memory, and forgetting felt with one."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lm_eval.api.model import CachingLM
from lm_eval.models.huggingface import HFLM

from memollm.evaluation.harness.feeling import can_feel, last_application
from memollm.evaluation.harness.model import StreamedLM
from memollm.evaluation.streaming import score
from memollm.hf.attachment import attach
from memollm.hf.subject import HFSubject
from memollm.memory.certain import kept_for_certain
from memollm.memory.ebbinghaus import Aggregation
from memollm.modes.baseline import Baseline
from memollm.modes.soft_delete import SoftDelete
from memollm.modes.sparse_attention import SparseAttention
from tests.evaluation.lm_eval_models import (
    CONTEXT,
    KINDS,
    LIKELIHOODS,
    PROMPTS,
    SETTINGS,
    forgetful,
    loaded,
    model,
    passage,
    replies,
    request,
    subject,
)

MODES = {"baseline": Baseline(), "soft_delete": SoftDelete(floor=0.1), "sparse": SparseAttention()}
FLOAT64 = 1e-9  # nats: sums over a hundred tokens of logits that agree to 1e-12
STOCK = 1e-5  # nats: what is promised; lm-eval sums in the model's own type


def alike(ours, theirs, tolerance):
    if isinstance(ours[0], str):
        return ours == theirs
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True)) <= tolerance


@pytest.mark.parametrize("kind", KINDS)
def test_without_memory_it_is_lm_evals_own(kind):
    made = loaded()
    stock = HFLM(made.model, tokenizer=made.tokenizer, batch_size=2, max_length=CONTEXT)
    assert alike(replies(model(Baseline()), kind), replies(stock, kind), STOCK)


@pytest.mark.parametrize("size", [1, 3])
def test_a_document_has_lm_evals_sum_in_float32_too(size):
    made = loaded("float32")
    plain = HFSubject(made.model, made.tokenizer, forgetful(), Baseline(), "tiny")
    stock = HFLM(made.model, tokenizer=made.tokenizer, batch_size=size, max_length=CONTEXT)
    ours, theirs = (
        replies(it, "loglikelihood_rolling") for it in (StreamedLM(plain, batch_size=size), stock)
    )
    assert min(theirs) < -1000  # nats, where the last digit of a float32 is 1e-4
    assert alike(ours, theirs, STOCK)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_answers_do_not_depend_on_the_batch(mode, kind):
    alone, together = (replies(model(mode, batch_size=size), kind) for size in (1, 8))
    assert alike(alone, together, FLOAT64)


@pytest.mark.parametrize("mode", ["soft_delete", "sparse"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_memory_is_felt_by_long_requests_and_not_by_short_ones(mode, kind):
    lm, untouched = model(MODES[mode]), model(Baseline())
    certain = lm.subject.keeps_for_certain
    pairs = zip(KINDS[kind], replies(lm, kind), replies(untouched, kind), strict=True)
    felt = {True: [], False: []}
    for asked, ours, theirs in pairs:
        fed = lm.fed(asked)
        feels = can_feel(len(fed.ids), lm.subject.prefill_chunk, certain, fed.decoded)
        felt[feels].append(ours != theirs if isinstance(ours, str) else abs(ours - theirs))
    assert max(felt[True]) > 0.1
    assert all(it <= FLOAT64 for it in felt[False]) and (felt[False] or kind == "generate_until")


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_a_document_is_one_stream(mode):
    lm = model(mode)
    (asked,) = KINDS["loglikelihood_rolling"][4:5]
    ids = [lm.prefix_token_id, *lm.tok_encode(asked.args[0])]
    assert len(ids) > 8 * lm.subject.prefill_chunk
    with lm.subject.session() as session:
        losses = score(session, ids, lm.subject.prefill_chunk)
    (total,) = lm.loglikelihood_rolling([asked], disable_tqdm=True)
    assert total == pytest.approx(-float(losses.double().sum()), rel=1e-6)  # losses are float32


def test_prompts_that_begin_alike_are_fed_once(monkeypatch):
    lm, fed = model(), []
    forward = type(lm.subject.model).forward

    def counting(self, input_ids=None, **rest):
        fed.append(input_ids.shape[1])
        return forward(self, input_ids=input_ids, **rest)

    monkeypatch.setattr(type(lm.subject.model), "forward", counting)
    prompt = passage(100)
    lm.loglikelihood([request("loglikelihood", prompt, it) for it in (" red", " blue")], True)
    assert sum(fed) < len(lm.tok_encode(prompt)) + 2 * 20


def test_generation_is_that_of_generate_under_the_memory():
    lm = model()
    ids = torch.tensor([lm.tok_encode(PROMPTS[1].args[0])])
    memory, mode = lm.subject.memory, lm.subject.mode
    with attach(lm.subject.model, memory, mode):
        whole = lm.subject.model.generate(ids, max_new_tokens=9, do_sample=False)
    expected = lm.tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True)
    assert lm.generate_until(PROMPTS[1:2], disable_tqdm=True) == [expected.split("\n")[0]]


def test_votes_are_batched_where_rows_are_of_one_length():
    memory = forgetful(aggregation=Aggregation.vote)
    alone = replies(model(memory=memory), "loglikelihood")
    assert not alike(alone, replies(model(Baseline()), "loglikelihood"), 0.1)
    with pytest.raises(ValueError, match=r"vote is not supported for a padded batch"):
        replies(model(memory=memory, batch_size=8), "loglikelihood")


# --- what is too long -------------------------------------------------------------------------

LONG = {
    "loglikelihood": request("loglikelihood", passage(300), " red"),
    "loglikelihood_rolling": request("loglikelihood_rolling", passage(300)),
    "generate_until": request("generate_until", passage(254), {"until": [], "max_gen_toks": 9}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_longer_than_the_context_is_refused(kind):
    lm = model()
    with pytest.raises(ValueError, match=r"\d+ more than the 256 that tiny takes at once"):
        getattr(lm, kind)([LONG[kind]], disable_tqdm=True)
    assert lm.fed(LONG[kind]).cut > 0


@pytest.mark.parametrize("kind", KINDS)
def test_or_cut_as_lm_eval_does(kind):
    made = loaded()
    stock = HFLM(made.model, tokenizer=made.tokenizer, max_length=CONTEXT)
    asked, lm = [LONG[kind]], model(Baseline(), too_long="cut")
    ours, theirs = (getattr(it, kind)(asked, disable_tqdm=True) for it in (lm, stock))
    if kind == "loglikelihood":
        ours, theirs = [ours[0][0]], [theirs[0][0]]
    assert alike(ours, theirs, STOCK)


def test_an_answer_without_a_token_of_its_own_is_refused():
    with pytest.raises(ValueError, match="0 tokens of its own, it must have 1 to 256"):
        model()._loglikelihood_tokens([(None, [5, 6], [])], disable_tqdm=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": "auto"}, "batch_size='auto' is not allowed"),
        ({"batch_size": 0}, "batch_size=0 is not allowed"),
        ({"max_length": CONTEXT + 1}, "max_length=257 is not allowed, tiny takes 1 to 256"),
        ({"too_long": "trim"}, "'trim' is not a valid TooLong"),
    ],
)
def test_options_that_cannot_be_honoured_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        model(**options)


# --- what is kept for certain -----------------------------------------------------------------


@given(
    tokens=st.integers(2, 60),
    memory=st.fixed_dictionaries(
        {
            "prefill_chunk": st.sampled_from([1, 7, 16]),
            "strength": st.sampled_from([0.02, 0.1, 0.3]),
            "sinks": st.integers(0, 4),
            "recent": st.integers(0, 20),
        }
    ),
    budget=st.sampled_from([None, None, 0.5, 30]),
    graded=st.booleans(),
)
def test_what_cannot_feel_forgetting_scores_as_the_baseline(tokens, memory, budget, graded):
    if budget is not None and not graded:
        memory |= {"threshold": "auto", "budget": budget}
    lm = model(SoftDelete(floor=0.0) if graded else None, forgetful(**memory))
    ids = lm.tok_encode(passage(80))[: tokens + 1]
    asked = [(None, ids[:1], ids[1:])]
    ours, theirs = (
        it._loglikelihood_tokens(asked, disable_tqdm=True)[0][0] for it in (lm, model(Baseline()))
    )
    certain = lm.subject.keeps_for_certain
    if not can_feel(tokens, lm.subject.prefill_chunk, certain):
        assert abs(ours - theirs) <= FLOAT64


def test_the_bound_is_reached_where_nothing_is_rehearsed():
    memory = forgetful(reinforcement=0.0, recall_threshold=None, prefill_chunk=1)
    certain = kept_for_certain(memory, 3, graded=False)
    assert certain == 24 == subject(memory=memory).keeps_for_certain
    for tokens, kept in ((24, 24), (25, 24)):
        with subject(memory=memory).session() as session:
            session.forward(torch.arange(2, 2 + tokens)[None])
            assert session.memory_use().kept_tokens == [kept] * 3


def test_a_bound_that_does_not_hold_is_found_out(monkeypatch):
    lm = model()
    monkeypatch.setattr(type(lm.subject), "keeps_for_certain", 1000.0)
    with pytest.raises(RuntimeError, match="was said to keep 1000 for certain"):
        replies(lm, "loglikelihood")


def test_forgetting_is_felt_from_the_last_application_before_a_query():
    assert [last_application(fed, 16) for fed in (1, 16, 17, 33)] == [0, 0, 16, 32]
    assert [last_application(17, 16, decoded) for decoded in (1, 2, 5)] == [16, 17, 20]
    assert subject(Baseline()).keeps_for_certain == math.inf
    assert not can_feel(10**6, 256, math.inf)


# --- what it says of itself -------------------------------------------------------------------


def test_model_info_has_the_memory():
    info = model(too_long="cut").get_model_info()
    assert info["model_num_parameters"] > SETTINGS["vocab_size"] * SETTINGS["hidden_size"]
    settings = info["memollm"]
    assert settings["mode"]["name_"] == "sparse_attention" and settings["too_long"] == "cut"
    assert settings["memory"]["strength"] == 0.175 and settings["keeps_for_certain"] == 24
    assert model(Baseline()).get_model_info()["memollm"]["memory"] is None


def test_a_cache_of_answers_is_kept_from_other_cells(tmp_path):
    path = str(tmp_path / "answers.db")
    first = CachingLM(StreamedLM(subject(), cell="a"), path).loglikelihood(LIKELIHOODS[:2])
    lm = StreamedLM(subject(), cell="a")
    again = CachingLM(lm, path).loglikelihood(LIKELIHOODS[:2])
    assert again == first and not lm.uses
    with pytest.raises(ValueError, match="answers of another model or memory"):
        CachingLM(StreamedLM(subject(Baseline()), cell="b"), path)
