"""``python -m memollm.trace`` and ``trace=true``: any text, any run, and what is refused."""

import json

import pytest
from hydra import compose, initialize_config_dir
from rich.console import Console

from memollm import identity, record, samples, tracing
from memollm.cell import leave_trace
from memollm.config import live
from memollm.evaluation.needle import NeedleInAHaystack
from memollm.hf.models import RandomModel
from memollm.loading import Models
from memollm.progress import Voice
from memollm.record import RunRecord, Status
from memollm.replay import CONF, composed, overrides_of
from memollm.trace import main
from memollm.traces import file

TINY = {
    "vocab_size": 3072, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 600,
}  # fmt: skip
SETTINGS = "{" + ",".join(f"{key}:{value}" for key, value in TINY.items()) + "}"
MODEL = ["model=random", f"++model.settings={SETTINGS}", "layer_fraction=1"]
UNREHEARSED = ["memory.reinforcement=0", "memory.recall_threshold=null", "memory_strength=0.2"]


@pytest.fixture
def call(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        code = main(list(arguments))
        said = capsys.readouterr()
        return code, said.out + said.err

    return call


@pytest.fixture
def run(tmp_path):
    """A finished run of one needle, with a tiny model that knows nothing."""
    needle = ["lengths=[256]", "depths=[0.5]", "kinds=[passkey]"]
    config = composed(
        [*MODEL, "tracker=none", "evaluation=[needle]", "trace=true", *UNREHEARSED,
         *(f"evaluation.needle.{it}" for it in needle)]
    )  # fmt: skip
    folder, models = tmp_path / "run", Models()
    subject = models.subject(config.model, config.memory, config.mode)
    folder.mkdir()
    samples.rewrite(folder, {"needle": config.evaluation["needle"].samples(subject)})
    described = json.loads(json.dumps(identity.described(config)))
    record.save(RunRecord(Status.finished, described, "abc", {}), folder)
    return config, folder, models


@pytest.mark.parametrize(
    "asked",
    [
        ["mode=soft_delete", "mode.target=both", "retention=power_law", "retention.decay=0.7",
         "threshold=[0.1,0.2,0.3]", "memory.sinks=0", "evaluation=[needle,ruler]"],
        ["policy=h2o", "budget=100", "policy.recent_share=0.3", "memory.granularity=head"],
        [*MODEL, "threshold={first: 0.1, last: 0.2}", "evaluation.needle.text='a b, {c}.txt'"],
    ],
    ids=["soft_delete", "h2o", "random"],
)  # fmt: skip
def test_a_recorded_configuration_is_composed_again_as_it_was(asked):
    described = json.loads(json.dumps(identity.described(composed(["tracker=none", *asked]))))
    again = composed(overrides_of(described))
    assert json.loads(json.dumps(identity.described(again))) == described


def test_changes_take_the_place_of_what_they_name():
    told = {"mode": {"name_": "soft_delete", "floor": 0.5}, "threshold": 0.1, "seed": 4}
    found = overrides_of(told, ["mode=sparse_attention", "threshold=0.2"])
    assert found == ["tracker=none", "seed=4", "mode=sparse_attention", "threshold=0.2"]


def test_a_text_is_traced_and_shown(call, tmp_path):
    code, said = call(
        "--prompt", "Once <b>upon</b> a time. " * 20, "--max-new-tokens", "4", "--out", "there",
        *MODEL, *UNREHEARSED, "memory.prefill_chunk=64",
    )  # fmt: skip
    assert code == 0 and "layer 1: " in said
    trace = file.load(tmp_path / "there" / file.FILE)
    assert "".join(trace.tokens[: trace.prompt_tokens]) == "Once <b>upon</b> a time. " * 20
    assert len(trace.tokens) == trace.prompt_tokens + 3 and trace.seen[0] == 64
    assert (trace.forgotten_at > 0).any() and trace.settings["memory_strength"] == "0.2"
    assert "Once &lt;b" not in (tmp_path / "there" / "retention.html").read_text()


def test_an_example_of_a_run_is_traced_with_its_evidence(call, run):
    config, folder, _ = run
    code, said = call("--run", str(folder))
    assert code == 0 and "of the" in said and "needed" in said
    trace = file.load(folder / file.FILE)
    sample = samples.read(folder)["needle"][0]
    assert list(map(list, trace.evidence)) == sample["evidence"]
    assert trace.facts["id"] == sample["id"] and trace.facts["answer"] == sample["answer"]
    assert any(fate for fates in sample["forgotten_evidence"] for fate in fates)
    assert trace.prompt_tokens == sample["prompt_tokens"]
    for layer, fates in enumerate(sample["forgotten_evidence"]):  # as when it was measured
        needed = [token for first, past in trace.evidence for token in range(first, past)]
        told = [[token, at] if at else None for token in needed
                if (at := int(trace.forgotten_at[layer, token])) or True]  # fmt: skip
        assert told == fates
    code, said = call("--run", str(folder), "--sample", "needle/nope")
    assert code == 2 and sample["id"] in said


def test_a_run_leaves_its_trace_when_asked(run, tmp_path, capsys):
    config, folder, models = run
    leave_trace(config, folder, models, Voice(Console()))
    assert (folder / "retention.html").exists() and "retention.html" in capsys.readouterr().out
    leave_trace(composed(["tracker=none", "mode=baseline"]), tmp_path, models, Voice(Console()))
    assert "mode=baseline has no memory to trace" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ([], "nothing to trace: give --prompt"),
        (["--prompt", ""], "empty"),
        (["--file", "nowhere.txt"], "nowhere.txt"),
        (["--prompt", "a", "--mode", "baseline"], "mode=baseline has no retention to trace"),
        (["--prompt", "a", "--mode", "sparse"], "sparse_attention"),
        (["--prompt", "a", "treshold=1"], "did you mean 'threshold'?"),
        (["--prompt", "a", "threshold"], "write key=value"),
        (["--prompt", "a", "--max-new-tokens", "-1"], "--max-new-tokens=-1 is not allowed"),
        (["--run", "nowhere"], "is not a run record"),
    ],
)
def test_what_cannot_be_traced_is_refused_before_a_model_is_loaded(call, monkeypatch, asked, told):
    monkeypatch.setattr(RandomModel, "load", None)
    monkeypatch.setattr(Models, "subject", None)
    code, said = call(*asked)
    assert code == 2 and told in said


def test_trace_is_refused_where_there_is_nothing_to_trace():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for choice, told in (
            ("mode=kvpress", "process of its own"),
            ("evaluation=[speed]", "speed"),
        ):
            extra = ["mode.press=knorm", "budget=0.5"] if "kvpress" in choice else []
            with pytest.raises(ValueError, match=f"trace=true is not allowed with.*{told}"):
                live(compose("config", overrides=["trace=true", choice, *extra]))


def test_the_most_telling_example_is_chosen():
    def one(name, **more):
        return {"id": name, **more}

    measured = {
        "speed": [one("s")],
        "needle": [one("short", evidence=[[1, 2]], correct=False, prompt_tokens=5),
                   one("long", evidence=[[1, 2]], correct=True, prompt_tokens=9)],
    }  # fmt: skip
    evaluations = {"needle": NeedleInAHaystack()}
    assert tracing._choose(evaluations, measured, None, CONF) == ("needle", "short")
    with pytest.raises(ValueError, match="has no example to trace"):
        tracing._choose({}, measured, None, CONF)
