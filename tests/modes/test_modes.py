"""Modes: what every mode promises, then what each makes of retention."""

import pytest
import torch

from memollm.modes import baseline, soft_delete, sparse_attention
from memollm.modes.soft_delete import SoftDelete, Target
from memollm.modes.sparse_attention import SparseAttention, Storage
from memollm.registry import groups

RETENTION = torch.tensor([[1.0, 0.9, 0.5, 0.01]])
FORGOTTEN = torch.tensor([[False, False, False, True]])
PARTS = (baseline, soft_delete, sparse_attention)


# A mode that acts in a process of its own treats nothing here (tests/kvpress).
@pytest.fixture(params=sorted(name for name, it in groups()["mode"].items() if not it.apart))
def mode(request):
    return groups()["mode"][request.param]()


def test_what_is_fully_remembered_is_seen_as_it_is(mode):
    treatment = mode.treat(torch.ones(1, 3), torch.zeros(1, 3, dtype=torch.bool))
    for scale in (treatment.key_scale, treatment.value_scale):
        assert scale is None or scale.eq(1).all()
    assert treatment.bias is None or treatment.bias.eq(0).all()
    assert treatment.keep is None or treatment.keep.all()


def test_rows_are_independent(mode):
    both = mode.treat(RETENTION.repeat(2, 1), torch.cat([FORGOTTEN, ~FORGOTTEN]))
    one = mode.treat(RETENTION, FORGOTTEN)
    for name in ("key_scale", "value_scale", "bias", "keep"):
        whole, part = getattr(both, name), getattr(one, name)
        assert (whole is None) == (part is None)
        assert whole is None or torch.equal(whole[:1], part)


def test_retention_and_inputs_are_left_alone(mode):
    retention, forgotten = RETENTION.clone(), FORGOTTEN.clone()
    mode.treat(retention, forgotten)
    assert torch.equal(retention, RETENTION) and torch.equal(forgotten, FORGOTTEN)


def test_only_the_baseline_has_no_memory(mode):
    assert mode.has_memory == (not isinstance(mode, baseline.Baseline))


def test_sparse_attention_keeps_what_is_not_forgotten():
    for storage in Storage:
        treatment = SparseAttention(storage).treat(None, FORGOTTEN)
        assert treatment.keep.tolist() == [[True, True, True, False]]
        assert SparseAttention(storage).evicts == (storage == Storage.evict)


@pytest.mark.parametrize(
    ("target", "names"),
    [
        (Target.key, ["key_scale"]),
        (Target.value, ["value_scale"]),
        (Target.both, ["key_scale", "value_scale"]),
    ],
)
def test_soft_delete_scales_its_target_by_retention_above_the_floor(target, names):
    treatment = SoftDelete(target, floor=0.4).treat(RETENTION, FORGOTTEN)
    for name in ("key_scale", "value_scale"):
        scale = getattr(treatment, name)
        if name not in names:
            assert scale is None
        else:
            torch.testing.assert_close(scale, torch.tensor([[1.0, 0.9, 0.5, 0.4]]))
    assert treatment.bias is None and treatment.keep is None


def test_a_logit_bias_is_the_logarithm_of_the_weight():
    bias = SoftDelete(Target.logit_bias, floor=0.0).treat(RETENTION, FORGOTTEN).bias
    torch.testing.assert_close(bias, RETENTION.log())
    assert (
        SoftDelete(Target.logit_bias, 0.0).treat(torch.zeros(1, 1), FORGOTTEN[:, :1]).bias
        == -torch.inf
    )


@pytest.mark.parametrize("floor", [-0.1, 1.1, float("nan")])
def test_a_floor_outside_the_unit_interval_is_refused(floor):
    with pytest.raises(ValueError, match="mode.floor=.* must lie in"):
        SoftDelete(floor=floor)
