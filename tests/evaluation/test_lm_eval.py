"""The lm-eval evaluation: lm-eval's metrics, document by document, and whether they can feel."""

import json

import lm_eval
import pytest
from datasets import Dataset

from memollm.evaluation.harness import suite
from memollm.evaluation.harness.too_long import TooLong
from memollm.evaluation.lm_eval import LMEval
from memollm.memory.ebbinghaus import Memory
from memollm.modes.baseline import Baseline
from memollm.reference import weights_path
from tests.evaluation.lm_eval_models import model, passage, subject
from tests.evaluation.scripted import Scripted, uniform


def choices(tokens, documents=4):
    texts = [passage(tokens, 700 * index) for index in range(documents)]
    rows = [{"text": it, "answers": ["red", "blue", "green"], "right": 1} for it in texts]
    return lambda **_: {"test": Dataset.from_list(rows)}


def multiple_choice(name, tokens, **settings):
    return {
        "task": name,
        "custom_dataset": choices(tokens),
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{text}} It was",
        "doc_to_choice": "answers",
        "doc_to_target": "right",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        **settings,
    }


ROLLING = {
    "task": "pages",
    "custom_dataset": choices(90),
    "test_split": "test",
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{text}}",
    "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
}
GENERATING = {
    "task": "tales.of 2",
    "custom_dataset": choices(60),
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "{{text}}",
    "doc_to_target": "the end",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 6},
    "metric_list": [{"metric": "exact_match"}],
}
LONG, SHORT = multiple_choice("long", 120), multiple_choice("short", 8)
TASKS = [LONG, SHORT, ROLLING, GENERATING]


def measured(tasks, mode=None, **settings):
    evaluation, it = LMEval(tasks=tasks, **settings), subject(mode)
    evaluation.prepare()
    evaluation.check(it)
    return evaluation, list(evaluation.samples(it))


@pytest.fixture(scope="module")
def forgetful():
    return measured(TASKS)


@pytest.fixture(scope="module")
def untouched():
    return measured(TASKS, Baseline())


def test_metrics_are_lm_evals_own(forgetful):
    evaluation, samples = forgetful
    ours = evaluation.metrics(samples)
    theirs = lm_eval.simple_evaluate(
        model(), tasks=TASKS, task_manager=suite._manager([], {}, defaults=False),
        bootstrap_iters=10,
    )["results"]  # fmt: skip
    for task, name in (("long", "long"), ("short", "short"), ("pages", "pages")):
        for metric in ("acc", "acc_norm", "word_perplexity", "bits_per_byte"):
            if f"{metric},none" in theirs[task]:
                found = ours[f"{name}_{metric}"]
                assert found.value == pytest.approx(theirs[task][f"{metric},none"], rel=1e-9)
                error = theirs[task][f"{metric}_stderr,none"]
                assert error == "N/A" or found.stderr == pytest.approx(error)
                assert found.n == 4
    assert ours["tales_of_2_exact_match"].value == theirs["tales.of 2"]["exact_match,none"]
    assert not ours["pages_bits_per_byte"].higher_is_better and ours["long_acc"].higher_is_better
    assert ours["pages_word_perplexity"].stderr > 0


def test_only_the_tasks_that_can_feel_forgetting_do(forgetful, untouched):
    evaluation, samples = forgetful
    metrics = evaluation.metrics(samples)
    assert metrics["long_can_feel_forgetting"].value == 1
    assert metrics["short_can_feel_forgetting"].value == 0
    assert metrics["can_feel_forgetting"].n == 16
    assert "can_feel_forgetting" not in untouched[0].metrics(untouched[1])
    for ours, theirs in zip(samples, untouched[1], strict=True):
        assert (ours["id"], ours["prompt_hash"]) == (theirs["id"], theirs["prompt_hash"])
        if ours["task"] in ("long", "short"):
            pairs = zip(ours["replies"], theirs["replies"], strict=True)
            moved = max(abs(mine[0][0] - other[0][0]) for mine, other in pairs)
            assert moved > 0.01 if ours["task"] == "long" else moved <= 1e-9


