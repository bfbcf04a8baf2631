"""RULER as an evaluation: who answers right scores 1, who guesses the chance level."""

import json
import math
import random

import pytest
import torch
from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

from memollm.evaluation.asking import Asking, Stop
from memollm.evaluation.ruler import Ruler
from memollm.evaluation.tasks.ruler import RulerTask
from memollm.hf.subject import HFSubject
from memollm.memory.ebbinghaus import Memory
from memollm.modes.baseline import Baseline
from memollm.reference import weights_path
from tests.evaluation import question_files
from tests.evaluation.answering import ends, guessing, perfect, saying
from tests.evaluation.ruler_definitions import NIAH

LONG = {"cwe": 3000, "vt": 3000}  # bytes; of the others 2000 are enough


@pytest.fixture
def files(tmp_path):
    for name in ("squad", "hotpotqa"):
        content = getattr(question_files, name)()
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return {name: str(tmp_path / f"{name}.json") for name in ("squad", "hotpotqa")}


def measure(subject, task, novel, files=None, **fields):
    length = LONG.get(task, 6000 if task.startswith("qa") else 2000)
    fields = {"lengths": [length], "samples_per_cell": 2, "text": novel, **(files or {}), **fields}
    ruler = Ruler(tasks=[RulerTask(task)], **fields)
    ruler.prepare()
    ruler.check(subject)
    samples = list(ruler.samples(subject))
    assert len(samples) == ruler.size(subject)
    return samples, ruler.metrics(samples)


@pytest.mark.parametrize("task", RulerTask)
@pytest.mark.parametrize("asking", Asking)
def test_who_answers_right_scores_all(task, asking, novel, files):
    subject = saying(perfect(task), ends(task))
    samples, found = measure(subject, task, novel, files, asking=asking)
    name = "accuracy" if asking is Asking.streamed else "accuracy_unseen"
    length = samples[0]["length"]
    for metric in (
        name,
        f"{name}_{task}",
        f"{name}_length_{length}",
        f"{name}_{task}_length_{length}",
    ):
        assert found[metric].value == 1 and found[metric].n == 2, samples
    assert all(key.startswith(name) for key in found)
    for sample in samples:
        assert sample["score"] == 1 and sample["asking"] == asking
        assert sample.get("correct", True) is True


@pytest.mark.parametrize("task", ["niah_single_2", "niah_multiquery", "cwe", "qa_2"])
def test_who_says_nothing_scores_nothing(task, novel, files):
    subject = saying(lambda prompt: "", ends(task))
    samples, found = measure(subject, task, novel, files, samples_per_cell=1)
    assert found["accuracy"].value == 0 and samples[0]["answer"].strip() == ""


@pytest.mark.parametrize(
    ("task", "chance", "n"),
    [("niah_multikey_1", 1 / 4, 60), ("niah_multiquery", 1 / 4, 9), ("cwe", None, 15)],
)
def test_who_guesses_scores_the_chance_level(task, chance, n, novel):
    subject = saying(guessing(task), ends(task))
    fields = dict(samples_per_cell=n, tokens_to_generate=40 if task in NIAH else 120)
    samples, found = measure(subject, task, novel, **fields)
    if chance is None:  # ten of all words that are there
        text = bytes(subject.sessions[0].tokens).decode()
        listed = text.rpartition("most often.\n")[2].partition("\nQuestion")[0]
        chance = 10 / len(set(listed.split()[1::2]))
    spread = math.sqrt(chance * (1 - chance) / n)  # of answers that are right or wrong
    assert abs(found["accuracy"].value - chance) < 3 * spread
    if task == "niah_multikey_1":
        assert found["accuracy"].stderr == pytest.approx(spread, rel=0.2)


def test_an_answer_that_is_complete_is_not_continued(novel):
    subject = saying(perfect("niah_single_2"), ends("niah_single_2"))
    samples, _ = measure(subject, "niah_single_2", novel)
    assert all(sample["answer"] == f" {sample['expected'][0]}" for sample in samples)
    subject = saying(lambda prompt: " I do not know", ends("niah_single_2"))
    samples, _ = measure(subject, "niah_single_2", novel)
    assert all(len(sample["answer"]) == 128 for sample in samples)
    assert subject.sessions[0].tokens[-14:] == list(b"\n" * 14)
    samples, _ = measure(subject, "niah_single_2", novel, stop=Stop.line)
    assert all(sample["answer"] == " I do not know" for sample in samples)
    fed = samples[-1]["prompt_tokens"] + len(" I do not know")
    assert len(subject.sessions[-1].tokens) == fed


