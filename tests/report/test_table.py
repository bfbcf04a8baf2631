"""The table: each cell once, beside its baseline, with as many digits as it deserves."""

import csv
import math
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pandas
import pytest
from rich.console import Console

from memollm import record
from memollm.record import Failure, Measured, Memory, Result, RunRecord, Status
from memollm.report import files
from memollm.report.__main__ import main
from memollm.report.cells import Cells, read, with_baselines
from memollm.report.settings import differing, settings, shared
from memollm.report.table import Entry, table
from memollm.report.terminal import conclude, show
from memollm.report.wording import entry, kept, number, size

SOURCE = Path(__file__).parents[2] / "src"


def run(mode="sparse_attention", perplexity=10.0, threshold=0.01, started="1", **changes):
    """A finished record, without a file."""
    memory = {"name_": "ebbinghaus", "sinks": 4, "threshold": threshold}
    config = {
        "model": {"name_": "hf", "name": "org/model", "dtype": "float32"},
        "mode": {"name_": mode},
        "memory": None if mode == "baseline" else memory,
        "evaluation": {"perplexity": {"name_": "perplexity", "context": 512}},
        "tracker": {"name_": "none"},
        "threshold": threshold,
        "seed": 0,
    }
    metrics = {
        "nll": Measured(math.log(perplexity), "nats", False, 8, 0.01),
        "perplexity": Measured(perplexity, "", False, 8, 0.1),
    }
    own = "of the baseline" if mode == "baseline" else f"of {mode} at {threshold}"
    begun = RunRecord(
        status=Status.finished,
        config=config,
        config_hash=f"cell {own}",
        provenance={"started": started},
        results={"perplexity": Result(1.0, metrics)},
        memory=Memory([50.0, 100.0], 100, 750.0, 1000.0),
        evaluation_hashes={"perplexity": f"result {own}"},
        baseline_hashes={"perplexity": "result of the baseline"},
    )
    return replace(begun, **changes)


@pytest.fixture
def saved(tmp_path):
    """Save records under numbered folders, and read them back as cells."""

    def save(*runs, root=tmp_path) -> Cells:
        for index, it in enumerate(runs):
            (root / str(index)).mkdir(parents=True)
            record.save(it, root / str(index))
        return read([root])

    return save


FAILED = {
    "status": Status.failed,
    "error": Failure("ValueError", "a | b [x]", "..."),
    "results": {},
}


def test_each_cell_is_there_once_the_finished_one_before_the_newer(saved):
    old, failed = run(started="1"), run(started="2", **FAILED)
    cells = saved(failed, old, run(threshold=0.3, started="0"), run("baseline", started="9"))
    hashes = [cell.record.config_hash for cell in cells.cells]
    assert hashes == [
        "cell of the baseline",
        "cell of sparse_attention at 0.3",
        "cell of sparse_attention at 0.01",
    ]
    assert cells.cells[2].record.status == Status.finished


def test_unreadable_files_are_counted_and_do_no_harm(saved, tmp_path):
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "record.json").write_text("{")
    cells = saved(run())
    assert len(cells.cells) == 1
    assert files.unfinished(table(cells)) == ["1 record.json could not be read"]


def test_a_delta_is_taken_from_the_cells_own_baseline(saved):
    compared = table(saved(run("baseline", 10.0), run(perplexity=11.0), run("other", 10.1)))
    (column,) = compared.columns
    deltas = [row.entries[column].delta for row in compared.rows]
    assert deltas == [None, 1.0, pytest.approx(0.1)]
    # Without samples nobody knows what the difference is worth.
    assert [row.entries[column].better for row in compared.rows] == [None, None, None]
    assert compared.rows[1].entries[column].unpaired == "no samples to pair"


def test_a_baseline_of_something_else_is_none(saved):
    other = run("baseline", evaluation_hashes={"perplexity": "of another text"})
    compared = table(saved(other, run()))
    assert all(it.delta is None for row in compared.rows for it in row.entries.values())


def test_the_newest_baseline_is_fetched_from_other_runs(saved, tmp_path):
    saved(run("baseline", 9.0), run("baseline", 8.0, started="2"), root=tmp_path / "outputs")
    cells = with_baselines(saved(run(), root=tmp_path / "mine"), tmp_path / "outputs")
    assert [
        cell.record.results["perplexity"].metrics["perplexity"].value for cell in cells.cells
    ] == [
        8.0,
        10.0,
    ]


def test_columns_are_headlines_with_the_direction_in_which_better_lies(saved):
    other = {"m": Measured(1.0, "", None, 1), "n": Measured(2.0, "", True, 1)}
    results = {**run().results, "other": Result(1.0, other)}
    headings = [column.heading for column in table(saved(run(results=results))).columns]
    assert headings == ["perplexity ↓", "other m"]


def test_only_what_differs_has_a_column(saved):
    compared = table(saved(run("baseline"), run(threshold=0.1), run(threshold=0.3)))
    assert compared.settings == ["mode", "threshold"]
    assert compared.shared == {"model": "org/model", "seed": "0"}