def test_a_sample_says_what_is_compared(forgetful):
    _, samples = forgetful
    for sample in samples:
        assert sample["task"] == sample["id"].split("/")[0] and sample["cut"] == 0
    by_task = {sample["task"]: sample for sample in samples}
    assert by_task["long"]["correct"] == (by_task["long"]["answer"] == "blue")
    assert by_task["long"]["expected"] == "blue" and by_task["long"]["question"].endswith("It was")
    assert by_task["long"]["correct"] == bool(by_task["long"]["metrics"]["acc,none"])
    assert by_task["pages"]["nll"] == -by_task["pages"]["replies"][0][0]
    assert by_task["tales.of 2"]["expected"] == "the end"
    assert by_task["long"]["memory"]["seen_tokens"] == by_task["long"]["tokens"]


def test_overall_numbers_are_means_of_the_samples(forgetful):
    evaluation, samples = forgetful
    metrics = evaluation.metrics(samples)
    right = [sample["correct"] for sample in samples if "correct" in sample]
    assert metrics["accuracy"].value == sum(right) / len(right) and len(right) == 12
    assert list(metrics)[:2] == ["accuracy", "perplexity"]


def test_each_of_several_tasks_has_numbers_of_its_own(forgetful):
    evaluation, samples = forgetful
    metrics = evaluation.metrics(samples)
    assert metrics["accuracy_long"].value == metrics["long_acc"].value
    assert metrics["accuracy_tales_of_2"].n == 4
    assert metrics["perplexity_pages"] == metrics["perplexity"]  # no other task has losses
    alone = [it for it in samples if it["task"] == "long"]
    assert not {name for name in evaluation.metrics(alone) if name.startswith("accuracy_")}


def test_samples_do_not_depend_on_the_batch(forgetful):
    _, together = measured(TASKS, batch_size=3)
    for one, other in zip(forgetful[1], together, strict=True):
        assert (one["id"], one.get("answer")) == (other["id"], other.get("answer"))
        assert one["metrics"] == {k: pytest.approx(it) for k, it in other["metrics"].items()}


def test_a_resumed_run_asks_what_is_missing(forgetful):
    evaluation, samples = forgetful
    assert len(samples) == evaluation.size(subject()) == 16
    again = json.loads(json.dumps(samples))
    assert evaluation.metrics(again[::-1]) == evaluation.metrics(samples)
    kept = [sample["id"] for sample in samples if sample["task"] != "short"] + ["short/1"]
    rest = list(evaluation.samples(subject(), done=kept))
    assert rest == [it for it in samples if it["id"] not in kept] and len(rest) == 3


def test_groups_are_summed_up(tmp_path):
    (tmp_path / "both.yaml").write_text(
        "group: both\ntask: [memollm_long, memollm_short]\n"
        "aggregate_metric_list:\n  - {metric: acc, weight_by_size: true}\n"
    )
    told = {"characters": 100, "documents": 2}
    evaluation, samples = measured(
        ["both"], include_path=str(tmp_path), metadata=told, too_long=TooLong.cut
    )
    metrics = evaluation.metrics(samples)
    assert metrics["both_acc"].n == 4 and metrics["both_acc"].higher_is_better
    parts = [metrics["memollm_long_acc"].value, metrics["memollm_short_acc"].value]
    assert metrics["both_acc"].value == pytest.approx(sum(parts) / 2)
    with pytest.raises(ValueError, match="the group 'all' is not allowed as a configuration"):
        LMEval(tasks=[{"group": "all", "task": [LONG]}]).prepare()


def test_the_fingerprint_is_of_all_that_is_asked():
    tasks = [LONG, SHORT]
    first = LMEval(tasks=tasks).fingerprint()
    assert LMEval(tasks=tasks).fingerprint() == first
    others = [
        LMEval(tasks=tasks, limit=2), LMEval(tasks=tasks, num_fewshot=1),
        LMEval(tasks=[multiple_choice("long", 121), SHORT]), LMEval(tasks=[LONG]),
    ]  # fmt: skip
    assert len({first, *(it.fingerprint() for it in others)}) == 5


# --- where tasks come from --------------------------------------------------------------------


