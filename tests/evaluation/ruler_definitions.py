"""RULER's own definitions, written down a second time from github.com/NVIDIA/RULER.

Templates, tokens to generate and metrics are those of data/synthetic/constants.py and
eval/synthetic/constants.py, arguments those of synthetic.yaml. How a template is filled is that of
niah.py, variable_tracking.py and the others. Nothing here is shared with the generators.
"""

from __future__ import annotations

import re

TEMPLATES = {  # task: template, answer prefix, tokens to generate
    "niah": (
        "Some special magic {type_needle_v} are hidden within the following text. Make sure to "
        "memorize it. I will quiz you about the {type_needle_v} afterwards.\n{context}\nWhat are "
        "all the special magic {type_needle_v} for {query} mentioned in the provided text?",
        " The special magic {type_needle_v} for {query} mentioned in the provided text are",
        128,
    ),
    "variable_tracking": (
        "Memorize and track the chain(s) of variable assignment hidden in the following "
        "text.\n\n{context}\nQuestion: Find all variables that are assigned the value {query} in "
        "the text above.",
        " Answer: According to the chain(s) of variable assignment in the text above, {num_v} "
        "variables are assigned the value {query}, they are: ",
        30,
    ),
    "common_words_extraction": (
        "Below is a numbered list of words. In these words, some appear more often than others. "
        "Memorize the ones that appear most often.\n{context}\nQuestion: What are the 10 most "
        "common words in the above list?",
        " Answer: The top 10 words that appear most often in the list are:",
        120,
    ),
    "freq_words_extraction": (
        "Read the following coded text and track the frequency of each coded word. Find the three "
        "most frequently appeared coded words. {context}\nQuestion: Do not provide any "
        "explanation. Please ignore the dots '....'. What are the three most frequently appeared "
        "words in the above coded text?",
        " Answer: According to the coded text above, the three most frequently appeared words are:",
        50,
    ),
    "qa": (
        "Answer the question based on the given documents. Only give me the answer and do not "
        "output any other words.\n\nThe following are given documents.\n\n{context}\n\nAnswer the "
        "question based on the given documents. Only give me the answer and do not output any "
        "other words.\n\nQuestion: {query}",
        " Answer:",
        32,
    ),
}
NIAH = {  # task: haystack, keys, values, number of keys, of values, of queries
    "niah_single_1": ("noise", "words", "numbers", 1, 1, 1),
    "niah_single_2": ("essay", "words", "numbers", 1, 1, 1),
    "niah_single_3": ("essay", "words", "uuids", 1, 1, 1),
    "niah_multikey_1": ("essay", "words", "numbers", 4, 1, 1),
    "niah_multikey_2": ("needle", "words", "numbers", 1, 1, 1),
    "niah_multikey_3": ("needle", "uuids", "uuids", 1, 1, 1),
    "niah_multivalue": ("essay", "words", "numbers", 1, 4, 1),
    "niah_multiquery": ("essay", "words", "numbers", 1, 1, 4),
}
FAMILY = {
    **dict.fromkeys(NIAH, "niah"),
    "vt": "variable_tracking",
    "cwe": "common_words_extraction",
    "fwe": "freq_words_extraction",
    "qa_1": "qa",
    "qa_2": "qa",
}
NOISE = "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back again."
FORMS = {
    "words": r"[a-z]+-[a-z]+",
    "numbers": r"[1-9]\d{6}",
    "uuids": r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
}
NEEDLE = r"One of the special magic {things} for ({key}) is: ({value})\."


def template(task: str) -> str:
    """The whole template of a task; of one value, in the singular, as niah.py rewrites it."""
    text = "".join(TEMPLATES[FAMILY[task]][:2])
    if task in NIAH:
        *_, values, queries = NIAH[task]
        if values * queries == 1:
            text = text.replace("Some", "A").replace("are all", "is").replace("are", "is")
            return text.replace("{type_needle_v}", NIAH[task][2][:-1])
        return text.replace("{type_needle_v}", NIAH[task][2])
    return text


def unsolved(task: str, text: str) -> tuple[str, str]:
    """The solved example that a prompt begins with, and the rest."""
    start = template(task).partition("{")[0]
    shown, _, last = text.rpartition(start)
    return shown, start + last


def fields(task: str, text: str) -> dict[str, str]:
    """What a prompt has in the places of its template, which it must equal."""
    pattern, seen = "", set()
    for literal, name in re.findall(r"([^{]*)(?:\{(\w+)\})?", template(task)):
        pattern += re.escape(literal)
        if name:
            dots = ".*" if name == "context" else ".*?"
            pattern += f"(?P={name})" if name in seen else f"(?P<{name}>{dots})"
            seen.add(name)
    found = re.fullmatch(pattern, text, re.DOTALL)
    assert found, f"not the template of {task}: {text[:200]!r} ... {text[-200:]!r}"
    return found.groupdict()


def needles(task: str, context: str) -> list[tuple[str, str]]:
    """Key and value of every needle in a context."""
    _, key, value, *_ = NIAH[task]
    return re.findall(NEEDLE.format(things=value, key=FORMS[key], value=FORMS[value]), context)
