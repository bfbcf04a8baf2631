"""Text: where it comes from, and what is said when it does not."""

import hashlib
import json

import datasets
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memollm.evaluation import text as text_module
from memollm.evaluation.text import byte_length, load
from tests.evaluation.scripted import Bytes

KEY = "evaluation.perplexity.text"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "set" / "test.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps({"text": t, "n": 1}) + "\n" for t in ("one", "", "two")))
    return path


def test_a_text_file_is_one_document_with_the_fingerprint_of_the_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes("grey\n\n\nmorning é".encode())
    found = load(str(path), "text", KEY)
    assert found.documents == ("grey\n\n\nmorning é",)
    assert found.fingerprint == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_bundled_text_is_the_references(tmp_path, monkeypatch):
    path = tmp_path / "english.txt"
    path.write_text("It was a dark night.")
    monkeypatch.setattr(text_module, "text_path", lambda: path)
    assert load("bundled", "text", KEY).joined == "It was a dark night."


def test_rows_of_a_data_set_are_documents_joined_as_the_guide_does(lines):
    found = load(str(lines), "text", KEY)
    assert found.documents == ("one", "", "two")
    assert found.joined == "one\n\n\n\ntwo"


def test_a_folder_is_a_data_set_whose_test_split_comes_first(lines):
    (lines.parent / "train.jsonl").write_text('{"text": "three", "n": 1}\n')
    assert load(str(lines.parent), "text", KEY).documents == ("one", "", "two")
    assert load(f"{lines.parent}::train", "text", KEY).documents == ("three",)
    assert load(f"{lines.parent}::test[2:]", "text", KEY).documents == ("two",)


def test_a_name_is_taken_apart_into_name_config_and_split(monkeypatch):
    asked = []

    def load_dataset(*args, **options):
        asked.append((args, options))
        return datasets.Dataset.from_dict({"text": ["one"]})

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    load("Salesforce/wikitext:wikitext-2-raw-v1:test", "text", KEY)
    assert asked == [(("Salesforce/wikitext", "wikitext-2-raw-v1"), {"split": "test"})]


@pytest.mark.parametrize("source", ["nowhere.txt", "./nowhere", "/no/where", "~/nowhere.md", ""])
def test_what_is_written_as_a_file_is_looked_for_as_one(source):
    with pytest.raises(ValueError, match="no such file") as refused:
        load(source, "text", KEY)
    assert f"{KEY}={source!r}" in str(refused.value)
    assert "'bundled'" in str(refused.value) and "<name>:<config>:<split>" in str(refused.value)


def test_a_missing_bundled_text_is_a_missing_file(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "text_path", lambda: tmp_path / "english.txt")
    with pytest.raises(ValueError, match="no such file"):
        load("bundled", "text", KEY)


def test_an_unknown_name_is_told_with_both_readings(monkeypatch):
    def load_dataset(*args, **options):
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'wikitxt' doesn't exist")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(ValueError, match=r"no file or folder 'wikitxt' here.*data set it cannot"):
        load("wikitxt", "text", KEY)


def test_what_a_file_may_not_be(tmp_path):
    (tmp_path / "latin.txt").write_bytes("caf\u00e9".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8 .byte 3"):
        load(str(tmp_path / "latin.txt"), "text", KEY)
    (tmp_path / "blank.txt").write_text(" \n\n")
    with pytest.raises(ValueError, match="is empty"):
        load(str(tmp_path / "blank.txt"), "text", KEY)


def test_what_a_source_may_not_ask_for(lines, tmp_path):
    (tmp_path / "a.txt").write_text("grey")
    with pytest.raises(ValueError, match="neither configuration nor split"):
        load(f"{tmp_path / 'a.txt'}:a:test", "text", KEY)
    with pytest.raises(ValueError, match="cannot be loaded"):
        load(f"{lines}::nosuch", "text", KEY)


def test_a_split_is_asked_for_where_none_is_customary(monkeypatch):
    odd = datasets.DatasetDict(odd=datasets.Dataset.from_dict({"text": ["one"]}))
    monkeypatch.setattr(datasets, "load_dataset", lambda *args, **options: odd)
    with pytest.raises(ValueError, match=r"name a split, as wiki:raw:<split>; there are odd"):
        load("wiki:raw", "text", KEY)


def test_a_column_that_is_not_there_is_refused_with_those_that_are(lines):
    with pytest.raises(ValueError, match=r"perplexity.column='txt'.*text, n; did you mean 'text'"):
        load(str(lines), "txt", KEY)
    with pytest.raises(ValueError, match="is not all text"):
        load(str(lines), "n", KEY)


@given(st.text(max_size=20).filter(lambda t: "\ufffd" not in t), st.data())
def test_the_bytes_of_a_texts_parts_add_up_to_the_whole(text, data):
    ids = list(text.encode())
    cut = data.draw(st.integers(0, len(ids)))
    parts = byte_length(Bytes(), ids, 0, cut) + byte_length(Bytes(), ids, cut, len(ids))
    assert parts == len(ids)
