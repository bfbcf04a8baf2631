"""Needles: prompts are exact and the same for all, and a memory finds what it still holds."""

import pytest

from memollm.evaluation.needle import Asking, NeedleInAHaystack
from memollm.evaluation.prompts import Kind, Mentions
from tests.evaluation.scripted import Bytes, Scripted, retrieving

SMALL = dict(lengths=[1800, 3600], depths=[0.0, 0.5, 1.0])  # bytes are short tokens


def ask(novel, subject, **fields):
    evaluation = NeedleInAHaystack(text=novel, **{**SMALL, **fields})
    evaluation.prepare()
    evaluation.check(subject)
    samples = list(evaluation.samples(subject))
    assert len(samples) == evaluation.size(subject)
    return samples, evaluation.metrics(samples)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("asking", Asking)
def test_who_forgets_nothing_finds_everything(novel, kind, asking):
    samples, found = ask(novel, Scripted(retrieving), kinds=[kind], asking=asking)
    name = "accuracy_unseen" if asking is Asking.unseen else "accuracy"
    assert found[name].value == found[f"{name}_{kind}"].value == 1
    assert all(key.startswith(name) for key in found)
    assert all(sample["answer"] == f" {sample['expected']}." for sample in samples)


@pytest.mark.parametrize("kind", Kind)
def test_who_remembers_a_window_finds_what_lies_in_it(novel, kind):
    samples, found = ask(novel, Scripted(retrieving, window=1200), kinds=[kind])
    assert found["accuracy_depth_0"].value == 0
    assert found["accuracy_depth_100"].value == 1
    assert found["accuracy_length_1800"].value >= found["accuracy_length_3600"].value


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize(("bos", "mentions"), [(None, "once"), (7, "once"), (7, "spaced")])
def test_a_prompt_with_its_answers_takes_its_length_exactly(novel, kind, bos, mentions):
    subject = Scripted(retrieving, tokenizer=Bytes(bos))
    fields = dict(kinds=[kind], lengths=[2401], mentions=Mentions(mentions))
    samples, _ = ask(novel, subject, **fields)
    for session in subject.sessions:
        answers = len(samples) // len(subject.sessions)  # the last token of each is not fed
        assert len(session.tokens) == 2401 - answers
        assert (session.tokens[0] == 7) == (bos == 7)
    for sample in samples:
        session = subject.sessions[[s["prompt"] for s in samples].index(sample["prompt"])]
        assert len(sample["evidence"]) == (1 if mentions == "once" else 2)
        for first, past in sample["evidence"]:
            assert sample["expected"] in bytes(session.tokens[first:past]).decode()


def test_needles_lie_between_sentences_near_their_depth(novel):
    subject = Scripted(retrieving)
    samples, _ = ask(novel, subject, kinds=[Kind.single_key], depths=[0.0, 0.3, 0.7, 1.0])
    for sample, session in zip(samples, subject.sessions, strict=True):
        text = bytes(session.tokens)
        ((first, past),) = sample["evidence"]
        if sample["depth"] < 1:
            assert text[:first].rstrip().endswith(b".")  # a sentence, or the introduction
        start = text.index(b"afterwards.\n") + len(b"afterwards.\n")
        end = text.rindex(b"\nWhat is") - (past - first)
        assert (first - start) / (end - start) == pytest.approx(sample["depth"], abs=0.05)


@pytest.mark.parametrize("mentions", Mentions)
def test_a_needle_is_last_mentioned_at_its_depth(novel, mentions):
    subject = Scripted(retrieving)
    depths = [0.2, 0.6, 1.0]
    samples, _ = ask(novel, subject, kinds=[Kind.single_key], depths=depths, mentions=mentions)
    for sample, session in zip(samples, subject.sessions, strict=True):
        text = bytes(session.tokens)
        start = text.index(b"afterwards.\n") + len(b"afterwards.\n")
        spans, end = sample["evidence"], text.rindex(b"\nWhat is")
        stated = sum(past - first for first, past in spans)
        first, last = spans[0][0] - start, spans[-1][1] - start - stated
        assert last / (end - start - stated) == pytest.approx(sample["depth"], abs=0.06)
        match mentions:
            case Mentions.once:
                assert len(spans) == 1
            case Mentions.massed:
                assert spans[0][1] == spans[1][0]
            case Mentions.spaced:
                halfway = first / (end - start - stated)
                assert halfway == pytest.approx(sample["depth"] / 2, abs=0.06)
        assert sample["age"] == end - spans[-1][1]


