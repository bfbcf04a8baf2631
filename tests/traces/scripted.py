"""A trace without a model: chance numbers that a memory could have left."""

import math

import numpy as np

from memollm.traces.trace import Trace


def scripted(tokens=40, steps=5, layers=3, fades=True, words=None, **changes):
    """Tokens fade at chance, and about a third of the old ones is forgotten."""
    chance = np.random.default_rng(0)
    seen = np.linspace(tokens / steps, tokens, steps).astype(np.int32)
    read = np.arange(tokens) < seen[:, None]
    shape = (layers, steps, tokens)
    received = (10 ** chance.uniform(-4, 0, shape) * read).astype(np.float32)
    strength = ((1 + chance.uniform(0, 1, shape).cumsum(axis=1)) * read).astype(np.float32)
    recalled = np.arange(tokens) + chance.integers(0, 3, shape)
    recalled = (np.minimum(recalled, seen[:, None] - 1) * read).astype(np.int32)
    at = seen[chance.integers(0, steps, (layers, tokens))]
    gone = (chance.uniform(0, 1, (layers, tokens)) < 0.3) & (np.arange(tokens) < at - 1)
    ages = np.linspace(0, 14, 281)  # 0.05 apart: R is off by 3e-4 at most between two
    fields = dict(
        tokens=words or [f" word{i}" for i in range(tokens)],
        prompt_tokens=tokens - 2,
        seen=seen,
        received=received,
        forgotten_at=np.where(gone, at, 0).astype(np.int32),
        strength=strength if fades else None,
        recalled=recalled if fades else None,
        layers=[str(i) for i in range(layers)],
        thresholds=[0.01 if fades else None] * layers,
        lifetimes=[-math.log(0.01) if fades else None] * layers,
        curve={"age": ages.tolist(), "retention": np.exp(-ages).round(6).tolist()}
        if fades
        else None,
        time_step=0.01,
        initial_strength=1.0,
        sinks=2,
        recent=2,
        settings={"mode": "sparse_attention", "policy": "ebbinghaus" if fades else "h2o"},
        steps_taken=steps,
    )
    return Trace(**{**fields, **changes})
