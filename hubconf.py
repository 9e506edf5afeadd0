"""Entry points for PyTorch Hub, from a clone (source="local") or from the repository's address:

    import torch

    model = torch.hub.load("path/to/clone", "bertmini", source="local")
    tokenizer = torch.hub.load("path/to/clone", "tokenizer", source="local")
    batch = tokenizer(["Abel sold ten oranges at the Fish [MASK]."], return_tensors="pt")
    print(model(**batch).prediction_logits.shape)

`torch.hub.list` names them, `torch.hub.help` shows what they take.
"""

from __future__ import annotations

from typing import Any as _Any

dependencies = ["numpy", "safetensors", "tokenizers", "torch", "tqdm"]


def bertmini(directory: str | None = None, task: str | None = None, **config: _Any) -> _Any:
    """A model with the head that its files have, or with the head of a task.

    Args:
        directory: of a model, or its hub id. None: the small pretrained model that bertmini ships.
        task: classify, regress, tag, qa, choice, seq2seq or vectors, to get the head of that task, which is
            new and random where the files do not have it (model.fresh names its parameters); None: the head
            that the files have, and masked words for the shipped model.
        config: fields of the configuration to change, id2label={0: "bad", 1: "good"}, say.

    Returns:
        A torch.nn.Module in evaluation mode. It takes input_ids, attention_mask and token_type_ids, each
        [batch, length], and labels; it returns logits, loss and more by name.

    Raises:
        bertmini.InputError: there is no such model or task.
    """
    from bertmini.errors import InputError
    from bertmini.hub import shipped
    from bertmini.predict import model_class
    from bertmini.tasks import TASKS

    origin = directory or shipped()
    if task is None:
        return model_class(origin).from_pretrained(origin, **config)
    if task not in TASKS:
        raise InputError(f"task is {task!r}; expected one of {', '.join(TASKS)}, or None")
    return TASKS[task].MODEL.from_pretrained(origin, **config)


def tokenizer(directory: str | None = None) -> _Any:
    """The tokenizer of a model: texts, or texts and their pairs, become the arrays that it takes.

    Args:
        directory: of the model, or its hub id. None: the small model that bertmini ships.
    """
    from bertmini.hub import shipped
    from bertmini.tokenizer import load_tokenizer

    return load_tokenizer(directory or shipped())


def predictor(directory: str | None = None, **options: _Any) -> _Any:
    """A model with its tokenizer, which answers for texts: one, a list, or a generator.

    Args:
        directory: of a fine-tuned or pretrained model, or its hub id. None: the small model that bertmini
            ships, which fills masks.
        options: batch_tokens, precision and top, as for bertmini.Predictor.
    """
    from bertmini import Predictor
    from bertmini.hub import shipped

    return Predictor.from_pretrained(directory or shipped(), **options)
