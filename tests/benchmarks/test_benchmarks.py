"""The speed benchmark on a tiny model: what it times is right, and it goes on where it stopped."""

import itertools
import json

import pytest
import torch

from experiments.benchmarks import __main__ as command
from experiments.benchmarks import models
from experiments.benchmarks.cells import Cell, Kind, grid
from experiments.benchmarks.decode import decode, ratios
from experiments.benchmarks.entrants import (
    AGAIN,
    ALL,
    DEFAULT,
    HALF,
    SHARES,
    STATIC,
    entrants,
    memory_name,
    pruned,
)  # fmt: skip
from experiments.benchmarks.prefill import prefill
from experiments.benchmarks.profile import ATTENTION, PROFILED, profile
from experiments.benchmarks.table import markdown, table
from experiments.benchmarks.trace import BIN, after_prompt, long_generation
from memollm.evaluation.bandwidth import ReadBenchmark
from memollm.hf.layer import MemoryLayer
from tests.hf.tiny import tiny_model

CONTEXT = 60
FLOAT32 = 1e-4  # of logits of size about 100: weights of 8 times the usual size


@pytest.fixture
def model():
    return tiny_model("qwen2", torch.float32, layers=2)


@pytest.fixture
def clock():
    ticks = itertools.count()
    return lambda: float(next(ticks))


@pytest.fixture
def bandwidth(monkeypatch):
    monkeypatch.setattr("memollm.evaluation.bandwidth.BYTES", 2**20)
    return ReadBenchmark(torch.device("cpu"))


@torch.no_grad()
def test_entrants_that_forget_nothing_decode_the_same_logits(model):
    torch.manual_seed(0)
    runners = entrants(model, CONTEXT, 2, 4)
    ids = torch.full((2, 1), 7)
    logits = {}
    for name, runner in runners.items():
        with runner.ready():
            logits[name] = runner.step(ids)
    for name in (STATIC, memory_name(1.0, ALL), memory_name(1.0, HALF)):
        assert (logits[name] - logits[DEFAULT]).abs().max() <= FLOAT32
    assert (logits[memory_name(0.1, ALL)] - logits[DEFAULT]).abs().max() > FLOAT32


@torch.no_grad()
def test_entrants_hold_what_their_names_say(model):
    runners = entrants(model, CONTEXT, 1, 4)
    for share, (layers, count) in itertools.product(SHARES, ((ALL, 2), (HALF, 1))):
        cache = runners[memory_name(share, layers)].cache
        memories = [it.remembering for it in cache.layers if isinstance(it, MemoryLayer)]
        assert [it.kept_tokens() for it in memories] == [round(share * CONTEXT)] * count
    assert runners[pruned(0.5)].cache.get_seq_length() == CONTEXT / 2
    full = runners[DEFAULT].kv_bytes()
    assert runners[pruned(0.5)].kv_bytes() == full / 2
    assert runners[STATIC].kv_bytes() == full < runners[memory_name(1.0, ALL)].kv_bytes()


@torch.no_grad()
def test_steps_are_counted_and_baselines_stay_as_they_are(model, clock, bandwidth):
    cell = Cell(Kind.decode, CONTEXT, batch=1, rounds=3)
    found = decode(model, cell, clock, bandwidth)
    assert {len(it) for it in found["seconds"].values()} == {3}
    assert set(itertools.chain(*found["seconds"].values())) == {1.0}
    assert ratios(found["seconds"], AGAIN, DEFAULT) == 1
    assert found["kv_bytes"][DEFAULT] == 2 * 2 * 2 * 8 * 4 * CONTEXT


@torch.no_grad()
def test_prompts_are_read_by_every_entrant(model, clock):
    found = prefill(model, Cell(Kind.prefill, CONTEXT, rounds=2), clock)["seconds"]
    assert {"plain", "again", "exact", "window", "none"} < found.keys()
    assert all(it == [1.0, 1.0] for it in found.values())


