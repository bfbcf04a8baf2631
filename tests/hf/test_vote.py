"""aggregation=vote in a model: layers that forget together, one chunk in each forward pass."""

import pytest

from memollm.hf.attachment import attach
from memollm.memory.aggregation import Council
from memollm.memory.ebbinghaus import Aggregation
from tests.hf.tiny import forgetful, kept_positions, padded, prompt, tiny_model

TOKENS = 40


@pytest.fixture
def model():
    return tiny_model()


def test_layers_that_vote_forget_together(model):
    memory = forgetful(aggregation=Aggregation.vote, prefill_chunk=TOKENS)
    with attach(model, memory) as attachment:
        model(prompt(TOKENS))
        kept = kept_positions(attachment)
        councils = {id(it.remembering.council) for it in attachment.cache.layers}
    assert len(kept[0]) < TOKENS / 2 and all(layer == kept[0] for layer in kept)
    assert len(councils) == 1 and isinstance(
        attachment.cache.layers[0].remembering.council, Council
    )


def test_a_vote_takes_one_chunk_in_each_forward_pass(model):
    memory = forgetful(aggregation=Aggregation.vote, prefill_chunk=16)
    with attach(model, memory), pytest.raises(ValueError, match="prefill_chunk=16"):
        model(prompt(TOKENS))


def test_votes_of_padded_rows_need_the_prompt_in_one_chunk(model):
    prompts = [prompt(40), prompt(13, seed=1)]
    memory = forgetful(aggregation=Aggregation.vote, prefill_chunk=16)
    with (
        attach(model, memory),
        pytest.raises(ValueError, match="padded batch whose prompt fills a chunk"),
    ):
        model.generate(**padded(prompts), max_new_tokens=4)
