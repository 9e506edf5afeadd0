"""Tasks, one file each: what its head looks like, how good an answer is, what is answered."""

from typing import Any

from bertmini.model.bert import BertForMaskedLM, BertForSequenceClassification
from bertmini.tasks import choice, classify, fill, qa, regress, seq2seq, tag, vectors
from bertmini.tasks.finetune import Task, finetune, load_for_task, task_options
from bertmini.tasks.sequence import classes_of

TASKS: dict[str, Task] = {
    "classify": classify,
    "regress": regress,
    "tag": tag,
    "qa": qa,
    "choice": choice,
    "seq2seq": seq2seq,
    "vectors": vectors,
}


def task_of(model: Any) -> Any:
    """The task that a model has the head of; `fill` for a pretrained one.

    Raises:
        InputError: the model gives several labels at once, or several scores.
    """
    if isinstance(model, BertForMaskedLM):
        return fill
    if isinstance(model, BertForSequenceClassification):
        return regress if classes_of(model) is None else classify
    return next(task for task in TASKS.values() if isinstance(model, task.MODEL))


__all__ = [
    "TASKS",
    "Task",
    "choice",
    "classes_of",
    "classify",
    "fill",
    "finetune",
    "load_for_task",
    "qa",
    "regress",
    "seq2seq",
    "tag",
    "task_of",
    "task_options",
    "vectors",
]