def test_a_setting_that_only_one_mode_has_tells_nothing_apart():
    cells = [{"mode": "a", "mode.floor": "0.8"}, {"mode": "b"}]
    assert differing(cells) == ["mode"] and shared(cells) == {}


def test_settings_have_the_names_that_people_type():
    flat = settings(run().config)
    assert flat["memory.sinks"] == "4" and flat["evaluation.perplexity.context"] == "512"
    assert flat["threshold"] == "0.01" and "memory.threshold" not in flat
    assert not any(key.startswith("tracker") for key in flat)


def test_unfinished_cells_are_listed_with_their_reason(saved):
    compared = table(saved(run(**FAILED), run("baseline", status=Status.running, results={})))
    lines = files.unfinished(compared)
    assert compared.rows == []
    assert lines[0].startswith("running: mode=baseline: still running, or killed")
    assert lines[1].startswith("failed: mode=sparse_attention: ValueError: a | b [x]")


def test_the_terminal_shows_words_as_they_are(saved, capsys):
    show(table(saved(run(), run("[red]", **FAILED))), Console(width=300))
    shown = capsys.readouterr().out
    assert "10.00 ±0.10" in shown and "mode=[red]: ValueError: a | b [x]" in shown


def test_markdown_has_a_row_for_each_cell_and_escapes_bars(saved):
    text = files.markdown(table(saved(run("baseline"), run("a|b", 11.0))))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == "| mode | perplexity ↓ | kept tokens | KV bytes |"
    assert rows[3] == "| a\\|b | 11.00 ±0.10, +1, unpaired | 75 of 100 (75%) | 750 B (75%) |"


def test_the_csv_has_every_metric(saved):
    (row,) = csv.DictReader(StringIO(files.comma_separated(table(saved(run())))))
    assert float(row["perplexity/nll"]) == pytest.approx(math.log(10))
    assert row["perplexity/perplexity/stderr"] == "0.1" and row["perplexity/perplexity/n"] == "8"
    assert row["memory/kept_tokens"] == "75.0" and row["threshold"] == "0.01"


def test_the_parquet_has_what_the_csv_has_with_types(saved, tmp_path):
    files.write(table(saved(run(mode="baseline"), run(perplexity=11.0))), tmp_path)
    typed = pandas.read_parquet(tmp_path / "table.parquet")
    text = pandas.read_csv(tmp_path / "table.csv")
    assert list(typed.columns) == list(text.columns)
    assert typed["perplexity/perplexity"].tolist() == [10.0, 11.0]
    assert typed["mode"].tolist() == text["mode"].tolist()


@pytest.mark.parametrize(
    ("states", "code"),
    [
        ([{}], 0),
        ([{}, FAILED], 1),
        ([{"status": Status.running}], 1),
        ([{"status": Status.failed, "error": Failure("Refused", "no", "")}], 2),
    ],
)
def test_the_exit_code_says_whether_all_went_well(saved, tmp_path, states, code):
    saved(*(run(threshold=index / 10, **state) for index, state in enumerate(states)))
    assert conclude(tmp_path, tmp_path / "none", Console(quiet=True)) == code


def test_no_record_at_all_is_a_failure(tmp_path):
    assert conclude(tmp_path, tmp_path, Console(quiet=True)) == 1


@pytest.mark.parametrize(
    ("value", "stderr", "unit", "text"),
    [
        (0.8333, 0.0211, "share", "83.3 ±2.1%"),
        (1234.5, None, "", "1234"),
        (math.nan, None, "", "nan"),
        (math.inf, math.nan, "", "inf ±nan"),
        (2.0, 0.0, "", "2 ±0"),
        (123456.7, 2345.0, "", "123457 ±2345"),
    ],
)
def test_a_value_has_the_digits_that_its_error_deserves(value, stderr, unit, text):
    assert entry(Entry([Measured(value, unit, True, 4, stderr)])) == text


def test_what_is_not_there_is_a_dash():
    assert entry(None) == kept(None) == "–" and number(-math.inf) == "-inf"


def test_sizes_have_their_unit():
    assert [size(it) for it in (0.0, 999.0, 1500.0, 2.5e9)] == ["0 B", "999 B", "1.5 kB", "2.5 GB"]


def test_the_command_writes_the_table_where_the_runs_are(saved, tmp_path, capsys):
    saved(run("baseline"), run())
    assert main([str(tmp_path)]) == 0
    assert (tmp_path / "table.md").read_text() in files.markdown(table(read([tmp_path])))
    assert "table.csv" in capsys.readouterr().out


@pytest.mark.parametrize("path", ["nowhere", "."])
def test_the_command_refuses_a_folder_without_runs(tmp_path, monkeypatch, capsys, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main([path])
    assert stopped.value.code == 2 and path in capsys.readouterr().err


def test_the_command_needs_no_torch(saved, tmp_path):
    saved(run())
    code = f"import sys; sys.argv = ['report', {str(tmp_path)!r}]; import runpy\n"
    code += "try: runpy.run_module('memollm.report', run_name='__main__')\n"
    code += "except SystemExit as end: assert end.code == 0\n"
    code += "assert not {'torch', 'transformers', 'hydra'} & sys.modules.keys()"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={"PYTHONPATH": str(SOURCE)}, timeout=60
    )
