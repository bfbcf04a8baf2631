"""Streaming: scores are those of one forward, answers are those of ``generate``."""

import pytest
import torch
from transformers import DynamicCache, Qwen2Config, Qwen2ForCausalLM

from memollm.evaluation.streaming import greedy, opening, score
from memollm.hf.subject import HFSession
from tests.evaluation.scripted import Bytes, Scripted, uniform


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=2, vocab_size=64)
    heads = dict(num_attention_heads=2, num_key_value_heads=1, initializer_range=0.5)
    return Qwen2ForCausalLM(Qwen2Config(**sizes, **heads)).eval()


@pytest.fixture
def session(model):
    return HFSession(model, DynamicCache(config=model.config))


@pytest.mark.parametrize("chunk", [1, 3, 10, 29, 30, 64])
def test_scores_do_not_depend_on_the_chunk(model, session, chunk):
    ids = torch.randint(64, (30,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = model(ids[None]).logits[0, :-1].log_softmax(-1)
    found = score(session, ids.tolist(), chunk)
    assert session.memory_use().seen_tokens == 30
    torch.testing.assert_close(found, -expected[range(29), ids[1:]], atol=1e-5, rtol=1e-5)


def test_only_one_chunk_of_logits_exists():
    with Scripted(uniform).session() as session:
        score(session, list(range(25)), chunk=10)
        assert session.calls == [10, 10, 5]


@pytest.mark.parametrize("prompt", [[1, 2, 3], [5], list(range(40))])
@pytest.mark.parametrize("stops", [False, True])
def test_greedy_says_what_generate_says(model, session, prompt, stops):
    def generate(stop):
        options = dict(do_sample=False, max_new_tokens=12, pad_token_id=0, eos_token_id=stop)
        ids = torch.tensor([prompt])
        found = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
        return found[0, len(prompt) :].tolist()

    stop = generate(None)[4] if stops else None
    expected = generate(stop)
    assert greedy(session, prompt, 12, () if stop is None else [stop]) == expected
    assert len(expected) == 12 or stops


def test_the_prompt_is_one_forward_and_the_last_token_is_not_fed():
    with Scripted(uniform).session() as session:
        greedy(session, list(range(50)), 3)
        assert session.calls == [50, 1, 1]


def test_a_tokenizers_opening_is_what_it_puts_before_a_text():
    assert opening(Bytes()) == []
    assert opening(Bytes(bos=7)) == [7]
