"""Needles over turns: one pass a turn, facts where they belong, numbers found again."""

import re

import pytest
import torch

from memollm.evaluation.asking import Asking
from memollm.evaluation.multi_turn import MultiTurn
from tests.evaluation.scripted import Scripted, retrieving


def measure(novel, subject, **fields):
    fields = {"lengths": [3000], "samples_per_cell": 2, "facts": 2, "text": novel, **fields}
    evaluation = MultiTurn(**fields)
    evaluation.prepare()
    evaluation.check(subject)
    samples = list(evaluation.samples(subject))
    assert len(samples) == evaluation.size(subject)
    return samples, evaluation.metrics(samples)


@pytest.mark.parametrize("asking", Asking)
def test_who_forgets_nothing_knows_what_was_said(novel, asking):
    subject = Scripted(retrieving)
    samples, found = measure(novel, subject, asking=asking)
    name = {"streamed": "accuracy", "unseen": "accuracy_unseen"}[asking]
    assert found[name].value == found[f"{name}_given_1"].value == 1 and found[name].n == 4
    for sample in samples:
        session = subject.sessions[[0, 1][sample["prompt"] == "3000/1"]]
        ((first, past),) = sample["evidence"]
        text = bytes(session.tokens).decode()
        assert f"is: {sample['expected']}." in bytes(session.tokens[first:past]).decode()
        assert sample["question"] in text
        assert past < text.index("Assistant:")  # the first turn's end
        assert sample["forgotten_evidence"] == [[None] * (past - first)]


def test_every_turn_is_a_pass_of_its_own(novel):
    subject = Scripted(retrieving)
    measure(novel, subject, turns=5, samples_per_cell=1, facts=1)
    *passes, question, decoded = [call for call in subject.sessions[0].calls if call > 1] + [1]
    text = bytes(subject.sessions[0].tokens)
    starts = [match.start() for match in re.finditer(b"User:", text)]
    assert passes == [
        b - a for a, b in zip(starts, [*starts[1:], text.index(b"\nWhat is")], strict=True)
    ]
    assert len(passes) == 5 and decoded == 1 and question == text.rindex(b" is") + 3 - sum(passes)
    assert max(passes[:4]) - min(passes[:4]) < 150  # passages of one length
    streamed = Scripted(retrieving)
    measure(novel, streamed, turns=5, samples_per_cell=1, facts=1, asking=Asking.streamed)
    assert [call for call in streamed.sessions[0].calls if call > 1] == [sum(passes) + question]


def test_a_window_knows_the_later_turns_and_not_the_first(novel):
    subject = Scripted(retrieving, window=1500)
    samples, found = measure(novel, subject, given=[1, 4], facts=3)
    assert found["accuracy_unseen_given_1"].value == 0
    assert found["accuracy_unseen_given_4"].value == 1
    for sample in samples:
        (layer,) = sample["forgotten_evidence"]
        assert (None in layer) == (sample["given"] == 4)
    assert found["accuracy_unseen"].n == 12


def test_answers_of_one_conversation_count_as_one(novel):
    _, found = measure(novel, Scripted(retrieving), samples_per_cell=1, facts=3)
    assert found["accuracy_unseen"].n == 3 and found["accuracy_unseen"].stderr is None


def test_a_wrong_number_is_wrong(novel):
    def more(tokens):
        said = int(retrieving(tokens).argmax())
        return torch.zeros(256).index_fill(0, torch.tensor([{46: 55}.get(said, said)]), 1.0)

    samples, found = measure(novel, Scripted(more))
    assert found["accuracy_unseen"].value == 0
    assert all(sample["answer"].startswith(f" {sample['expected']}7") for sample in samples)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"given": [5]}, r"given=\[5\] .*turns 1 to 4"),
        ({"given": [0]}, r"given=\[0\] .*turns 1 to 4"),
        ({"turns": 1}, "turns=1 .*at least 2"),
        ({"facts": 0}, "facts=0 .*at least 1"),
        ({"lengths": []}, "at least one"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        MultiTurn(**fields)


def test_a_length_without_room_for_its_turns_is_refused(novel):
    with pytest.raises(ValueError, match=r"lengths=\[900\] .*too short for 5 turns"):
        MultiTurn(lengths=[900], text=novel).check(Scripted(retrieving))
