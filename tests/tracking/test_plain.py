"""Plain data: numbers stay numbers, structures become text only in a table's cell."""

import enum
import json
import math

import numpy as np
import pytest
import torch

from memollm.tracking.plain import grid, plain


class Colour(enum.StrEnum):
    red = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (np.bool_(True), True),
        (torch.tensor(2.5), 2.5),
        (torch.tensor([1, 2]), [1, 2]),
        (np.ones((2, 1)), [[1.0], [1.0]]),
        ({1: (None, {"a"})}, {"1": [None, ["a"]]}),
        (Colour.red, "red"),
        (torch.float32, "torch.float32"),
        ("\ud83d!", "?!"),
    ],
    ids=str,
)
def test_values_become_plain(value, expected):
    assert plain(value) == expected
    assert type(plain(value)) is type(expected)
    json.dumps(plain(value)).encode()


def test_not_a_number_stays_one():
    assert math.isnan(plain(np.float32("nan")))


def test_no_rows_are_an_empty_table():
    assert grid([]) == ([], [])


def test_a_cell_holds_no_structure():
    assert grid([{"x": {"é": [1]}}]) == (["x"], [['{"é": [1]}']])
