"""Claims: one at a time, also after an owner died, and wherever the owner was."""

import dataclasses
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from memollm import claims
from memollm.claims import claimed, this_process


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(claims, "POLL", 0.01)
    monkeypatch.setattr(claims, "STALE", 0.4)
    monkeypatch.setattr(claims, "HEARTBEAT", 0.05)


def leave(folder, owner, number=0):
    """A claim that its owner did not give back."""
    path = folder / f"cell.{number}"
    path.write_text(json.dumps(dataclasses.asdict(owner)))
    return path


def seconds_to_have(folder):
    began, owners = time.monotonic(), []
    with claimed(folder, "cell", owners.append):
        pass
    return time.monotonic() - began, owners


def dead():
    """A process that has been here."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return dataclasses.replace(this_process(), pid=process.pid)


def test_a_claim_is_given_back_and_leaves_nothing(tmp_path):
    with claimed(tmp_path, "cell", pytest.fail):
        assert [path.name for path in tmp_path.iterdir()] == ["cell.0"]
    assert not list(tmp_path.iterdir())


def test_other_names_do_not_wait(tmp_path):
    with claimed(tmp_path, "cell", pytest.fail), claimed(tmp_path, "other", pytest.fail):
        assert len(list(tmp_path.iterdir())) == 2


def test_a_claim_is_given_back_after_an_error(tmp_path):
    with pytest.raises(ArithmeticError), claimed(tmp_path, "cell", pytest.fail):
        raise ArithmeticError
    assert not list(tmp_path.iterdir())


def test_who_comes_second_waits_and_is_told_for_whom(tmp_path):
    with claimed(tmp_path, "cell", pytest.fail):
        told = []
        second = threading.Thread(target=lambda: told.extend(seconds_to_have(tmp_path)))
        second.start()
        time.sleep(0.3)
    second.join()
    waited, owners = told
    assert waited > 0.25 and owners == [this_process()]
    assert str(os.getpid()) in str(owners[0])


@pytest.mark.parametrize("number", [0, 3])
def test_a_dead_owner_of_this_machine_is_outnumbered_at_once(tmp_path, number):
    left = leave(tmp_path, dead(), number)
    with claimed(tmp_path, "cell", pytest.fail):
        assert [path.name for path in tmp_path.iterdir()] == [f"cell.{number + 1}"]
    assert not left.exists()


def test_a_number_that_came_back_is_another_process(tmp_path):
    earlier = dataclasses.replace(this_process(), created=this_process().created - 100)
    leave(tmp_path, earlier)
    assert seconds_to_have(tmp_path) == (pytest.approx(0, abs=0.3), [])


def test_an_owner_elsewhere_is_dead_once_it_is_silent_for_long(tmp_path):
    leave(tmp_path, dataclasses.replace(this_process(), host="another"))
    waited, owners = seconds_to_have(tmp_path)
    assert waited >= claims.STALE and [it.host for it in owners] == ["another"]


def test_an_owner_elsewhere_is_alive_while_it_is_not_silent(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "_host", lambda: "there")
    with claimed(tmp_path, "cell", pytest.fail):  # its heart beats
        monkeypatch.setattr(claims, "_host", lambda: "here")
        told = []
        second = threading.Thread(target=lambda: told.extend(seconds_to_have(tmp_path)))
        second.start()
        time.sleep(3 * claims.STALE)
        assert second.is_alive()
    second.join()
    assert told[0] >= 3 * claims.STALE


def test_a_claim_that_cannot_be_read_is_waited_for_like_one_elsewhere(tmp_path):
    (tmp_path / "cell.0").touch()  # its owner died before it had written its name
    waited, owners = seconds_to_have(tmp_path)
    assert waited >= claims.STALE and owners == [None]


def test_of_many_who_find_a_dead_owner_one_has_it_at_a_time(tmp_path):
    leave(tmp_path, dead())
    inside, most, lock = 0, 0, threading.Lock()

    def work():
        nonlocal inside, most
        with claimed(tmp_path, "cell", lambda owner: None):
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.01)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and not list(tmp_path.iterdir())
