"""Data files: what is wrong is said with file, line and field, before a model is loaded."""

import gzip
import json

import pytest

from memollm.evaluation.key_value import KeyValueRetrieval
from memollm.evaluation.ruler import Ruler
from memollm.evaluation.tasks.key_value import read
from memollm.evaluation.tasks.ruler import RulerTask
from tests.evaluation import question_files

PAIRS = [["k1", "v1"], ["k2", "v2"], ["k3", "v3"]]
RECORD = {"ordered_kv_records": PAIRS, "key": "k2", "value": "v2"}

ASKED = ["data", 0, "paragraphs", 0, "qas", 0]


def changed(data, path, value):
    """A copy of ``data`` with another value at ``path``; without one, with none."""
    data = json.loads(json.dumps(data))
    inner = data
    for step in path[:-1]:
        inner = inner[step]
    if value is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return data


def refused(tmp_path, build, content: bytes, name: str) -> str:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        build(str(path)).prepare()
    return str(error.value)


def key_value(path):
    return KeyValueRetrieval(data=path, samples_per_cell=1)


def qa_1(path):
    return Ruler(tasks=[RulerTask.qa_1], squad=path)


def qa_2(path):
    return Ruler(tasks=[RulerTask.qa_2], hotpotqa=path)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["key"], None, "line 2 lacks the field 'key'"),
        (["value"], None, "line 2 lacks the field 'value'"),
        (["value"], "", "line 2, field value is empty"),
        (["value"], 7, "line 2, field value must be text, got 7"),
        (
            ["value"],
            "v3",
            "line 2: ordered_kv_records has no pair of the key 'k2' and the value 'v3'",
        ),
        (["key"], "k9", "no pair of the key 'k9'"),
        (["ordered_kv_records"], None, "line 2 lacks the field 'ordered_kv_records'"),
        (["ordered_kv_records"], {}, "line 2, field ordered_kv_records must be a list, got {}"),
        (["ordered_kv_records"], PAIRS[1:2], "must have at least two pairs"),
        (["ordered_kv_records", 1], ["k2"], r"ordered_kv_records[1] must be a key and a value"),
        (["ordered_kv_records", 1, 1], [], "ordered_kv_records[1][1] must be text, got []"),
        (["ordered_kv_records", 0], ["k2", "v2"], "ordered_kv_records[1] has the key 'k2'"),
    ],
)
def test_key_value_fields(tmp_path, path, value, message):
    lines = [json.dumps(RECORD), json.dumps(changed(RECORD, path, value))]
    said = refused(tmp_path, key_value, "\n".join(lines).encode(), "pairs.jsonl")
    assert said.startswith("evaluation.key_value.data: pairs.jsonl, ") and message in said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"key": 1\n', "pairs.jsonl, line 1, column 10: not json"),
        (json.dumps(RECORD).encode() + b"\n\n[1, 2", "pairs.jsonl, line 3, column 6: not json"),
        (b"[]", "pairs.jsonl, line 1 must be an object with the field 'ordered_kv_records'"),
        (b"\n\n", "pairs.jsonl is empty"),
        (b'{"a": 1}\n{"b": "\xe9"}', "pairs.jsonl, line 2 is not UTF-8 (byte 16"),
    ],
)
def test_lines_that_cannot_be_read(tmp_path, content, message):
    assert message in refused(tmp_path, key_value, content, "pairs.jsonl")


def test_a_file_that_is_not_there_or_not_what_its_name_says(tmp_path):
    with pytest.raises(ValueError, match=r"key_value.data=.*none.jsonl.*cannot be read: No such"):
        key_value(str(tmp_path / "none.jsonl")).prepare()
    assert "cannot be read: Not a gzipped" in refused(tmp_path, key_value, b"{}", "pairs.jsonl.gz")


def test_the_published_file_is_read_as_it_is(tmp_path):
    lines = "\n".join(json.dumps(RECORD) for _ in range(3)) + "\n"
    (tmp_path / "pairs.jsonl").write_text(lines)
    (tmp_path / "pairs.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    plain, packed = (read(str(tmp_path / f"pairs.jsonl{end}"), "key") for end in ("", ".gz"))
    assert plain == packed and len(plain[0]) == 3
    assert plain[0][0].gold == ("k2", "v2") and len(plain[0][0].others) == 2


def test_fewer_examples_than_asked_for(tmp_path):
    (tmp_path / "pairs.jsonl").write_text(json.dumps(RECORD))
    with pytest.raises(ValueError, match=r"samples_per_cell=2 .*pairs.jsonl has 1 examples"):
        KeyValueRetrieval(data=str(tmp_path / "pairs.jsonl"), samples_per_cell=2).prepare()


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["data"], None, "squad.json lacks the field 'data'"),
        (["data"], 3, "field data must be a list, got 3"),
        (["data", 1, "paragraphs"], None, "field data[1] lacks the field 'paragraphs'"),
        (["data", 1, "paragraphs", 2, "context"], " ", "data[1].paragraphs[2].context is empty"),
        ([*ASKED, "question"], None, "qas[0] lacks the field 'question'"),
        ([*ASKED, "answers"], None, "qas[0] lacks the field 'answers'"),
        ([*ASKED, "answers"], [], "qas[0].answers has no answer"),
        ([*ASKED, "answers", 0, "text"], 5, "answers[0].text must be text"),
        ([*ASKED, "is_impossible"], "no", "is_impossible must be true or"),
        (["data"], [], "squad.json has no question that can be answered"),
    ],
)  # fmt: skip
def test_squad_fields(tmp_path, path, value, message):
    content = json.dumps(changed(question_files.squad(), path, value)).encode()
    said = refused(tmp_path, qa_1, content, "squad.json")
    assert said.startswith("evaluation.ruler.squad: squad.json") and message in said


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ([2, "question"], None, "field [2] lacks the field 'question'"),
        ([2, "answer"], "", "[2].answer is empty"),
        ([2, "context"], [], "[2].context has no paragraph"),
        ([2, "context", 4], ["title"], "[2].context[4] must be a title and a list of sentences"),
        ([2, "context", 4, 1, 0], 1, "[2].context[4][1][0] must be text"),
    ],
)
def test_hotpotqa_fields(tmp_path, path, value, message):
    content = json.dumps(changed(question_files.hotpotqa(), path, value)).encode()
    said = refused(tmp_path, qa_2, content, "hotpot.json")
    assert said.startswith("evaluation.ruler.hotpotqa: hotpot.json") and message in said


def test_json_over_several_lines(tmp_path):
    said = refused(tmp_path, qa_2, b'[\n{"question": "a",\n"answer" "b"}]', "hotpot.json")
    assert "hotpot.json, line 3, column 10: not json" in said


def test_the_fingerprint_is_the_content_s(tmp_path):
    def fingerprint(questions):
        (tmp_path / "a.json").write_text(json.dumps(question_files.hotpotqa(questions)))
        return qa_2(str(tmp_path / "a.json")).fingerprint()

    assert fingerprint(3) == fingerprint(3) != fingerprint(4)
