"""Strength at birth on a model: streamed as it is decoded, padded as alone, evicted as masked."""

import pytest
import torch

from memollm.hf.attachment import attach
from memollm.hf.gates import sources
from memollm.memory.ebbinghaus import Memory
from memollm.memory.granularity import Granularity
from memollm.memory.kernel import Kernel
from memollm.memory.strength.constant import Constant
from memollm.memory.strength.key_norm import KeyNorm
from memollm.memory.strength.learned import GateSource, Learned
from memollm.memory.strength.surprisal import Surprisal
from memollm.modes.soft_delete import SoftDelete, Target
from memollm.modes.sparse_attention import SparseAttention, Storage
from memollm.native import gate as native
from tests.hf.gating import write_gates
from tests.hf.tiny import FLOAT64, forgetful, kept_positions, padded, prompt, states, tiny_model

LAYER, HEAD = Granularity.layer, Granularity.head


@pytest.fixture(scope="module")
def gates(tmp_path_factory):
    """Folders of gates for the tiny model, by what they read and how many outputs they have."""
    model, folders = tiny_model(layers=2), {}
    for name, settings in {
        "layer": {}, "head": {"outputs": 2}, "keys": {"reads": "keys"},
    }.items():  # fmt: skip
        folders[name] = write_gates(model, tmp_path_factory.mktemp(name), **settings)
    return folders


def memory(birth, **changes) -> Memory:
    """A memory that keeps a third of what it reads."""
    settings = {
        "threshold": None,
        "budget": 0.35,
        "time_step": 1.0,
        "strength": 8.0,
        "birth": birth,
    }
    return forgetful(**{**settings, **changes})


BIRTHS = {
    "learned": lambda gates: Learned(gates["layer"]),
    "learned, of heads": lambda gates: Learned(gates["head"]),
    "learned, of keys": lambda gates: Learned(gates["keys"]),
    "learned and rehearsed": lambda gates: Learned(gates["layer"], rehearsed=True),
    "key norm": lambda gates: KeyNorm(),
    "surprisal": lambda gates: Surprisal(),
}


@pytest.fixture(params=BIRTHS)
def birth(request, gates):
    return BIRTHS[request.param](gates)


def run(model, memory, ids, chunk, mode=None):
    """Logits, what is kept and its state after a prompt that is passed ``chunk`` by ``chunk``."""
    with attach(model, memory, mode) as attachment:
        assert attachment is not None
        cache = attachment.new_cache()
        logits = [model(part, past_key_values=cache).logits for part in ids.split(chunk, dim=1)]
        return torch.cat(logits, dim=1), kept_positions(attachment), states(attachment)


def generated(model, ids, **options):
    """Untyped: ``generate`` is not in Transformers' types of a model."""
    return model.generate(ids, **options)


@pytest.mark.parametrize("granularity", [LAYER, HEAD])
def test_evicting_is_masking(birth, granularity):
    model, ids = tiny_model(layers=2), prompt(40)
    one = memory(birth, granularity=granularity)
    evicted = run(model, one, ids, 8, SparseAttention(Storage.evict))
    masked = run(model, one, ids, 8, SparseAttention(Storage.mask))
    assert evicted[1] == masked[1] and len(evicted[1][0]) < 20
    assert (evicted[0] - masked[0]).abs().max() <= FLOAT64


def test_a_prompt_in_one_pass_is_a_prompt_in_chunks(birth):
    if isinstance(birth, Surprisal):
        pytest.skip("a pass holds one chunk")
    model, ids = tiny_model(layers=2), prompt(40)
    whole, chunked = (run(model, memory(birth), ids, size) for size in (40, 8))
    assert whole[1] == chunked[1]
    assert (whole[0] - chunked[0]).abs().max() <= FLOAT64


@pytest.mark.parametrize("name", ["learned", "key norm", "surprisal"])
def test_decoding_is_a_chunk_of_one(name, gates):
    model, ids, birth = tiny_model(layers=2), prompt(30), BIRTHS[name](gates)
    one = memory(birth, prefill_chunk=1, budget=None, threshold=0.3)
    with attach(model, one) as attachment:
        text = generated(model, ids, max_new_tokens=10, eos_token_id=None)
        decoded = kept_positions(attachment)
    size = 1 if isinstance(birth, Surprisal) else 39
    assert run(model, one, text[:, :-1], size)[1] == decoded


def test_padded_rows_are_as_they_are_alone(birth):
    model, prompts = tiny_model(layers=2), [prompt(count, seed=count) for count in (40, 13, 29)]
    one = memory(birth, prefill_chunk=64)
    with attach(model, one) as attachment:
        alone = []
        for ids in prompts:
            model(ids)
            alone.append((kept_positions(attachment), states(attachment)))
        model(**padded(prompts))
        for row, (kept, state) in enumerate(alone):
            assert kept_positions(attachment, row) == kept
            for mine, theirs in zip(states(attachment, row), state, strict=True):
                assert torch.allclose(mine, theirs, rtol=1e-9)


def test_a_heads_gate_is_its_own(gates):
    """Of gates with an output for each head, a layer takes the largest, a head its own."""
    model, ids = tiny_model(layers=2), prompt(30)
    kept = {"threshold": 0.0, "budget": None, "prefill_chunk": 64}
    whole = memory(Learned(gates["head"]), **kept)
    each = memory(Learned(gates["head"]), granularity=HEAD, **kept)
    with attach(model, whole) as attachment:
        model(ids)
        together = states(attachment)[0][2]
    with attach(model, each) as attachment:
        model(ids)
        heads = [states(attachment, row)[0][2] for row in (0, 1)]
    assert not heads[0].equal(heads[1])
    assert torch.maximum(*heads).equal(together)


