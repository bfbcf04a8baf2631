"""Memory stays linear in the length: nothing of size queries * keys is ever held."""

import pytest
import torch

from memollm.evaluation.peak import Peak
from memollm.nsa import nsa_func
from tests.nsa.inputs import gates, qkv

LENGTH = 16384
# Of a head of 64 dimensions q, k, v and outputs are 4 MiB each, all that is kept of a forward and
# backward pass some 20 of these; queries * keys would be 1024 MiB, and 256 MiB as a mask.
MOST = 128 * 2**20  # bytes


def test_16k_tokens_need_no_matrix_of_queries_and_keys():
    inputs = [t.requires_grad_() for t in qkv(1, LENGTH, 1, 64)]
    weighing = gates(inputs[0])
    peak = Peak(torch.device("cpu"))
    peak.restart()
    nsa_func(*inputs, *weighing).sum().backward()
    held = peak.read()
    if held is None:
        pytest.skip("this system does not tell a process's peak memory")
    assert held < MOST
