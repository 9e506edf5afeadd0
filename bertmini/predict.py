"""Answers from a model directory: a label, a score, or what may stand behind a mask."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from bertmini.config import BertConfig
from bertmini.data.batches import Batch
from bertmini.data.task_files import Example
from bertmini.errors import InputError
from bertmini.hub import locate
from bertmini.machine import best_device
from bertmini.model.attention import attend
from bertmini.model.bert import (
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    attention_mask_for,
    positions,
)
from bertmini.tasks import classes_of, classify, regress
from bertmini.tokenizer import WordPieceTokenizer
from bertmini.training.loop import DTYPES, best_precision

MODELS: dict[str, Any] = {
    "BertForSequenceClassification": BertForSequenceClassification,
    "BertForMaskedLM": BertForMaskedLM,
    "BertForPreTraining": BertForPreTraining,
}
WINDOW = 4096  # texts that are read ahead and sorted by length
BATCH_TOKENS = {"cpu": 2048, "cuda": 32768}  # what a CPU's cache holds, and what a GPU is busy with

Precision = Literal["auto", "bf16", "fp16", "float32"]
Text = str | tuple[str, str] | dict[str, str] | Example


class Predictor:
    """Answers for one text, a list, or a generator; the task is what the model's directory says.

    Args:
        model: a model with a head for classification or regression, or with the masked-language head.
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
        tokenizer: WordPieceTokenizer,
        batch_tokens: int | None = None,
        top: int = 5,
        precision: Precision = "float32",
    ) -> None:
        refuse_larger(tokenizer, model.config)
        self.model, self.tokenizer = model.eval(), tokenizer
        self.batch_tokens, self.precision = batch_tokens, precision
        self.fills = isinstance(model, BertForMaskedLM)
        self.task: Any = None if self.fills else regress if model.is_regression else classify
        self.classes = None if self.fills else classes_of(model)
        # A model may have a reader's own attention (course.use), of which only the outside is known.
        self.is_own = all(
            type(part).__module__.startswith(("bertmini.", "torch.")) for part in model.modules()
        )
        self.top = min(top, model.config.vocab_size)
        self.max_length = min(tokenizer.model_max_length, model.config.max_position_embeddings)

    @classmethod
    def from_pretrained(cls, directory: str | Path, **options: Any) -> Predictor:
        """The predictor of a directory or a hub id, on a GPU where there is one.

        Args:
            directory: holds a model with a task's head and its tokenizer.
            options: batch_tokens, top and precision, as for the class.

        Raises:
            InputError: where the directory's model has no head that is known here, or another tokenizer.
        """
        directory = locate(directory)
        names = BertConfig.load(directory / "config.json").extra.get("architectures") or ["none"]
        if names[0] not in MODELS:
            raise InputError(
                f"{directory}/config.json: architectures is {names[0]}, which answers nothing; expected one "
                f"of {', '.join(MODELS)}; fine-tune it first"
            )
        model = MODELS[names[0]].from_pretrained(directory)
        if model.fresh:
            raise InputError(f"{directory}: model.safetensors lacks {model.fresh[0]}, a part of {names[0]}")
        tokenizer = WordPieceTokenizer.from_pretrained(directory)
        try:
            return cls(model.to(best_device()), tokenizer, **options)
        except InputError as error:
            raise InputError(f"{directory}: {error}") from None

    def __call__(self, inputs: Text | Iterable[Text]) -> Any:
        """Answer.

        Args:
            inputs: a text; a pair, as a tuple or {"text": …, "pair": …}; or a list or a generator of such.

        Returns:
            A dict for one text, a list for a list, a generator for a generator, always in order.
            Classification: {"label", "score", "scores"}; regression: {"score"}; masks: {"text", "masks"}, for
            each mask the likeliest pieces as [{"token", "score"}].

        Raises:
            InputError: a text without a mask, or longer than those of training (masked-language models).
        """
        if isinstance(inputs, str | tuple | dict | Example):
            return next(self.stream(iter([inputs])))
        if isinstance(inputs, list):
            return list(self.stream(iter(inputs)))
        return self.stream(iter(inputs))

    def stream(self, inputs: Iterator[Text]) -> Iterator[dict[str, Any]]:
        """Answers in order, holding a window of texts at a time."""
        answered = in_order(
            map(as_example, inputs), self.rows, self.answer, self.model, self.batch_tokens, self.precision
        )
        for example, answer in answered:
            yield {"text": example.text, **answer} if self.fills else answer

    def rows(self, examples: Sequence[Example]) -> Rows:
        # A cut text may have lost its mask, so that only other tasks cut.
        rows = Rows.of(examples, self.tokenizer, None if self.fills else self.max_length)
        if self.fills:
            self.refuse_unfit(examples, rows)
        return rows

    def refuse_unfit(self, examples: Sequence[Example], rows: Rows) -> None:
        for example, row in zip(examples, rows.split(), strict=True):
            if self.tokenizer.mask_token_id not in row:
                raise InputError(
                    f"no {self.tokenizer.mask_token} in {example.text[:60]!r}: "
                    "put one where a word is missing"
                )
            if len(row) > self.max_length:  # the positions beyond may be as random as they began
                raise InputError(
                    f"{example.text[:60]!r} has {len(row)} tokens, and the model was trained on "
                    f"{self.max_length}; shorten the text"
                )

    def answer(self, batch: Batch) -> Iterable[dict[str, Any]]:
        """What the model answers to each row of a batch."""
        if self.fills:
            return self.fill(batch)
        logits = logits_of_first(self.model, **batch) if self.is_own else self.model(**batch).logits
        return self.task.answers(logits.float().cpu().numpy(), self.classes or [])

    def fill(self, batch: Batch) -> Iterator[dict[str, Any]]:
        states = self.model.bert(**batch).last_hidden_state
        is_mask = batch["input_ids"] == self.tokenizer.mask_token_id  # [batch, length]
        # The head works where a word is missing: everywhere its logits would fill the memory.
        logits = self.model.mlm_head(states[is_mask], self.model.bert.embeddings.word.weight)
        for of_row in logits.split(is_mask.sum(1).tolist()):
            yield {"masks": self.candidates(of_row)}

    def candidates(self, logits: torch.Tensor) -> list[list[dict[str, Any]]]:
        """For each mask, logits [masks, vocabulary], the likeliest pieces."""
        scores, ids = logits.float().softmax(-1).topk(self.top)  # [masks, top]
        return [
            [
                {"token": token, "score": round(score, 6)}
                for token, score in zip(self.tokenizer.convert_ids_to_tokens(row), of_row, strict=True)
            ]
            for row, of_row in zip(ids.tolist(), scores.tolist(), strict=True)
        ]


