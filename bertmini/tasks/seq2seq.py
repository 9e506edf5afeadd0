"""Sequence to sequence: a text becomes another, a translation say.

UniLM, Dong et al. 2019, arXiv 1905.03197; the target is predicted piece by piece from the one before.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any
from unicodedata import category

import torch

from bertmini.config import BertConfig
from bertmini.data.batches import Batch, ByLength, pad, pad_inputs
from bertmini.data.parallel import Parallel, read_parallel
from bertmini.data.task_files import Example
from bertmini.errors import InputError
from bertmini.inference import Precision, Rows, in_order, longest_row, refuse_nan
from bertmini.model.attention import sequence_to_sequence_mask
from bertmini.model.heads import IGNORED
from bertmini.model.seq2seq import BertForSequenceToSequence, change_vocabulary
from bertmini.tasks.decoding import Decoding, beam_search
from bertmini.tasks.finetune import joined
from bertmini.tokenizer import Tokenizer, WordPieceTokenizer
from bertmini.tokenizer.normalize import decompose, is_cjk, is_punctuation
from bertmini.training.loop import to_device

NAME = "seq2seq"
CHINESE = r"\u3000-\u303f\u3400-\u9fff\uff01-\uff65"  # characters and marks that no space parts
METRIC = "loss"  # on the dev part; BLEU needs every text written, and is measured at the end
MODEL = BertForSequenceToSequence


def read(data: str, **reading: Any) -> dict[str, list[Parallel]]:
    """The examples by part; as `bertmini.data.parallel.read_parallel`."""
    return read_parallel(data, **reading)


class ParallelData(ByLength):
    """Batches of texts and their targets: [CLS] source [SEP] target, a row each.

    Each holds input_ids and token_type_ids, int64 [batch, length]; labels, the next id of the target, of the
    same shape; and attention_mask, the whole mask, bool [batch, query, key].

    Args:
        examples: each with its target.
        tokenizer, batch_size, seed: as for `TaskData`.
        max_length: tokens of a row; a warning counts longer ones, which are cut.

    Raises:
        InputError: there is no example, or one without a target.
    """

    def __init__(
        self, examples: Sequence[Parallel], tokenizer: Any, batch_size: int, max_length: int, seed: int
    ) -> None:
        if not examples:
            raise InputError("there is no example in the data; expected one or more")
        if not tokenizer.has_segments:
            raise InputError(
                "this tokenizer has no segments, by which writing tells source from target: take a BERT"
            )
        targets = [example.target for example in examples if example.target is not None]
        if len(targets) < len(examples):
            raise InputError(f"{len(examples) - len(targets)} of {len(examples)} examples have no target")
        self.examples, self.tokenizer = examples, tokenizer
        encoded = tokenizer([example.source for example in examples], targets)
        if long := sum(len(row) > max_length for row in encoded["input_ids"]):
            warnings.warn(f"{long} of {len(examples)} pairs are longer than {max_length} tokens, and are cut",
                          stacklevel=3)  # fmt: skip
            encoded = tokenizer([e.source for e in examples], targets, truncation=True, max_length=max_length)
        self.input_ids, self.token_type_ids = encoded["input_ids"], encoded["token_type_ids"]
        super().__init__([len(row) for row in self.input_ids], batch_size, seed)

    def make(self, rows: Any) -> Batch:
        ids, types = ([column[row] for row in rows] for column in (self.input_ids, self.token_type_ids))
        labels = [next_ids(*row) for row in zip(ids, types, strict=True)]
        # What comes after the last [SEP] nobody asks.
        ids, types = ([row[:-1] for row in column] for column in (ids, types))
        batch = pad_inputs(ids, types, self.tokenizer.pad_token_id)
        mask = sequence_to_sequence_mask(batch["token_type_ids"], batch["attention_mask"])
        return batch | {"attention_mask": mask, "labels": pad(labels, IGNORED)}


def next_ids(input_ids: Sequence[int], token_type_ids: Sequence[int]) -> list[int]:
    """For each position but the last what comes next where that belongs to the target, elsewhere -100."""
    following = zip(input_ids[1:], token_type_ids[1:], strict=True)
    return [piece if is_target else IGNORED for piece, is_target in following]


def data(
    examples: Sequence[Parallel],
    tokenizer: Any,
    config: BertConfig,
    batch_size: int = 32,
    max_length: int = 128,
    seed: int = 0,
) -> ParallelData:
    """Batches of texts and their targets; arguments as for `ParallelData`."""
    return ParallelData(examples, tokenizer, batch_size, max_length, seed)


def head(examples: Sequence[Parallel]) -> dict[str, Any]:
    """Nothing of the configuration: the pieces are written by the head of pretraining."""
    return {}


def start(examples: Sequence[Parallel]) -> float:
    """The bias of a new head, of which there is none."""
    return 0.0


@torch.no_grad()
def watch(model: BertForSequenceToSequence, data: ParallelData) -> dict[str, Any]:
    """What is measured while training: the mean loss of a piece, in nats, and the perplexity."""
    device, total, pieces = next(model.parameters()).device, 0.0, 0
    for batch in data.batches_for_evaluation():
        number = int((batch["labels"] != IGNORED).sum())
        total += number * float(model(**to_device(batch, device)).loss)
        pieces += number
    return {"loss": total / pieces, "perplexity": math.exp(min(total / pieces, 700))}


def evaluate(model: BertForSequenceToSequence, data: ParallelData) -> dict[str, Any]:
    """Loss, perplexity, and BLEU of what the model writes for the sources; the first five of these.

    BLEU is sacrebleu's, in lower case and without accents where the model's tokenizer has none.
    """
    written = [answer["text"] for answer in predict(model, data.tokenizer, (e.source for e in data.examples))]
    targets = [str(example.target) for example in data.examples]
    samples = [
        {"source": example.source, "target": example.target, "written": text}
        for example, text in zip(data.examples[:5], written, strict=False)
    ]
    return watch(model, data) | {"bleu": bleu(written, targets, data.tokenizer), "samples": samples}


def bleu(written: Sequence[str], targets: Sequence[str], tokenizer: Any) -> float:
    """sacrebleu's BLEU of a corpus, 0 to 100 (Papineni et al. 2002; Post 2018, arXiv 1804.08771).

    Args:
        written: what a model wrote.
        targets: what a person wrote.
        tokenizer: its rules for case and accents are applied to the targets, since what it does not know of a
            target it cannot give back.
    """
    from sacrebleu.metrics import BLEU

    hypotheses = [parted(text, tokenizer) for text in written]
    references = [parted(plain(text, tokenizer), tokenizer) for text in targets]
    return float(BLEU().corpus_score(hypotheses, [references]).score)


def plain(text: str, tokenizer: Any) -> str:
    """A text by a tokenizer's rules for accents and case, its spaces as they were."""
    rules = tokenizer.normalizer
    if rules.strip_accents:
        text = "".join(c for c in decompose(text) if category(c) != "Mn")
    return text.lower() if rules.lowercase else text


