"""Turns at a device, and a GPU for each worker."""

import os
import threading
import time

import pytest
import torch

from memollm import devices


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(devices, "FOLDER", tmp_path)
    monkeypatch.setattr(devices, "_held", [])


def enter(device, alone, log):
    """Take a turn in another thread, and note when it begins."""

    def work():
        with devices.turn(device, alone, lambda: log.append("waits")):
            log.append("has it")

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.1)
    return thread


@pytest.mark.parametrize(
    ("device", "first", "second", "waits"),
    [
        ("cpu", False, False, False),
        ("cpu", True, False, True),
        ("cpu", False, True, True),
        ("cpu", True, True, True),
        ("cuda-1", True, True, False),  # another device
    ],
)
def test_who_times_something_has_its_device_alone(device, first, second, waits):
    log = []
    with devices.turn("cpu", first, pytest.fail):
        thread = enter(device, second, log)
        assert log == (["waits"] if waits else ["has it"])
    thread.join()
    assert log[-1] == "has it"


def test_who_waits_to_be_alone_is_not_overtaken():
    timing, other = [], []
    with devices.turn("cpu", False, pytest.fail):
        first = enter("cpu", True, timing)
        second = enter("cpu", False, other)
        assert timing == other == ["waits"]
    first.join()
    second.join()
    assert other[-1] == "has it"


def test_a_turn_ends_with_an_error():
    with pytest.raises(ArithmeticError), devices.turn("cpu", True, pytest.fail):
        raise ArithmeticError
    with devices.turn("cpu", True, pytest.fail):
        pass


@pytest.mark.parametrize(
    ("visible", "count", "given"),
    [(None, 2, ["0", "1", "0"]), ("2,5", 2, ["2", "5", "2"]), ("3", 1, [None] * 3)],
)
def test_workers_have_a_gpu_each_while_there_are_enough(monkeypatch, visible, count, given):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    found, held = [], []
    for _ in given:  # each as if it were another process
        if visible is None:
            monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        else:
            monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        monkeypatch.setattr(devices, "_held", [])
        found.append(devices.take_gpu())
        if found[-1] is not None:
            assert os.environ["CUDA_VISIBLE_DEVICES"] == found[-1]
        held.append(devices._held)
    assert found == given


def test_a_worker_keeps_its_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    assert devices.take_gpu() == "0"
    assert devices.take_gpu() is None and os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_a_cpu_is_one_device_of_its_machine():
    assert devices.name(torch.device("cpu")) == "cpu"
