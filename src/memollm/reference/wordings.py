"""How a fact is stated and how it is asked for.

``{key}`` and ``{value}`` are filled in by a fact, ``{thing}`` by what the value is called,
``{filler}`` by nothing or a few words of text, so that the key stands at varied distances from
the value, and ``{words}`` by a few words of text in any case. In every statement the key comes
before the value: what a causal model can look up.

A question ends where the answer begins. Training mixes any statement with any question of its
family; ``KEPT_OUT`` is never trained on and measures whether asking was learnt or templates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Wording:
    """Statements and questions that may be combined freely."""

    statements: tuple[str, ...]
    questions: tuple[str, ...]


THINGS = (
    "special magic number", "magic number", "pass key", "passkey", "secret code", "code",
    "access code", "password", "serial number", "number", "phone number", "account number",
    "identifier", "label", "score", "token", "price", "registration number", "name", "address",
    "answer", "weight", "value", "reference", "page", "room number", "favourite number",
    "special magic word", "special magic uuid",
)  # fmt: skip

RULER = Wording(
    ("One of the special magic numbers for {key} is: {value}.",),
    (
        "What is the special magic number for {key} mentioned in the provided text? The special "
        "magic number for {key} mentioned in the provided text is",
    ),
)

KEYED = Wording(
    (
        "One of the {thing}s for {key} is: {value}.",
        "The {thing} for {key} is {value}.",
        "The {thing} of {key} is {value}.",
        "The {thing} of the {key} is: {value}.",
        "{key}'s {thing} is {value}.",
        "For {key}, the {thing} is {value}.",
        "Remember that the {thing} of {key} is {value}.",
        "{key} has the {thing} {value}.",
        "The {thing} that belongs to {key}{filler} is {value}.",
        "A note about {key}: its {thing}{filler} is {value}.",
        "{key}{filler} was given the {thing} {value}.",
        "If anyone asks about {key}{filler}, the {thing} is {value}.",
        "The {thing} for {key}{filler} is {value}.",
        "It is written that {key}{filler} has {value} as {thing}.",
        "They call {key} by the {thing} {value}.",
        "Everyone knows that {key} answers to {value}.",
        "The house of {key} bears the {thing} {value}.",
        "In the ledger {key} is entered under {value}.",
        "Send all letters for {key} to box {value}.",
        "{key} weighs exactly {value} grains.",
        "{key} was sold for {value} pounds.",
        "The ticket of {key} shows {value}.",
        "Whoever meets {key} must whisper {value}.",
        "{key}, who came late, drew lot {value}.",
    ),
    (
        "What is the {thing} for {key} mentioned in the provided text? The {thing} for {key} "
        "mentioned in the provided text is",
        "What is the {thing} of {key}? The {thing} of {key} is",
        "What is the {thing} for {key}? The {thing} for {key} is:",
        "What is the {thing} for {key}? The {thing}{filler} is",
        "Question: What is {key}'s {thing}?\nAnswer:",
        "Q: What is the {thing} of the {key}?\nA: The {thing} is",
        "According to the text above, the {thing} of {key} is",
        "According to the text, the {thing} for {key}{filler} is",
        "Tell me the {thing} of {key}. It is",
        "Which {thing} belongs to {key}? Answer:",
        "Which {thing} was given to {key}? {key}{filler} was given the {thing}",
        "Someone asks about {key}{filler}. The {thing} is",
        "For {key}, the {thing} is",
        "{key}'s {thing} is",
        "Do you remember {key}{filler}? Its {thing} is",
        "What was said of {key}? Of {key} the text said",
        "Under what is {key} entered? {key} was entered under",
        "How much does {key} weigh? {key} weighs exactly",
        "For how much was {key} sold? The sum for which {key} was sold was",
        "What shows the ticket of {key}? The ticket of {key}, it was written, shows",
        "What must one whisper to {key}? One meets {key} by whispering",
        "Which lot fell to {key}? The lot that fell to {key} was",
        "To which box go letters for {key}? Letters for {key} go to",
        "To what does {key} answer? {key} answers to",
        "{words} {key}? {words} {key} {words}",
        "{words} {key}{filler}? Answer:",
        "{words} of {key}? The {words} {key} was",
        "{words} {key}? It {words} with",
    ),
)

# Words of any text around key and value: only the key can tell what is asked for.
FREE = Wording(
    (
        "{words} {key} {words} {value}.",
        "{words} {key} {words} {value} {words}.",
        "The {words} {key} {words} with {value}.",
        "{key} {words} {value}.",
        "{words} {key}, {words}: {value}.",
    ),
    KEYED.questions,
)

# Without a key: there is one such fact in the text.
KEYLESS = Wording(
    (
        "The {thing} is {value}. Remember it. {value} is the {thing}.",
        "The {thing} is {value}.",
        "Remember this: the {thing}{filler} is {value}.",
        "There is an important {thing} hidden in this text: {value}. Keep it in mind.",
    ),
    (
        "What is the {thing}? The {thing} is",
        "What is the {thing} mentioned in the provided text? The {thing} mentioned in the "
        "provided text is",
        "Question: What is the {thing}?\nAnswer:",
        "The {thing} mentioned above{filler} is",
        "Tell me the {thing}. It is",
        "Use the {thing}. As said before, it was",
    ),
)

# Notations: a question repeats the notation up to the value.
NOTATIONS = (
    Wording(('"{key}": "{value}",',), ('Extract the value:\n"{key}": "', '"{key}": "')),
    Wording(("{key} = {value}",), ("What is {key}? {key} =", "{key} =")),
    Wording(("{key}: {value}",), ("Look up {key}.\n{key}:", "{key}:")),
    Wording(("{key} -> {value}",), ("Follow {key} -> ", "{key} ->")),
    Wording(("| {key} | {value} |",), ("| {key} |", "Complete the row: | {key} |")),
    Wording(
        ("line {key}: REGISTER_CONTENT is <{value}>",),
        ("Tell me what the REGISTER_CONTENT in line {key} is. line {key}: REGISTER_CONTENT is <",),
    ),
    Wording(("<{key}>{value}</{key}>",), ("<{key}>",)),
)

# No sample uses one of these.
KEPT_OUT = {
    "vault": Wording(
        ("The vault at {key} opens with {value}.",),
        ("Which digits open the vault at {key}? The vault at {key} opens with",),
    ),
    "porter": Wording(
        ("{key} received badge {value} from the porter.",),
        (
            "Which badge did the porter hand to {key}? The badge that the porter handed to {key} "
            "was",
        ),
    ),
    "telephone": Wording(
        ("To reach {key}, dial {value}.",),
        ("How does one reach {key} by telephone? One reaches {key} by dialling",),
    ),
    "coins": Wording(
        ("They say that {key} paid exactly {value} coins.",),
        ("How many coins did {key} pay? The sum that {key} paid, in coins, was",),
    ),
    "inn": Wording(
        ("Guests of {key} sleep in room {value}.",),
        ("Where do guests of {key} sleep? Those who visit {key} spend the night in room",),
    ),
    "hymn": Wording(
        ("Every morning {key} sings hymn {value}.",),
        ("What does {key} sing? The hymn that one hears from {key} is",),
    ),
    "parcel": Wording(
        ("The parcel for {key} weighed {value} ounces.",),
        ("How heavy was what {key} received? In ounces, the parcel sent to {key} weighed",),
    ),
    "comet": Wording(
        ("Astronomers catalogued {key} under entry {value}.",),
        ("How is {key} catalogued? Astronomers looking for {key} consult entry",),
    ),
    "orchard": Wording(
        ("{key} harvested {value} bushels last autumn.",),
        ("How rich was the harvest of {key}? Last autumn the bushels gathered by {key} were",),
    ),
    "swimmer": Wording(
        ("Yesterday {key} swam {value} metres.",),
        ("How far did {key} swim? The distance that {key} covered yesterday, in metres, equals",),
    ),
}
# Of those, whose telling words stand in no template of the training either.
UNHEARD = ("porter", "parcel", "comet", "orchard", "swimmer")
KEPT_OUT_WORDS = {
    word
    for kept in KEPT_OUT.values()
    for template in kept.statements + kept.questions
    for word in re.findall(r"[a-z]+", template.lower())
}
