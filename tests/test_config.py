"""Every part has its yaml, every yaml its part, and every choice composes."""

import dataclasses
from functools import cache
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from memollm import cells, sweep
from memollm.config import RunConfig, live, register_schemas
from memollm.memory.ebbinghaus import Memory
from memollm.registry import groups

CONF = Path(__file__).parents[1] / "conf"

register_schemas()
# Other groups are of libraries, and no choice of a run: mechanisms, position encodings.
GROUPS = sorted(set(groups()) & {field.name for field in dataclasses.fields(RunConfig)})
# Pairs and yaml files, not parts alone: a model's yaml may be one of many for the same part.
CHOICES = [(group, path.stem) for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))]

# Of dozens of cells each, a quarter of a second or more a cell.
LARGE = {"controls", "learned_strength", "presses", "rehearsal", "suite"}
EXPERIMENTS = [
    pytest.param(path.stem, marks=[pytest.mark.slow] if path.stem in LARGE else [])
    for path in sorted((CONF / "experiment").glob("*.yaml"))
]


def composed(*overrides: str) -> RunConfig:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return live(compose("config", overrides=list(overrides)))


@cache  # a cell takes a quarter of a second to compose, and two tests look at each
def requested(experiment: str) -> cells.Request:
    return cells.requested(CONF, [f"experiment={experiment}"], multirun=False)


@pytest.mark.parametrize("group", GROUPS)
def test_every_part_has_a_yaml_of_its_name(group):
    assert set(groups()[group]) <= {path.stem for path in (CONF / group).glob("*.yaml")}


def test_every_folder_of_yaml_files_is_a_group():
    others = {"experiment", "hydra"}
    assert {path.name for path in CONF.iterdir() if path.is_dir()} - others == set(GROUPS)


@pytest.mark.parametrize(("group", "name"), CHOICES, ids="=".join)
def test_every_choice_composes_into_a_part(group, name):
    if group == "evaluation":
        config = composed(f"evaluation=[{name}]")
        assert list(config.evaluation) == [name]
        part = config.evaluation[name]
    else:
        needed = ["budget=0.5"] if group == "policy" else []
        if (group, name) == ("mode", "pattern"):
            needed = ["pattern=local"]
        part = getattr(composed(f"{group}={name}", *needed), group)
    expected = groups()[group].get(name)
    assert type(part) is expected if expected else type(part) in groups()[group].values()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_says_how_it_is_run(name):
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    assert text.splitlines()[1] == f"# python run.py experiment={name}"
    request = requested(name)
    assert request.multirun == (len(request.cells) > 1)


def test_the_defaults_are_the_ones_in_the_code():
    config = composed()
    assert config.memory == Memory() and list(config.evaluation) == [
        "perplexity",
        "needle",
        "speed",
    ]


def test_the_keys_at_the_top_are_handed_down_to_the_memory():
    config = composed("threshold=0.05", "memory_strength=2", "layer_fraction=0.75")
    assert (config.memory.threshold, config.memory.strength, config.memory.layer_fraction) == (
        0.05,
        2.0,
        0.75,
    )


def test_the_retention_that_is_chosen_is_the_memorys():
    config = composed("retention=power_law", "retention.decay=2")
    assert config.memory.retention == groups()["retention"]["power_law"](decay=2.0)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.1", 0.1),
        ("[0.1,0.2]", [0.1, 0.2]),
        ("{first:0.1,last:0.2}", {"first": 0.1, "last": 0.2}),
    ],
)
def test_a_threshold_may_be_a_number_a_list_or_a_schedule(text, value):
    assert composed(f"threshold={text}").memory.threshold == value


def test_a_threshold_may_be_found_for_a_budget():
    for budget in ("budget=0.5", "memory.budget=0.5"):
        config = composed("threshold=auto", budget)
        assert (config.memory.threshold, config.memory.budget) == ("auto", 0.5)
        assert (config.threshold, config.budget) == ("auto", 0.5)


def test_a_trackers_mode_is_not_the_runs_mode():
    config = composed("tracker.mode=online", "mode=baseline")
    assert config.tracker.mode == "online" and not config.mode.has_memory


def test_an_experiment_may_have_settings_for_evaluations_that_are_not_chosen():
    assert list(composed("experiment=smoke", "evaluation=[needle]").evaluation) == ["needle"]


def test_a_sweep_is_known_before_it_runs():
    request = cells.requested(
        CONF, ["mode=baseline,sparse_attention", "threshold=0.1,0.2", "seed=3"], multirun=True
    )
    found = [(type(it.mode).__name__, it.threshold, it.seed) for it in request.cells]
    assert found == [
        ("Baseline", 0.1, 3),
        ("Baseline", 0.2, 3),
        ("SparseAttention", 0.1, 3),
        ("SparseAttention", 0.2, 3),
    ]


def test_what_is_typed_replaces_what_an_experiment_sweeps_over():
    request = cells.requested(CONF, ["experiment=threshold_sweep", "mode=soft_delete"], False)
    assert request.multirun and {type(it.mode).__name__ for it in request.cells} == {"SoftDelete"}


def test_two_runs_in_the_same_second_get_two_folders(tmp_path):
    request = cells.Request([], tmp_path / "12-00-00", multirun=False)
    folders = [cells.claim(request, []).folder.name for _ in range(3)]
    assert folders == ["12-00-00", "12-00-00-2", "12-00-00-3"]


def test_a_folder_that_was_asked_for_is_used_as_it_is(tmp_path):
    request = cells.Request([], tmp_path, multirun=False)
    assert cells.claim(request, [f"hydra.run.dir={tmp_path}"]).folder == tmp_path


def test_a_full_disk_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(cells, "ROOM_NEEDED", 2**80)
    with pytest.raises(OSError, match=r"MiB left"):
        cells.require_room(tmp_path / "new" / "folder")


def test_one_seed_is_everyones():
    config = composed("seed=7")
    assert config.evaluation["needle"].seed == config.evaluation["speed"].seed == 7


@pytest.mark.parametrize("name", sorted(groups()["evaluation"]))
def test_every_evaluation_can_be_had_in_little(name):
    full, brief = composed(f"evaluation=[{name}]"), composed(f"evaluation=[{name}]", "debug=true")
    assert brief.evaluation[name] != full.evaluation[name]
    assert brief.evaluation[name].brief.keys() <= vars(full.evaluation[name]).keys()
    brief.evaluation[name].fits("a small model", 1024)


@pytest.mark.parametrize(
    ("experiment", "asked", "distinct"),
    [
        ("smoke", 1, 1),
        ("three_modes", 3, 3),
        ("threshold_sweep", 8, 5),
        ("strength_sweep", 10, 6),
        ("layer_sweep", 8, 5),
        ("pareto", 20, 11),
        # Three budgets of seven policies; full and the baseline have none.
        pytest.param("controls", 48, 23, marks=pytest.mark.slow),
        ("modes_by_model", 9, 9),
    ],
)
def test_an_experiment_is_planned_with_each_cell_once(experiment, asked, distinct, tmp_path):
    request = requested(experiment)
    planned = sweep.plan(request.cells, [""] * asked, tmp_path)
    assert [it.state for it in planned].count(sweep.State.new) == distinct
    assert len({it.number for it in planned}) == asked
