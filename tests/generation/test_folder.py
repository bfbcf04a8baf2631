"""The folder for a colleague: complete, and text in it is text."""

import csv
import json
from io import StringIO

import pytest
from rich.console import Console

from memollm.generation import folder
from memollm.generation.console import side_by_side, stream_to
from memollm.generation.files import require_empty
from memollm.generation.page import page
from memollm.memory.ebbinghaus import Memory
from tests.generation.answers import comparison

NASTY = '<script>alert(1)</script> \x1b[31mred \u202eback, "quoted"\nשלום 🙂' + "x" * 10_000


class Recorded:
    """A console that keeps what is written."""

    def __init__(self) -> None:
        self.file = StringIO()
        self.console = Console(file=self.file, width=200)


def test_the_folder_says_what_was_asked_how_and_with_what(tmp_path):
    settings = {"model": "reference", "max_tokens": 4}
    written = folder.write([comparison(), comparison(ids=[5, 1])], settings, tmp_path / "out")
    assert {path.name for path in written} == {
        "README.md", "answers.csv", "answers.html", "prompts.jsonl", "config.json", "versions.json",
    }  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "out" / "answers.csv").open()))
    assert [row["mode"] for row in rows] == ["baseline", "sparse_attention"] * 2
    assert [row["differs_from_first_at_token"] for row in rows] == ["", "", "", "2"]
    assert float(rows[1]["kept_share"]) == (0.5 + 3) / 4
    assert json.loads((tmp_path / "out" / "config.json").read_text()) == settings
    assert "torch" in json.loads((tmp_path / "out" / "versions.json").read_text())["versions"]
    prompts = (tmp_path / "out" / "prompts.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in prompts] == [{"prompt": "Why?"}] * 2
    assert "2 prompts" in (tmp_path / "out" / "README.md").read_text()


def test_whatever_a_model_says_is_shown_as_text(tmp_path):
    told = [comparison(text=NASTY, prompt=NASTY)]
    html = page(told, {"prompt": NASTY})
    assert "<script" not in html and "\x1b" not in html and "\u202e" not in html
    assert "&lt;script&gt;" in html and "http" not in html
    folder.write(told, {}, tmp_path)
    (_, row) = csv.DictReader((tmp_path / "answers.csv").open(newline=""))
    assert row["text"] == NASTY
    recorded = Recorded()
    stream_to(recorded.console, "\x1b[2Jgone\nnext")
    assert "\x1b" not in recorded.file.getvalue()
    assert "[2Jgone\nnext" in recorded.file.getvalue()


def test_side_by_side_shows_texts_numbers_and_where_they_part():
    recorded = Recorded()
    told = comparison(ids=[5, 6, 9, 8], text="so it was")
    side_by_side(recorded.console, told, Memory(), str)
    said = recorded.file.getvalue()
    for words in ("so it is", "so it was", "from token 3", "88%", "differs from baseline"):
        assert words in said


def test_a_folder_that_holds_something_is_refused(tmp_path):
    require_empty(tmp_path / "new", "--out")
    require_empty(tmp_path, "--out")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="--out=.* exists and is not an empty folder"):
        require_empty(tmp_path, "--out")
