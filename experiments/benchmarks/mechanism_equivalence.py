"""What each mechanism must be equal to, asserted before it is timed."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from memollm.attention.mechanisms.base import HeadShape, Mechanism
from memollm.attention.mechanisms.kernelised import Kernelised
from memollm.attention.mechanisms.scope import Scope
from memollm.attention.mechanisms.sparse import Sparse
from memollm.registry import groups

TOKENS, HEADS, DIM = 300, 4, 64
CLOSE = 2e-5  # float32, of values of size about 1
# Settings with which a mechanism leaves nothing out.
DENSE: dict[str, dict[str, int]] = {
    "lsh": {"buckets": 1},
    "learnable": {"block_counts": 99},
    "nsa": {"block_counts": 99},
    "nystrom": {"num_landmarks": TOKENS, "iterations": 25},
    "linformer": {"projection_dim": TOKENS, "max_seq_len": TOKENS},
}
# Compared in float64: of matrices with condition numbers of 5e3 to 2e4 an inverse in float32 is off
# by as much as CLOSE, on one machine more and on another less.
DOUBLE = {"nystrom"}


def require_agreement(name: str) -> None:
    """Raise unless the mechanism is what its definition, or softmax over everything, gives."""
    torch.manual_seed(0)
    drawn = torch.randn(3, 1, HEADS, TOKENS, DIM)
    q, k, v = (drawn.double() if name in DOUBLE else drawn).unbind()
    mechanism: Mechanism = groups()["mechanism"][name](**DENSE.get(name, {}))
    shared = mechanism.key_value_heads(HEADS, None)
    k, v = k[:, :shared], v[:, :shared]
    weights = mechanism.weights(HeadShape(DIM, HEADS, shared, DIM))
    causal = mechanism.supports.causal
    cross = not (causal or mechanism.supports.bidirectional)
    scope = Scope(causal=causal, cross=cross, hidden=torch.zeros(1, TOKENS, DIM))
    with torch.no_grad():
        if name == "linformer":
            for projection in weights.parameters() if weights is not None else []:
                projection.copy_(torch.eye(TOKENS))
        if name == "nsa":  # the selection branch alone: sigmoid(+-40) is 1 and 0
            gates = [-40.0] * HEADS + [40.0] * HEADS + [-40.0] * HEADS
            assert weights is not None
            weights.get_parameter("gates.bias").copy_(torch.tensor(gates))
        found = mechanism.attend(q, k, v, scope, weights)
        wanted = _defined(mechanism, q, k, v, replace(scope, hidden=None))
    torch.testing.assert_close(found, wanted, rtol=0, atol=CLOSE, msg=lambda it: f"{name}: {it}")


def _defined(mechanism: Mechanism, q: Tensor, k: Tensor, v: Tensor, scope: Scope) -> Tensor:
    if isinstance(mechanism, Kernelised):
        asking, asked = mechanism.features(q.double(), k.double(), 0, 0)
        products = (asking @ asked.mT).tril()
        return (products / products.sum(-1, keepdim=True) @ v.double()).nan_to_num(0.0).float()
    mask = None
    if isinstance(mechanism, Sparse):
        mask = mechanism.seen(TOKENS, TOKENS, scope.causal)
    causal = scope.causal and not scope.cross and mask is None
    return scaled_dot_product_attention(
        q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=k.shape[1] != q.shape[1]
    )
