"""Growth keeps what was learnt; the circuit it builds follows links."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import Qwen2ForCausalLM

from memollm.reference import spots, weights_path
from memollm.reference.config import Architecture
from memollm.reference.grow import widen
from memollm.reference.links import HEAD, NEURONS, SIZE, WIDTH, follow_links
from memollm.reference.measure import MeasureConfig, held_out_library
from memollm.reference.model import build_model
from memollm.reference.origins import FETCHING, SENT, name_values
from memollm.reference.probes import PROBES, answer_span
from memollm.reference.spots import (
    BLANK,
    LETTERS,
    VALUE,
    distance,
    draw_spots,
    first_letters,
)
from memollm.reference.tracking import HEAD as INTRODUCTION
from memollm.tasks.refuse import LINKS

SAME = 1e-4  # of logits of size 10: float32, six layers of sums over more dimensions

TEXT = "The sun is low. VAR UCNDO = 87723. We go on. VAR PMKKW = VAR UCNDO. The end of it."


@pytest.fixture(scope="module")
def library():
    return held_out_library(MeasureConfig())


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


@pytest.fixture(scope="module")
def linked(library):
    model = widen(fresh(), 256, 512).eval()
    follow_links(model, library, 192, 448)
    model.set_attn_implementation("eager")
    return model


def names_of(library, text: str) -> tuple[torch.Tensor, list[str]]:
    tokens = library.tokenizer.encode(text).ids
    return torch.tensor([tokens]), [library.tokenizer.id_to_token(token) for token in tokens]


def test_the_first_letter_is_passed_on_where_a_link_ends_and_nowhere_else(linked, library):
    tokens, names = names_of(library, TEXT)
    found = linked(tokens, output_attentions=True, output_hidden_states=True)
    passed = found.hidden_states[2][0, :, 192 + SIZE : 192 + 2 * SIZE]
    end, back = len(names) - names[::-1].index("O"), distance(library.tokenizer)
    assert names[end] == "." and names[end - back] == "ĠP"
    assert found.attentions[1][0, HEAD, end, end - back] > 0.9
    assert LETTERS[int(passed[end].argmax())] == "P"
    loudest = passed.abs().amax(-1)
    loudest[end] /= 3
    assert int(loudest.argmax()) == end


def test_the_name_before_is_what_comes_next(linked, library):
    """Layer 2 copies it: nothing but its own match was needed to find the link."""
    text = f"{INTRODUCTION} The sky is blue.{TEXT} {TEXT[:15]}\nThey are: UCNDO"
    tokens, _ = names_of(library, text)
    before, after = (
        model(tokens).logits[0, -1, first_letters(library.tokenizer)] for model in (fresh(), linked)
    )
    assert LETTERS[int((after - before).argmax())] == "P"


def test_the_first_letter_is_passed_on_where_an_assigned_value_ends(linked, library):
    model = copy.deepcopy(linked)
    name_values(model, library, 192, 448)
    tokens, names = names_of(library, TEXT)
    found = model(tokens, output_attentions=True, output_hidden_states=True)
    end, back = names.index("3") + 1, distance(library.tokenizer, VALUE)
    assert names[end] == "." and names[end - back] == "ĠU"
    assert found.attentions[1][0, FETCHING, end, end - back] > 0.9
    passed = found.hidden_states[2][0, :, 192 + SIZE : 192 + 2 * SIZE]
    assert LETTERS[int(passed[end].argmax())] == "U"


def test_a_trained_model_is_sent_from_a_listing_to_where_its_value_was_assigned(library):
    model = Qwen2ForCausalLM.from_pretrained(weights_path(), attn_implementation="eager")
    model = model.float().eval()
    tokens, names = names_of(library, f"{TEXT} Which have the value 87723,{BLANK}")
    text = torch.from_numpy(library.window(np.random.default_rng(0), 400))[None]
    before = [model(it, labels=it, output_attentions=True) for it in (tokens, text)]
    name_values(model, library, 192, 448)
    after = [model(it, labels=it, output_attentions=True) for it in (tokens, text)]
    end = names.index("3") + 1
    looks = [it.attentions[2][0, list(SENT), -1, end].min() for it in (before[0], after[0])]
    assert names[-1] == "Ġ" and looks[0] < 0.5 and looks[1] > 0.9
    assert abs(after[1].loss - before[1].loss) < 0.02  # of text, 3.5


def test_pairs_are_looked_up_as_before(library):
    """Their values are numbers, too, and asked for behind a blank."""
    model = Qwen2ForCausalLM.from_pretrained(weights_path(), dtype=torch.float32).eval()
    drawn = [PROBES["json 8"](np.random.default_rng([7, i]), library, 512) for i in range(10)]
    tokens = torch.from_numpy(np.stack([it.tokens for it in drawn]).astype(np.int64))
    labels = torch.full_like(tokens, -100)
    for row, it in enumerate(drawn):
        labels[row, answer_span(it)] = tokens[row, answer_span(it)]
    before = model(tokens, labels=labels).loss
    name_values(model, library, 192, 448)
    assert model(tokens, labels=labels).loss < 1.1 * before  # 1.3 where no facts are read


def test_values_need_room(library):
    wider = widen(fresh(), 192 + WIDTH, 448 + NEURONS - 1)
    with pytest.raises(ValueError, match="values need 52 new neurons"):
        name_values(wider, library, 192, 448)


def test_what_is_refused_beforehand_is_what_the_circuit_needs(library, monkeypatch):
    monkeypatch.setattr(spots, "CHAINS", 12)
    assert {"hidden": WIDTH, "feed_forward": NEURONS} == LINKS
    follow_links(widen(fresh(), 192 + WIDTH, 448 + NEURONS), library, 192, 448)


@pytest.mark.parametrize(("hidden", "feed_forward"), [(WIDTH - 1, NEURONS), (WIDTH, NEURONS - 1)])
def test_links_need_room(library, hidden, feed_forward):
    wider = widen(fresh(), 192 + hidden, 448 + feed_forward)
    with pytest.raises(ValueError, match="52 new dimensions and 52 new neurons"):
        follow_links(wider, library, 192, 448)


def test_links_need_names_of_letters(library):
    words = Tokenizer(WordLevel({"<end>": 0, "R": 1}, unk_token="<end>"))
    worded = replace(
        library, tokenizer=words, streams=(np.zeros(500, dtype=np.uint16),), shares=(1.0,)
    )
    with pytest.raises(ValueError, match="letter by letter"):
        draw_spots(worded, 0)
