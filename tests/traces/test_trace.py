"""Traces on disk: what comes back, within which error, and never more bytes than allowed."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memollm.traces import file
from memollm.traces.codes import Scale
from memollm.traces.trace import Trace, merged
from tests.traces.scripted import scripted


def test_what_is_written_comes_back(tmp_path):
    trace = scripted(tokens=50, steps=6, evidence=[(3, 5)], facts={"answer": "<b>\x1b[31m\ud83d"})
    loaded = file.load(file.save(trace, tmp_path))
    for it in dataclasses.fields(Trace):
        ours, theirs = getattr(loaded, it.name), getattr(trace, it.name)
        if it.name in ("received", "strength"):
            # half a level of 255 over four decades, and of 65535 over one
            error = 0.02 if it.name == "received" else 1e-4
            np.testing.assert_allclose(ours, theirs, rtol=error)
        elif isinstance(theirs, np.ndarray):
            np.testing.assert_array_equal(ours, theirs)
        else:
            assert ours == theirs, it.name


def test_a_trace_without_retention_comes_back(tmp_path):
    trace = scripted(tokens=20, steps=3, fades=False)
    loaded = file.load(file.save(trace, tmp_path))
    assert loaded.strength is None and loaded.recalled is None and loaded.retention() is None


@given(st.lists(st.floats(1e-6, 1e6), min_size=1), st.sampled_from([255, 65_535]))
def test_a_code_is_off_by_half_a_level_at_most(values, levels):
    array = np.array(values)
    scale = Scale.over(array, levels)
    off = np.abs(np.log(scale.decode(scale.encode(array)) / array))
    assert (off <= np.log(scale.high / scale.low) / (levels - 1) / 2 + 1e-6).all()


def test_nothing_stays_nothing():
    scale = Scale.over(np.array([0.0, 2.0, 3.0]), 255)
    assert scale.decode(scale.encode(np.array([0.0, 2.0]))).tolist() == [0.0, 2.0]
    assert Scale.over(np.zeros(3), 255).encode(np.zeros(3)).tolist() == [0, 0, 0]


def test_merging_halves_the_steps_and_keeps_the_last():
    trace = scripted(tokens=20, steps=5)
    half = merged(trace)
    assert half.seen.tolist() == trace.seen[[0, 2, 4]].tolist()
    np.testing.assert_allclose(half.received.sum(axis=1), trace.received.sum(axis=1), rtol=1e-6)
    np.testing.assert_allclose(half.received[:, 1], trace.received[:, 1:3].sum(axis=1), rtol=1e-6)


def test_a_file_is_never_larger_than_allowed(tmp_path):
    trace = scripted(tokens=300, steps=40)
    whole = len(file.packed(trace))
    small = file.fitted(trace, whole // 3)
    assert len(file.packed(small)) <= whole // 3 and len(small.seen) < 40
    assert small.seen[-1] == trace.seen[-1] and len(small.tokens) == 300
    np.testing.assert_array_equal(small.forgotten_at, trace.forgotten_at)
    with pytest.raises(ValueError, match="does not fit into 100 bytes"):
        file.fitted(trace, 100)


def test_retention_is_read_off_the_curve():
    trace = scripted(tokens=30, steps=4)
    assert trace.strength is not None and trace.recalled is not None
    age = (trace.seen[None, :, None] - 1 - trace.recalled) * trace.time_step
    read = np.arange(30) < trace.seen[:, None]
    expected = np.where(read, np.exp(-age / np.where(read, trace.strength, 1.0)), np.nan)
    np.testing.assert_allclose(trace.retention(), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"{}", b"\x93NUMPY"])
def test_a_file_that_is_no_trace_is_refused(tmp_path, content):
    path = tmp_path / file.FILE
    path.write_bytes(content)
    with pytest.raises(file.UnreadableTrace, match="is not a trace"):
        file.load(path)