def test_the_bundled_tasks_suit_the_default_memory():
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(str(weights_path()))
    evaluation = LMEval(tasks=["memollm_long", "memollm_short", "memollm_novel"])
    lengths = {}
    for name, task in evaluation._suite.tasks.items():
        docs = [content for _, content in task.doc_iterator()]
        assert docs == [it for _, it in LMEval(tasks=[name])._suite.tasks[name].doc_iterator()]
        lengths[name] = [len(tokenizer.encode(doc["text"])) for doc in docs]
        if name != "memollm_novel":
            assert all(f"{d['key']} is: {d['choices'][d['answer']]}." in d["text"] for d in docs)
            assert {doc["answer"] for doc in docs} == {0, 1, 2, 3} and len(docs) == 40
    keeps = Memory().lifetime_tokens(0.01)
    assert max(lengths["memollm_short"]) + 120 < keeps < min(lengths["memollm_long"]) - 256
    assert max(lengths["memollm_novel"] + lengths["memollm_long"]) < 8000


def test_tasks_may_be_told_more_than_they_say():
    evaluation = LMEval(tasks=["memollm_short"], metadata={"characters": 300, "documents": 3})
    assert evaluation.size(subject()) == 3
    assert all(len(it["text"]) < 900 for it in evaluation._suite.tasks["memollm_short"].eval_docs)


def test_a_folder_of_tasks_is_searched(tmp_path):
    (tmp_path / "made.py").write_text(
        "from datasets import Dataset\n"
        "def documents(**told):\n"
        "    return {'test': Dataset.from_list([{'text': 'It rained.'}])}\n"
    )
    (tmp_path / "rain.yaml").write_text(
        "task: rain\ncustom_dataset: !function made.documents\ntest_split: test\n"
        "output_type: loglikelihood\ndoc_to_text: 'It'\ndoc_to_target: ' rained'\n"
        "metric_list:\n  - metric: acc\n  - metric: perplexity\n"
    )
    evaluation, samples = measured(["rain"], include_path=str(tmp_path))
    assert samples[0]["expected"] == "rained" and "rain_acc" in evaluation.metrics(samples)
    by_file = LMEval(tasks=[str(tmp_path / "rain.yaml")])
    assert by_file.size(subject()) == 1


def test_an_unknown_task_is_refused_with_the_nearest(monkeypatch):
    asked, manager = [], suite._manager

    def local(folders, metadata, defaults):
        asked.append(defaults)
        return manager(folders, metadata, defaults=False)

    monkeypatch.setattr(suite, "_manager", local)
    with pytest.raises(ValueError, match=r"tasks='memollm_lnog' .*mean 'memollm_long'\?"):
        LMEval(tasks=["memollm_lnog"]).prepare()
    assert asked == [False, True]  # lm-eval's own are searched last


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": []}, r"evaluation\.lm_eval\.tasks=\[\] is not allowed"),
        ({"limit": 0}, r"evaluation\.lm_eval\.limit=0 .* at least 1"),
        ({"batch_size": 0}, r"batch_size=0 .* at least 1"),
        ({"num_fewshot": -1}, r"num_fewshot=-1 .* at least 0"),
        ({"include_path": "/no/such"}, r"include_path='/no/such' is no folder"),
    ],
    ids=str,
)
def test_settings_that_mean_nothing_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        LMEval(**settings)


def test_code_that_the_model_writes_is_run_only_when_that_is_allowed():
    task = {**LONG, "unsafe_code": True}
    with pytest.raises(ValueError, match="confirm_run_unsafe_code=true"):
        LMEval(tasks=[task]).prepare()
    LMEval(tasks=[task], confirm_run_unsafe_code=True).prepare()


def test_what_the_subject_cannot_do_is_refused_before_it_is_measured():
    evaluation = LMEval(tasks=[multiple_choice("endless", 300)])
    with pytest.raises(ValueError, match=r"endless/0 has \d+ tokens, \d+ more than the 256"):
        evaluation.check(subject())
    with pytest.raises(ValueError, match="no chat template"):
        LMEval(tasks=[SHORT], apply_chat_template=True).check(subject())
    with pytest.raises(ValueError, match=r"evaluation=\[lm_eval\] is not allowed with scripted"):
        LMEval(tasks=[SHORT]).check(Scripted(uniform))


def test_what_is_cut_is_counted():
    evaluation, samples = measured([multiple_choice("endless", 300)], too_long=TooLong.cut, limit=1)
    assert samples[0]["cut"] > 0 and evaluation.metrics(samples)["endless_acc"].n == 1


def test_examples_are_put_before_the_question():
    _, without = measured([SHORT], limit=1)
    _, with_one = measured([SHORT], limit=1, num_fewshot=1)
    assert with_one[0]["tokens"] > 1.5 * without[0]["tokens"]
