"""The whole report, made of what a real disk holds: sound runs, odd ones, and hostile text."""

import base64
import csv
import io
import math
import re
from html.parser import HTMLParser

import pytest

from memollm.record import Failure, Measured, Result, Status
from memollm.report.__main__ import main
from memollm.report.publish import PLOTS
from tests.report import sweeps

HOSTILE = (
    "<script>alert(1)</script> \x1b[31m \u202eturned שלום 👩‍👩‍👧 `x` | *b* $y$ " + "A" * 10_000
)
FORBIDDEN = ("<script>alert", "\x1b", "\u202e", "A" * 2000)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.addresses, self.ids = [], "", [], []
        self.downloads = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.tags.append(tag)
        self.addresses += [
            given[key] for key in ("href", "src", "srcset", "action") if key in given
        ]
        self.ids += [given["id"]] if "id" in given else []
        if "download" in given:
            self.downloads[given["download"]] = given["href"]

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """Two versions, a failed cell, one with NaN, a torn record, empty samples, a hostile name."""
    root = tmp_path_factory.mktemp("odd")
    sweeps.sweep(root, thresholds=[0.01, 0.3], strengths=[0.5])
    sweeps.broken(sweeps.cell(root / "100", "sparse_attention", 0.2, 1.0))
    error = Failure("ValueError", HOSTILE, "...")
    sweeps.cell(
        root / "101", "sparse_attention", 0.25, 1.0, status=Status.failed, results={}, error=error
    )
    nan = {"perplexity": Result(1.0, {"perplexity": Measured(math.nan, "", False, 4, math.nan)})}
    sweeps.cell(root / "102", "sparse_attention", 0.05, 1.0, results=nan)
    (sweeps.cell(root / "103", "sparse_attention", 0.07, 1.0) / "samples.jsonl").write_text("")
    sweeps.cell(root / "104", HOSTILE, 0.01, 5.0)
    newer = sweeps.cell(root / "105", "sparse_attention", 0.08, 1.0)
    sweeps.changed(newer, versions={"python": "3.11.7", "torch": "2.14.0"}, cpu="<b>Another</b>")
    assert main([str(root)]) == 0
    return root


@pytest.fixture(scope="module")
def page(odd):
    return Page((odd / "report.html").read_text(encoding="utf-8"))


def test_it_says_what_it_left_out(page):
    for words in (
        "Failed: mode=sparse_attention threshold=0.25",
        "1 record.json could not be read",
        "No finite number: mode=sparse_attention threshold=0.05",
        "needle: no samples were found, only totals: mode=sparse_attention threshold=0.07",
        "torch version 2.13.0 (9), 2.14.0 (1)",
        "9 of 11 cells finished",
    ):
        assert words in page.text, words


def test_every_text_is_text(page, odd):
    assert page.tags.count("script") == 1 and "<b>Another</b>" in page.text
    assert "<script>alert(1)</script> \\x1b[31m \\u202eturned" in page.text
    assert "(10,0" in page.text and "שלום" in page.text
    for name in ("report.html", "report.md", "table.md"):
        text = (odd / name).read_text(encoding="utf-8")
        text = re.sub(r"base64,[\w+/=]+", "", text)
        assert not [it for it in FORBIDDEN if it in text], name
    assert not [path for path in (odd / PLOTS).glob("*.svg") if "\x1b" in path.read_text()]


def test_it_loads_nothing(page, odd):
    assert all(it.startswith(("#", "data:")) for it in page.addresses)
    text = (odd / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|url\((?!#)", re.sub(r"base64,[\w+/=]+", "", text))
    assert "default-src 'none'" in text


def test_links_lead_somewhere_and_names_are_given_once(page):
    assert len(page.ids) == len(set(page.ids))
    assert {it[1:] for it in page.addresses if it.startswith("#")} <= set(page.ids)
    assert page.tags.count("h1") == 1 and "main" in page.tags and "nav" in page.tags


def test_every_figure_has_its_data_and_its_files(page, odd):
    figures = page.tags.count("figure")
    assert figures > 10 and len(page.downloads) == figures + 1
    for name, address in page.downloads.items():
        rows = list(csv.DictReader(io.StringIO(base64.b64decode(address.split(",")[1]).decode())))
        assert rows, name
        if name != "table.csv":
            plot = odd / PLOTS / name.replace(".csv", "")
            assert plot.with_suffix(".png").stat().st_size > 1000
            assert plot.with_suffix(".svg").stat().st_size > 1000
    assert len(list((odd / PLOTS).iterdir())) == 2 * figures


def test_the_markdown_says_the_same(odd):
    text = (odd / "report.md").read_text(encoding="utf-8")
    assert "## Findings" in text and "**worse**: needle accuracy: sparse" in text
    pictures = re.findall(r"!\[.*?\]\((.*?)\)\n", text)
    assert pictures and all((odd / it).is_file() for it in pictures)
    assert "1 record.json could not be read" in text


def test_what_has_no_result_has_a_report_too(tmp_path):
    error = Failure("ValueError", "no", "...")
    sweeps.cell(tmp_path / "0", "baseline", 0.1, 1.0, status=Status.failed, results={}, error=error)
    assert main([str(tmp_path)]) == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "No cell has a result" in text and "0 of 1 cells finished" in text


def test_several_sweeps_make_one_report(tmp_path):
    sweeps.cell(tmp_path / "a" / "0", "baseline", 0.01, 5.0)
    sweeps.cell(tmp_path / "b" / "0", "sparse_attention", 0.3, 0.5)
    assert main([str(tmp_path / "a"), str(tmp_path / "b"), "--out", str(tmp_path / "c")]) == 0
    text = (tmp_path / "c" / "report.html").read_text(encoding="utf-8")
    assert "2 of 2 cells finished" in text and "is worse by" in text
