"""Training gates: repeatable, resumable, and it does what it is for."""

import dataclasses
import re

import pytest
import torch

from memollm.gating.config import Context, GateTraining, Scope
from memollm.gating.data import draw, library
from memollm.gating.train import train
from memollm.hf.attachment import attach
from memollm.memory.budget import BudgetBy
from memollm.memory.strength.gates_file import load
from memollm.memory.strength.learned import Learned
from memollm.reference.tokenizer import train_tokenizer
from tests.hf.tiny import VOCABULARY, forgetful, prompt, tiny_model

SENTENCES = (
    "The old clock on the wall ran slow. She said nothing, and looked at the river. "
    'It had rained since morning. "Will you come?" he asked. Nobody answered him.\n'
)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([SENTENCES], vocabulary=700, key_word_count=5)


@pytest.fixture
def config(tmp_path):
    (tmp_path / "story.txt").write_text(SENTENCES * 60)
    return GateTraining(
        sources=[str(tmp_path / "story.txt")], steps=6, lengths=[96, 128], sequences=1, graded=48,
        chunk=32, hidden=4, sinks=1, recent=2, checkpoint_every=1, characters=9000, warmup=1,
        needle=0.5, keyless=0.0, pairs=0.0, dense=0.2, chain=0.0, lifetime=1e4, learning_rate=0.05,
        distillation=1.0, next_token=0.2, budgets=[0.08], every=16, capacity=1.0,
    )  # fmt: skip


class Curve:
    def __init__(self):
        self.logged = []

    def log(self, metrics, *, step):
        self.logged.append(dict(metrics))


@pytest.fixture(scope="module")
def model():
    """A tiny model with room for the tokenizer's tokens."""
    one = tiny_model(dtype=torch.float32, layers=2, seed=3)
    assert one.config.vocab_size == VOCABULARY
    one.resize_token_embeddings(700)
    return one


def trained(config, model, tokenizer, folder):
    return load(train(config, model, tokenizer, "tiny", folder).path)


def weights(gates):
    return {
        f"{layer}.{name}": tensor
        for layer, gate in gates.layers.items()
        for name, tensor in gate.state_dict().items()
    }


def same(left, right):
    left, right = weights(left), weights(right)
    return left.keys() == right.keys() and all(left[key].equal(right[key]) for key in left)


def test_one_seed_gives_the_same_gates_and_another_does_not(config, model, tokenizer, tmp_path):
    first = trained(config, model, tokenizer, tmp_path / "a")
    assert same(first, trained(config, model, tokenizer, tmp_path / "b"))
    other = dataclasses.replace(config, seed=1)
    assert not same(first, trained(other, model, tokenizer, tmp_path / "c"))


def test_a_training_that_was_stopped_goes_on_to_the_same_gates(config, model, tokenizer, tmp_path):
    whole = trained(config, model, tokenizer, tmp_path / "whole")
    part = dataclasses.replace(config, stop_after=4)
    stopped = train(part, model, tokenizer, "tiny", tmp_path / "part")
    assert stopped.steps == 4
    assert same(whole, trained(config, model, tokenizer, tmp_path / "part"))


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"scope": Scope.head}, {"reads": "keys"}, {"hidden": 0}, {"context": Context.damped},
        {"distillation": 0.0}, {"distillation": 0.0, "next_token": 0.0},
        {"budget_by": BudgetBy.threshold}, {"bfloat16": True},
    ],
)  # fmt: skip
def test_the_memory_shrinks_to_its_budget(changes, config, model, tokenizer, tmp_path):
    config = dataclasses.replace(config, steps=16, log_every=1, lifetime=300.0, **changes)
    curve = Curve()
    path = train(config, model, tokenizer, "tiny", tmp_path / "out", curve).path
    assert curve.logged[-1]["overflow"] < 0.7 * curve.logged[0]["overflow"]
    with attach(model, forgetful(birth=Learned(str(path.parent)), threshold=None, budget=0.5)):
        assert model(prompt(20)).logits.isfinite().all()
    card = (path.parent / "README.md").read_text()
    assert "strength=learned" in card and re.search(r"budgets:\n- 0.08", card)


def test_the_model_is_left_as_it_was(config, model, tokenizer, tmp_path):
    before, implementation = model(prompt(8)).logits, model.config._attn_implementation
    train(config, model, tokenizer, "tiny", tmp_path / "out")
    assert model(prompt(8)).logits.equal(before)
    assert all(it.requires_grad and it.grad is None for it in model.parameters())
    assert model.config._attn_implementation == implementation


def test_what_is_drawn_depends_on_seed_and_step_alone(config, tokenizer, tmp_path):
    text = library(config, tokenizer, tmp_path / "text")
    again = library(config, tokenizer, tmp_path / "text")
    tokens, roles = draw(config, text, 3)
    assert (tokens == draw(config, again, 3)[0]).all() and tokens.shape == roles.shape == (1, 128)
    assert draw(config, text, 0)[0].shape == (1, 96)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("budgets", [1.5]), ("budgets", [0]), ("budgets", []), ("sharpness", 0.5),
        ("every", 0), ("needle", 0.9), ("lengths", [40]), ("reads", "values"),
        ("capacity", -1.0), ("steps", 0), ("sources", []), ("shares", [0.5, 0.5]),
        ("lifetime", 1.0), ("learning_rate", 0.0),
    ],
)  # fmt: skip
def test_what_makes_no_training_is_refused(config, key, value):
    with pytest.raises(ValueError, match=rf"{key}.*is not allowed"):
        dataclasses.replace(config, **{key: value})