def test_accuracy_is_told_by_the_age_of_the_needle(novel):
    samples, found = ask(novel, Scripted(retrieving, window=1200), kinds=[Kind.passkey])
    ages = {name: it for name, it in found.items() if "_age_" in name}
    assert sum(it.n for it in ages.values()) == len(samples)
    assert ages["accuracy_age_0_64"].value == 1 and ages["accuracy_age_2048_4096"].value == 0
    for name, it in ages.items():
        low, below = map(int, name.split("_")[-2:])
        those = [sample["correct"] for sample in samples if low <= sample["age"] < below]
        assert it.value == sum(those) / len(those)


def test_prompts_depend_on_the_seed_and_on_nothing_else(novel):
    def prompts(**fields):
        subject = Scripted(retrieving)
        samples, _ = ask(novel, subject, **fields)
        return {s["id"]: (s["expected"], s["evidence"]) for s in samples}

    assert prompts() == prompts()
    fewer = prompts(lengths=[3600], kinds=[Kind.passkey])
    assert fewer.items() <= prompts().items()  # a cell is the same in every grid
    assert not prompts(seed=1).items() & prompts().items()


def test_distractors_have_other_keys_and_other_values(novel):
    subject = Scripted(retrieving)
    fields = dict(kinds=[Kind.multi_key], distractors=5, lengths=[3600], depths=[0.5])
    ask(novel, subject, **fields, mentions=Mentions.massed)
    text = bytes(subject.sessions[0].tokens).decode()
    stated = [line for line in text.split("\n") if line.startswith("One of the special")]
    assert len({line.split()[7] for line in stated}) == 6
    assert len({line.split()[-1] for line in stated}) == 6
    assert all(stated.count(line) == 2 for line in stated)  # or the one asked for stood out


def test_an_unseen_question_is_fed_apart_from_the_haystack(novel):
    subject = Scripted(retrieving)
    ask(novel, subject, kinds=[Kind.passkey], asking=Asking.unseen, lengths=[1800], depths=[0.5])
    haystack, question, *steps = subject.sessions[0].calls
    assert question == len("\nWhat is the pass key? The pass key is") and set(steps) == {1}
    assert haystack > 1500


def test_answers_of_one_prompt_count_as_one_in_the_standard_error(novel):
    _, found = ask(novel, Scripted(retrieving), kinds=[Kind.multi_query], lengths=[1800])
    assert found["accuracy"].n == 3 and found["accuracy"].stderr is None


@pytest.mark.parametrize(
    ("answer", "right"),
    [(" 12345.", True), ("12345\nThe", True), (" 123456", False), (" 1234", False), ("", False)],
)
def test_an_answer_is_the_number_it_begins_with(novel, answer, right):
    def saying(tokens):
        said = bytes(tokens).decode(errors="replace").rpartition("The pass key is")[2]
        logits = retrieving(tokens)
        expected = answer[len(said)] if said != answer and answer.startswith(said) else "x"
        return logits.zero_().index_fill(0, logits.new_tensor([ord(expected)]).long(), 1.0)

    fields = dict(kinds=[Kind.passkey], lengths=[1800], depths=[1.0], seed=0)
    samples, _ = ask(novel, Scripted(retrieving), **fields)
    answer = answer.replace("12345", samples[0]["expected"])
    samples, _ = ask(novel, Scripted(saying), **fields)
    assert samples[0]["correct"] is right, samples[0]


def test_a_length_beyond_the_models_is_refused_with_both_numbers(novel):
    evaluation = NeedleInAHaystack(text=novel, lengths=[512, 9000])
    with pytest.raises(ValueError, match=r"needle.lengths=\[512, 9000\].* 8192 tokens"):
        evaluation.check(Scripted(retrieving))


def test_lengths_that_the_text_or_the_prompt_cannot_fill_are_refused(novel, tmp_path):
    with pytest.raises(ValueError, match=r"lengths=\[100\].*leave .* for the haystack"):
        NeedleInAHaystack(text=novel, lengths=[100]).check(Scripted(retrieving))
    (tmp_path / "short.txt").write_text("Too short.")
    with pytest.raises(ValueError, match=r"need a text of .* it has 10.*short.txt"):
        evaluation = NeedleInAHaystack(text=str(tmp_path / "short.txt"), lengths=[2000])
        evaluation.check(Scripted(retrieving))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"lengths": []}, r"lengths=\[\] .*at least one"),
        ({"depths": [0.5, 0.5]}, "depths=.*none twice"),
        ({"depths": [1.5]}, "depths=.*between 0"),
        ({"samples_per_cell": 0}, "samples_per_cell=0 .*at least 1"),
        ({"digits": 2}, "digits=2 .*at least 3"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        NeedleInAHaystack(**fields)
