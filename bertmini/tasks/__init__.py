"""Tasks, one file each: what its head looks like, how good an answer is, what is answered."""

from bertmini.tasks import classify, regress
from bertmini.tasks.finetune import Task, classes_of, evaluate, finetune, load_for_task, task_options

TASKS: dict[str, Task] = {"classify": classify, "regress": regress}

__all__ = [
    "TASKS",
    "Task",
    "classes_of",
    "classify",
    "evaluate",
    "finetune",
    "load_for_task",
    "regress",
    "task_options",
]
