"""Perplexity: known scores of scripted subjects, and what a short memory does to them."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from memollm.evaluation.perplexity import Documents, Method, Perplexity
from tests.evaluation.scripted import Bytes, Scripted, copying, uniform


def measure(evaluation, subject):
    evaluation.prepare()
    evaluation.check(subject)
    return evaluation.metrics(list(evaluation.samples(subject)))


@pytest.mark.parametrize("method", Method)
@pytest.mark.parametrize("bos", [None, 7])
def test_a_subject_that_knows_nothing_has_the_vocabularys_perplexity(novel, method, bos):
    evaluation = Perplexity(text=novel, max_tokens=1000, context=200, method=method, stride=50)
    found = measure(evaluation, Scripted(uniform, tokenizer=Bytes(bos)))
    assert found["perplexity"].value == pytest.approx(256, rel=1e-5)
    assert found["nll"].value == pytest.approx(math.log(256), rel=1e-5)
    assert found["bits_per_byte"].value == pytest.approx(8, rel=5e-3)  # é at a window's edge
    assert (
        found["nll"].n
        == {
            (Method.streaming, None): 5 * 199,
            (Method.streaming, 7): 5 * 199,  # the BOS token takes a place
            (Method.strided, None): 199 + 4 * 50,
            (Method.strided, 7): 199 + 4 * 50,
        }[method, bos]
    )


def test_all_of_a_text_is_scored_once_and_its_bytes_counted_exactly(novel):
    evaluation = Perplexity(text=novel, max_tokens=None, context=512)
    subject = Scripted(uniform, tokenizer=Bytes(7))
    evaluation.prepare()
    samples = list(evaluation.samples(subject))
    text = Path(novel).read_bytes()
    assert sum(s["tokens"] for s in samples) == sum(s["bytes"] for s in samples) == len(text)
    assert [s["fed"][1] for s in samples[:-1]] == [s["fed"][0] for s in samples[1:]]


def test_windows_of_a_budget_lie_evenly_over_the_text(novel):
    evaluation = Perplexity(text=novel, max_tokens=1000, context=200)
    evaluation.prepare()
    starts = [s["fed"][0] for s in evaluation.samples(Scripted(uniform))]
    length = len(Path(novel).read_bytes())
    assert len(starts) == 5 and starts[0] == 0
    gaps = [b - a for a, b in zip(starts, starts[1:], strict=False)]
    assert max(gaps) - min(gaps) <= 200 and starts[-1] > 0.7 * length


def test_what_lies_beyond_the_memory_is_what_is_lost(tmp_path):
    """The same 90 characters, all different, over and over: each recurs after 90 tokens."""
    (tmp_path / "t.txt").write_text("".join(map(chr, range(33, 123))) * 20)
    evaluation = Perplexity(text=str(tmp_path / "t.txt"), max_tokens=None, context=1800)
    whole = measure(evaluation, Scripted(copying))
    short = measure(evaluation, Scripted(copying, window=80))
    assert whole["nll_distance_64_128"].value == pytest.approx(0)
    assert short["nll_distance_64_128"].value == pytest.approx(math.log(256))
    assert short["nll_distance_none"].value == whole["nll_distance_none"].value
    assert whole["nll_position_1024_2048"].value == pytest.approx(0)
    assert short["nll_position_1024_2048"].value == pytest.approx(math.log(256))


def test_documents_keep_apart_when_asked_to(tmp_path):
    (tmp_path / "d.jsonl").write_text('{"text": "aaaaaa"}\n{"text": ""}\n{"text": "bbbb"}\n')
    source = str(tmp_path / "d.jsonl")
    subject = Scripted(uniform)
    evaluation = Perplexity(text=source, documents=Documents.separate, max_tokens=None, context=4)
    evaluation.prepare()
    evaluation.check(subject)
    fed = [(s["document"], *s["fed"]) for s in evaluation.samples(subject)]
    assert fed == [(0, 0, 4), (0, 4, 6), (2, 0, 4)]
    assert [bytes(s.tokens) for s in subject.sessions] == [b"aaaa", b"aa", b"bbbb"]


def test_a_context_beyond_the_models_is_refused_with_both_numbers(novel):
    evaluation = Perplexity(text=novel, context=4096)
    with pytest.raises(ValueError, match=r"perplexity.context=4096 .* 2048 tokens"):
        evaluation.check(Scripted(uniform, max_length=2048))


def test_a_text_shorter_than_one_window_is_refused(tmp_path):
    (tmp_path / "short.txt").write_text("Too short.")
    evaluation = Perplexity(text=str(tmp_path / "short.txt"), context=64, max_tokens=64)
    with pytest.raises(ValueError, match=r"short.txt' holds 10 tokens.*context=64"):
        evaluation.check(Scripted(uniform))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"context": 1}, "context=1 .* at least 2"),
        ({"method": Method.strided, "stride": 0}, "stride=0 .* between 1 and"),
        ({"method": Method.strided, "stride": 5000}, "stride=5000 .* between 1 and"),
        ({"max_tokens": 100}, "max_tokens=100 .*context=4096"),
        ({"context": None, "method": Method.strided}, "context=null .*method=strided"),
    ],
)
def test_settings_that_mean_nothing_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Perplexity(**fields)


@pytest.fixture
def documents(tmp_path):
    """Three documents, of 6, 11 and 4 tokens."""
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": "aaaaaa"}\n{"text": "bbbbbbbbbbb"}\n{"text": "cccc"}\n')
    return str(path)


def test_a_document_that_is_cut_is_counted_and_told(documents):
    evaluation = Perplexity(
        text=documents, documents=Documents.separate, max_tokens=None, context=6
    )
    evaluation.prepare()
    samples = list(evaluation.samples(Scripted(uniform)))
    found = evaluation.metrics(samples)
    assert found["cut_documents"].value == 1 and found["cut_documents"].n == 3
    told = [(s["document"], s["document_tokens"], *s["fed"]) for s in samples]
    assert told == [(0, 6, 0, 6), (1, 11, 0, 6), (1, 11, 6, 11), (2, 4, 0, 4)]


@pytest.mark.parametrize("bos", [None, 7])
def test_without_a_context_no_document_is_ever_cut(documents, bos):
    subject = Scripted(uniform, tokenizer=Bytes(bos), max_length=11 + (bos is not None))
    evaluation = Perplexity(
        text=documents, documents=Documents.separate, max_tokens=None, context=None
    )
    found = measure(evaluation, subject)
    opened = [] if bos is None else [bos]
    fed = [[*opened, *b"aaaaaa"], [*opened, *b"bbbbbbbbbbb"], [*opened, *b"cccc"]]
    assert [session.tokens for session in subject.sessions] == fed
    assert found["cut_documents"].value == 0 and found["cut_documents"].n == 3


def test_a_document_longer_than_the_models_positions_is_refused(documents):
    evaluation = Perplexity(text=documents, documents=Documents.separate, context=None)
    with pytest.raises(ValueError, match=r"holds 11 tokens in document 1, .* at most 10; .*cut"):
        evaluation.check(Scripted(uniform, max_length=10))
    joined = Perplexity(text=documents, context=None)
    with pytest.raises(ValueError, match=r"holds 25 tokens in document 0, .* at most 10"):
        joined.check(Scripted(uniform, max_length=10))


def test_whole_documents_within_a_budget(documents):
    evaluation = Perplexity(
        text=documents, documents=Documents.separate, context=None, max_tokens=10
    )
    subject = Scripted(uniform)
    measure(evaluation, subject)
    assert sum(len(session.tokens) for session in subject.sessions) <= 10
    with pytest.raises(ValueError, match="max_tokens=3 .*no whole document"):
        replace(evaluation, max_tokens=3).check(Scripted(uniform))


def test_several_texts_have_metrics_each_and_no_mean(tmp_path, novel, documents):
    other = tmp_path / "sub" / "novel.txt"
    other.parent.mkdir()
    other.write_text("".join(map(chr, range(33, 123))) * 10)
    fields = {"max_tokens": 600, "context": 300}
    several = Perplexity(text=[novel, str(other)], **fields)
    subject = Scripted(copying, window=250)
    found, one = measure(several, subject), {}
    for label, text in (("novel", novel), ("novel_2", str(other))):
        alone = measure(Perplexity(text=text, **fields), subject)
        one |= {f"{name}_{label}": metric for name, metric in alone.items()}
    assert found == one
    samples = list(several.samples(subject))
    assert len(samples) == several.size(subject) == len({s["id"] for s in samples}) == 4
    assert [s["corpus"] for s in samples] == ["novel", "novel", "novel_2", "novel_2"]
    assert several.fingerprint() == " ".join(dict.fromkeys(s["text"] for s in samples))
    with pytest.raises(ValueError, match="sub/novel.txt.* has changed since"):
        several.metrics([*samples[:3], {**samples[3], "text": "another"}])


def test_the_same_window_has_the_same_hash(novel, tmp_path):
    evaluation = Perplexity(text=novel, max_tokens=600, context=300)
    hashes = [s["prompt_hash"] for s in evaluation.samples(Scripted(uniform))]
    short = [s["prompt_hash"] for s in evaluation.samples(Scripted(uniform, window=9))]
    opened = [s["prompt_hash"] for s in evaluation.samples(Scripted(uniform, tokenizer=Bytes(7)))]
    assert hashes == short and len(set(hashes)) == 2 and not set(hashes) & set(opened)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ([], "give a text, or a list"),
        (7, "text=7 is not allowed"),
        (["bundled", 7], "7 is not a text's name"),
        (["bundled", "bundled"], "'bundled' comes twice"),
        (["bundled", "nowhere.txt"], "text='nowhere.txt': there is no such file"),
    ],
)
def test_what_is_no_list_of_texts_is_refused(text, message):
    with pytest.raises(ValueError, match=f"perplexity.text.*{message}|{message}"):
        Perplexity(text=text).prepare()
