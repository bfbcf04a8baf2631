"""The thirteen tasks of RULER by name, with the settings of its synthetic.yaml."""

from __future__ import annotations

from enum import StrEnum

from memollm.evaluation.tasks.base import Task
from memollm.evaluation.tasks.common_words import CommonWords
from memollm.evaluation.tasks.frequent_words import FrequentWords
from memollm.evaluation.tasks.niah import Hay, Niah, Thing
from memollm.evaluation.tasks.question_answering import QuestionAnswering
from memollm.evaluation.tasks.variable_tracking import VariableTracking


class RulerTask(StrEnum):
    """RULER's names."""

    niah_single_1 = "niah_single_1"  # a number in noise
    niah_single_2 = "niah_single_2"  # a number in running text
    niah_single_3 = "niah_single_3"  # a uuid in running text
    niah_multikey_1 = "niah_multikey_1"  # a number among those of three other keys
    niah_multikey_2 = "niah_multikey_2"  # a number in a haystack of needles
    niah_multikey_3 = "niah_multikey_3"  # the same with uuids for keys and values
    niah_multivalue = "niah_multivalue"  # four numbers of one key
    niah_multiquery = "niah_multiquery"  # the numbers of four keys
    vt = "vt"  # variable tracking
    cwe = "cwe"  # common words extraction
    fwe = "fwe"  # frequent words extraction
    qa_1 = "qa_1"  # SQuAD
    qa_2 = "qa_2"  # HotpotQA


TASKS: dict[RulerTask, Task] = {
    RulerTask.niah_single_1: Niah(hay=Hay.noise),
    RulerTask.niah_single_2: Niah(),
    RulerTask.niah_single_3: Niah(value=Thing.uuids),
    RulerTask.niah_multikey_1: Niah(keys=4),
    RulerTask.niah_multikey_2: Niah(hay=Hay.needle),
    RulerTask.niah_multikey_3: Niah(hay=Hay.needle, key=Thing.uuids, value=Thing.uuids),
    RulerTask.niah_multivalue: Niah(values=4),
    RulerTask.niah_multiquery: Niah(keys=4, queries=4),
    RulerTask.vt: VariableTracking(),
    RulerTask.cwe: CommonWords(),
    RulerTask.fwe: FrequentWords(),
    RulerTask.qa_1: QuestionAnswering(),
    RulerTask.qa_2: QuestionAnswering(),
}