def refuse_larger(tokenizer: WordPieceTokenizer, config: BertConfig) -> None:
    if len(tokenizer) > config.vocab_size:  # an id too large stops a GPU without saying why
        raise InputError(
            f"the tokenizer has {len(tokenizer)} pieces and the model knows {config.vocab_size}: "
            "take the tokenizer that the model was trained with"
        )


@dataclass
class Rows:
    """The ids of many texts, end to end, so that a batch of any of them is made at once."""

    ids: np.ndarray  # int64 [tokens]
    types: np.ndarray  # int64 [tokens], their segments
    lengths: np.ndarray  # int64 [rows]
    pad_token_id: int

    @classmethod
    def of(cls, examples: Sequence[Example], tokenizer: WordPieceTokenizer, max_length: int | None) -> Rows:
        """Encode texts and pairs, cut to `max_length` tokens where it is given."""
        encoded: list[Any] = [None] * len(examples)
        for paired in (False, True):  # the tokenizer takes texts with their pairs, or without
            chosen = [i for i, example in enumerate(examples) if (example.pair is not None) == paired]
            texts, pairs = ([getattr(examples[i], part) for i in chosen] for part in ("text", "pair"))
            features = tokenizer(
                texts, pairs if paired else None, truncation=max_length is not None, max_length=max_length
            )
            for i, *row in zip(chosen, features["input_ids"], features["token_type_ids"], strict=True):
                encoded[i] = row
        ids, types = (np.fromiter(chain.from_iterable(row[n] for row in encoded), np.int64) for n in (0, 1))
        lengths = np.array([len(row[0]) for row in encoded])
        return cls(ids, types, lengths, tokenizer.pad_token_id)

    def split(self) -> list[np.ndarray]:
        """The ids of each row."""
        return np.split(self.ids, self.lengths.cumsum()[:-1])

    def batches(self, tokens: int) -> Iterator[np.ndarray]:
        """Rows of like length, the longest first, as many as are within so many tokens; their numbers."""
        order, start = np.argsort(-self.lengths, kind="stable"), 0
        while start < len(order):
            number = max(1, tokens // self.lengths[order[start]])
            yield order[start : start + number]
            start += number

    def batch(self, chosen: np.ndarray) -> Batch:
        """Some rows as a model reads them: ids, segments and mask, int64 [batch, length] each."""
        lengths, starts = self.lengths[chosen], (self.lengths.cumsum() - self.lengths)[chosen]
        columns = np.arange(lengths.max())
        real = columns < lengths[:, None]  # [batch, length]
        places = (starts[:, None] + columns)[real]
        ids, types = np.full(real.shape, self.pad_token_id), np.zeros(real.shape, np.int64)
        ids[real], types[real] = self.ids[places], self.types[places]
        arrays = {"input_ids": ids, "token_type_ids": types, "attention_mask": real.astype(np.int64)}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


def in_order(
    inputs: Iterator[Example],
    encode: Callable[[Sequence[Example]], Rows],
    answer: Callable[[Batch], Iterable[Any]],
    model: torch.nn.Module,
    batch_tokens: int | None = None,
    precision: Precision = "float32",
) -> Iterator[tuple[Example, Any]]:
    """Each input with its answer, in order; batches are of like length within a window that is read ahead.

    Args:
        inputs: of any number, read as far as is needed.
        encode: gives the rows of a window of inputs.
        answer: gives an answer for each row of a batch.
        model: says by its weights where batches go.
        batch_tokens, precision: as for `Predictor`.
    """
    device = next(model.parameters()).device
    tokens = batch_tokens or BATCH_TOKENS.get(device.type, BATCH_TOKENS["cpu"])
    precision = best_precision(device) if precision == "auto" else precision
    while window := list(islice(inputs, WINDOW)):
        rows = encode(window)
        batches, answers = list(rows.batches(tokens)), [None] * len(window)

        def work(waiting: Iterator[np.ndarray], rows: Rows = rows, answers: list[Any] = answers) -> None:
            # Autocast keeps the weights that it has cast until it ends, though not in inference mode.
            with torch.no_grad(), torch.autocast(device.type, DTYPES[precision], precision != "float32"):
                for chosen in waiting:
                    batch = {name: tensor.to(device) for name, tensor in rows.batch(chosen).items()}
                    for i, of_row in zip(chosen.tolist(), answer(batch), strict=True):
                        answers[i] = of_row

        threads = torch.get_num_threads() if device.type == "cpu" else 1
        if threads > 1 and len(batches) >= 2 * threads:
            on_every_core(work, iter(batches), threads)
        else:
            work(iter(batches))
        yield from zip(window, answers, strict=True)


def on_every_core(work: Callable[[Iterator[Any]], None], waiting: Iterator[Any], threads: int) -> None:
    """Work in so many threads, of one core each: a core is faster at its own batch than all are at one.

    Args:
        work: goes through what is waiting; all threads share it.
        waiting: of a list, so that each takes the next one.
        threads: how many.
    """
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            try:
                working = [pool.submit(work, waiting) for _ in range(threads)]
                for ended in wait(working, return_when=FIRST_EXCEPTION).done:
                    ended.result()
            except BaseException:  # of one of them, or an interruption: nobody begins another batch
                deque(waiting, maxlen=0)
                raise
    finally:
        torch.set_num_threads(threads)  # else threads that are begun later would have one core, too


def logits_of_first(
    model: BertForSequenceClassification, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor
) -> Tensor:
    """What `model(…).logits` gives, sooner: of the last layer only [CLS] is read, and only that is computed.

    Args:
        model: in evaluation mode.
        input_ids, token_type_ids, attention_mask: [batch, length].

    Returns:
        Logits [batch, labels].
    """
    bert: Any = model.bert
    mask = attention_mask_for(attention_mask)
    bert.check_inputs(input_ids, token_type_ids, input_ids.size(1))
    hidden_states = bert.embeddings(input_ids, token_type_ids, positions(input_ids, None))
    *layers, last = bert.encoder.layers
    for layer in layers:
        hidden_states, _ = layer(hidden_states, mask)
    attention, first = last.attention, hidden_states[:, :1]  # [batch, 1, hidden]
    q = attention.split_heads(attention.query(first))
    k, v = (attention.split_heads(part(hidden_states)) for part in (attention.key, attention.value))
    context, _ = attend(q, k, v, mask)
    first = last.attention_norm(attention.output(context.transpose(1, 2).flatten(2)) + first)
    first = last.feed_forward_norm(last.feed_forward(first) + first)
    return model.classifier(bert.pooler(first[:, 0]))


def as_example(text: Text) -> Example:
    if isinstance(text, Example):
        return text
    if isinstance(text, str):
        return Example(text)
    if isinstance(text, tuple) and len(text) == 2 and all(isinstance(part, str) for part in text):
        return Example(*text)
    if isinstance(text, dict) and set(text) <= {"text", "pair"}:
        first, second = text.get("text"), text.get("pair")
        if isinstance(first, str) and isinstance(second, str | None):
            return Example(first, second)
    raise InputError(f'{str(text)[:60]!r} is no text; expected a string, two, or {{"text": …, "pair": …}}')