def test_surprisal_is_the_models_own():
    model, ids = tiny_model(layers=2), prompt(24)
    said = model(ids).logits[0].detach().log_softmax(dim=-1)
    nll = torch.tensor([float(-said[i - 1, ids[0, i]]) for i in range(1, 24)])
    uniform = torch.tensor([float(said.shape[-1])]).log()
    expected = 8.0 * torch.cat([uniform, nll]).double() ** 2
    never = memory(Surprisal(power=2.0), threshold=0.0, budget=None)
    for size in (1, 5, 8):
        strength = run(model, never, ids, size)[2][1][2]
        assert torch.allclose(strength, expected, rtol=1e-5)


def test_surprisal_needs_passes_of_one_chunk_and_generate_makes_them():
    model = tiny_model(layers=2)
    with attach(model, memory(Surprisal())) as attachment:
        with pytest.raises(ValueError, match="can hold one chunk only: 30 tokens"):
            model(prompt(30))
        given = model(prompt(8), logits_to_keep=1).logits
        assert given.shape[1] == 1
        out = generated(model, prompt(30), max_new_tokens=3, num_beams=2, eos_token_id=None)
        assert out.shape == (1, 33) and len(kept_positions(attachment)[0]) < 20


def test_constant_strength_is_rehearsed_strength_without_rehearsal():
    model, ids = tiny_model(layers=2), prompt(40)
    constant = run(model, forgetful(birth=Constant()), ids, 8)
    without = run(model, forgetful(reinforcement=0.0, recall_threshold=None), ids, 8)
    assert constant[1] == without[1] and constant[0].equal(without[0])
    assert constant[1] != run(model, forgetful(), ids, 8)[1]


def test_gates_for_other_weights_are_refused_unless_asked_for(tmp_path):
    other = write_gates(tiny_model(seed=1, layers=2), tmp_path)
    model = tiny_model(layers=2)
    with pytest.raises(ValueError, match="other weights"), attach(model, memory(Learned(other))):
        pass
    with attach(model, memory(Learned(other, any_model=True))):
        pass


def test_gates_for_another_shape_are_refused(tmp_path):
    other = write_gates(tiny_model(layers=4), tmp_path)
    model = tiny_model(layers=2)
    with pytest.raises(ValueError, match="'layers': 4"), attach(model, memory(Learned(other))):
        pass


def test_layers_without_a_gate_are_refused(tmp_path):
    model = tiny_model(layers=2)
    some = write_gates(model, tmp_path, layers=1)
    with pytest.raises(ValueError, match=r"none for \[1\]"), attach(model, memory(Learned(some))):
        pass


@pytest.mark.parametrize(
    "family", ["llama", "gpt2", "gpt_neox", "opt", "gemma2", "phi3", "qwen3_moe"]
)
def test_gates_read_what_every_family_gives_its_layers(family, tmp_path):
    model = tiny_model(family, layers=2)
    one = memory(Learned(write_gates(model, tmp_path)), threshold=0.0, budget=None)
    with attach(model, one) as attachment:
        model(prompt(20))
        strengths = states(attachment)[0][2]
    assert strengths.std() > 0


def test_a_tokens_memory_is_at_most_twenty_bytes(tmp_path):
    model = tiny_model(layers=2, dtype=torch.float32)
    with attach(model, memory(Learned(write_gates(model, tmp_path)))) as attachment:
        assert attachment is not None
        model(prompt(40))
        for layer in attachment.memory_layers(attachment.cache):
            slab = layer.remembering.slab
            assert slab.nbytes() - slab.nbytes("keys", "values") <= 20 * slab.length


def test_hooks_are_gone_afterwards(gates):
    model = tiny_model(layers=2)
    before = model(prompt(8)).logits
    with attach(model, memory(Learned(gates["layer"]))):
        model(prompt(20))
    assert not any(it._forward_pre_hooks for it in model.modules())
    assert model(prompt(8)).logits.equal(before)


def test_soft_deletion_fades_by_learned_strength(gates):
    model, ids = tiny_model(layers=2), prompt(20)
    mode = SoftDelete(Target.logit_bias, floor=0.0)
    one = memory(Learned(gates["layer"]), budget=None, threshold=0.0, prefill_chunk=1)
    logits, _, state = run(model, one, ids, 1, mode)
    table = state[0]  # position, recalled, strength, bias
    middle = (table[0] >= 1) & (table[0] < 18)
    expected = -(19 - table[0]) / table[2]
    assert torch.allclose(table[3][middle], expected[middle], rtol=1e-9)
    assert not logits.equal(model(ids).logits)


def test_the_choice_of_pytorch_is_a_gates_too(gates, monkeypatch):
    asked = []
    monkeypatch.setattr(GateSource, "_strength", lambda *_: asked.append(1) or torch.ones(1, 1, 1))
    for kernel in (Kernel.auto, Kernel.torch):
        (source,) = sources(
            tiny_model(layers=2), memory(Learned(gates["layer"]), kernel=kernel), [0]
        )
        assert isinstance(source, GateSource)
        source(torch.zeros(1, 2, 1, 8), torch.randn(1, 1, source.width))
        assert bool(asked) == (kernel is Kernel.torch or native.kernel() is None)
        asked.clear()