def parted(text: str, tokenizer: Any) -> str:
    """A text with spaces around what the tokenizer takes apart and sacrebleu does not: Chinese characters,
    and marks beyond ASCII."""
    is_split = is_cjk if tokenizer.normalizer.split_cjk else lambda character: False
    return "".join(
        f" {c} " if is_split(c) or (not c.isascii() and is_punctuation(c)) else c for c in text
    )


def spaced(text: str) -> str:
    """Decoded text with spaces as people set them: none within t-shirt and man's, in brackets and in quotes.

    The pieces do not tell where a text had spaces around its marks, so this is a guess, and mostly right.
    """
    text = re.sub(rf"(?<=[{CHINESE}]) (?=[{CHINESE}])", "", text)
    text = re.sub(r"(?<=\w) ([-'’/]) (?=\w)", r"\1", text)
    text = re.sub(r"(?<=[(\[{]) | (?=[;:%)\]}])", "", text)
    return re.sub(r'" ([^"]*) "', r'"\1"', text)


def predict(
    model: BertForSequenceToSequence,
    tokenizer: Any,
    inputs: Iterable[Any],
    batch_tokens: int | None = None,
    precision: Precision = "float32",
    how: Decoding | None = None,
) -> Iterator[dict[str, Any]]:
    """What the model writes for each text, in order.

    Args:
        model: in evaluation mode.
        tokenizer: the model's.
        inputs: texts, or `Parallel`, as many as you like, read as they are needed.
        batch_tokens, precision: as for `bertmini.Predictor`.
        how: beams and length penalty; None: those of the model's configuration.

    Returns:
        {"text", "score"}; the score is the probability of a piece, on (geometric) average.

    Raises:
        InputError: an input is no text.
    """
    how = how or decoding_of(model.config)
    longest = longest_row(tokenizer, model.config)
    end = tokenizer.sep_token_id
    forbidden = [i for i in tokenizer.all_special_ids if i != end]
    forbidden += range(len(tokenizer), model.config.vocab_size)  # a model may have rows to spare

    def rows(sources: Sequence[Example]) -> Rows:
        found = Rows.of(sources, tokenizer, None)
        if long := int((found.lengths > longest).sum()):
            warnings.warn(f"{long} texts are longer than {longest} tokens, and are cut", stacklevel=2)
            return Rows.of(sources, tokenizer, longest)
        return found

    def answer(batch: Batch) -> Iterator[dict[str, Any]]:
        ids, mask = batch["input_ids"], batch["attention_mask"]
        limits = [min(2 * length + 10, longest) for length in mask.sum(dim=1).tolist()]
        for text in beam_search(model, ids, mask, limits, end, forbidden, how):
            refuse_nan(torch.tensor(text.log_prob))
            decoded = tokenizer.decode(text.ids, skip_special_tokens=True)
            written = decoded if tokenizer.keeps_spaces else spaced(decoded)
            yield {"text": written, "score": round(math.exp(text.log_prob / len(text.ids)), 6)}

    for _, of_row in in_order(map(as_source, inputs), rows, answer, model, batch_tokens, precision):
        yield of_row


