"""Answers from a model directory: a label, a score, or what may stand behind a mask."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from bertmini.config import BertConfig
from bertmini.errors import InputError
from bertmini.hub import locate
from bertmini.inference import Precision, longest_row, refuse_larger
from bertmini.machine import best_device
from bertmini.model.bert import BertForMaskedLM, BertForPreTraining
from bertmini.model.checkpoint import our_class
from bertmini.tasks import TASKS, fill, task_of
from bertmini.tokenizer import Tokenizer, load_tokenizer

MODELS: dict[str, Any] = {
    model.ARCHITECTURE or model.__name__: model
    for model in (
        *(model for task in TASKS.values() for model in (task.MODEL, *getattr(task, "VARIANTS", ()))),
        BertForMaskedLM,
        BertForPreTraining,
    )
}


def model_class(directory: str | Path) -> Any:
    """The class of the model in a directory, or of a hub id, as its config.json names it.

    Raises:
        InputError: there is no such class here.
    """
    directory = locate(directory)
    named = BertConfig.load(directory / "config.json").extra.get("architectures")
    names = named if isinstance(named, list) and named and isinstance(named[0], str) else ["none"]
    name = our_class(names[0])
    if name not in MODELS:
        raise InputError(
            f"{directory}/config.json: architectures is {names[0]}, which answers nothing; expected one "
            f"of {', '.join(MODELS)}; fine-tune it first"
        )
    return MODELS[name]


class Predictor:
    """Answers for one text, a list, or a generator; the task is what the model's directory says.

    Args:
        model: a model with the head of a task, or with the masked-language head.
        tokenizer: the model's.
        batch_tokens: tokens of a batch, padding included; None: 2,048 on a CPU and 32,768 on a GPU.
        top: candidates a mask (masked-language models only).
        precision: of the matrix products. In float32 answers are those of transformers; "auto" is the fastest
            that is safe here, bf16 on most new machines, twice as fast, and it turns a label that was nearly
            a tie.

    Raises:
        InputError: the tokenizer is not the model's, or the model gives several answers at once.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Tokenizer,
        batch_tokens: int | None = None,
        top: int = 5,
        precision: Precision = "float32",
    ) -> None:
        refuse_larger(tokenizer, model.config)
        self.model, self.tokenizer = model.eval(), tokenizer
        self.task: Any = task_of(model)
        self.options: dict[str, Any] = {"batch_tokens": batch_tokens, "precision": precision}
        if self.fills:
            self.options["top"] = top
        self.max_length = longest_row(tokenizer, model.config)

    @property
    def fills(self) -> bool:
        """Whether the model is a pretrained one, which fills masks."""
        return self.task is fill

    @classmethod
    def from_pretrained(cls, directory: str | Path, **options: Any) -> Predictor:
        """The predictor of a directory or a hub id, on a GPU where there is one.

        Args:
            directory: holds a model with a task's head and its tokenizer.
            options: batch_tokens, precision and top, as for the class.

        Raises:
            InputError: where the directory's model has no head that is known here, or another tokenizer.
        """
        directory = locate(directory)
        model = model_class(directory).from_pretrained(directory)
        if model.fresh:
            raise InputError(
                f"{directory}: model.safetensors lacks {model.fresh[0]}, a part of {type(model).__name__}"
            )
        tokenizer = load_tokenizer(directory)
        try:
            return cls(model.to(best_device()), tokenizer, **options)
        except InputError as error:
            raise InputError(f"{directory}: {error}") from None

    def __call__(self, inputs: Any) -> Any:
        """Answer.

        Args:
            inputs: a text; a pair, as a tuple or {"text": …, "pair": …}; what else a task reads, as a dict of
                its parts or as the task's own class (a Question, a Choice, …); or a list or a generator of
                such.

        Returns:
            A dict for one input, a list for a list, a generator for a generator, always in order.
            Classification: {"label", "score", "scores"}; regression: {"score"}; masks: {"text", "masks"}, for
            each mask the likeliest pieces as [{"token", "score"}].

        Raises:
            InputError: an input that the task cannot read; a text without a mask, or longer than those of
                training (masked-language models).
        """
        if isinstance(inputs, str | tuple | dict) or is_dataclass(inputs):
            return next(self.stream(iter([inputs])))
        if isinstance(inputs, list):
            return list(self.stream(iter(inputs)))
        return self.stream(iter(inputs))

    def stream(self, inputs: Iterable[Any]) -> Iterator[dict[str, Any]]:
        """Answers in order, holding a window of texts at a time."""
        return self.task.predict(self.model, self.tokenizer, inputs, **self.options)
