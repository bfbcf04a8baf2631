"""Patterns: what every pattern promises, then each against its definition."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from memollm.attention.patterns.base import ContentPattern, PositionalPattern
from memollm.attention.patterns.hashing import mixed
from memollm.registry import groups, import_parts
from tests.attention.patterns.definitions import DEFINITIONS, PRIME, SMALL

import_parts("attention.patterns")
PARTS = groups()["pattern"]
TOKENS = 40
POSITIONS = torch.arange(TOKENS)
NAMES = sorted(name for name, part in PARTS.items() if part.limits)
CASES = [(name, settings) for name in NAMES for settings in ({}, *SMALL[name])]
POSITIONAL = [it for it in CASES if issubclass(PARTS[it[0]], PositionalPattern)]
CONTENT = [it for it in CASES if issubclass(PARTS[it[0]], ContentPattern)]


def seen(pattern, queries, keys):
    """Who sees whom (heads, queries, keys), of vectors drawn for 40 tokens; causal."""
    earlier = keys <= queries[:, None]
    if isinstance(pattern, PositionalPattern):
        return (pattern.visible(queries, keys) & earlier)[None]
    generator = torch.Generator().manual_seed(1)
    drawn = [torch.randn(1, n, TOKENS, 8, generator=generator).double() for n in (4, 2)]
    asked, known = drawn[0][:, :, queries], pattern.codes(drawn[1])[:, :, keys]
    return pattern.visible(asked, known, queries[None], keys[None])[0] & earlier


@pytest.fixture(params=CASES, ids=str)
def pattern(request):
    name, settings = request.param
    return PARTS[name](**settings)


def test_every_pattern_has_small_settings():
    assert set(SMALL) == set(NAMES) and set(DEFINITIONS) == {name for name, _ in POSITIONAL}


def test_every_token_sees_itself(pattern):
    assert seen(pattern, POSITIONS, POSITIONS).diagonal(dim1=1, dim2=2).all()


def test_a_decoded_token_sees_what_it_saw_in_the_prompt(pattern):
    prompt = seen(pattern, POSITIONS, POSITIONS)
    for token in (0, 1, 17, 39):
        alone = seen(pattern, POSITIONS[token : token + 1], POSITIONS)
        assert torch.equal(alone, prompt[:, token : token + 1])


@pytest.mark.parametrize(("name", "settings"), POSITIONAL, ids=str)
def test_taking_keys_away_moves_none_of_the_others(name, settings):
    pattern, kept = PARTS[name](**settings), POSITIONS[torch.randperm(TOKENS)[:13]]
    whole = seen(pattern, POSITIONS, POSITIONS)
    assert torch.equal(seen(pattern, POSITIONS, kept), whole[:, :, kept])


@pytest.mark.parametrize(("name", "settings"), POSITIONAL, ids=str)
def test_rows_are_independent(name, settings):
    pattern = PARTS[name](**settings)
    queries, keys = torch.stack([POSITIONS, POSITIONS + 9]), torch.stack([POSITIONS, POSITIONS])
    both = pattern.visible(queries, keys)
    assert torch.equal(both[1], pattern.visible(queries[1], keys[1]))


@given(
    case=st.sampled_from(CASES), tokens=st.sets(st.integers(0, TOKENS - 1), min_size=1, max_size=9)
)
def test_whatever_is_seen_is_within_reach(case, tokens):
    pattern = PARTS[case[0]](**case[1])
    queries = torch.tensor(sorted(tokens))
    reach = pattern.reach(queries)
    assert reach.diff().gt(0).all() and reach.max() <= queries.max() and reach.min() >= 0
    found = seen(pattern, queries, POSITIONS).any(dim=1).any(dim=0).nonzero().squeeze(1)
    assert set(found.tolist()) <= set(reach.tolist())


@pytest.mark.parametrize(("name", "settings"), POSITIONAL, ids=str)
def test_a_token_reaches_little_more_than_it_sees(name, settings):
    pattern, last = PARTS[name](**settings), torch.tensor([TOKENS - 1])
    sees = pattern.visible(last, POSITIONS).sum()
    assert len(pattern.reach(last)) == sees


def test_up_to_its_whole_length_it_hides_nothing(pattern):
    tokens = POSITIONS[: int(min(pattern.whole, TOKENS))]
    assert seen(pattern, tokens, tokens).logical_not().sum() == len(tokens) * (
        len(tokens) - 1
    ) // 2 * len(seen(pattern, tokens, tokens))


@pytest.mark.parametrize(("name", "settings"), POSITIONAL, ids=str)
def test_it_is_what_its_definition_says(name, settings):
    pattern = PARTS[name](**settings)
    rule = DEFINITIONS[name]
    expected = [[k <= q and rule(pattern, q, k) for k in range(TOKENS)] for q in range(TOKENS)]
    assert seen(pattern, POSITIONS, POSITIONS)[0].tolist() == expected


@pytest.mark.parametrize("tokens", [1, 5, 64])
def test_topk_is_a_sort_of_each_querys_scores(tokens):
    generator = torch.Generator().manual_seed(2)
    queries = torch.randn(1, 4, TOKENS, 8, generator=generator).double()
    keys = torch.randn(1, 2, TOKENS, 8, generator=generator).double()
    found = PARTS["topk"](tokens=tokens).visible(queries, keys, POSITIONS[None], POSITIONS[None])
    for head in range(4):
        for q in range(TOKENS):
            scores = [float(queries[0, head, q] @ keys[0, head // 2, k]) for k in range(q + 1)]
            best = sorted(range(q + 1), key=lambda k: -scores[k])[:tokens]
            assert set(found[0, head, q].nonzero().flatten().tolist()) == {*best, q}


def test_lsh_sees_equal_directions_and_with_one_bucket_everything():
    pattern = PARTS["lsh"](buckets=16, rounds=1, window=1, sinks=0)
    keys = torch.randn(1, 1, TOKENS, 8, generator=torch.Generator().manual_seed(3))
    found = pattern.visible(3 * keys, pattern.codes(keys), POSITIONS[None], POSITIONS[None])[0, 0]
    codes = pattern.codes(keys)[0, 0, :, 0].tolist()
    expected = [[k <= q and codes[q] == codes[k] for k in range(TOKENS)] for q in range(TOKENS)]
    assert found.tolist() == expected and len(set(codes)) > 4
    one = PARTS["lsh"](buckets=1, window=1, sinks=0)
    everything = one.visible(keys, one.codes(keys), POSITIONS[None], POSITIONS[None])
    assert everything.sum() == TOKENS * (TOKENS + 1) // 2


def test_more_rounds_never_hide_what_fewer_showed():
    few = PARTS["lsh"](rounds=1, seed=4)
    keys = torch.randn(1, 1, TOKENS, 8, generator=torch.Generator().manual_seed(3))
    args = POSITIONS[None], POSITIONS[None]
    more = torch.zeros(1, 1, TOKENS, TOKENS, dtype=torch.bool)
    for rounds in (1, 3):
        pattern = PARTS["lsh"](rounds=rounds, seed=4, window=1, sinks=0)
        found = pattern.visible(keys, pattern.codes(keys), *args)
        assert found.sum() >= more.sum()
        more = found
    assert few.codes(keys).shape == (1, 1, TOKENS, 1)


def test_hashes_are_even_and_differ_by_every_part():
    numbers = mixed(0, torch.arange(4000))
    assert len(set(numbers.tolist())) == 4000 and numbers.max() < PRIME
    counts = torch.bincount(numbers % 10, minlength=10)
    assert counts.min() > 320 and counts.max() < 480  # 400 each, give or take four deviations
    assert (mixed(1, torch.arange(50)) != mixed(0, torch.arange(50))).all()


WRONG = [
    ("local", {"window": 0}), ("local", {"sinks": -1}), ("dilated", {"dilation": 0}),
    ("global", {"every": -1}), ("block", {"size": 0}), ("block", {"near": 0}),
    ("random", {"draws": -1}), ("bigbird", {"seed": -1}), ("strided", {"stride": 0}),
    ("longformer", {"window": 0}), ("topk", {"tokens": 0}), ("lsh", {"buckets": 3}),
    ("lsh", {"rounds": 0}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings"), WRONG, ids=str)
def test_what_makes_no_sense_is_refused_by_its_key(name, settings):
    ((key, value),) = settings.items()
    with pytest.raises(ValueError, match=rf"pattern.{key}={value} is not allowed"):
        PARTS[name](**settings)