def test_a_window_finds_needles_that_lie_in_it_and_knows_when_it_lost_the_others(novel):
    window = 1000
    subject = saying(perfect("niah_single_2"), ends("niah_single_2"), window=window)
    # What it remembers is no whole prompt: it answers from the needle, if that is there.
    told = "numbers for "

    def predict(tokens):
        text = bytes(tokens).decode(errors="replace")
        value = text.partition(told)[2].partition("is: ")[2][:7] if told in text else "unknown"
        said = text.rpartition("provided text is")[2]
        rest = f" {value}\n"[len(said) :] or "\n"
        return torch.zeros(256).index_fill(0, torch.tensor([ord(rest[0])]), 1.0)

    subject.predict = predict
    samples, _ = measure(subject, "niah_single_2", novel, samples_per_cell=20)
    for sample, session in zip(samples, subject.sessions, strict=True):
        ((first, past),) = sample["evidence"]
        needle = bytes(session.tokens[first:past]).decode()
        assert sample["expected"][0] in needle and needle.endswith((".", ".\n"))
        (layer,) = sample["forgotten_evidence"]
        seen = len(session.tokens)
        lost = [[i, i + window + 1] if i < seen - window else None for i in range(first, past)]
        assert layer == lost
        needed = first + needle.index("numbers for")
        assert sample["correct"] == (needed >= sample["prompt_tokens"] - window + 16)
    assert 0 < sum(sample["correct"] for sample in samples) < 20


@pytest.fixture(scope="module")
def untrained():
    tokenizer = AutoTokenizer.from_pretrained(weights_path())
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, intermediate_size=32, num_hidden_layers=2, initializer_range=0.3)
    heads = dict(num_attention_heads=2, num_key_value_heads=1, vocab_size=len(tokenizer))
    model = Qwen2ForCausalLM(Qwen2Config(**sizes, **heads, max_position_embeddings=4096)).eval()
    return lambda memory, mode: HFSubject(model, tokenizer, memory, mode, "untrained")


def test_the_two_ways_of_asking_are_one_for_a_model_without_memory(untrained, novel):
    subject = untrained(Memory(), Baseline())

    def answers(asking):
        fields = dict(lengths=[700], asking=asking, samples_per_cell=2, text=novel)
        fields["tokens_to_generate"] = 40
        chosen = [RulerTask.niah_single_2, RulerTask.niah_multikey_3, RulerTask.fwe]
        return list(Ruler(tasks=chosen, **fields).samples(subject))

    streamed, unseen = answers(Asking.streamed), answers(Asking.unseen)
    assert len({sample["answer"] for sample in streamed}) == 6
    for one, other in zip(streamed, unseen, strict=True):
        assert {**one, "asking": "unseen"} == other
        assert one["forgotten_evidence"] == []


def test_every_mode_is_asked_the_same(novel):
    def asked(subject):
        samples, _ = measure(subject, "niah_multikey_2", novel, samples_per_cell=3)
        return [(s["id"], s["prompt_hash"], s["expected"], s["evidence"]) for s in samples]

    wise, mute = perfect("niah_multikey_2"), lambda prompt: ""
    one = asked(saying(wise, ends("niah_multikey_2")))
    assert one == asked(
        saying(mute, ends("niah_multikey_2"), window=random.Random(0).randint(9, 99))
    )
    assert len({hash for _, hash, _, _ in one}) == 3


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tasks": []}, r"tasks=\[\] .*at least one"),
        ({"lengths": [512, 512]}, "lengths=.*none twice"),
        ({"samples_per_cell": 0}, "samples_per_cell=0 .*at least 1"),
        ({"tokens_to_generate": 0}, "tokens_to_generate=0 .*at least 1"),
        ({"hops": 0}, "hops=0 .*at least 1"),
        (
            {"tasks": [RulerTask.qa_2]},
            "qa_2 needs a file in the format of hotpotqa.*ruler.hotpotqa=",
        ),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Ruler(**fields)


def test_lengths_that_do_not_fit_model_or_task_are_refused(novel):
    subject = saying(perfect("vt"), ends("vt"))
    with pytest.raises(ValueError, match=r"ruler.lengths=\[600\] .*too short for vt"):
        Ruler(tasks=[RulerTask.vt], lengths=[600], text=novel).check(subject)
    with pytest.raises(ValueError, match=r"lengths=\[4096\] .*tiny takes at most 512"):
        Ruler(lengths=[4096]).fits("tiny", 512)


def test_fewer_hops_and_no_example_are_a_shorter_task(novel):
    subject = saying(perfect("vt"), ends("vt"))
    samples, found = measure(subject, "vt", novel, hops=1, example=False, lengths=[1200])
    assert found["accuracy"].value == 1 and len(samples[0]["expected"]) == 2
    text = bytes(subject.sessions[0].tokens).decode()
    assert text.count("Memorize and track") == 1 and "2 variables are assigned" in text
