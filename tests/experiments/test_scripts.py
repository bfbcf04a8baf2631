"""The scripts: they say how they are used, refuse what is wrong, and leave what they promise."""

import csv
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from memollm.reference import weights_path

REPOSITORY = Path(__file__).parents[2]
SCRIPTS = ("demo", "performance", "sparsity_analysis")


def script(name):
    return importlib.import_module(f"experiments.{name}")


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_shows_every_option(name, capsys):
    with pytest.raises(SystemExit) as ended:
        script(name).main(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0 and "--model" in said and "--memory_strength" in said


def test_a_script_runs_as_a_file():
    """Python then looks for modules beside the file, not in the root."""
    command = [sys.executable, str(REPOSITORY / "experiments" / "performance.py"), "--turns", "0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "performance.py: --turns=0 is not allowed, at least 1 is\n"


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("demo", ["--max_tokens", "0"], "max_tokens=0"),
        ("demo", ["--temperature", "-1"], "temperature=-1.0"),
        ("demo", ["--threshold", "2"], "threshold"),
        ("demo", ["--prompt", ""], "--prompt is empty"),
        ("demo", ["--prompts", "no_such_file.txt"], "no_such_file.txt"),
        ("demo", ["--out", str(REPOSITORY)], "not an empty folder"),
        ("demo", ["--model", "./no/such/folder"], "no config.json"),
        ("performance", ["--fresh", "-1"], "--fresh=-1"),
        ("performance", ["--short", "30"], "--short=30"),
        ("performance", ["--layer_fraction", "0"], "layer_fraction=0"),
        ("performance", ["--model", "./no/such/folder"], "no config.json"),
        ("sparsity_analysis", ["--memory_strength", "0"], "memory_strength=0"),
        ("sparsity_analysis", ["--max_tokens", "0"], "--max_tokens=0"),
        ("sparsity_analysis", ["--file", "no_such_file.txt"], "no_such_file.txt"),
    ],
)
def test_a_wrong_value_is_refused(name, arguments, told, capsys):
    assert script(name).main(arguments) == 2
    said = capsys.readouterr().err
    assert told in said and said.startswith(f"{name}.py: ")


def test_an_unknown_mode_is_refused(capsys):
    with pytest.raises(SystemExit) as ended:
        script("demo").main(["--mode", "sprase"])
    assert ended.value.code == 2 and "sparse_attention" in capsys.readouterr().err


def test_the_demo_shows_an_answer_and_what_each_layer_forgot(capsys):
    arguments = [
        "--max_tokens",
        "6",
        "--memory_strength",
        "0.01",
        "--threshold",
        "0.5",
        "--verbose",
    ]
    assert script("demo").main([*arguments, "--prompt", "The old house " * 12]) == 0
    said = capsys.readouterr().out
    assert said.startswith("The old house") and "6 tokens in" in said
    assert "layer 0:" in said and "forgotten: " in said and "retention" in said


def test_a_batch_leaves_a_folder(tmp_path, capsys):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("The road went\nShe said\n")
    out = tmp_path / "answers"
    arguments = ["--prompts", str(prompts), "--out", str(out), "--max_tokens", "4"]
    assert script("demo").main([*arguments, "--model", str(weights_path())]) == 0
    rows = list(csv.DictReader((out / "answers.csv").open(newline="")))
    assert len(rows) == 6 and {row["tokens"] for row in rows} == {"4"}
    assert "Prompt 2 of 2" in capsys.readouterr().out


def test_the_analysis_leaves_a_picture_and_pages(tmp_path, capsys):
    arguments = ["--prompt_tokens", "80", "--max_tokens", "12", "--memory_strength", "0.02"]
    assert script("sparsity_analysis").main([*arguments, "--out", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert {it.name for it in tmp_path.iterdir()} == {
        "sparsity.png", "sparsity.html", "retention.html",
    }  # fmt: skip
    assert "Kinds of words" in said and "with the memory" in said
    first = next(line for line in said.splitlines() if line.startswith("0 ")).split()
    forgotten, held, read = float(first[1]), int(first[5]), int(first[7])
    assert read == 91 and 0 < held < read  # the last token has not been read
    assert forgotten == pytest.approx(100 * (1 - held / read), abs=0.06)  # trace and cache agree
    page = (tmp_path / "sparsity.html").read_text()
    assert "data:image/png;base64," in page and "http" not in page.replace("http-equiv", "")
    assert (tmp_path / "sparsity.png").read_bytes().startswith(b"\x89PNG")
