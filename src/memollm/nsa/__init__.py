"""Native sparse attention: compressed, selected and near tokens, weighed by gates.

``nsa_func`` computes it, on any device and without custom kernels, and can be asked what the
weights follow from; ``compute_attention_weights_from_lse`` computes them,
``get_attention_weights_summary`` sums them up, ``memollm.nsa.picture`` draws them.
"""

from memollm.nsa.call import nsa_func as nsa_func
from memollm.nsa.summary import get_attention_weights_summary as get_attention_weights_summary
from memollm.nsa.weights import (
    compute_attention_weights_from_lse as compute_attention_weights_from_lse,
)
