"""Key-value retrieval: the published prompt, asked at every depth, scored as published."""

import json
import random
import re

import pytest

from memollm.evaluation.asking import Asking
from memollm.evaluation.key_value import KeyValueRetrieval
from memollm.evaluation.tasks.niah import Thing
from tests.evaluation.answering import saying
from tests.evaluation.scripted import Bytes

# github.com/nelson-liu/lost-in-the-middle, prompts/kv_retrieval.prompt and the one with
# query_aware_contextualization.
PROMPT = (
    "Extract the value corresponding to the specified key in the JSON object below.\n\n"
    'JSON data:\n{formatted_kv_records}\n\nKey: "{key}"\nCorresponding value:'
)
QUERY_AWARE = PROMPT.replace("JSON data:", 'Key: "{key}"\n\nJSON data:')
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
ENDS = ("Corresponding value:",)


def formatted(pairs):
    """The data as lost_in_the_middle/prompting.py writes it."""
    return "{" + ",\n ".join(f'"{key}": "{value}"' for key, value in pairs) + "}"


def parts(prompt, template=PROMPT):
    data = prompt[prompt.index("{") : prompt.rindex("}") + 1]
    key = re.findall(r'\nKey: "(.*)"\nCorresponding', prompt)[-1]
    pairs = list(json.loads(data).items())
    assert prompt == template.replace("{key}", key).replace("{formatted_kv_records}", data)
    assert data == formatted(pairs)
    return pairs, key


def knowing(prompt):
    pairs, key = parts(prompt)
    return f' "{dict(pairs)[key]}"'


def measure(answerer=knowing, **fields):
    subject = saying(answerer, ENDS)
    evaluation = KeyValueRetrieval(**{"lengths": [2000], "samples_per_cell": 1, **fields})
    evaluation.prepare()
    evaluation.check(subject)
    samples = list(evaluation.samples(subject))
    assert len(samples) == evaluation.size(subject)
    return samples, evaluation.metrics(samples), subject


@pytest.mark.parametrize("things", [(Thing.uuids, Thing.uuids), (Thing.words, Thing.numbers)])
def test_prompts_are_the_published_ones_with_the_pair_at_its_depth(things):
    depths = [0.0, 0.3, 1.0]
    samples, found, subject = measure(depths=depths, keys=things[0], values=things[1])
    for sample, session, depth in zip(samples, subject.sessions, depths, strict=True):
        text = bytes(session.tokens[: sample["prompt_tokens"]]).decode()
        pairs, key = parts(text)
        place = [k for k, _ in pairs].index(key)
        assert place == round(depth * (len(pairs) - 1)) and len(pairs) == sample["pairs"]
        assert dict(pairs)[key] == sample["expected"]
        whole = [k for k, v in pairs if re.fullmatch(UUID, k) and re.fullmatch(UUID, v)]
        assert len(whole) >= len(pairs) - 1 or things[0] is Thing.words
        ((first, past),) = sample["evidence"]
        assert f'"{key}": "{sample["expected"]}"' in text[first:past]
        assert sample["correct"] is True
    assert found["accuracy"].value == found["accuracy_depth_30"].value == 1


def test_the_key_may_be_told_before_the_data():
    def answerer(prompt):
        parts(prompt, QUERY_AWARE)
        return ""

    samples, found, _ = measure(answerer, query_aware=True, depths=[0.5])
    assert found["accuracy"].value == 0 and not samples[0]["correct"]
    with pytest.raises(ValueError, match="query_aware=True .*no longer unseen"):
        KeyValueRetrieval(query_aware=True, asking=Asking.unseen)


def test_who_guesses_scores_the_chance_level():
    rng = random.Random(0)

    def guess(prompt):
        return rng.choice(parts(prompt)[0])[1]

    samples, found, _ = measure(
        guess, lengths=[1000], depths=[0.0, 1.0], samples_per_cell=50, tokens_to_generate=40
    )
    chance = 1 / samples[0]["pairs"]
    assert abs(found["accuracy"].value - chance) < 3 * (chance / 100) ** 0.5
    assert found["accuracy"].stderr == pytest.approx((chance * (1 - chance) / 100) ** 0.5, rel=0.3)


def test_a_file_is_asked_at_every_depth_and_its_answers_are_clustered(tmp_path):
    pairs = [[f"key{i}", f"value{i}"] for i in range(9)]
    record = {"ordered_kv_records": pairs, "key": "key4", "value": "value4"}
    (tmp_path / "kv.jsonl").write_text("\n".join([json.dumps(record)] * 2))
    fields = dict(data=str(tmp_path / "kv.jsonl"), samples_per_cell=2, depths=[0.0, 1.0])
    samples, found, subject = measure(**fields)
    assert found["accuracy"].value == 1 and found["accuracy_pairs_9"].n == 4
    assert {sample["prompt"] for sample in samples} == {"file/0", "file/1"}
    first, *_, last = subject.sessions
    moved = parts(bytes(first.tokens[: samples[0]["prompt_tokens"]]).decode())[0]
    assert moved[0] == ("key4", "value4") and len(moved) == 9
    assert parts(bytes(last.tokens[: samples[-1]["prompt_tokens"]]).decode())[0][-1][0] == "key4"
    small = saying(knowing, ENDS)
    small.max_length = 300
    with pytest.raises(ValueError, match=r"kv.jsonl, line 1: .* take \d+ tokens, .* at most 300"):
        KeyValueRetrieval(**fields).check(small)


def test_an_unseen_key_is_fed_after_the_data():
    samples, found, subject = measure(asking=Asking.unseen, depths=[0.5])
    assert found["accuracy_unseen"].value == 1 and "accuracy" not in found
    data, question, *_ = subject.sessions[0].calls
    assert data + question == samples[0]["prompt_tokens"] and question < 100


def test_lengths_that_do_not_fit_are_refused():
    subject = saying(knowing, ENDS, tokenizer=Bytes(3))
    with pytest.raises(ValueError, match=r"lengths=\[250\] .*too short"):
        KeyValueRetrieval(lengths=[250]).check(subject)
    with pytest.raises(ValueError, match="takes at most 512"):
        KeyValueRetrieval(lengths=[600]).fits("tiny", 512)
