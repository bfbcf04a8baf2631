"""The rehearsal tables: against the window of as many tokens, and what was held of the needles."""

import importlib

from memollm.record import Measured, Result
from memollm.report.cells import read
from tests.report.runs import needle, save

rehearsal = importlib.import_module("experiments.009_rehearsal.table")
SETTING = rehearsal.Setting(budget=0.25, window=None, time_step=0.01, chunk=256)


def leave(folder, right, gain, recall, lost, budget=0.25, policy="ebbinghaus"):
    """20 answers, half of each kind; ``lost`` of the first mention's two tokens in layer 2."""
    first = [[20 + token, 512] if token < lost else None for token in range(2)]
    samples = needle(
        right,
        asking="unseen",
        evidence=[[20, 22], [60, 62]],
        forgotten_evidence=[[None] * 4, [None] * 4, [*first, None, None]],
        memory={"kept_share": 0.25},
    )
    kinds = ["single_key", "multi_query"]
    samples = [{**it, "kind": kinds[i % 2]} for i, it in enumerate(samples)]
    parts = {f"_{kind}": [it["correct"] for it in samples if it["kind"] == kind] for kind in kinds}
    metrics = {
        f"accuracy_unseen{name}": Measured(sum(some) / len(some), "share", True, len(some))
        for name, some in {"": right, **parts}.items()
    }
    asked = {"name_": "needle", "asking": "unseen", "mentions": "massed"}
    memory = {
        "name_": "ebbinghaus", "policy": {"name_": policy}, "budget": budget, "time_step": 0.01,
        "prefill_chunk": 256, "reinforcement": gain, "recall_threshold": recall,
    }  # fmt: skip
    save(
        folder,
        "sparse_attention",
        {"needle": samples},
        config={"mode": {}, "memory": memory, "evaluation": {"needle": asked}},
        config_hash=folder.name,
        results={"needle": Result(1.0, metrics)},
    )


def test_a_rule_is_held_against_the_window(tmp_path):
    leave(tmp_path / "0", [True] * 16 + [False] * 4, 0.0, None, lost=2)
    leave(tmp_path / "1", [True] * 4 + [False] * 16, 10.0, 0.01, lost=1)
    leave(tmp_path / "2", [True] * 20, 10.0, 0.01, lost=1, budget=0.5)  # of another table
    text = "\n".join(rehearsal.tables(read([tmp_path]).cells, SETTING))
    assert "| 0 | none | - | 80.0 | - |" in text
    assert "| 10 | 0.01 | - | 20.0; -60 (" in text
    assert "| unseen | 10 | 0.01 | - | 50 / 100 | - |" in text
    assert "| unseen | 0 | none | - | 0 / 100 | - |" in text
    assert "correction for 3 comparisons" in text


def test_a_threshold_is_held_against_a_window_with_a_budget(tmp_path):
    leave(
        tmp_path / "0", [True] * 4 + [False] * 16, 1.0, 0.01, lost=2, budget=0.66, policy="window"
    )
    leave(tmp_path / "1", [True] * 16 + [False] * 4, 1.0, 0.01, lost=0, budget=None)
    setting = rehearsal.Setting(budget=None, window=0.66, time_step=0.01, chunk=256)
    text = "\n".join(rehearsal.tables(read([tmp_path]).cells, setting))
    assert "| 0 | none | - | 20.0 | - |" in text and "| 1 | 0.01 | - | 80.0; +60 (" in text
