"""The instruments of the speed evaluation: clocks, medians, memory peaks, bandwidth."""

import gc
import mmap
import time

import pytest
import torch

from memollm.evaluation import bandwidth
from memollm.evaluation.clock import Clock, quiet, reading
from memollm.evaluation.peak import Peak
from memollm.evaluation.spread import median

CPU, GPU = torch.device("cpu"), torch.device("cuda")
MEBI = 2**20


def test_processor_time_is_meant_where_one_thread_does_the_work():
    assert Clock.auto.on(CPU, 1) is Clock.cpu
    assert Clock.auto.on(CPU, 2) is Clock.wall
    assert Clock.auto.on(GPU, 1) is Clock.wall
    assert Clock.wall.on(CPU, 1) is Clock.wall
    assert reading(Clock.auto, CPU, 1) is time.thread_time
    assert reading(Clock.cpu, CPU, 2) is time.process_time
    assert reading(Clock.auto, CPU, 2) is time.perf_counter


def test_quiet_ends_with_everything_as_it_was():
    before = torch.get_num_threads()
    with pytest.raises(KeyError), quiet(before + 1) as threads:
        assert threads == torch.get_num_threads() == before + 1
        assert not gc.isenabled()
        raise KeyError
    assert gc.isenabled() and torch.get_num_threads() == before


def test_the_error_of_a_median_is_that_of_theory():
    normal = torch.special.ndtri((torch.arange(400) + 0.5) / 400).tolist()
    _, error = median([[value] for value in normal])
    assert error == pytest.approx(1.2533 / 400**0.5, rel=0.2)


def test_groups_that_differ_are_less_sure_than_their_many_values():
    groups = [[1.0, 1.01, 0.99] * 10, [2.0, 2.01, 1.99] * 10, [3.0, 3.01, 2.99] * 10]
    _, clustered = median(groups)
    _, pooled = median([sum(groups, [])])
    assert clustered is not None and pooled is not None and clustered > 2 * pooled


def test_a_median_repeats_and_ignores_an_outlier():
    groups = [[1.0, 1.1, 0.9], [1.0, 1000.0, 1.05]]
    assert median(groups) == median(groups)
    assert median(groups)[0] == pytest.approx(1.025)
    with pytest.raises(ValueError, match="no values"):
        median([[]])


def test_a_peak_is_what_was_held_at_a_time_and_can_be_set_back():
    peak = Peak(CPU)
    peak.restart()
    if peak.read() is None:
        pytest.skip("this system keeps no mark that can be set back")
    _pages(96 * MEBI).close()
    held = _pages(48 * MEBI)
    large = peak.read()
    peak.restart()  # while 48 MiB are held
    small = peak.read()
    held.close()
    assert large is not None and 88 * MEBI < large < 128 * MEBI
    assert small is not None and small < 24 * MEBI


def _pages(size: int) -> mmap.mmap:
    """Resident memory past the C library, which may keep what is freed to it."""
    pages = mmap.mmap(-1, size)
    pages[:: mmap.PAGESIZE] = b"1" * (size // mmap.PAGESIZE)  # touch each
    return pages


def test_bandwidth_is_bytes_by_time(monkeypatch):
    monkeypatch.setattr(bandwidth, "BYTES", 4000)
    ticks = iter([0.0, 1.0, 10.0, 12.0, 20.0, 29.0])  # reads of 1, 2 and 9 seconds
    assert bandwidth.ReadBenchmark(CPU).measure(lambda: next(ticks)) == 2000
