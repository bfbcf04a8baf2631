"""The bundled gates are those of the bundled model."""

from memollm.hf.gates import require_fit
from memollm.hf.models import ReferenceModel
from memollm.memory.strength.learned import Learned
from memollm.reference import gates_path


def test_they_fit_its_weights_and_have_a_card():
    bundled = Learned()
    gates = bundled.gates()
    require_fit(ReferenceModel().load().model, gates.fit, bundled)
    assert sorted(gates.layers) == list(range(gates.fit.layers))
    assert "strength=learned" in (gates_path() / "README.md").read_text(encoding="utf-8")
