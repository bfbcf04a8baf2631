"""generate(): every way of decoding works under a memory, and evicting is masking in all."""

import pytest
import torch
from transformers import LogitsProcessor, LogitsProcessorList, set_seed

from memollm.hf.attachment import attach
from memollm.memory.ebbinghaus import Aggregation
from memollm.modes.soft_delete import SoftDelete, Target
from memollm.modes.sparse_attention import SparseAttention, Storage
from tests.hf.tiny import FLOAT32, forgetful, kept_positions, padded, prompt, states, tiny_model

TOKENS, NEW = 30, 10
MODES = {
    "evict": SparseAttention(),
    "mask": SparseAttention(Storage.mask),
    "soft": SoftDelete(Target.both, floor=0.1),
    "compounding": SoftDelete(Target.both, floor=0.9, compounding=True),
}


@pytest.fixture
def model():
    return tiny_model(layers=2)


@pytest.fixture(params=MODES)
def mode(request):
    return MODES[request.param]


def loop(model, attachment, ids, steps):
    """Greedy decoding without generate."""
    cache, new, text = attachment.new_cache(), ids, ids
    for _ in range(steps):
        logits = model(new, past_key_values=cache).logits[:, -1]
        new = logits.argmax(dim=-1, keepdim=True)
        text = torch.cat([text, new], dim=1)
    return text


class OnlySmall(LogitsProcessor):
    """Bars all tokens but a few."""

    def __call__(self, input_ids, scores):
        scores[:, :3] = scores[:, 20:] = -torch.inf
        return scores


