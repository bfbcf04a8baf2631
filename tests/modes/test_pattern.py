"""``mode=pattern``: which settings it refuses, and what it hides of a memory's settings."""

import pytest

from memollm.attention.patterns.local import Local
from memollm.identity import baseline_hashes, described, evaluation_hashes
from memollm.memory.ebbinghaus import Aggregation, Memory
from memollm.modes.pattern import PatternMode
from memollm.policies.window import Window
from tests.test_config import composed

REFUSED = {
    "pattern=none": Memory(),
    "budget=0.5": Memory(pattern=Local(), budget=0.5),
    "policy=window": Memory(pattern=Local(), policy=Window(), budget=64),
    "memory.aggregation=vote": Memory(pattern=Local(), aggregation=Aggregation.vote),
}


@pytest.mark.parametrize("said", REFUSED)
def test_what_would_change_nothing_is_refused(said):
    with pytest.raises(ValueError, match=rf"{said} is not allowed with mode=pattern|budget="):
        PatternMode().check(REFUSED[said])


def test_forgetting_is_no_part_of_its_identity_and_the_pattern_is():
    def hashes(*overrides):
        return evaluation_hashes(composed("mode=pattern", "evaluation=[needle]", *overrides))

    one = hashes("pattern=local")
    assert one == hashes("pattern=local", "threshold=0.5", "retention=power_law")
    assert one != hashes("pattern=local", "pattern.window=99")
    assert one != hashes("pattern=local", "layer_fraction=1")
    assert one != hashes("pattern=block")


def test_a_baseline_has_no_pattern():
    plain = composed("evaluation=[needle]")
    other = composed("evaluation=[needle]", "pattern=local")
    assert baseline_hashes(plain) == baseline_hashes(other)
    assert evaluation_hashes(plain) != evaluation_hashes(other)


def test_its_record_says_nothing_of_forgetting():
    told = described(composed("mode=pattern", "pattern=topk", "evaluation=[needle]"))
    assert "threshold" not in told and "budget" not in told
    assert set(told["memory"]) == {"name_", "layer_fraction", "pattern"}
    assert told["pattern"]["name_"] == "topk"
