"""The history: which runs are found, what is told of them, what may be removed."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console

from memollm import record
from memollm.record import Failure, Status
from memollm.report.inert import visible
from memollm.runs import chosen, comparison
from memollm.runs.__main__ import main
from memollm.runs.found import Unclear, history
from tests.report.runs import needle, save, windows

HOSTILE = "<script>alert(1)</script>\x1b[31m[red]\u202e👩‍👩‍👧" + "x" * 10_000


@pytest.fixture
def outputs(tmp_path):
    """A sweep of three, a failed run, one that is running, and a file that is no record."""
    now, sweep = datetime.now(UTC), tmp_path / "multirun" / "2026-11-20" / "10-00-00"
    origin = {
        "started": (now - timedelta(days=3)).isoformat(),
        "commit": "aaa",
        "versions": {"t": 1},
    }
    right = [[True] * 8, [True] * 5 + [False] * 3, [True] * 2 + [False] * 6]
    for i, (mode, threshold) in enumerate(
        [("baseline", 0.1), ("soft_delete", 0.1), ("sparse_attention", 0.2)]
    ):
        loss = [3.0 + 0.1 * i + 0.01 * j for j in range(8)]
        measured = {"needle": needle(right[i]), "perplexity": windows(loss)}
        save(sweep / str(i), mode, measured, threshold, provenance=origin, config_hash=f"{i}" * 16)
    (sweep / "multirun.yaml").write_text("")
    later = {**origin, "started": (now - timedelta(hours=1)).isoformat(), "commit": "bbb"}
    error = Failure("ValueError", HOSTILE, "Traceback\n  \x1b[31mhere")
    save(
        tmp_path / "2026-11-22" / "09-00-00", "soft_delete", {"needle": needle([True])}, 0.3,
        status=Status.failed, error=error, results={}, provenance=later, config_hash="abcdef0123",
        reused_from={"perplexity": str(sweep / "1")},
    )  # fmt: skip
    save(
        tmp_path / "2026-11-22" / "09-30-00", "soft_delete", {"needle": needle([True])}, 0.4,
        status=Status.running, config_hash="abcd99",
        provenance={**later, "started": now.isoformat()},
    )  # fmt: skip
    broken = tmp_path / "2026-11-22" / "10-00-00"
    broken.mkdir()
    (broken / "record.json").write_text('{"status"')
    return tmp_path


@pytest.fixture
def call(outputs, capsys):
    def call(*arguments):
        text = io.StringIO()
        console = Console(file=text, width=400)
        code = main([*arguments, "--outputs", str(outputs)], console)
        said = capsys.readouterr()
        return code, text.getvalue() + said.out, said.err

    return call


def ids(said):
    return [it["run"] for it in json.loads(said)]


def test_ls_shows_the_newest_first_and_what_cannot_be_read(call):
    code, said, _ = call("ls")
    order = [said.index(it) for it in ("09-30-00", "09-00-00", "10-00-00/0")]
    assert code == 0 and order == sorted(order)
    assert "needle accuracy 62 ±10%" in said and "perplexity 2" in said
    assert "1 records cannot be read" in said and "5 of 5 runs" in said


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["mode=soft_delete", "threshold=0.10"], ["10-00-00/1"]),
        (["--status", "failed", "mode=soft_delete,baseline"], ["09-00-00"]),
        (["--evaluation", "perplexity"], ["10-00-00/0", "10-00-00/1", "10-00-00/2"]),
        (["--since", "2h"], ["09-30-00", "09-00-00"]),
        (["budget=null", "-n", "1"], ["09-30-00"]),
        (["mode=baseline", "--since", "1d"], []),
    ],
)
def test_ls_finds_runs_by_what_they_are(call, asked, found):
    if "budget=null" in asked:
        assert call("ls", *asked)[0] == 2  # no run has a budget
        asked = asked[1:]
    code, said, _ = call("ls", *asked, "--json")
    assert code == 0
    assert sorted(it.partition("/")[2].removeprefix("2026-11-20/") for it in ids(said)) == sorted(
        found
    )


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (["ls", "treshold=1"], "did you mean 'threshold'?"),
        (["ls", "mode"], "write key=value"),
        (["ls", "--since", "yesterday"], "give a date"),
        (["show", "2027"], "there is no run '2027'"),
        (["show", "2026-11-22/10"], "is not a readable record"),
        (["show", "2026-11-22"], "means 2 runs"),
        (["show", "abcd"], "means 2 runs"),
        (["diff", "abcd99", "nope"], "there is no run 'nope'"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_what_can(call, asked, told):
    code, _, said = call(*asked)
    assert code == 2 and told in said


def test_a_run_is_named_by_path_date_time_or_hash(outputs):
    known = history(outputs)
    folder = outputs / "multirun/2026-11-20/10-00-00/1"
    for name in (
        str(folder),
        f"{folder}/record.json",
        "2026-11-20/10-00-00/1",
        "10-00-00/1",
        "1111",
    ):
        assert known.one(name).folder == folder
    assert len(known.below("multirun/2026-11-20/10-00-00")) == 3
    with pytest.raises(Unclear):
        known.one("111")  # too short for a hash


def test_show_tells_all_and_nothing_of_it_is_obeyed(call):
    code, said, _ = call("show", "09-00-00")
    assert code == 0
    assert "\x1b" not in said and "\u202e" not in said
    assert visible(HOSTILE) in said and "<script>alert(1)</script>" in said
    assert "perplexity is from" in said and "record.json" in said
    whole = json.loads(call("show", "09-00-00", "--json")[1])
    assert whole["record"]["error"]["message"] == HOSTILE
    assert "taken over by" in call("show", "10-00-00/1")[1]


def test_hostile_text_is_text_in_ls_and_diff(call):
    for arguments in (("ls",), ("diff", "09-00-00", "10-00-00/1")):
        code, said, _ = call(*arguments)
        assert code == 0 and "\x1b" not in said and "\u202e" not in said
    assert "characters)" in call("ls")[1]


def test_diff_says_what_changed(call, outputs):
    _, said, _ = call("diff", "10-00-00/1", "10-00-00/2")
    lines = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.split()}
    assert lines["mode"] == ["soft_delete", "sparse_attention"]
    assert lines["threshold"] == ["0.1", "0.2"]
    assert "Origin\nno difference" in said
    assert "needle accuracy" in said and "-38 (" in said and ", p 0.25" in said
    _, said, _ = call("diff", "10-00-00/1", "09-00-00")
    assert "commit" in said and "bbb" in said


def test_differences_are_those_of_the_numbers(outputs):
    known = history(outputs)
    found = comparison.compare(known.one("10-00-00/1"), known.one("10-00-00/2"))
    by_name = {it.metric: it for it in found.measurements}
    accuracy = by_name["accuracy"]
    assert accuracy.paired is not None and accuracy.value == pytest.approx(2 / 8 - 5 / 8)
    assert accuracy.paired.value == pytest.approx(accuracy.value)
    reverse = comparison.compare(found.second, found.first)
    assert reverse.measurements[0].value == pytest.approx(-found.measurements[0].value)
    same = comparison.compare(found.first, found.first)
    assert not same.settings and all(it.same for it in same.measurements)


def test_a_part_of_the_samples_is_not_taken_for_all(outputs):
    known = history(outputs)
    one, other = known.one("10-00-00/1"), known.one("10-00-00/2")
    for run, value in ((one, 1.0), (other, 0.25)):  # 0.25 is the mean of all of the other's samples
        metrics = run.record.results["needle"].metrics
        metrics["accuracy_passkey"] = record.Measured(value, "share", True, 4, 0.1)
    found = comparison.compare(one, other)
    part = next(it for it in found.measurements if it.metric == "accuracy_passkey")
    assert part.paired is None and part.limits == pytest.approx((-1.027, -0.473), abs=1e-3)


def test_rm_asks_and_takes_no_for_an_answer(call, outputs, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda _: "")
    code, said, _ = call("rm", "10-00-00/1")
    assert code == 1 and "Nothing was removed" in said
    assert "1 other runs took results over from it" in said
    assert (outputs / "multirun/2026-11-20/10-00-00/1/record.json").exists()


def test_rm_removes_what_was_named_and_nothing_else(call, outputs):
    assert call("rm", "10-00-00/1", "--yes")[0] == 0
    left = {it.parent.relative_to(outputs).as_posix() for it in outputs.rglob("record.json")}
    assert left == {
        "multirun/2026-11-20/10-00-00/0", "multirun/2026-11-20/10-00-00/2",
        "2026-11-22/09-00-00", "2026-11-22/09-30-00", "2026-11-22/10-00-00",
    }  # fmt: skip
    code, said, _ = call("rm", "multirun/2026-11-20/10-00-00", "--yes")
    assert code == 0 and f"Removed {outputs}/multirun/2026-11-20/10-00-00\n" in said
    assert not (outputs / "multirun").exists() and (outputs / "2026-11-22/09-00-00").exists()


def test_rm_refuses_what_may_be_at_work(call, outputs):
    code, _, said = call("rm", "09-30-00", "09-00-00", "--yes")
    assert code == 2 and "is running, or was killed" in said
    assert (outputs / "2026-11-22/09-00-00").exists()  # all or nothing
    assert call("rm", "09-30-00", "--yes", "--interrupted")[0] == 0
    assert not (outputs / "2026-11-22/09-30-00").exists()


def test_rm_never_leaves_the_outputs(call, outputs, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "run"
    save(elsewhere, "baseline", {"needle": needle([True])})
    (outputs / "linked").symlink_to(elsewhere, target_is_directory=True)
    for name in (
        str(elsewhere),
        "linked",
        f"{outputs}/2026-11-22/../../{elsewhere.parent.name}/run",
    ):
        assert call("rm", name, "--yes")[0] == 2
    assert (elsewhere / "record.json").exists()
    assert call("rm", str(outputs), "--yes")[0] == 2
    assert len(list(outputs.rglob("record.json"))) >= 6


def test_a_moment_is_a_date_or_how_long_ago():
    now = datetime(2026, 11, 22, tzinfo=UTC)
    assert chosen.moment("36h", now) == datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert chosen.moment("2026-11-20T08:00:00+00:00") == datetime(2026, 11, 20, 8, tzinfo=UTC)
