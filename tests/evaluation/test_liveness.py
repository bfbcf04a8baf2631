"""Dead methods: whoever claims to forget and does not fails the run, by name."""

from dataclasses import replace

import pytest

from memollm import record
from memollm.evaluation.liveness import DeadMethodError, require_alive, require_effect
from memollm.hf import remembering
from memollm.hf.subject import HFSession
from memollm.memory.ebbinghaus import Memory
from memollm.modes.baseline import Baseline
from memollm.modes.soft_delete import SoftDelete, Target
from memollm.modes.sparse_attention import SparseAttention, Storage
from memollm.record import Status
from memollm.registry import groups, import_parts
from memollm.runner import run
from tests.evaluation.reading import subject_of
from tests.evaluation.scripted import Scripted, copying, uniform
from tests.hf.tiny import forgetful
from tests.scripted import Counting, DummyModels, cell, start_nothing

import_parts("policies")
MODES = [SparseAttention(), SparseAttention(Storage.mask), *map(SoftDelete, Target)]
CLAIMS = r"tokens are said to be forgotten .* no logit of any later token changed"


@pytest.fixture
def blind(monkeypatch):
    """A backend that ignores whatever a memory says of a token."""
    attend = remembering.attend

    def deaf(queries, keys, values, view):
        plain = replace(view, hidden=None, key_scale=None, value_scale=None, bias=None)
        return attend(queries, keys, values, plain)

    monkeypatch.setattr(remembering, "attend", deaf)


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_every_mode_is_alive(mode):
    effect = require_alive(subject_of(mode, Memory(layer_fraction=0.7)))
    assert effect and effect.change and effect.change > 1e-3
    assert effect.attenuated == mode.graded and bool(effect.forgotten) != mode.graded
    assert (effect.saved_bytes > 0) == mode.evicts


@pytest.mark.parametrize("policy", sorted(groups()["policy"]))
@pytest.mark.parametrize("budget", [0.9, 4000])
def test_every_policy_is_alive(policy, budget):
    memory = Memory(policy=groups()["policy"][policy](), budget=budget)
    effect = require_alive(subject_of(SparseAttention(), memory))
    assert effect and (policy == "full") == (effect.change is None)


@pytest.mark.parametrize("mode", MODES[1:], ids=str)
def test_a_backend_that_ignores_the_memory_is_found_out(mode, blind):
    claim = "tokens are said to be attenuated" if mode.graded else CLAIMS
    with pytest.raises(DeadMethodError, match=f"is a dead method: .*{claim}") as found:
        require_alive(subject_of(mode, Memory(layer_fraction=0.7)))
    name = "soft_delete" if mode.graded else "sparse_attention"
    assert f"mode={name} policy=ebbinghaus on Qwen3ForCausalLM" in str(found.value)


def test_eviction_that_frees_nothing_is_found_out(monkeypatch):
    use = HFSession.memory_use

    def hoarding(session):
        it = use(session)
        return replace(it, kv_bytes=it.kv_bytes_baseline)

    monkeypatch.setattr(HFSession, "memory_use", hoarding)
    with pytest.raises(DeadMethodError, match="said to be evicted .* no byte was freed: .* bytes"):
        require_alive(subject_of(SparseAttention()))
    require_alive(subject_of(SparseAttention(Storage.mask)))  # which promises none


def test_what_claims_nothing_is_not_judged(blind):
    assert require_alive(subject_of(Baseline())) is None
    for mode, memory in [
        (SparseAttention(Storage.mask), forgetful(threshold=0.0)),
        (SparseAttention(Storage.mask), Memory(policy=groups()["policy"]["full"]())),
        (SoftDelete(floor=1.0), forgetful()),
    ]:
        effect = require_alive(subject_of(mode, memory))
        assert effect and effect.change is None


def test_what_is_forgotten_with_the_last_token_has_no_later_logit():
    memory = forgetful(recall_threshold=None, prefill_chunk=16)
    effect = require_effect(subject_of(SparseAttention(), memory), range(16))
    assert effect.forgotten and effect.change is None


def test_scripts_are_judged_alike():
    text = list(b"abcdefgh" * 16)
    alive = require_effect(Scripted(copying, window=4, prefill_chunk=16), text)
    assert alive.change and alive.saved_bytes > 0
    with pytest.raises(DeadMethodError, match=f"a script is a dead method: 124 {CLAIMS}"):
        require_effect(Scripted(uniform, window=4, prefill_chunk=16), text)


def test_a_run_of_a_dead_method_fails(tmp_path, blind):
    class Models(DummyModels):
        def subject(self, source, memory, mode):
            return subject_of(mode, memory)

    counting = Counting()
    config = cell({"counting": counting}, mode=SoftDelete(), memory=Memory())
    with pytest.raises(DeadMethodError):
        run(config, tmp_path, start_nothing, Models())
    found = record.load(tmp_path)
    assert found.status == Status.failed and found.error is not None
    assert found.error.type == "DeadMethodError" and "dead method" in found.error.message
    assert counting.measured == []