@torch.no_grad()
def test_a_trace_keeps_its_budget(model, clock, monkeypatch):
    monkeypatch.setattr("experiments.benchmarks.trace.NEW", 5)
    found = after_prompt(model, Cell(Kind.generate, CONTEXT), clock)
    assert found["kept_tokens"]["budget_0.1_all"] == [20, 20]  # sinks and recent tokens
    assert found["kept_tokens"]["budget_0.1_half"] == [20]
    monkeypatch.setattr("experiments.benchmarks.trace.BUDGET", 24)
    monkeypatch.setattr("experiments.benchmarks.trace.BIN", 10)
    bins = long_generation(model, Cell(Kind.long, 60), clock)["bins"]["budget"]
    assert [it["tokens"] for it in bins] == [10, 20, 30, 40, 50, 60]
    assert BIN > 10 and bins[-1]["kv_bytes"] <= 1.2 * bins[-2]["kv_bytes"]


@torch.no_grad()
def test_a_profile_accounts_for_the_whole_step(model):
    ticks = itertools.count()
    found = profile(model, Cell(Kind.profile, CONTEXT, rounds=2), lambda: float(next(ticks)))
    assert list(found["parts"]) == list(PROFILED)
    for parts in found["parts"].values():
        # Two layers of four products in one attention, two norms and a feed-forward; the head and
        # the last norm. A part takes one tick between its own two; 8 products lie within.
        assert parts["attention's products"] == 8 and parts["norms"] == 5
        assert parts["feed-forward"] == 2 and parts["head over the vocabulary"] == 1
        assert parts[ATTENTION] == 2 * 9 - 8
        assert sum(parts.values()) == 2 * (8 + 5 + 2 + 1 + 2) + 1
    assert not any(it._forward_hooks for it in model.modules())


def test_the_command_goes_on_where_it_stopped(model, tmp_path, monkeypatch, capsys):
    cells = [
        Cell(Kind.decode, CONTEXT, rounds=2), Cell(Kind.prefill, CONTEXT, rounds=1),
        Cell(Kind.generate, CONTEXT), Cell(Kind.long, 80), Cell(Kind.profile, CONTEXT),
    ]  # fmt: skip
    monkeypatch.setattr(command, "grid", lambda name: cells)
    monkeypatch.setattr(models, "architecture", lambda *_: model)
    monkeypatch.setattr(models, "small", lambda *_: model)
    monkeypatch.setattr("memollm.evaluation.bandwidth.BYTES", 2**20)
    monkeypatch.setattr("experiments.benchmarks.trace.BIN", 20)
    command.main(["--out", str(tmp_path), "--only", "prefill"])
    first = (tmp_path / "results.jsonl").read_text()
    command.main(["--out", str(tmp_path)])
    lines = (tmp_path / "results.jsonl").read_text()
    assert lines.startswith(first) and len(lines.splitlines()) == 5
    command.main(["--out", str(tmp_path)])
    assert (tmp_path / "results.jsonl").read_text() == lines
    for part in ("Decode:", "Break-even", "Prefill:", "generate()", "A long generation", "Where a"):
        assert part in (tmp_path / "table.md").read_text()
    assert (tmp_path / "speed.png").stat().st_size > 10_000
    assert "decode/float32/batch1/60" in capsys.readouterr().out


def test_a_cell_without_room_is_skipped_and_said_so(model, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "grid", lambda name: [Cell(Kind.decode, 10**9)])
    monkeypatch.setattr(models, "architecture", lambda *_: model)
    monkeypatch.setattr("memollm.evaluation.bandwidth.BYTES", 2**20)
    command.main(["--out", str(tmp_path)])
    assert "needs" in json.loads((tmp_path / "results.jsonl").read_text())["skipped"]


def test_the_quick_grid_holds_every_target():
    ids = {cell.id for cell in grid("quick")}
    for dtype in ("float32", "bfloat16"):
        for context in (64, 512, 2048, 8192, 16384, 32768):
            assert f"decode/{dtype}/batch1/{context}" in ids
        assert f"decode/{dtype}/batch8/4096" in ids
    assert ids <= {cell.id for cell in grid("full")}


def test_a_table_has_a_rule_and_the_empty_one_nothing():
    assert table(["a"], []).splitlines() == ["| a |", "|---|"]
    assert markdown([]).strip() == ""
