"""RULER's generators against RULER's definitions: templates, what fills them, what is right."""

import dataclasses
import random
import re
from collections import Counter

import pytest

from memollm.evaluation.tasks.base import Material, match_all, match_part
from memollm.evaluation.tasks.encoder import Encoder
from memollm.evaluation.tasks.ruler import TASKS, RulerTask
from memollm.reference import text_path
from tests.evaluation import ruler_definitions as ruler
from tests.evaluation.question_files import documents
from tests.evaluation.scripted import Bytes

LENGTH = 9000  # tokens, here bytes: the solved example of cwe alone takes a third


@pytest.fixture(scope="module")
def material():
    return Material(Encoder(Bytes()), text_path().read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def examples(material, tmp_path_factory):
    """Three examples of every task, with what stands in the places of its template."""
    found = {}
    for name, task in TASKS.items():
        if name in ("qa_1", "qa_2"):
            task = dataclasses.replace(task, documents=documents(name, tmp_path_factory))
        for seed in range(3):
            example = task.example(random.Random(seed), LENGTH, material)
            fields = ruler.fields(name, ruler.unsolved(name, example.text)[1])
            found.setdefault(name, []).append((example, fields))
    return found


def test_there_are_thirteen_with_their_tokens_to_generate():
    assert set(RulerTask) == set(TASKS) == set(ruler.FAMILY) and len(TASKS) == 13
    for name, task in TASKS.items():
        assert task.tokens_to_generate == ruler.TEMPLATES[ruler.FAMILY[name]][2]


def test_metrics_are_the_published_ones():
    said, right = " \x07It was 12, then PARIS", ("12", "paris", "Rome", "13")
    assert match_all(said, right) == 0.5 and match_part(said, right) == 1
    assert match_all("", right) == match_part("", right) == 0
    for name, task in TASKS.items():
        part = task.score("only one of two: 12", ("12", "13"))
        assert part == (1 if ruler.FAMILY[name] == "qa" else 0.5)


@pytest.mark.parametrize("name", ruler.NIAH)
def test_needles_are_as_many_as_published_and_answers_those_asked_for(examples, name):
    _, _, _, keys, values, queries = ruler.NIAH[name]
    for example, fields in examples[name]:
        stated = ruler.needles(name, fields["context"])
        asked = re.split(r", and |, ", fields["query"])
        assert len(asked) == len(set(asked)) == queries
        right = [value for query in asked for key, value in stated if key == query]
        assert sorted(right) == sorted(example.answers) and len(right) == values * queries
        if ruler.NIAH[name][0] != "needle":
            assert len(stated) == max(keys, queries) * values
            assert len({key for key, _ in stated}) == max(keys, queries)


@pytest.mark.parametrize("name", ruler.NIAH)
def test_haystacks_are_of_the_published_kind(examples, material, name):
    kind = ruler.NIAH[name][0]
    joined = " ".join(material.text.split())
    for _, fields in examples[name]:
        context = fields["context"]
        if kind == "essay":
            for key, value in ruler.needles(name, context):
                things = ruler.NIAH[name][2]
                needle = f"One of the special magic {things} for {key} is: {value}."
                assert "\n" not in context
                context = context.replace(f" {needle}", "").replace(f"{needle} ", "")
            assert context in joined + " " + joined
            continue
        first, *lines = context.split("\n")
        hay = [line for line in lines if line != ruler.NOISE]
        assert len(lines) > 40
        assert all(ruler.needles(name, line) for line in hay)
        assert len(hay) <= 1 if kind == "noise" else len(hay) == len(lines)
        assert kind == "needle" or ruler.NOISE.endswith(first) or ruler.needles(name, first)


def test_evidence_is_the_needles_that_are_asked_for(examples):
    for name in ruler.NIAH:
        for example, _ in examples[name]:
            marked = " ".join(part.text for part in example.context if part.evidence)
            assert sorted(v for _, v in ruler.needles(name, marked)) == sorted(example.answers)


def test_variables_are_tracked_through_four_hops_after_a_solved_example(examples):
    for example, fields in examples["vt"]:
        lines = fields["context"].split("\n")
        assert set(lines[1:]) - {ruler.NOISE} == {
            line for line in lines[1:] if line.startswith("VAR ")
        }
        stated = [line for line in lines if line.startswith("VAR ")]
        names = [line.split()[1] for line in stated]
        before = [fields["query"], *(f"VAR {name} " for name in names)]
        assert stated == [f"VAR {a} = {b}" for a, b in zip(names, before, strict=False)]
        assert list(example.answers) == names and len(names) == 5 == int(fields["num_v"])
        assert all(re.fullmatch("[A-Z]{5}", name) for name in names)
        assert re.fullmatch(r"\d{5}", fields["query"])
        marked = [part.text.rstrip("\n") for part in example.context if part.evidence]
        assert marked == stated
        # The solved example: the template once more, with names of three letters.
        shown, _ = ruler.unsolved("vt", example.text)
        solved, _, said = shown.rpartition("they are: ")
        inner = ruler.fields("vt", solved + "they are: ")
        names = re.findall(r"VAR ([A-Z]{3}) =", inner["context"])
        assert said == f" {' '.join(names)}\n\n" and len(names) == 5


@pytest.mark.parametrize(
    ("length", "numbers"), [(3000, (20, 3, 1, 6, 1)), (9000, (40, 10, 3, 30, 3))]
)
def test_common_words_are_repeated_as_published(material, length, numbers):
    shown_words, shown, shown_others, common, others = numbers
    example = TASKS[RulerTask.cwe].example(random.Random(1), length, material)
    solved, last = ruler.unsolved("cwe", example.text)
    inner = solved[: solved.index("list are:") + len("list are:")]
    lists = [ruler.fields("cwe", text)["context"] for text in (last, inner)]
    counts = []
    for listed in lists:
        numbered = re.findall(r"(\d+)\. (\S+)", listed)
        assert [int(number) for number, _ in numbered] == list(range(1, len(numbered) + 1))
        assert " ".join(f"{number}. {word}" for number, word in numbered) == listed
        counts.append(Counter(word for _, word in numbered))
    top = {word for word, times in counts[0].items() if times == common}
    assert top == set(example.answers) and len(top) == 10
    assert set(counts[0].values()) == {common, others}
    assert Counter(counts[1].values()) == {shown: 10, shown_others: shown_words - 10}
    answered = solved.partition("list are:")[2]
    first = [word for word, times in counts[1].items() if times == shown]
    assert re.fullmatch(r"( \d+\. \S+){10}\n", answered)
    assert set(re.findall(r"\d+\. (\S+)", answered)) == set(first)


def test_frequent_words_follow_a_zeta_distribution(examples):
    for example, fields in examples["fwe"]:
        counts = Counter(fields["context"].split(" "))
        coded = Counter({word: times for word, times in counts.items() if word != "..."})
        assert [word for word, _ in coded.most_common(3)] == list(example.answers)
        assert all(re.fullmatch("[a-z]{6}", word) for word in coded)
        total = coded.most_common(1)[0][1] * 4 * 1.6449  # rank 2 holds total / 4 / zeta(2)
        for rank, (_, times) in enumerate(coded.most_common(), start=2):
            assert abs(times - total / rank**2 / 1.6449) <= 1 + 4 / rank**2
        assert counts["..."] >= total / 1.6449 - 4


@pytest.mark.parametrize("name", ["qa_1", "qa_2"])
def test_documents_are_numbered_and_hold_the_answer(examples, name):
    for example, fields in examples[name]:
        numbers = [int(n) for n in re.findall(r"^Document (\d+):$", fields["context"], re.M)]
        assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 10
        marked = " ".join(part.text for part in example.context if part.evidence)
        assert all(answer in marked for answer in example.answers)
        assert fields["query"] in example.question


def test_examples_differ_and_are_the_same_again(examples, material):
    for name, several in examples.items():
        assert len({example.text for example, _ in several}) == 3
        if name not in ("qa_1", "qa_2"):
            again = TASKS[name].example(random.Random(2), LENGTH, material)
            assert again == several[2][0]
