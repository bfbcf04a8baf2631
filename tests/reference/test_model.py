"""The shipped model: small, loadable without a network, and it retrieves."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from memollm.reference import text_path, weights_path
from memollm.reference.measure import MeasureConfig, held_out_library
from memollm.reference.probes import PROBES, exact_match


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(weights_path())


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(weights_path(), dtype=torch.float32).eval()


def test_the_folder_stays_small():
    assert sum(path.stat().st_size for path in weights_path().iterdir()) <= 12_000_000


def test_the_bundled_text_is_some_hundred_kilobytes_of_plain_english():
    text = text_path().read_text(encoding="utf-8")
    assert 250_000 <= len(text) <= 400_000
    assert text.count(" the ") > 2000 and "<" not in text


def test_the_architecture_is_what_the_card_says(model):
    config = model.config
    assert config.model_type == "qwen2" and config.tie_word_embeddings
    assert config.num_attention_heads > config.num_key_value_heads
    assert config.max_position_embeddings >= 8192


def test_english_is_far_likelier_than_chance(model, tokenizer):
    text = text_path().read_text(encoding="utf-8")[20_000:24_000]
    tokens = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.no_grad():
        loss = float(model(tokens, labels=tokens).loss)
    assert loss < 5  # chance is 8; the card has the number


@pytest.mark.parametrize(
    ("probe", "least"),  # of ten; the card has the shares of 200
    [("ruler 4", 9), ("json 8", 9), ("kept out: telephone", 7), ("variable tracking 2", 6)],
)
def test_what_the_card_says_is_answered_is_answered(probe, least, model):
    library = held_out_library(MeasureConfig())
    assert exact_match(model, library, PROBES[probe], 512, 10) >= least / 10


@pytest.mark.parametrize("depth", [0.1, 0.5, 0.9])
def test_a_passkey_at_2048_tokens_is_found_by_greedy_decoding(model, tokenizer, depth):
    text = text_path().read_text(encoding="utf-8")
    needle = "\nThe pass key is 48213. Remember it. 48213 is the pass key.\n"
    question = "\nWhat is the pass key? The pass key is"
    asked, hidden, hay = (
        tokenizer(part)["input_ids"] for part in (question, needle, text[:20_000])
    )
    hay = hay[: 2048 - len(asked) - len(hidden)]
    place = int(depth * len(hay))
    prompt = torch.tensor([hay[:place] + hidden + hay[place:] + asked])
    written = model.generate(prompt, max_new_tokens=7, do_sample=False)
    assert tokenizer.decode(written[0, prompt.shape[1] :]).strip().startswith("48213")
