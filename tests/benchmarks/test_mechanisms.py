"""The benchmarks of mechanisms, of native sparse attention and of patterns, on short texts."""

import json
import sys

import pytest

from experiments.benchmarks import mechanism_outsiders, mechanisms, nsa, patterns
from experiments.benchmarks.mechanism_equivalence import require_agreement
from memollm.attention.config import attention_types
from memollm.attention.mechanisms.linear import Linear

NONE = {"flex_attention": False, "x_transformers": False, "fla": False}


@pytest.fixture
def typed(monkeypatch, tmp_path):
    """A command's main with these arguments; the record that it wrote, and its folder."""

    def run(module, name, *arguments):
        monkeypatch.setattr(sys, "argv", ["_", *arguments, "--out", str(tmp_path), "--turns", "1"])
        module.main()
        return json.loads((tmp_path / name).read_text()), tmp_path

    return run


def test_every_mechanism_is_timed_beside_sdpa_of_its_kind(typed, monkeypatch):
    monkeypatch.setattr(mechanism_outsiders, "available", lambda: NONE)
    names = ["linear", "linformer", "local"]
    told, out = typed(mechanisms, "mechanisms.json", "--lengths", "64", "128", "--only", *names)
    results = told["results"]
    assert [(it["pass"], it["tokens"], it["name"]) for it in results] == [
        (which, tokens, name)
        for which in ("both", "forward")
        for tokens in (64, 128)
        for name in names
    ]
    assert [it["causal"] for it in results[:3]] == [True, False, True]
    assert all(it["ratio"] == it["sdpa_seconds"] / it["seconds"] for it in results)
    assert all(it["held_bytes"] > 0 for it in results)
    assert (out / "mechanisms.png").stat().st_size > 10_000
    text = (out / "mechanisms.md").read_text()
    assert text.count("| linear |") == 2 and "Left out" not in text


def test_what_would_take_too_long_is_left_out_and_named(typed, monkeypatch):
    monkeypatch.setattr(mechanism_outsiders, "available", lambda: NONE)
    arguments = ["--lengths", "64", "128", "--only", "local", "--limit", "0"]
    told, out = typed(mechanisms, "mechanisms.json", *arguments)
    assert [(it["tokens"], "left_out" in it) for it in told["results"]] == [
        (64, False), (128, True), (64, False), (128, True),
    ]  # fmt: skip
    assert "Left out, too slow: local at 128." in (out / "mechanisms.md").read_text()


@pytest.mark.parametrize("name", attention_types())
def test_every_mechanism_is_known_to_agree(name):
    require_agreement(name)


def test_a_mechanism_that_is_wrong_is_not_timed(monkeypatch):
    right = Linear.compute
    monkeypatch.setattr(Linear, "compute", lambda *given: 1.001 * right(*given))
    with pytest.raises(AssertionError, match="linear"):
        require_agreement("linear")


def test_native_sparse_attention_is_timed_in_every_pass(typed, monkeypatch):
    cases = [nsa.Case(it, 256, 2, 2, 1.5) for it in ("forward", "both", "decode")]
    monkeypatch.setattr(nsa, "CASES", cases)
    told, out = typed(nsa, "nsa.json")
    assert [it["name"] for it in told["results"]] == ["both", "decode", "forward"]
    before = told["results"]
    told, _ = typed(nsa, "nsa.json", "--only", "decode")  # the others stay
    assert [was == now for was, now in zip(before, told["results"], strict=True)] == [
        True, False, True,
    ]  # fmt: skip
    assert all(it["ratio"] == it["other_seconds"] / it["seconds"] for it in told["results"])
    assert (out / "nsa.png").stat().st_size > 10_000


def test_patterns_are_timed_beside_the_model_as_it_is(typed, monkeypatch):
    monkeypatch.setattr(patterns, "SETTINGS", patterns.SETTINGS | {"num_hidden_layers": 1})
    monkeypatch.setattr(patterns, "COMPARED", 300)
    told, _ = typed(patterns, "patterns.json", "--lengths", "300", "--only", "full", "local")
    assert [it["name"] for it in told["results"]] == ["dense", "full", "local"]
    dense = told["results"][0]
    assert dense["prefill_ratio"] == dense["decode_ratio"] == 1
