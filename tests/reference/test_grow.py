"""Growth keeps what was learnt; the heads it builds follow links."""

import string
from itertools import pairwise

import pytest
import torch
from tokenizers import Tokenizer

from memollm.reference import weights_path
from memollm.reference.config import Architecture
from memollm.reference.grow import widen
from memollm.reference.links import BACK, BEFORE, LETTER, follow_links
from memollm.reference.model import build_model
from memollm.tasks.refuse import LINKS_WIDTH

SAME = 1e-4  # of logits of size 10: float32, six layers of sums over more dimensions

TEXT = "The sun is low. VAR UCNDO = 87723. We go on. VAR PMKKW = VAR UCNDO. The end of it."


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(weights_path() / "tokenizer.json"))


def fresh():
    torch.manual_seed(0)
    size = Architecture()
    return build_model(size, torch.ones(size.vocabulary), circuit=True).eval()


@pytest.mark.parametrize(("hidden", "feed_forward"), [(192, 448), (193, 449), (256, 768)])
def test_a_wider_model_computes_the_same_and_can_learn_more(hidden, feed_forward):
    model = fresh()
    wider = widen(model, hidden, feed_forward).eval()
    tokens = torch.randint(0, 3072, (2, 60))
    torch.testing.assert_close(wider(tokens).logits, model(tokens).logits, atol=SAME, rtol=0)
    assert wider.config.hidden_size == hidden
    wider(tokens, labels=tokens).loss.backward()
    new = wider.model.embed_tokens.weight.grad[:, 192:]
    assert new.shape[1] == 0 or new.abs().max() > 0


def test_a_model_does_not_shrink():
    with pytest.raises(ValueError, match="cannot grow to 191 and 448"):
        widen(fresh(), 191, 448)


def test_a_link_is_collected_at_its_end_and_matched_from_the_name_that_it_names(tokenizer):
    model = widen(fresh(), 256, 448).eval()
    follow_links(model, tokenizer, 192)
    model.set_attn_implementation("eager")
    tokens = tokenizer.encode(TEXT + "\nThey are: UCNDO").ids
    names = [tokenizer.id_to_token(token) for token in tokens]
    end = next(i for i, pair in enumerate(pairwise(names)) if pair == ("O", ".")) + 1
    assert names[end - BACK] == "ĠP"
    found = model(torch.tensor([tokens]), output_attentions=True, output_hidden_states=True)
    for head, distance in ((2, BACK), (3, BACK + 1)):
        assert found.attentions[1][0, head, end, end - distance] > 0.9

    embedding = model.model.embed_tokens.weight[:, :192].detach()
    capitals = [f"Ġ{letter}" for letter in string.ascii_uppercase]
    rows = embedding[[tokenizer.token_to_id(letter) for letter in capitals]]
    read = model.model.layers[1].self_attn.v_proj.weight[64:128, :192][:LETTER]
    read = read * model.model.layers[1].input_layernorm.weight[:192]
    collected = found.hidden_states[2][0, end, 192 : 192 + LETTER]
    similar = torch.cosine_similarity(collected[None], rows @ read.T)
    assert capitals[int(similar.argmax())] == "ĠP"

    behind = [i for i, pair in enumerate(pairwise(names), start=1) if pair[0] == "O"]
    assert end in behind and len(behind) == 2
    queried = found.attentions[3][0, 2, -1]  # from the last letter of UCNDO
    assert queried[behind].sum() > 0.9  # which of the two ends a link is told by trained weights


def test_what_is_refused_beforehand_is_what_the_circuit_needs(tokenizer):
    assert LINKS_WIDTH == LETTER + BEFORE
    follow_links(widen(fresh(), 192 + LINKS_WIDTH, 448), tokenizer, 192)


def test_links_need_room(tokenizer):
    with pytest.raises(ValueError, match="new dimensions"):
        follow_links(widen(fresh(), 200, 448), tokenizer, 192)
