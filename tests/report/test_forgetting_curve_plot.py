"""The forgetting curve's picture: it shows what the record holds, where there is one."""

import numpy as np
import pytest

from memollm.record import Measured
from memollm.report.forgetting_curve_plot import forgetting_curve

SETTINGS = {"context": 400, "targets": 100}
CONTEXTS = np.arange(300, 400)


def metrics():
    """A benefit of 1.5 nats that fades over 50 tokens, and both curves as they should be."""

    def curve(age):
        return np.exp(-np.asarray(age) / 50)

    found = {
        f"nll_lost_age_{age}": 1.5 * float((curve(age) - curve(CONTEXTS)).clip(min=0).mean())
        for age in (16, 64, 256)
    }
    for family in ("exponential", "power_law"):
        found |= {f"strength_{family}": 0.5, f"scale_{family}": 50.0, f"benefit_{family}": 1.5}
        found[f"r2_{family}"] = 1.0
    found["decay_power_law"] = 0.7
    return {name: Measured(value, "unit", None, 10, 0.01) for name, value in found.items()}


def test_the_curve_goes_through_the_points_it_was_fitted_to():
    figure = forgetting_curve(metrics(), SETTINGS)
    assert figure is not None
    lines = {str(line.get_label()).split("\n")[0]: line for line in figure.axes[0].lines}
    points = figure.axes[0].containers[0].lines[0]
    ages, losses = (np.asarray(it, float) for it in lines["retention=exponential"].get_data())
    for age, lost in np.asarray(points.get_xydata(), float):
        assert np.interp(np.log(age), np.log(ages), losses) == pytest.approx(lost, abs=1e-3)


def test_the_legend_says_what_to_type():
    figure = forgetting_curve(metrics(), SETTINGS)
    assert figure is not None
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert "retention=exponential\nmemory_strength=0.5 ± 0.01 (R² 1.000)" in texts
    assert any(text.startswith("retention=power_law retention.decay=0.7\n") for text in texts)


def test_other_evaluations_have_no_such_picture():
    assert forgetting_curve({"nll": Measured(1.0, "nats/token", False, 3)}, {}) is None
