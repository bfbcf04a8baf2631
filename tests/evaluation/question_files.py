"""Small files in the formats of SQuAD 2.0 and HotpotQA."""

from __future__ import annotations

import json
import random

from memollm.evaluation.tasks.documents import Documents, Format, read

WORDS = ["river", "morning", "slowly", "walked", "under", "the", "grey", "house", "rain", "nobody"]


def squad(articles: int = 6, paragraphs: int = 4) -> dict:
    rng = random.Random(0)
    data = []
    for a in range(articles):
        several = []
        for p in range(paragraphs):
            answer = f"answer{a}x{p}"
            asked = {
                "question": f"What does paragraph {p} of article {a} say?",
                "id": f"{a}.{p}",
                "is_impossible": False,
                "answers": [{"text": answer, "answer_start": 0}, {"text": answer}],
            }
            hopeless = {"question": "What not?", "is_impossible": True, "answers": []}
            context = f"{answer} {_prose(rng)}"
            several.append({"context": context, "qas": [asked, hopeless]})
        data.append({"title": f"Article {a}", "paragraphs": several})
    return {"version": "v2.0", "data": data}


def hotpotqa(questions: int = 8) -> list:
    rng = random.Random(1)
    found = []
    for q in range(questions):
        context = [[f"Title {q}.{i}", [_prose(rng), " " + _prose(rng)]] for i in range(10)]
        answer = f"answer{q}"
        context[3][1][1] += f" {answer}."
        facts = [[f"Title {q}.3", 1], [f"Title {q}.7", 0]]
        asked = {"_id": str(q), "question": f"Who is asked in question {q}?", "answer": answer}
        found.append({**asked, "supporting_facts": facts, "context": context})
    return found


def documents(name: str, tmp_path_factory) -> Documents:
    form = Format.squad if name == "qa_1" else Format.hotpotqa
    path = tmp_path_factory.mktemp("files") / f"{form}.json"
    path.write_text(json.dumps(squad() if form is Format.squad else hotpotqa()))
    return read(str(path), form, "key")


def _prose(rng: random.Random) -> str:
    length = rng.randint(3, 30)
    return " ".join(rng.choices(WORDS, k=length)).capitalize() + "."
