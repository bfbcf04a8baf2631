"""The failure gallery: what was lost and won, when it was forgotten, and every text as it is."""

import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from memollm.record import Measured, Result
from memollm.report.cells import read
from memollm.report.examples import Example, Fate, collect
from memollm.report.gallery import code, markdown, page, write
from memollm.report.strip import draw, held, summary
from tests.report.runs import needle, save, windows

HOSTILE = '<script>alert("1")</script> & `x` | \x1b[31m\nnext'
FORGOTTEN = {
    "evidence": [[100, 104]],
    "forgotten_evidence": [
        [None, None, None, None],
        [[100, 300], [101, 320], [102, 320], [103, 400]],
        [[100, 300], None, None, None],
    ],
    "memory": {"kept_tokens": [512.0, 256.0, 300.0], "seen_tokens": 512},
}


@pytest.fixture
def groups(tmp_path):
    """Of five answers, two are lost and one is won."""
    save(tmp_path / "0", "baseline", {"needle": needle([True, True, True, False, False])})
    right = [False, True, False, False, True]
    save(tmp_path / "1", "mild", {"needle": needle(right, question=HOSTILE, **FORGOTTEN)})
    return collect(read([tmp_path]))


def test_lost_and_won_are_told_apart(groups):
    (group,) = groups
    assert (group.cell, group.evaluation, group.pairs) == ("mode=mild", "needle", 5)
    assert [it.id for it in group.lost] == ["passkey/512/0", "passkey/512/2"]
    assert [it.id for it in group.won] == ["passkey/512/4"]
    lost = group.lost[0]
    assert (lost.expected, lost.answer, lost.baseline_answer) == ("12345", "no idea", "12345.")


def test_each_layer_says_what_became_of_the_evidence(groups):
    first, second, third = groups[0].lost[0].fates
    assert (first.kept, first.died, first.held) == (4, None, 1.0)
    assert (second.kept, second.died, second.held) == (0, (300, 400), 0.5)
    assert (third.kept, third.died) == (3, (300, 300))
    assert summary(groups[0].lost[0]) == (
        "needed: tokens 100-103 of 512; layer 0 kept all; layer 1 forgot all at 300-400; "
        "layer 2 forgot 1 of 4 at 300"
    )


def test_graded_answers_are_lost_by_how_much(tmp_path):
    scores = {"a": (1.0, 0.9), "b": (1.0, 0.2), "c": (0.5, 0.5), "d": (0.1, 0.4)}

    for side, (folder, name) in enumerate([("0", "baseline"), ("1", "mild")]):
        graded = [{"id": key, "score": it[side]} for key, it in scores.items()]
        mean = Measured(sum(it["score"] for it in graded) / 4, "share", True, 4)
        results = {"ruler": Result(1.0, {"score": mean})}
        save(tmp_path / folder, name, {"ruler": graded}, results=results)
    (group,) = collect(read([tmp_path]), limit=1)
    assert [it.id for it in group.lost] == ["b"] and [it.id for it in group.won] == ["d"]
    assert (group.lost_in_all, group.won_in_all) == (2, 1)
    assert "2 lost, 1 won; 2 are shown" in markdown([group])


def test_losses_of_text_are_no_examples(tmp_path):
    save(tmp_path / "0", "baseline", {"perplexity": windows([2.0])})
    save(tmp_path / "1", "mild", {"perplexity": windows([3.0])})
    assert collect(read([tmp_path])) == []


def test_unequal_prompts_are_no_examples(tmp_path):
    save(tmp_path / "0", "baseline", {"needle": needle([True])})
    save(tmp_path / "1", "mild", {"needle": needle([False], prompt_hash="f")})
    groups = collect(read([tmp_path]))
    assert "unequal prompts" in markdown(groups) and "unequal prompts" in page(groups)


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_every_text_is_escaped(groups):
    seen = Tags(page(groups))
    assert "script" not in seen.tags and '<script>alert("1")</script> & `x`' in seen.text
    assert seen.tags.count("article") == 3 and seen.tags.count("svg") == 3


def test_the_page_loads_nothing(groups):
    text = page(groups)
    assert not re.search(r"https?:|src=|@import|url\(|<link", text)
    assert "prefers-color-scheme: dark" in text and "width=device-width" in text


def test_markdown_keeps_a_text_in_its_fence(groups):
    text = markdown(groups)
    assert '- question: `` <script>alert("1")</script> & `x` | \\x1b[31m↵next ``' in text
    assert code("") == "` `"


def test_the_picture_is_well_formed_and_tells_each_layer(groups):
    svg = ElementTree.fromstring(draw(groups[0].lost[0]))
    texts = [it.text for it in svg.iter() if it.tag == "text"]
    assert {"layer 0", "layer 1", "layer 2", "4/4 · 100%", "0/4 · 50%", "3/4 · 59%"} <= set(texts)
    crosses = [it for it in svg.iter("path") if it.get("class") == "gone"]
    assert len(crosses) == 1, "only layer 1 forgot all"


def test_the_curve_is_the_share_that_is_held():
    assert held([4, 5, 9, 10], [6, None, 20, 20]) == [
        (4, 0.25),
        (5, 0.5),
        (6, 0.25),
        (9, 0.5),
        (10, 0.75),
        (20, 0.25),
    ]


def test_without_evidence_there_is_no_picture():
    bare = Example("a", None, "1", "2", "1", 100, [], [Fate(0, [])])
    assert draw(bare) == ""


def test_without_a_baseline_it_says_so(tmp_path):
    save(tmp_path / "1", "mild", {"needle": needle([True])})
    paths = write(collect(read([tmp_path])), tmp_path)
    assert [it.name for it in paths] == ["failures.md", "failures.html"]
    assert all("No cell has a baseline" in it.read_text() for it in paths)
