"""Where models come from: what loads, and what is refused with which words."""

import json

import pytest
import torch
from transformers import AutoTokenizer, LlamaForCausalLM, Qwen2ForCausalLM

from memollm.hf.attachment import attach
from memollm.hf.llm import EbbinghausLLM
from memollm.hf.models import HubModel, ModelSource, RandomModel, ReferenceModel
from memollm.reference import weights_path
from memollm.registry import groups
from tests.hf.tiny import forgetful, prompt

SIZES = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 2560, "max_position_embeddings": 256,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model in a folder, with the bundled model's tokenizer."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    RandomModel(model_type="llama", settings=SIZES, device="cpu").load().model.save_pretrained(path)
    AutoTokenizer.from_pretrained(str(weights_path())).save_pretrained(path)
    return path


def test_every_source_is_registered():
    assert {"reference", "hf", "random"} <= groups()["model"].keys()
    assert all(issubclass(source, ModelSource) for source in groups()["model"].values())


def test_the_bundled_model_loads():
    loaded = ReferenceModel(device="cpu").load()
    assert loaded.name == "reference" and not loaded.model.training
    assert loaded.model.dtype == torch.float32
    assert len(loaded.tokenizer) == loaded.model.config.vocab_size
    with attach(loaded.model, forgetful()):
        assert loaded.model(prompt(8)).logits.isfinite().all()


class TestHubModel:
    def test_a_local_folder_loads(self, folder):
        loaded = HubModel(name=str(folder), device="cpu").load()
        assert isinstance(loaded.model, LlamaForCausalLM) and not loaded.model.training
        assert loaded.name == str(folder) and loaded.model.dtype == torch.float32
        saved = RandomModel(model_type="llama", settings=SIZES, device="cpu").load().model
        assert loaded.model(prompt(20)).logits.equal(saved(prompt(20)).logits)

    def test_a_relative_folder_loads(self, folder, monkeypatch):
        monkeypatch.chdir(folder.parent)
        assert HubModel(name="./tiny", device="cpu").load().name == "./tiny"
        assert HubModel(name="tiny", device="cpu").load().name == "tiny"

    @pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
    def test_the_dtype_is_what_was_asked_for(self, folder, dtype):
        model = HubModel(name=str(folder), dtype=dtype, device="cpu").load().model
        assert model.dtype == getattr(torch, dtype)

    def test_what_can_be_known_before_loading(self, folder):
        source = HubModel(name=str(folder))
        source.prepare()
        assert source.context_length() == 256

    def test_no_name_is_refused(self):
        with pytest.raises(ValueError, match=r"model\.name is not set"):
            HubModel().prepare()

    def test_a_folder_without_a_model_is_refused_before_loading(self, tmp_path):
        with pytest.raises(
            ValueError, match=r"model\.name='.*empty' is not allowed.* config\.json"
        ):
            HubModel(name=str(tmp_path / "empty")).prepare()

    def test_an_unknown_id_is_refused(self):
        with pytest.raises(ValueError, match=r"model\.name='nobody/nothing' could not be loaded"):
            HubModel(name="nobody/nothing", device="cpu").load()

    def test_pickled_weights_are_refused(self, folder, tmp_path):
        model = HubModel(name=str(folder), device="cpu").load().model
        model.config.save_pretrained(tmp_path)
        AutoTokenizer.from_pretrained(str(folder)).save_pretrained(tmp_path)
        torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
        with pytest.raises(ValueError, match=r"model\.name=.* could not be loaded"):
            HubModel(name=str(tmp_path), device="cpu").load()

    def test_code_of_a_folder_is_not_run_unasked(self, folder, tmp_path):
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": "strange", "auto_map": {"AutoConfig": "strange.StrangeConfig"}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        (tmp_path / "strange.py").write_text("raise SystemExit('code was run')")
        with pytest.raises(ValueError):  # noqa: PT011 - Transformers' own words
            HubModel(name=str(tmp_path), device="cpu").load()

    def test_the_language_model_loads_it_too(self, folder):
        llm = EbbinghausLLM(str(folder), device="cpu", memory=forgetful())
        result = llm.generate("The city", max_new_tokens=3, generation_mode="sparse_attention")
        assert result["num_tokens"] == 3


class TestRandomModel:
    def source(self, **changes):
        return RandomModel(**{"model_type": "qwen2", "settings": SIZES, "device": "cpu", **changes})

    def test_it_has_the_architecture_that_was_asked_for(self):
        loaded = self.source().load()
        assert isinstance(loaded.model, Qwen2ForCausalLM) and not loaded.model.training
        assert loaded.model.config.hidden_size == 32
        assert loaded.name == "random qwen2"

    def test_its_weights_follow_from_their_seed_and_from_nothing_else(self):
        state = torch.get_rng_state()
        weights = [self.source(weights_seed=seed).load().model.lm_head.weight for seed in (0, 0, 1)]
        assert torch.get_rng_state().equal(state)
        assert weights[0].equal(weights[1]) and not weights[0].equal(weights[2])

    def test_the_dtype_is_what_was_asked_for(self):
        assert self.source(dtype="bfloat16").load().model.dtype == torch.bfloat16
        assert self.source(dtype="auto").load().model.dtype == torch.float32

    def test_an_unknown_architecture_is_refused_with_the_nearest_name(self):
        with pytest.raises(ValueError, match=r"model\.model_type='qwen22' .* 'qwen2'"):
            self.source(model_type="qwen22").prepare()


@pytest.mark.parametrize("source", [ReferenceModel, HubModel, RandomModel])
def test_an_unknown_dtype_is_refused_with_the_nearest_name(source):
    with pytest.raises(ValueError, match=r"model\.dtype='flaot32' .* 'float32'"):
        source(dtype="flaot32")


@pytest.mark.parametrize("source", [ReferenceModel, HubModel, RandomModel])
def test_an_unknown_device_is_refused(source):
    with pytest.raises(ValueError, match=r"model\.device='gpu' is not allowed, choose auto, cpu"):
        source(device="gpu").prepare()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match=r"model\.device='cuda' .* no CUDA here"):
        ReferenceModel(device="cuda").prepare()


def test_what_cannot_remember_is_refused_before_its_weights_are_read(tmp_path, monkeypatch):
    from transformers import AutoModelForCausalLM, BloomConfig

    from memollm.loading import Models
    from memollm.memory.ebbinghaus import Memory
    from memollm.modes.sparse_attention import SparseAttention

    BloomConfig(n_layer=2, n_head=2, hidden_size=8, vocab_size=10).save_pretrained(tmp_path)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", None)
    with pytest.raises(ValueError, match="BloomForCausalLM .* computes attention in its own code"):
        Models().subject(HubModel(name=str(tmp_path)), Memory(), SparseAttention())
