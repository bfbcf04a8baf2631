"""Answers: as generate gives them, counted and timed right, and compared token by token."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from memollm.generation.answer import answer
from memollm.generation.comparison import compare, first_difference
from memollm.generation.files import read_prompts
from memollm.generation.run import three_modes
from memollm.generation.settings import Settings
from memollm.generation.told import headline, lifetime, parting
from memollm.hf.llm import EbbinghausLLM
from memollm.hf.streamer import Stream
from memollm.memory.ebbinghaus import Memory
from memollm.reference import weights_path
from tests.generation.answers import answer as by_hand
from tests.generation.answers import comparison
from tests.hf.tiny import COMMON, forgetful

PROMPT = "The city was founded in the north of the country, near a river and an old forest."


@pytest.fixture(scope="module")
def llm():
    tokenizer = AutoTokenizer.from_pretrained(str(weights_path()))
    sizes = {**COMMON, "head_dim": 8, "vocab_size": len(tokenizer), "eos_token_id": None}
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen3", **sizes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    return EbbinghausLLM(model, tokenizer=tokenizer, memory=forgetful(layer_fraction=0.5))


@pytest.mark.parametrize("name", three_modes())
def test_an_answer_is_what_generate_gives_and_its_parts_are_its_text(llm, name):
    shown = []
    mode = three_modes()[name]
    given = answer(llm, PROMPT, name, mode, Settings(12), show=shown.append, details=True)
    plain = llm.generate(PROMPT, max_new_tokens=12, generation_mode=name)
    assert given.text == plain["generated_text"] == "".join(shown)
    assert given.text == llm.tokenizer.decode(given.ids, skip_special_tokens=True)
    assert len(given.ids) == 12 and given.prompt_tokens == len(llm.tokenizer(PROMPT)["input_ids"])
    assert 0 < given.first_token < given.seconds
    assert given.kept == {layer: it["kept_tokens"] for layer, it in plain["memory_stats"].items()}
    assert {layer: sum(it.kept) for layer, it in given.details.items()} == given.kept
    if name == "sparse_attention":
        assert 0.5 < given.kept_share < 1  # two of four layers have a memory


def test_a_stream_holds_back_half_a_character(llm):
    """A character of several tokens comes as a whole, and the parts are the text."""
    shown = []
    stream = Stream(llm.tokenizer, shown.append)
    ids = llm.tokenizer.encode("née 🙂 fin", add_special_tokens=False)
    stream.put(torch.tensor([[3, 4]]))
    for token in ids:
        stream.put(torch.tensor([token]))
    stream.end()
    assert "".join(shown) == llm.tokenizer.decode(ids) and not any("\ufffd" in it for it in shown)
    assert stream.ids == ids and len(stream.times) == len(ids) and stream.prompt_tokens == 2


def test_a_stream_is_of_one_sequence(llm):
    with pytest.raises(ValueError, match="one sequence, and was given 2"):
        Stream(llm.tokenizer).put(torch.zeros(2, 3, dtype=torch.long))


def test_the_mode_that_goes_first_changes_from_prompt_to_prompt(llm):
    """A warm-up of every mode comes first, and is not among the answers."""
    order = []
    modes = three_modes()
    found = list(
        compare(
            llm,
            [PROMPT, "A short one"],
            modes,
            Settings(3),
            progress=lambda it: order.append(it.mode),
        )
    )
    names = list(modes)
    assert order == names + names[1:] + names[:1]
    assert [list(it.answers) for it in found] == [names, names]
    assert found[1].first.prompt == "A short one"


@given(st.lists(st.integers(0, 2), max_size=6), st.lists(st.integers(0, 2), max_size=6))
def test_texts_part_at_the_first_token_that_differs(one, other):
    at = first_difference(one, other)
    if at is None:
        assert one == other
    else:
        assert one[:at] == other[:at] and one[at : at + 1] != other[at : at + 1]


def test_rates_count_what_they_say():
    given = by_hand()
    assert given.tokens_per_second == 2.0  # four in two seconds
    assert given.decode_tokens_per_second == 2.0  # three in one and a half
    assert by_hand(ids=[5]).decode_tokens_per_second is None
    assert by_hand(kept={0: 4, 1: 8}, seen=8).kept_share == (0.5 + 1 + 1 + 1) / 4


def test_words():
    told = comparison(ids=[5, 6, 9, 8])
    assert parting(told, "sparse_attention", str) == (
        "sparse_attention: differs from baseline at token 3, after '[5, 6]': '[9, 8]' instead of "
        "'[7, 8]'"
    )
    assert "4 of 8 tokens kept" in headline(told.answers["sparse_attention"])
    shorter = comparison(ids=[5, 6])
    assert "the end instead of" in parting(shorter, "sparse_attention", str)
    assert parting(comparison(), "sparse_attention", str) == (
        "sparse_attention: the same text as baseline"
    )


def test_why_nothing_was_forgotten_is_said_where_nothing_was():
    everything = by_hand(kept={0: 8, 1: 8}, seen=8)
    assert "lives 2303 tokens" in str(lifetime(Memory(), everything))
    assert lifetime(Memory(), by_hand(kept={0: 8, 1: 7}, seen=8)) is None
    assert lifetime(Memory(), by_hand()) is None
    assert lifetime(Memory(), by_hand(kept={0: 8}, seen=8, graded=True)) is None
    assert lifetime(Memory(budget=0.5), everything) == "Nothing was forgotten."


@pytest.mark.parametrize(
    ("changes", "told"),
    [({"max_tokens": 0}, "max_tokens=0"), ({"temperature": 0.0}, "temperature=0.0")],
)
def test_wrong_settings_are_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        Settings(**changes)


def test_prompts_come_from_lines_or_objects(tmp_path):
    lines, objects = tmp_path / "prompts.txt", tmp_path / "prompts.jsonl"
    lines.write_text("first\n\nsecond\n")
    objects.write_text(json.dumps({"prompt": "two\nlines", "id": 3}) + "\n")
    assert read_prompts(lines) == ["first", "second"] and read_prompts(objects) == ["two\nlines"]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.txt", "\n \n", "holds no prompt"),
        ("a.jsonl", "{", "line 1 is not JSON"),
        ("a.jsonl", '{"text": "a"}', 'line 1 is not allowed, it must be like {"prompt"'),
        ("a.txt", b"\xff\xfe\xff", "not UTF-8"),
    ],
)
def test_a_file_without_prompts_is_refused(tmp_path, name, content, told):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as refused:
        read_prompts(path)
    assert told in str(refused.value) and name in str(refused.value)
