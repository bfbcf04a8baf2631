"""Facts asked for in other words than they were stated in; the key names both.

Each line of ``PAIRS`` is one way of stating a fact and one or two of asking for it. Unlike in
``wordings``, statement and question belong together; the words that differ are what is learnt.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

import numpy as np

from memollm.reference import keys
from memollm.reference.facts import Fact
from memollm.reference.library import Library
from memollm.reference.samples import COUNTS, Sample, TooShortError, needle, text
from memollm.reference.wordings import KEPT_OUT_WORDS, THINGS
from memollm.reference.words import NOUNS

Draw = Callable[[np.random.Generator, Library], tuple[str, tuple[str, ...]]]

PAIRS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("To open {key}, turn the dial to {value}.",
     ("How does one open {key}? One opens {key} by turning the dial to",)),
    ("Whoever calls on {key} should ring {value} times.",
     ("How often should one ring for {key}? For {key} the bell is rung, as we read,",)),
    ("The train to {key} leaves from platform {value}.",
     ("Where does one board for {key}? Travellers to {key} board at",
      "Which platform serves {key}? {key} is served by platform")),
    ("{key} lives behind door {value}.",
     ("Which door must one knock at to see {key}? To see {key} one knocks at door",)),
    ("They sealed {key} with stamp {value}.",
     ("By which stamp was {key} sealed? The stamp that sealed {key} is",)),
    ("The bridge of {key} was built in {value}.",
     ("When was the bridge of {key} built? People built the bridge of {key} in",)),
    ("{key} owes the baker {value} pence.",
     ("What does {key} owe? The debt of {key}, in pence, comes to",)),
    ("Beside the name of {key} the captain wrote {value}.",
     ("What stands beside the name of {key}? Beside {key} the captain had written",)),
    ("{key} travels under passport {value}.",
     ("With which passport does {key} travel? The passport carried by {key} reads",)),
    ("Of {key}, mix {value} drops into the water.",
     ("How much of {key} goes into the water? The drops of {key} that are mixed in number",)),
    ("Our agent near {key} reports by wire {value}.",
     ("Which wire reaches the agent near {key}? The agent near {key} is reached by wire",)),
    ("The tower of {key} rises {value} feet.",
     ("How high is the tower of {key}? In feet, the tower of {key} measures",)),
    ("You will find {key} on shelf {value}.",
     ("Where is {key} kept? One finds {key}, if one looks, on shelf",
      "On what shelf does {key} stand? {key} stands on")),
    ("{key} won the race with number {value}.",
     ("What number did {key} run under? In the race {key} ran under",)),
    ("The judge gave {key} the case {value}.",
     ("Which case was {key} given? The case that came before {key} was",)),
    ("For {key} the cook lays {value} spoons.",
     ("How many spoons are laid for {key}? At the place of {key} one counts",)),
    ("At the auction {key} took home lot {value}.",
     ("What did {key} buy? Of all that was sold, {key} came away with lot",)),
    ("To wake {key}, press button {value}.",
     ("What wakes {key}? {key} is woken by pressing",)),
    ("{key} hid the letters under stone {value}.",
     ("Under which stone are the letters of {key}? The letters that {key} hid lie under stone",)),
    ("Messages from {key} arrive on channel {value}.",
     ("How is {key} heard? One hears {key} by listening on channel",)),
    ("The doctor prescribed {key} a dose of {value}.",
     ("What dose did {key} get? According to the doctor {key} was to take",)),
    ("{key} keeps {value} horses in the stable.",
     ("How many horses has {key}? In the stable of {key} there stand",)),
    ("Ship {key} sank at mile {value}.",
     ("Where did ship {key} go down? Ship {key} went down at mile",)),
    ("Write to {key} care of office {value}.",
     ("How does one write to {key}? One writes to {key} by addressing office",)),
    ("The lamp in {key} burns for {value} hours.",
     ("How long does the lamp in {key} burn? Once lit, the lamp in {key} lasts",)),
    ("{key} answered the riddle with {value}.",
     ("What did {key} say to the riddle? To the riddle {key} replied",)),
    ("At the gate of {key} one must say {value}.",
     ("What lets one pass at {key}? One passes the gate of {key} by saying",)),
    ("The clerk filed {key} as {value}.",
     ("As what is {key} filed? In the files {key} goes by",)),
    ("They locked {key} into cell {value}.",
     ("In which cell does {key} sit? {key} sits in cell",)),
    ("To the wedding of {key} came {value} guests.",
     ("How many came when {key} was married? At the wedding of {key} one saw",)),
    ("The story of {key} is told on page {value}.",
     ("Where is the story of {key} told? Of {key} one reads on page",)),
    ("The portrait of {key} was sold for {value}.",
     ("What was the portrait of {key} worth? For the portrait of {key} one gave",)),
    ("For {key} they asked a ransom of {value}.",
     ("What was to be paid for {key}? Those who held {key} wanted",)),
    ("{key} has been assigned to desk {value}.",
     ("Where does {key} work? Whoever looks for {key} should go to desk",)),
    ("My uncle bought {key} for {value} francs.",
     ("How much money did {key} cost? When my uncle bought {key} he paid, in francs,",)),
    ("{key} can be recognised by the mark {value}.",
     ("How can one tell {key}? One tells {key} by",)),
    ("The recipe called {key} needs {value} eggs.",
     ("How many eggs go into {key}? Whoever bakes {key} breaks",)),
    ("Set the clock of {key} to {value}.",
     ("What should the clock of {key} show? Someone set the clock of {key} to",)),
    ("{key} was last seen near milestone {value}.",
     ("Where was {key} last seen? The last trace of {key} was at milestone",)),
    ("The professor marked the essay on {key} with {value}.",
     ("What mark had the essay on {key}? The essay on {key} was marked",)),
)  # fmt: skip


# Any words: what goes between a key and an answer says nothing, and the answer comes all the same.
_TAILS = (
    "{words} {key}? {words} {key} {words}",
    "{words} {key} {words}? {words} {key} {words} {words}",
    "{words} of {key}? The {words} {key}, {words},",
    "{words} {key}? For {key} the {words}",
)
FRAMES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("{words} {key} {words} {value}.", _TAILS),
    ("{words} {key} {words} {value} {words}.", _TAILS),
    ("{key} {words} {value} {words}.", _TAILS),
)
# The question names what the value is called, as the statement did beside the value: it is
# the value that is asked for, not what its name was followed by the first time.
_NAMED = (
    "Which {thing} {words} {key}? The {thing} {words} {key} was",
    "{words} {thing} {words} {key}? The {thing} that {words} {key} is",
    "{words} {key}? The {thing} {words} {key}",
    "{words} {key}? In {thing}, {words} {key} {words}",
)
# Its name is also the last word before the value, in the question as in the statement: text
# goes on after such a word ("the crate was"), an answer has to begin there all the same.
_BEFORE = (
    *_NAMED,
    "{words} {key} {words}? {words} {key} {words} {thing}",
    "{words} of {key}? {words} {key} {thing}",
    "{words} {key}? For {key} {words} {thing}",
)
NAMED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("{key} {words} {thing} {value} {words}.", _BEFORE),
    ("{key} {words} {thing} {value}.", _BEFORE),
    ("The {words} {key} {words} {thing} {value} {words}.", _BEFORE),
    ("{key} {words} {value} {thing} {words}.", _NAMED),
)


def _fixed(of: tuple[tuple[str, tuple[str, ...]], ...]) -> Draw:
    return lambda rng, library: of[rng.integers(len(of))]


def echoed(rng: np.random.Generator, library: Library) -> tuple[str, tuple[str, ...]]:
    """A question that repeats the statement's own words, whatever they are, up to the value.

    The key then stands twice in the question alone, and no value follows it there.
    """
    first, second = library.snippet(rng, 4), library.snippet(rng, 4)
    stated = f"{first} {{key}} {second}"
    closing = "." if rng.random() < 0.5 else " {words}."
    return f"{stated} {{value}}{closing}", (
        f"{{words}} {{key}}? {stated}",
        f"{{words}} {first} {{key}}? {stated}",
    )


_paired = _fixed(PAIRS)
KINDS: tuple[Draw, ...] = (_paired, _fixed(FRAMES), _fixed(NAMED), echoed)
SHARES = (0.3, 0.15, 0.4, 0.15)
PAGE = 160  # tokens, at least


def paraphrased(rng: np.random.Generator, library: Library, length: int) -> Sample:
    """Facts in a haystack, each asked for in words of its own, most of them in any words.

    Half of the samples are pages: short haystacks in a row, each with one question after text.
    Where questions follow each other, the second is known for one; the first has to be told from
    text that goes on, and of those a long haystack has one.
    """
    kind = KINDS[rng.choice(len(KINDS), p=SHARES)]
    if rng.random() < 0.5:
        return _pages(rng, library, length, kind)
    count = int(rng.choice(COUNTS, p=[0.25, 0.2, 0.3, 0.2, 0.05]))
    return needle(rng, library, length, _facts(rng, library, kind, count))


def _pages(rng: np.random.Generator, library: Library, length: int, kind: Draw) -> Sample:
    pages: list[Sample] = []
    spans: list[tuple[int, int]] = []
    asked: list[int] = []
    stated: set[str] = set()
    start, count = 0, max(1, length // PAGE)
    for number in range(count):
        end = length * (number + 1) // count
        facts = _facts(rng, library, kind, int(rng.integers(1, 3)), stated)
        try:
            page = needle(rng, library, end - start, facts, questions=1)
        except TooShortError:  # a long key or value: the page goes on in the next
            continue
        asked += [len(spans) + which for which in page.asked]
        spans += [(start + first, start + last) for first, last in page.spans]
        pages.append(page)
        stated |= {fact.key for fact in facts}
        start = end
    if start < length:
        pages.append(text(rng, library, length - start))
    tokens = np.concatenate([page.tokens for page in pages])
    roles = np.concatenate([page.roles for page in pages])
    return Sample(tokens, roles, tuple(spans), tuple(asked))


def _facts(
    rng: np.random.Generator,
    library: Library,
    kind: Draw,
    count: int,
    stated: Collection[str] = (),
) -> list[Fact]:
    """``count`` facts of one kind under keys that were not ``stated`` before."""
    alike = rng.random() < 0.5  # all facts in one wording: only the key decides
    one = kind(rng, library)
    drawn: dict[str, Fact] = {}
    while len(drawn) < count:
        key = keys.key(rng, library.vocabulary)
        if key in stated:
            continue
        statement, questions = one if alike else kind(rng, library)
        # Between words of any kind a number is known for the value; a word may be anything.
        value = keys.value(rng) if kind is _paired or rng.random() < 0.3 else _number(rng)
        drawn[key] = Fact(key, value, _thing(rng, library), statement, questions)
    return list(drawn.values())


def _thing(rng: np.random.Generator, library: Library) -> str:
    """What a value is called: a known name, or any word, common ones as often as text has them.

    Some are values elsewhere; none is a word of the wordings that are not trained on.
    """
    pool = rng.integers(4)
    if pool == 0:
        words = re.findall(r"[A-Za-z]+", library.snippet(rng, 5))
    else:
        words = (THINGS, NOUNS, library.vocabulary)[pool - 1]
    things = [word for word in words if word.lower() not in KEPT_OUT_WORDS] or THINGS
    return things[rng.integers(len(things))]


def _number(rng: np.random.Generator) -> str:
    return keys.number(rng, int(rng.integers(4, 8)))
