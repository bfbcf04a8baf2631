"""The tests in ``inside``, run where kvpress may be imported: the fake one, and the real one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kvpress.elsewhere import INSIDE, REPOSITORY, installed, python_path


@pytest.mark.parametrize(
    "fake",
    [
        pytest.param(True, marks=pytest.mark.slow),
        pytest.param(
            False,
            marks=pytest.mark.skipif(not installed(), reason="kvpress is not installed (README)"),
        ),
    ],
    ids=["fake", "real"],
)
def test_inside(fake):
    tests = str(Path(__file__).parent / "inside")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", tests],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": python_path(fake), INSIDE: "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
