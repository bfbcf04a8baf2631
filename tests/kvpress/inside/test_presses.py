"""Every press that is offered, as it comes: it runs, and keeps what it is asked to keep."""

import pytest
from transformers.cache_utils import DynamicCache

import kvpress
from memollm.hf.models import ReferenceModel
from memollm.kvpress import EbbinghausPress
from memollm.kvpress.inside.catalogue import REFUSED, allowed, find
from memollm.kvpress.inside.patching import require_supported
from tests.hf.tiny import prompt, tiny_model
from tests.kvpress.inside.scenario import QUESTION, REAL, asked, subject

pytestmark = pytest.mark.skipif(not REAL, reason="the fake kvpress has few presses")
TOKENS, RATIO = 240, 0.5
INNER = {"press": {"press": "snapkv", "window_size": 16}}
SETTINGS = {
    "composed": {"presses": [{"press": "knorm", "compression_ratio": 0.2}, "think"]},
    "dms": {"press": "knorm", "threshold": -8.0},
    "kvcompose": {},
    "per_layer_compression": {"press": "knorm", "compression_ratios": [0.1, 0.2, 0.3, 0.4]},
    "pyramidkv": {"window_size": 16},
    "snapkv": {"window_size": 16},
}
RATIOLESS = {"composed", "dms", "per_layer_compression", "simlayerkv", "think"}
# These round their ratio: to whole chunks, or over layers and heads.
ROUGHLY = {"chunk", "chunkkv", "entropy_gated_chunkkv", "kvcompose", "pyramidkv", "lagkv"}


@pytest.mark.parametrize("name", allowed() if REAL else [])
def test_a_press_keeps_what_it_is_asked_to_keep(name):
    settings = SETTINGS.get(name) or (INNER if wraps(name) else {})
    ratio = None if name in RATIOLESS else RATIO
    logits, session = asked(
        subject(name, ratio, settings), prompt(TOKENS), prompt(QUESTION, seed=1)
    )
    use = session.memory_use()
    assert logits.isfinite().all() and use.seen_tokens == TOKENS + QUESTION
    mean = sum(use.kept_tokens) / len(use.kept_tokens) - QUESTION
    if ratio is not None:
        slack = 0.1 * TOKENS if name in ROUGHLY else 0.5
        assert abs(mean - (1 - RATIO) * TOKENS) <= slack
    assert 0 < mean <= TOKENS


def wraps(name: str) -> bool:
    return "press" in getattr(find(name, "mode.press"), "__dataclass_fields__", {}) or (
        name == "criticalkv"
    )


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_refused_is_there_and_says_why(name):
    if name not in vars(kvpress):
        pytest.skip(f"this kvpress has no {name}")
    with pytest.raises(ValueError, match="is not allowed: "):
        find(name, "mode.press")


def test_a_press_works_in_kvpresss_own_pipeline():
    model = ReferenceModel().load()
    pipe = kvpress.KVPressTextGenerationPipeline(model=model.model, tokenizer=model.tokenizer)
    text = "The door of the old house by the river was open when we came back. " * 12
    tokens = len(model.tokenizer.encode(text, add_special_tokens=False))
    tokens += model.tokenizer.bos_token is not None
    cache = DynamicCache()
    pipe(text, question="What?", press=EbbinghausPress(0.5), cache=cache, max_new_tokens=2)
    assert {layer.keys.shape[2] for layer in cache.layers} == {tokens // 2}


def test_architectures_that_kvpress_guesses_at_are_refused():
    with pytest.raises(ValueError, match="GPTNeoXForCausalLM is not allowed .* LlamaForCausalLM"):
        require_supported(type(tiny_model("gpt_neox")))
    require_supported(type(tiny_model("qwen3")))
