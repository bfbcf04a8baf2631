"""Samples: exact in length, a function of their generator, and labelled as they claim."""

import dataclasses
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from memollm.evaluation.tasks.variable_tracking import QUESTION
from memollm.reference import chains, facts, pairs, paraphrases, samples, tracking, wordings, words
from memollm.reference.batches import KINDS, jumps
from memollm.reference.config import Stage, TrainConfig
from memollm.reference.pieces import Role, encode
from memollm.reference.probes import PROBES, answer_span
from memollm.reference.step import learning_rate

FUNCTION = {
    "at", "by", "did", "do", "does", "for", "from", "how", "in", "is", "last",
    "of", "one", "that", "the", "to", "under", "was", "what", "which", "with",
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_sample_is_as_long_as_asked_and_the_same_for_a_seed(kind, library):
    one, again = (kind(np.random.default_rng(7), library, 384) for _ in range(2))
    assert len(one.tokens) == len(one.roles) == 384
    np.testing.assert_array_equal(one.tokens, again.tokens)
    np.testing.assert_array_equal(one.roles, again.roles)


@pytest.mark.parametrize("seed", range(20))
def test_the_answer_of_a_needle_is_what_the_needle_said(seed, library):
    rng = np.random.default_rng(seed)
    hidden = facts.draw_facts(rng, library.vocabulary, 4)
    sample = samples.needle(rng, library, 700, hidden, questions=1)
    text = library.tokenizer.decode
    answer = text(sample.tokens[answer_span(sample)].tolist()).strip()
    start, stop = sample.spans[sample.asked[0]]
    assert answer in {fact.value for fact in hidden}
    assert answer in text(sample.tokens[start:stop].tolist())


def test_a_key_and_its_value_cannot_be_predicted_where_they_are_first_said(library):
    fact = facts.Fact("otter", "48213", "code", "The {thing} of {key} is {value}.", ())
    tokens, roles = encode(library.tokenizer, fact.stated())
    hidden = library.tokenizer.decode(tokens[roles == Role.UNPREDICTABLE].tolist())
    assert hidden.replace(" ", "") == "otter48213"
    assert not (roles == Role.ANSWER).any()


def test_the_first_answer_token_is_what_follows_the_question(library):
    fact = facts.Fact("otter", "48213", "code", "", ("{key}'s {thing} is",))
    tokens, roles = encode(library.tokenizer, fact.asked(fact.questions[0]))
    answer = library.tokenizer.decode(tokens[roles == Role.ANSWER].tolist())
    assert answer == " 48213"


def test_the_words_of_a_question_carry_no_loss(library):
    fact = facts.Fact(
        "otter", "48213", "code", "", ("Whose is {key}? The {thing} of {key} in all is",)
    )
    tokens, roles = encode(library.tokenizer, fact.asked(fact.questions[0]))
    text = [library.tokenizer.decode([int(token)]) for token in tokens]
    learnt = "".join(it for it, role in zip(text, roles, strict=True) if role != Role.UNPREDICTABLE)
    assert learnt == " 48213."


def test_a_chain_lists_every_name_that_leads_to_the_value(rng, library):
    sample = chains.chain(rng, library, 600, hops=2, chains=1)
    text = library.tokenizer.decode(sample.tokens.tolist())
    assert text.count("VAR ") >= 5  # three names on the left, two on the right


@pytest.mark.parametrize("seed", range(10))
def test_each_chain_is_asked_for_once_while_there_is_room(seed, library):
    sample = chains.chain(np.random.default_rng(seed), library, 900, hops=2, chains=3)
    text = library.tokenizer.decode(sample.tokens.tolist())
    asked = re.findall(r"(?:assigned the value (\d{5}) in|= VAR [A-Z]{5} = (\d{5})\.)", text)
    assert len({listed or told for listed, told in asked}) == len(asked) == 3
    short = chains.chain(np.random.default_rng(seed), library, 200, hops=2, chains=3)
    assert len(short.tokens) == 200 and (short.roles == Role.ANSWER).any()


def test_words_come_one_by_one_as_well_and_none_of_them_was_kept_out(rng, library):
    known = dataclasses.replace(library, vocabulary=["zebras", "equals", "quorum"])
    drawn = Counter(word for _ in range(200) for word in samples._words(rng, known).split())
    assert min(drawn["zebras"], drawn["quorum"]) > 30 and not drawn["equals"]


def test_names_are_asked_for_in_the_words_of_the_evaluation(library):
    names = ["PMKKW", "UCNDO", "QJKZE"]
    pieces = chains.question(names, "48213", listed=True)
    tokens, roles = encode(library.tokenizer, pieces)
    first = answer_span(samples.Sample(tokens, roles)).start
    asked = "\n" + QUESTION.format(value="48213", count=3)
    assert tokens[:first].tolist() == library.tokenizer.encode(asked).ids
    assert library.tokenizer.decode(tokens[first:].tolist()).split() == [*names[:2], "QJKZE."]


@pytest.mark.parametrize("seed", range(10))
def test_a_pair_that_is_asked_for_stands_in_the_object(seed, library):
    sample = pairs.pairs(np.random.default_rng(seed), library, 500)
    data, _, asked = library.tokenizer.decode(sample.tokens.tolist()).partition("}\n\n")
    stated = dict(re.findall(r'"([^"]+)": "([^"]+)"', data))
    found = re.findall(r'Key: "([^"]+)"\nCorresponding value: "([^"]+)"', asked)
    assert found and all(stated[key] == value for key, value in found)


@pytest.mark.parametrize("seed", range(10))
def test_a_pair_stands_even_in_a_sample_too_short_for_its_question(seed, library):
    assert len(pairs.pairs(np.random.default_rng(seed), library, 64).tokens) == 64


def test_pairs_are_identifiers_in_the_share_that_is_asked_for(library):
    for share, some in ((1.0, [True]), (0.0, [False, True])):  # short keys are of any kind
        found = set()
        for seed in range(12):
            sample = pairs.pairs(np.random.default_rng(seed), library, 400, identifiers=share)
            text = library.tokenizer.decode(sample.tokens.tolist())
            found.add(bool(re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-", text)))
        assert sorted(found) == some


def test_an_answer_of_tracking_names_the_chain_in_its_order(library):
    sample = tracking.tracking(np.random.default_rng(3), library, 700)
    text = library.tokenizer.decode(sample.tokens.tolist())
    last = text[text.rindex("hidden in the following text") :]
    names = last[last.rindex("they are: ") :].split()[2:]
    assert names == re.findall(r"VAR (\w+) =", last)


def test_the_finish_warms_up_and_falls_to_zero_on_its_own():
    config = TrainConfig(stages=[Stage(10, 64, 1)], finish=[Stage(5, 64, 1)], warmup=2)
    rates = [learning_rate(config, step) for step in range(15)]
    assert rates[9] < rates[5] == config.learning_rate
    assert rates[10] == config.finish_rate / 2
    assert rates[11:] == sorted(rates[11:], reverse=True) and 0 < rates[14] < rates[11]


def test_a_smaller_budget_warms_up_as_much_faster():
    whole = TrainConfig(stages=[Stage(40, 64, 1)], warmup=20)
    half = dataclasses.replace(whole, scale=0.5)
    twice = dataclasses.replace(whole, scale=2.0)
    rates = [learning_rate(it, step) for it, step in ((half, 4), (whole, 9), (twice, 9))]
    assert rates == [whole.learning_rate / 2] * 3


def test_what_was_stated_in_one_way_is_asked_for_in_its_own_other_words(library):
    questions = {stated: asked for stated, asked in paraphrases.PAIRS}
    assert all(it.count("{key}") == 1 for it in questions)
    for stated, asked in paraphrases.PAIRS:
        fact = facts.Fact("otter", "48213", "", stated, asked)
        for question in asked:
            text, roles = encode(library.tokenizer, fact.asked(question))
            answer = library.tokenizer.decode(text[roles == Role.ANSWER].tolist())
            assert answer.endswith(" 48213") and "{key}" in question
    sample = paraphrases.paraphrased(np.random.default_rng(1), library, 500)
    assert sample.asked and (sample.roles == Role.ANSWER).any()


def test_a_thing_is_named_alike_where_it_was_stated_and_where_it_is_asked_for(library):
    named = [fact for fact in paraphrases.NAMED if "{thing} {value}" in fact[0]]
    for stated, asked in named:
        fact = facts.Fact("otter", "48213", "sledge", stated, asked)
        assert "sledge 48213" in "".join(piece for piece, _ in fact.stated(words=lambda: "so"))
        for question in asked:
            tokens, roles = encode(library.tokenizer, fact.asked(question, words=lambda: "so"))
            answer = library.tokenizer.decode(tokens[roles == Role.ANSWER].tolist())
            assert "sledge" in library.tokenizer.decode(tokens.tolist())
            assert answer.endswith(" 48213") and "sledge" not in answer


def test_an_echoed_question_repeats_what_stood_before_the_value(library):
    for seed in range(20):
        rng = np.random.default_rng(seed)
        stated, asked = paraphrases.echoed(rng, library)
        before = stated.partition(" {value}")[0]
        assert before.count("{key}") == 1
        for question in asked:
            assert question.endswith(f"? {before}") and question.count("{key}") == 2


def test_pages_ask_for_every_fact_that_they_say_they_do(library):
    asked = 0
    for seed in range(30):
        length = (256, 512, 1024)[seed % 3]
        kind = paraphrases.KINDS[seed % 4]
        sample = paraphrases._pages(np.random.default_rng(seed), library, length, kind)
        assert len(sample.tokens) == len(sample.roles) == length
        assert len(sample.asked) <= length // paraphrases.PAGE
        stated = [sample.spans[which] for which in sample.asked]
        assert stated == sorted(stated), "a page comes after the one before"
        for (first, last), (following, _) in pairwise([*stated, (length, 0)]):
            fact = library.tokenizer.decode(sample.tokens[first:last].tolist())
            answer = sample.tokens[last:following][sample.roles[last:following] == Role.ANSWER]
            assert library.tokenizer.decode(answer.tolist()).strip() in fact
        asked += len(sample.asked)
    assert asked > 60


def test_no_thing_is_named_by_a_word_that_was_kept_out(library):
    kept = ["badge", "porter", "ounces", "Room"]
    few = dataclasses.replace(library, vocabulary=[*kept, "sledge"] * 9)
    drawn = {paraphrases._thing(np.random.default_rng(seed), few) for seed in range(400)}
    assert "sledge" in drawn and "badge" in words.NOUNS and "badge" not in drawn
    assert not {it.lower() for it in drawn} & {word.lower() for word in kept}
    assert len(drawn & {*wordings.THINGS}) > 20
    assert drawn - {"sledge", *wordings.THINGS, *words.NOUNS}, "words of the text itself"


def test_jumps_only_grow_and_stay_within_bounds(rng):
    for _ in range(50):
        offsets = jumps(rng, 256, 8192)
        assert offsets[0] == 0 and (np.diff(offsets) >= 0).all()
        assert 255 + offsets[-1] < 8192


def test_kept_out_wordings_share_no_statement_and_no_question_with_training():
    families = (wordings.RULER, wordings.KEYED, wordings.KEYLESS, *wordings.NOTATIONS)
    trained = [text for family in families for text in family.statements + family.questions]
    trained += [text for stated, asked in paraphrases.PAIRS for text in (stated, *asked)]
    for name, kept in wordings.KEPT_OUT.items():
        assert name in {probe.removeprefix("kept out: ") for probe in PROBES}
        for template in kept.statements + kept.questions:
            frame = template.replace("{key}", "").replace("{value}", "").strip()
            assert all(frame not in text for text in trained)
    assert len(wordings.UNHEARD) >= 3
    heard = {word for text in trained for word in _words(text)} - FUNCTION
    for name in wordings.UNHEARD:
        kept = wordings.KEPT_OUT[name]
        for template in kept.statements + kept.questions:
            assert not _words(template) & heard


def _words(template: str) -> set[str]:
    return set(re.findall(r"[a-z]+", re.sub(r"\{\w+\}", "", template.lower())))
