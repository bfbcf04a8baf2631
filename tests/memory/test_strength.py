"""Strength at birth: what every part promises, each part's own formula, gates and their file."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from memollm.memory.certain import kept_for_certain
from memollm.memory.ebbinghaus import Memory
from memollm.memory.strength.base import OF_REHEARSAL, Reads
from memollm.memory.strength.constant import Constant, Rehearsed
from memollm.memory.strength.gate import Gate
from memollm.memory.strength.gates_file import NAME, Fit, Gates, load, read_fit, save
from memollm.memory.strength.key_norm import KeyNorm
from memollm.memory.strength.learned import GateSource, Learned, located
from memollm.memory.strength.surprisal import Surprisal, surprisal
from memollm.registry import groups, import_parts

import_parts("memory.strength")
FIT = Fit("inputs", "tiny", "abc", width=6, layers=2, kv_heads=2)


def random_gate(width=6, hidden=4, outputs=1, seed=0):
    torch.manual_seed(seed)
    gate = Gate(width, hidden, outputs, lifetime=50.0)
    torch.nn.init.normal_(gate.outer.weight)
    return gate.requires_grad_(False)


@pytest.fixture
def folder(tmp_path):
    save(Gates(FIT, {0: random_gate(seed=0), 1: random_gate(seed=1)}), tmp_path / NAME)
    return tmp_path


@pytest.fixture(params=sorted(groups()["strength"]))
def strength(request, folder):
    settings = {"weights": str(folder)} if request.param == "learned" else {}
    return groups()["strength"][request.param](**settings)


def test_every_layer_has_its_source(strength):
    sources = strength.sources([0, 1], unit=5.0, time_step=0.01)
    keys, inputs = torch.randn(3, 2, 7, 4), torch.randn(3, 7, 6)
    assert len(sources) == 2
    for source in sources:
        assert (source is None) == (strength.reads in (Reads.nothing, Reads.surprisal))
        if source is not None:
            found = source(keys, inputs)
            assert found.shape == (3, 7) and (found > 0).all()


def test_what_does_not_rehearse_does_not_depend_on_rehearsal(strength):
    assert strength.rehearses == (not strength.ignored & OF_REHEARSAL)


def test_only_what_is_born_alike_is_kept_for_certain(strength):
    certain = kept_for_certain(Memory(birth=strength, threshold=0.01), 2, graded=False)
    assert certain == (2307.0 if strength.reads is Reads.nothing else 20.0)


def test_rehearsal_is_the_default_and_constant_is_without():
    assert Memory().birth == Rehearsed() and Rehearsed().rehearses and not Constant().rehearses


@pytest.mark.parametrize("part", [KeyNorm, Surprisal])
@pytest.mark.parametrize("power", [0.0, -1.0, math.inf, math.nan])
def test_a_power_that_ranks_nobody_is_refused(part, power):
    with pytest.raises(ValueError, match=r"strength.power=.* is not allowed"):
        part(power=power)


def test_key_norm_is_its_formula():
    keys = torch.tensor([[[[3.0, 4.0]], [[0.0, 2.0]]]], dtype=torch.float64)  # two heads, one token
    (source,) = KeyNorm(power=2.0).sources([0], unit=5.0, time_step=0.01)
    assert source is not None
    norm = (math.sqrt(25 / 2) + math.sqrt(4 / 2)) / 2
    assert float(source(keys, None)) == pytest.approx(5.0 * norm**-2)


@given(st.integers(1, 6), st.booleans(), st.integers(0, 99))
def test_surprisal_is_minus_the_log_of_what_was_expected(count, begun, seed):
    made = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, count, 11, generator=made, dtype=torch.float64)
    before = torch.randn(2, 11, generator=made, dtype=torch.float64) if begun else None
    ids = torch.randint(11, (2, count), generator=made)
    found = surprisal(logits, before, ids)
    for row in range(2):
        for place in range(count):
            if place:
                known = logits[row, place - 1].tolist()
            else:
                known = [0.0] * 11 if before is None else before[row].tolist()
            total = math.log(sum(math.exp(it) for it in known))
            expected = total - known[int(ids[row, place])]
            assert float(found[row, place]) == pytest.approx(expected)


def test_surprising_tokens_live_longer_and_certain_ones_have_a_strength():
    nll = torch.tensor([0.0, 1.0, 8.0])
    found = Surprisal(power=2.0).strength(nll, unit=5.0)
    assert 0 < found[0] < found[1] and found[1] == 5.0 and found[2] == 320.0


@pytest.mark.parametrize("hidden", [0, 4])
def test_a_fresh_gate_gives_every_token_the_same_lifetime(hidden):
    gate = Gate(6, hidden, 2, lifetime=300.0)
    found = gate.requires_grad_(False)(torch.randn(3, 5, 6)).exp()
    assert torch.allclose(found, torch.full_like(found, 300.0))


@pytest.mark.parametrize("hidden", [0, 4])
def test_standardised_features_are_folded_into_the_gate(hidden):
    gate, given_, mean, spread = random_gate(hidden=hidden), torch.randn(9, 6), torch.randn(6), 3.0
    spread = torch.rand(6) + 0.1
    expected = gate((given_ - mean) / spread)
    assert torch.allclose(gate.standardised(mean, spread)(given_), expected, atol=1e-5)


def test_a_lifetime_in_tokens_becomes_a_strength_in_time():
    gate = random_gate()
    inputs = torch.randn(2, 5, 6)
    found = GateSource(gate, time_step=0.01, of_keys=False)(torch.randn(2, 2, 5, 4), inputs)
    assert torch.allclose(found, gate(inputs)[..., 0].exp() * 0.01)


def test_rows_are_sequences_or_their_heads():
    gate, inputs = random_gate(outputs=2), torch.randn(3, 5, 6)
    source, lives = GateSource(gate, 1.0, of_keys=False), gate(inputs).exp()
    by_layer = source(torch.randn(3, 2, 5, 4), inputs)
    by_head = source(torch.randn(6, 1, 5, 4), inputs)
    assert torch.allclose(by_layer, lives.amax(dim=2))
    for row in range(6):
        assert torch.allclose(by_head[row], lives[row // 2, :, row % 2])


def test_keys_are_read_in_either_layout():
    gate, keys = random_gate(width=8), torch.randn(3, 2, 5, 4)
    source = GateSource(gate, 1.0, of_keys=True)
    by_layer, by_head = source(keys, None), source(keys.reshape(6, 1, 5, 4), None)
    assert torch.allclose(by_head, by_layer.repeat_interleave(2, dim=0))


def test_half_precision_inputs_are_read_in_single():
    gate, inputs = random_gate(), torch.randn(2, 5, 6).bfloat16()
    found = GateSource(gate, 1.0, of_keys=False)(torch.randn(2, 2, 5, 4).bfloat16(), inputs)
    assert found.dtype == torch.float32


def test_gates_come_back_from_their_file(folder):
    gates = load(located(str(folder)))
    assert gates.fit == FIT == read_fit(folder / NAME)
    given_ = torch.randn(5, 6)
    for layer, gate in gates.layers.items():
        assert torch.allclose(gate(given_), random_gate(seed=layer)(given_), rtol=5e-3)
        assert not any(it.requires_grad for it in gate.parameters())


def test_other_files_are_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / NAME)
    with pytest.raises(ValueError, match="holds no gates"):
        Learned(str(tmp_path)).prepare()
    (tmp_path / NAME).write_text("nothing")
    with pytest.raises(ValueError, match="cannot be read"):
        Learned(str(tmp_path)).prepare()


@pytest.mark.parametrize("weights", ["./nowhere", "one/two/three", "nowhere"])
def test_gates_that_are_not_there_are_refused(weights):
    with pytest.raises(ValueError, match=r"strength\.weights=.*there is no file of gates"):
        Learned(weights).prepare()
    with pytest.raises(ValueError, match="is not set"):
        Learned("")


def test_a_gates_content_is_part_of_what_it_is(folder):
    before = Learned(str(folder)).fingerprint()
    save(Gates(FIT, {0: random_gate(seed=5)}), folder / NAME)
    assert Learned(str(folder)).fingerprint() != before