def as_source(text: Any) -> Example:
    """A text to read, whatever form it has.

    Raises:
        InputError: it has none.
    """
    source = text.get("text") if isinstance(text, dict) else getattr(text, "source", text)
    if not isinstance(source, str):
        raise InputError(f'{str(text)[:60]!r} is no text; expected a string, or {{"text": …}}')
    return Example(source)


def decoding_of(config: BertConfig) -> Decoding:
    """How a model writes, by its config.json.

    Raises:
        InputError: it says so in numbers that are none.
    """
    said = (config.extra.get("task_specific_params") or {}).get(NAME) or {}
    known = {each.name: said[each.name] for each in fields(Decoding) if said.get(each.name) is not None}
    for name, value in known.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise InputError(f"config.json: {NAME}'s {name} is {value!r}; expected a number")
    return Decoding(**known)


def with_decoding(config: BertConfig, how: Decoding) -> BertConfig:
    """The same configuration, which says how the model writes."""
    return config.replace(extra=joined(config.extra, {"task_specific_params": {NAME: asdict(how)}}))


def learn_vocabulary(
    model: BertForSequenceToSequence,
    tokenizer: Tokenizer,
    examples: Sequence[Parallel],
    vocab_size: int,
    cased: bool = False,
) -> WordPieceTokenizer:
    """A tokenizer trained on both sides of the examples, and its vocabulary for the model.

    Args:
        model: gets the new vocabulary, in place; pieces that it knew keep their vectors.
        tokenizer: the model's until now.
        examples: read whole, sources and targets.
        vocab_size: pieces at most.
        cased: keep capitals and accents.

    Raises:
        InputError: the examples do not support so many pieces, or the model's own are not BERT's.
    """
    if not isinstance(tokenizer, WordPieceTokenizer):
        raise InputError("a new vocabulary is of word pieces, and the model's is not; leave --vocab-size out")
    texts = (text for example in examples for text in (example.source, example.target) if text is not None)
    new = WordPieceTokenizer.train(
        texts, vocab_size, lowercase=not cased, model_max_length=tokenizer.model_max_length
    )
    change_vocabulary(model, tokenizer.pieces, new.pieces)
    return new
