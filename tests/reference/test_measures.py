"""The yardsticks of the model card."""

import numpy as np
import pytest
import torch
from transformers import Qwen2ForCausalLM

from memollm.reference.ablation import nearsighted
from memollm.reference.config import Architecture
from memollm.reference.model import build_model
from memollm.reference.perplexity import reach, sliding_windows, spread_windows
from memollm.reference.pieces import Role
from memollm.reference.probes import answer_span
from memollm.reference.samples import Sample
from memollm.reference.trigram import Trigram


def test_the_trigram_probabilities_of_all_continuations_sum_to_one():
    train = np.random.default_rng(0).integers(0, 12, 4000)
    trigram = Trigram(train, vocabulary=12)
    for first, second in ((3, 5), (0, 0), (11, 2)):
        logs = [trigram.log_probabilities(np.array([first, second, last])) for last in range(12)]
        assert np.exp(logs).sum() == pytest.approx(1, abs=1e-9)


def test_the_trigram_expects_what_it_has_seen():
    train = np.array([1, 2, 3] * 200 + [1, 2, 0, 3, 3, 0, 2, 1] * 3)
    trigram = Trigram(train, vocabulary=4)
    likely, unlikely = (trigram.log_probabilities(np.array([1, 2, last])) for last in (3, 1))
    assert likely > np.log(0.9) and unlikely < np.log(0.05)


def test_the_answer_is_the_last_run_of_answer_tokens():
    roles = np.array([Role.TEXT, Role.ANSWER, Role.TEXT, Role.ANSWER, Role.ANSWER, Role.TEXT])
    assert answer_span(Sample(np.arange(6), roles)) == slice(3, 5)


def test_a_nearsighted_model_forgets_what_lies_far_back_and_recovers():
    torch.manual_seed(0)
    architecture = Architecture(vocabulary=300, feed_forward=32, layers=3)
    model: Qwen2ForCausalLM = build_model(architecture, torch.arange(300), circuit=True).eval()
    one = torch.randint(2, 300, (1, 60))
    other = one.clone()
    other[0, 0] = 1 + one[0, 0] % 200

    def last(tokens: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model(tokens, use_cache=False).logits[0, -1]

    whole = last(one)
    assert not torch.equal(whole, last(other))
    with nearsighted(model, [0, 1, 2], window=8):  # three layers of 8 reach 22 tokens back
        torch.testing.assert_close(last(one), last(other), atol=0, rtol=0)
    torch.testing.assert_close(last(one), whole, atol=0, rtol=0)


def test_reach_grades_the_same_tokens_with_much_and_with_little_before_them():
    torch.manual_seed(0)
    architecture = Architecture(vocabulary=300, feed_forward=32, layers=3)
    model: Qwen2ForCausalLM = build_model(architecture, torch.arange(300), circuit=True).eval()
    phrase = np.random.default_rng(0).integers(2, 300, (2, 24))
    filler = np.random.default_rng(1).integers(2, 300, (2, 40))
    windows = np.concatenate([phrase, filler, phrase], axis=1)  # said before: the circuit copies
    found = reach(model, windows, graded=16, near=16)
    assert found.ratio == pytest.approx(found.far / found.near, rel=1e-6) and found.ratio < 0.9
    alike = reach(model, windows, graded=16, near=windows.shape[1] - 16)
    assert (alike.ratio, alike.stderr) == (1.0, 0.0)
    assert reach(model, windows[:1], graded=16, near=16).stderr is None


def test_windows_spread_over_the_text_and_never_count_it_twice():
    stream = np.arange(10)
    assert spread_windows(stream, 4, 9).tolist() == [[0, 1, 2, 3], [6, 7, 8, 9]]
    assert spread_windows(stream, 11, 9).shape == (0, 11)


def test_the_last_strides_of_sliding_windows_are_the_text_once():
    windows = sliding_windows(np.arange(20), 8, 4)
    assert windows[:, -4:].flatten().tolist() == list(range(4, 20))
    assert sliding_windows(np.arange(7), 8, 4).shape == (0, 8)