WAYS = {
    "greedy": {},
    "sampling": {"do_sample": True, "top_k": 20, "temperature": 1.5},
    "processors": {"repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "num_beams": 1},
    "own processor": {"logits_processor": LogitsProcessorList([OnlySmall()])},
    "beams": {"num_beams": 3},
    "sampled beams": {"num_beams": 3, "do_sample": True},
    "several beams": {"num_beams": 3, "num_return_sequences": 2},
    "several": {"do_sample": True, "num_return_sequences": 3},
    "chunked prefill": {"prefill_chunk_size": 11},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("batch", [1, 3], ids=["one", "padded"])
def test_evicting_is_masking(model, way, batch):
    prompts = [prompt(count, seed=count) for count in (TOKENS, 17, 23)][:batch]
    texts, kept = [], []
    for storage in Storage:
        set_seed(0)
        with attach(model, forgetful(), SparseAttention(storage)) as attachment:
            options = {"max_new_tokens": NEW, "eos_token_id": None, **WAYS[way]}
            texts.append(model.generate(**padded(prompts), **options).tolist())
            kept.append(kept_positions(attachment))
    set_seed(0)
    untouched = model.generate(**padded(prompts), **options).tolist()
    assert texts[0] == texts[1] != untouched
    assert kept[0] == kept[1]
    assert max(map(len, kept[0])) < (TOKENS + NEW) / 2


def test_the_same_seed_gives_the_same_text(model):
    texts = []
    for seed in (1, 1, 2):
        set_seed(seed)
        with attach(model, forgetful()):
            texts.append(model.generate(prompt(TOKENS), do_sample=True, max_new_tokens=NEW))
    assert texts[0].equal(texts[1]) and not texts[0].equal(texts[2])


def test_processors_have_their_say(model):
    with attach(model, forgetful()):
        text = model.generate(prompt(TOKENS), max_new_tokens=NEW, **WAYS["own processor"])
    assert text[0, TOKENS:].max() < 20


def test_greedy_is_a_loop_in_every_mode(model, mode):
    with attach(model, forgetful(), mode) as attachment:
        text = model.generate(prompt(TOKENS), max_new_tokens=NEW, eos_token_id=None)
        after = states(attachment)
        assert text.equal(loop(model, attachment, prompt(TOKENS), NEW))
        assert all(map(torch.equal, after, states(attachment)))


@pytest.mark.parametrize("aggregation", list(Aggregation))
def test_chunked_prefill_applies_retention_after_each_chunk(model, aggregation):
    memory = forgetful(aggregation=aggregation, prefill_chunk=7)
    in_one = memory if aggregation == Aggregation.layer else None
    options = {"max_new_tokens": NEW, "eos_token_id": None}
    with attach(model, memory) as attachment:
        chunked = model.generate(prompt(TOKENS), prefill_chunk_size=7, **options)
        after = states(attachment)
        if in_one is None:  # votes cannot be cast within a forward pass: generate cuts by itself
            whole = model.generate(prompt(TOKENS), **options)
        else:
            whole = loop(model, attachment, prompt(TOKENS), NEW)
        assert chunked.equal(whole)
        for ours, theirs in zip(after, states(attachment), strict=True):
            assert ours.shape == theirs.shape
            assert (ours - theirs).abs().max() <= 1e-6  # strengths; the rest is whole numbers
    assert model.generation_config.prefill_chunk_size is None


def test_smaller_prefill_chunks_forget_more_often(model):
    memory = forgetful(prefill_chunk=TOKENS)
    kept = []
    for size in (TOKENS, 5):
        with attach(model, memory) as attachment:
            model.generate(prompt(TOKENS), prefill_chunk_size=size, max_new_tokens=1)
            kept.append(kept_positions(attachment))
    assert kept[0] != kept[1]


def test_several_turns_go_on_with_one_cache(model, mode):
    """A second turn is the same as having fed it, token by token, after the first."""
    turn, options = prompt(9, seed=5), {"max_new_tokens": NEW, "eos_token_id": None}
    with attach(model, forgetful(), mode) as attachment:
        cache = attachment.new_cache()
        first = model.generate(prompt(TOKENS), past_key_values=cache, **options)
        talk = torch.cat([first, turn], dim=1)
        second = model.generate(talk, past_key_values=cache, **options)
        assert cache.get_seq_length() == second.shape[1] - 1
        after = states(attachment)

        cache = attachment.new_cache()
        fed = [*first[:, :TOKENS].split(TOKENS, dim=1), *first[:, TOKENS:-1].split(1, dim=1)]
        for part in [*fed, talk[:, first.shape[1] - 1 :]]:
            logits = model(part, past_key_values=cache).logits[:, -1]
        text = talk
        for _ in range(NEW):
            new = logits.argmax(dim=-1, keepdim=True)
            text = torch.cat([text, new], dim=1)
            if text.shape[1] < second.shape[1]:
                logits = model(new, past_key_values=cache).logits[:, -1]
        assert text.equal(second)
        for ours, theirs in zip(after, states(attachment), strict=True):
            assert ours.equal(theirs)


def test_turns_of_padded_rows_go_on_as_each_row_alone(model, mode):
    prompts = [prompt(TOKENS), prompt(13, seed=1)]
    turns = prompt(6, batch=2, seed=2)
    options = {"max_new_tokens": 5, "eos_token_id": None}
    with attach(model, forgetful(), mode) as attachment:
        alone = []
        for row, ids in enumerate(prompts):
            cache = attachment.new_cache()
            first = model.generate(ids, past_key_values=cache, **options)
            talk = torch.cat([first, turns[row : row + 1]], dim=1)
            alone.append(model.generate(talk, past_key_values=cache, **options)[0, -16:])
        cache = attachment.new_cache()
        batch = padded(prompts)
        first = model.generate(**batch, past_key_values=cache, **options)
        mask = torch.cat([batch["attention_mask"], torch.ones(2, 11, dtype=torch.long)], dim=1)
        talk = torch.cat([first, turns], dim=1)
        second = model.generate(talk, attention_mask=mask, past_key_values=cache, **options)
    assert second[:, -16:].equal(torch.stack(alone))


def test_a_streamer_gets_every_token(model):
    class Collect:
        def __init__(self):
            self.tokens, self.ended = [], False

        def put(self, value):
            self.tokens += value.flatten().tolist()

        def end(self):
            self.ended = True

    streamer = Collect()
    with attach(model, forgetful()):
        text = model.generate(prompt(TOKENS), max_new_tokens=NEW, streamer=streamer)
    assert streamer.tokens == text[0].tolist() and streamer.ended


def test_generation_stops_at_an_end_token(model):
    with attach(model, forgetful()) as attachment:
        text = model.generate(prompt(TOKENS), max_new_tokens=NEW, eos_token_id=None)[0, TOKENS:]
        end = int(text[4])
        stop = text.tolist().index(end) + 1
        stopped = model.generate(prompt(TOKENS), max_new_tokens=NEW, eos_token_id=end)[0, TOKENS:]
        assert stopped.tolist() == text[:stop].tolist()
        assert attachment.cache.get_seq_length() == TOKENS + stop - 1


def test_rows_that_end_early_do_not_disturb_the_others(model):
    prompts = [prompt(TOKENS), prompt(17, seed=1)]
    with attach(model, forgetful()):
        free = [
            model.generate(ids, max_new_tokens=NEW, eos_token_id=None)[0, -NEW:] for ids in prompts
        ]
        end = next(int(token) for token in free[0][1:] if token not in free[1])
        batch = model.generate(**padded(prompts), max_new_tokens=NEW, eos_token_id=end)
    assert batch[1, TOKENS:].equal(free[1])
    assert (batch[0, TOKENS + free[0].tolist().index(end) + 1 :] == 0).all()


def test_what_generate_returns_holds_the_cache(model):
    with attach(model, forgetful()) as attachment:
        out = model.generate(
            prompt(TOKENS),
            max_new_tokens=NEW,
            return_dict_in_generate=True,
            output_logits=True,
            output_hidden_states=True,
        )
        assert out.past_key_values is attachment.cache
        assert len(out.logits) == NEW and len(out.hidden_states) == NEW


def test_a_beams_score_is_that_of_its_text_read_alone(model):
    """Memories move with their beams."""
    prompts = [prompt(TOKENS), prompt(17, seed=1)]
    options = {"max_new_tokens": NEW, "eos_token_id": None, "num_beams": 3}
    options |= {"num_return_sequences": 3, "length_penalty": 0.0, "return_dict_in_generate": True}
    with attach(model, forgetful()) as attachment:
        out = model.generate(**padded(prompts), **options, output_scores=True)
        for row, score in enumerate(out.sequences_scores):
            new, cache = out.sequences[row, -NEW:], attachment.new_cache()
            parts = [prompts[row // 3], *new[None, :-1].split(1, dim=1)]
            logits = [model(part, past_key_values=cache).logits[0, -1] for part in parts]
            spoken = torch.stack(logits).log_softmax(dim=-1)[torch.arange(NEW), new].sum()
            assert abs(float(spoken) - float(score)) <= FLOAT32 * NEW  # generate's logits: float32
