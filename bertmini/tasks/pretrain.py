"""Pretraining: from running text to a model with both heads (Devlin et al. 2018, section 3.1)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from bertmini.config import BertConfig
from bertmini.data import hub
from bertmini.data.batches import OBJECTIVES, Batch, PretrainingData, pad_inputs
from bertmini.data.corpus import Corpus, piece_counts
from bertmini.data.masking import MASKING, Entities, Units, rarity_weights
from bertmini.data.prepare import Prepared, is_prepared
from bertmini.data.task_files import read_task
from bertmini.data.text import (
    Document,
    hold_out,
    read_documents,
    read_files,
    split_sentences,
    stream_documents,
    walk,
)
from bertmini.errors import InputError
from bertmini.model.bert import BertForMaskedLM, BertForPreTraining
from bertmini.tokenizer import ByteLevelBPETokenizer, UnigramTokenizer, WordPieceTokenizer, load_tokenizer
from bertmini.training import History, Options, Run, evaluate_pretraining, settle, train
from bertmini.training.loop import to_device
from bertmini.training.options import MEASURED
from bertmini.training.processes import processes, whole_in_place

if TYPE_CHECKING:
    from bertmini.gazette import Gazette

SHORT_ROW = 32  # tokens of a row while rows are short
HELD_OUT_BATCHES = 50  # measured at each evaluation: the same ones, or numbers could not be compared
Documents = Sequence[Document] | Prepared
# What a family was published with.
FAMILY_OBJECTIVES = {"bert": "mlm+nsp", "roberta": "mlm", "albert": "mlm+sop", "distilbert": "mlm"}
FAMILY_TOKENIZERS: dict[str, Any] = {
    "bert": WordPieceTokenizer, "roberta": ByteLevelBPETokenizer,
    "albert": UnigramTokenizer, "distilbert": WordPieceTokenizer,
}  # fmt: skip


def read_corpus(
    data: Sequence[str], documents: int | None = None, held_out: int = 20, **reading: Any
) -> tuple[Documents, Documents]:
    """The documents to train on, and those held out.

    Args:
        data: ["gazette"], ["hf:NAME"] or ["hf:NAME:CONFIGURATION"], ["task:DATA"], whose labels are not read,
            a directory that `bertmini prepare` made, or files and folders.
        documents: how many are used at most; None: all, and 20,000 of the Gazette.
        held_out: one document in so many; 0 holds none out.
        reading: encoding, strict and separator of `read_documents`.

    Raises:
        InputError: the data cannot be read, or nothing would be left to train on.
    """
    check_corpus(data, documents, held_out)
    if is_prepared(data[0]):
        refuse_reading(data[0], {"documents": documents, **reading})
        has_dev = held_out and (Path(data[0]) / "dev").is_dir()
        return Prepared(data[0]), Prepared(data[0], "dev") if has_dev else []
    if list(data) == ["gazette"]:
        from bertmini.gazette import Gazette

        gazette, number = Gazette(), documents or 20_000
        dev = gazette.documents(max(2, number // held_out), "dev") if held_out else []
        return [d.sentences for d in gazette.documents(number)], [d.sentences for d in dev]
    if data[0].startswith("hf:"):
        found = hub_documents(data[0], documents)
    elif data[0].startswith("task:"):
        found = task_documents(data[0], **reading)[:documents]
    else:
        found = read_documents(data, **reading)[:documents]
    if not held_out:
        return found, []
    # Two held-out documents at least where there are enough, since a NotNext pair takes its halves from two.
    return hold_out(found, max(2, min(held_out, len(found) // 2)))


def refuse_reading(data: str, reading: dict[str, Any]) -> None:
    if any(value not in (None, False) for value in reading.values()):
        raise InputError(f"{data} was read when it was prepared; leave out how to read it")


def check_corpus(data: Sequence[str], documents: int | None, held_out: int) -> None:
    """Refuse what is no corpus, and numbers that leave nothing to train on."""
    if tasks := [name for name in data if name.startswith("gazette/")]:
        raise InputError(f"{tasks[0]} is a task; expected running text, or task:{tasks[0]} for its texts")
    whole = [
        name for name in data if name == "gazette" or name.startswith(("hf:", "task:")) or is_prepared(name)
    ]
    if not data or (whole and len(data) > 1):
        names = " ".join(data) or "nothing"
        raise InputError(
            f"found {names} as data; expected gazette, one hf:NAME, task:DATA or prepared directory, "
            "or files and folders"
        )
    if documents is not None and documents < 1:
        raise InputError(f"documents is {documents}; expected 1 or more")
    if held_out < 0 or held_out == 1:
        raise InputError(
            f"held_out is {held_out}; expected 2 or more, or 0 for none, "
            "since one document in one leaves nothing to train on"
        )


def stream_corpus(
    data: Sequence[str], documents: int | None = None, held_out: int = 20, seed: int = 0, **reading: Any
) -> tuple[Iterator[str], dict[str, Any]]:
    """The documents of `read_corpus` one by one, as texts, and what tells this corpus from others.

    Args:
        data, documents, held_out, reading: as in `read_corpus`.
        seed: of the order in which the files of a data set of the hub are read.

    Raises:
        InputError: as `read_corpus`.
    """
    check_corpus(data, documents, held_out)
    source: dict[str, Any] = {"data": list(data), "documents": documents, **reading}
    if list(data) == ["gazette"]:
        from bertmini.gazette import Gazette

        gazette = Gazette()
        return (document.text for document in gazette.documents(documents or 20_000)), source
    if data[0].startswith("hf:"):
        texts, source = hub_texts(data[0], seed), source | {"seed": seed}
    elif data[0].startswith("task:"):
        texts = ("\n\n".join(sentences) for sentences in task_documents(data[0], **reading))
    else:
        files = [(path, path.stat()) for path in walk(data)]
        source["files"] = [[str(path), stat.st_size, stat.st_mtime_ns] for path, stat in files]
        texts = stream_documents(data, **reading)
    return islice(texts, documents), source


def read_part(data: str, split: str, **reading: Any) -> Documents:
    """The documents to measure on: a split of the Gazette (1,000); of a prepared corpus the train part, or
    else what was held out; or all."""
    if is_prepared(data):
        refuse_reading(data, reading)
        return Prepared(data, "train" if split == "train" else "dev")
    if data == "gazette":
        from bertmini.gazette import Gazette

        return [document.sentences for document in Gazette().documents(1000, split)]
    return read_corpus([data], held_out=0, **reading)[0]


def hub_documents(name: str, documents: int | None) -> list[Document]:
    """The column `text` of a data set's train split, a document a row."""
    found = [split_sentences(text) for text in islice(hub_texts(name), documents)]
    if not found:
        raise InputError(f"{name}: no sentence found; expected running text")
    return found


def task_documents(
    name: str, encoding: str | None = None, strict: bool = False, **other: Any
) -> list[Document]:
    """The texts of a task's train part, without their labels: each text, and each of a pair, a document.

    Source: Gururangan et al. 2020, arXiv 2004.10964, section 4, task-adaptive pretraining.
    """
    if other.get("separator") is not None:
        raise InputError(f"{name}: each of its texts is a document; leave --separator out")
    parts = read_task(name.removeprefix("task:"), "texts", encoding=encoding, strict=strict)
    if "train" not in parts:
        raise InputError(f"{name} has no train part of texts or pairs; expected a task to classify or score")
    texts = [text for example in parts["train"] for text in (example.text, example.pair) if text]
    return [sentences for text in texts if (sentences := split_sentences(text))]


def hub_texts(name: str, seed: int | None = None) -> Iterator[str]:
    """The texts in that column, those without a word left out; with a seed, its files in another order."""
    for number, row in enumerate(hub.stream(name, seed), start=1):
        if "text" not in row:
            raise InputError(f"{name}: columns are {', '.join(row)}; expected one named text")
        text = "" if row["text"] is None else row["text"]
        if not isinstance(text, str):
            raise InputError(f"{name} train:{number}: text is {text!r:.60}; expected a string")
        if text.strip():
            yield text


def model_class(objective: str) -> type[BertForMaskedLM]:
    """The model with the heads that an objective needs."""
    if objective not in OBJECTIVES:
        raise InputError(f"objective is {objective!r}; expected one of {', '.join(OBJECTIVES)}")
    return BertForPreTraining if OBJECTIVES[objective].pair_label else BertForMaskedLM


def new_model(
    preset: str, objective: str, tokenizer: Any, seed: int, dropout: float, family: str = "bert"
) -> BertForMaskedLM:
    """A model with random weights for a tokenizer's vocabulary.

    Args:
        preset: its size, a name in `bertmini.config.PRESETS`.
        objective: a name in `bertmini.data.batches.OBJECTIVES`.
        dropout: of hidden states and of attention.
        family: a name in `bertmini.config.FAMILIES`.
    """
    torch.manual_seed(seed)
    config = BertConfig.preset(
        preset,
        family,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        direction=OBJECTIVES[objective].direction,
        extra={"trained_positions": tokenizer.model_max_length, "objective": objective},
    )
    rows = max(512, tokenizer.model_max_length) + config.first_position
    return model_class(objective)(config.replace(max_position_embeddings=rows))


def load_model(
    directory: str | Path, objective: str, tokenizer: Any, seed: int, dropout: float
) -> BertForMaskedLM:
    """A pretrained model to go on from; heads that it lacks begin at random.

    Positions that it never used in training begin as copies of those that it did.

    Raises:
        InputError: the tokenizer has more pieces, or longer rows, than the model can take.
    """
    torch.manual_seed(seed)
    changes = {
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
        "direction": OBJECTIVES[objective].direction,
    }
    model = model_class(objective).from_pretrained(directory, **changes)
    model.config.refuse_quantized()
    config, length = model.config, tokenizer.model_max_length
    if config.max_length < length:
        raise InputError(
            f"--max-length {length}: the position table of {directory} has {config.max_length} "
            "rows; ask for so many at most"
        )
    if config.vocab_size < len(tokenizer):
        raise InputError(
            f"the tokenizer has {len(tokenizer)} pieces and {directory} knows {config.vocab_size}: "
            "leave --tokenizer out to take the model's own"
        )
    # Only a model that was pretrained here says how many; of others all are taken to be trained.
    trained = config.extra.get("trained_positions", config.max_length)
    extend_positions(model, trained, length)
    model.config.extra.update({"trained_positions": max(trained, length), "objective": objective})
    return model


def extend_positions(model: BertForMaskedLM, trained: int, length: int) -> None:
    """Let the positions from `trained` to `length` begin as copies of the trained ones, but not of [CLS]'s.

    What attention has learned about near neighbours then holds there from the first step, where random rows
    would have to learn it again (Beltagy et al. 2020, arXiv 2004.05150, section 5).
    """
    table, first = model.bert.embeddings.position.weight, model.config.first_position
    new = torch.arange(trained, max(trained, length))
    with torch.no_grad(), whole_in_place(table) as rows:
        rows[first + new] = rows[first + 1 + (new - 1) % (trained - 1)]


def short_first(data: PretrainingData, batches: int) -> Callable[[int], Batch]:
    """Batches of short rows, then those of `data`: a warm-up of the sequence length.

    To find a neighbour, attention has to learn each place of the position table, and over few places it
    learns that sooner. A short batch holds as many tokens, in rows of 32.

    Source: Li et al. 2022, arXiv 2108.06084; BERT itself had rows of 128 before those of 512 (section A.2).
    """
    short = replace(data, batch_size=data.batch_size * data.max_length // SHORT_ROW, max_length=SHORT_ROW)

    return lambda number: short.batch(number) if number < batches else data.batch(number - batches)


def objective_of(model: BertForMaskedLM) -> str:
    """What a model with its heads is trained for.

    Only one that was pretrained here says so; another with both heads is asked what its family was published
    with.
    """
    if isinstance(model, BertForPreTraining):
        published = FAMILY_OBJECTIVES[model.config.model_type]
        asked = model.config.extra.get("objective", published if "+" in published else "mlm+nsp")
        return asked if asked in OBJECTIVES and OBJECTIVES[asked].pair_label else "mlm+nsp"
    return model.objective


def training_data(
    documents: Documents,
    tokenizer: Any,
    batch_size: int,
    max_length: int,
    objective: str,
    seed: int,
    smoothing: float = 0.0,
    **masking: Any,
) -> PretrainingData:
    """Batches of documents, tokenised at once, or of a prepared corpus: this process's rows of them.

    Args:
        smoothing: how much more often rare pieces are masked, as in `rarity_weights`; they are counted once,
            over the whole corpus.
        masking: `units`, `rate`, `static_masks` and `inputs` of `PretrainingData`.
    """
    corpus = tokenised(documents, tokenizer)
    if isinstance(corpus, Prepared):
        # Examples are shuffled, and sorted by length, within a block: it has to have many batches.
        corpus = Prepared(corpus.directory, corpus.part, at_least=128 * batch_size * max_length)
    part = processes().part
    if smoothing:
        masking["weights"] = rarity_weights(piece_counts(corpus, len(tokenizer)), smoothing)
    return PretrainingData(corpus, tokenizer, batch_size, max_length, seed, objective, part=part, **masking)


def masking_units(masking: str, tokenizer: Any, names: str | None = None) -> Units | None:
    """What is masked together.

    Args:
        masking: a key of `bertmini.data.masking.MASKING`.
        tokenizer: the model's.
        names: for "entity", a file with a name on each line; None: the Gazette's.

    Raises:
        InputError: no such way to mask, names without "entity", or a file without names.
    """
    if masking not in MASKING:
        raise InputError(f"masking is {masking!r}; expected one of {', '.join(MASKING)}")
    if masking != "entity":
        if names:
            raise InputError(f"names {names} are for the masking entity; it is {masking}")
        kind = MASKING[masking]
        return kind(tokenizer) if kind else None
    if names:
        lines = next(read_files([names]))[1].split("\n")
        return Entities(tokenizer, filter(None, map(str.strip, lines)))
    return Entities(tokenizer, gazette_names())


def gazette_names(documents: int = 2000) -> list[str]:
    """The names that so many documents of the Gazette hold."""
    from bertmini.gazette import Gazette
    from bertmini.gazette.names import names

    sentences = [written for document in Gazette().documents(documents) for written in document.written]
    found = {sentence.text[name.start : name.end] for sentence in sentences for name in names(sentence)}
    return sorted(found)


def tokenised(documents: Documents, tokenizer: Any) -> Corpus | Prepared:
    """Documents as tokens; a prepared corpus is checked to have the same pieces."""
    if not isinstance(documents, Prepared):
        return Corpus.from_documents(documents, tokenizer)
    if load_tokenizer(documents.directory).rules != tokenizer.rules:
        raise InputError(
            f"{documents.directory} was prepared with another vocabulary than the model's; prepare it with "
            "the model's tokenizer"
        )
    return documents


def pretrain(
    model: BertForMaskedLM,
    options: Options,
    data: PretrainingData,
    evaluate: Callable[[Any], dict[str, float]] | None = None,
    run: Run | None = None,
    loss: Callable | None = None,
    short_share: float = 0.0,
    is_new: bool = True,
) -> dict[str, Any]:
    """Train a model on running text; returns the metrics of `metrics.json`.

    Args:
        model: trained in place.
        options: how to train.
        data: from `training_data`.
        evaluate: from `held_out_metrics`.
        run: where to log and keep checkpoints.
        loss: what to minimise in place of the model's own losses, as in `bertmini.training.train`.
        short_share: share of the steps on short rows, before those of `data`.
        is_new: whether the model began at random. Positions that short rows leave out then follow those that
            learn; those that a model has learned before stay.

    Raises:
        InputError: as `train`; or short_share is not in [0, 1).
    """
    if not 0 <= short_share < 1:
        raise InputError(f"short_share is {short_share}; it must be in [0, 1)")
    options = settle(model, data.batch, options, run=run, loss=loss)
    short_steps = round(short_share * (options.steps or 0)) if data.max_length > SHORT_ROW else 0
    batch_at = short_first(data, options.batches_before(short_steps)) if short_steps else data.batch

    def keep_copies(trained: Any, step: int) -> None:
        """Until the long rows come, the positions that only they use follow those that learn."""
        if is_new and short_steps and step <= short_steps:
            extend_positions(trained, SHORT_ROW, data.max_length)

    history = train(
        model, batch_at, options, evaluate=evaluate, run=run, loss=loss, before_update=keep_copies
    )
    return summary(history, evaluate)


def held_out_metrics(
    documents: Documents,
    tokenizer: Any,
    batch_size: int,
    max_length: int,
    objective: str,
    gazette: bool = False,
) -> Callable[[Any], dict[str, float]]:
    """The function that measures a model on held-out documents, always on the same masks, pairs and words.

    Args:
        documents: the held-out ones; of a prepared corpus those of the first block.
        tokenizer: the model's.
        batch_size: examples in a batch.
        max_length: tokens of an example.
        objective: a name in `bertmini.data.batches.OBJECTIVES`.
        gazette: whether they are the Gazette's, so that the limit is known too.

    Raises:
        InputError: the tokenizer knows nothing of them.
    """
    corpus = tokenised(documents, tokenizer)
    corpus = corpus[0] if isinstance(corpus, Prepared) else corpus
    if corpus.num_documents < 2 and objective == "mlm+nsp":
        objective = "mlm"
    data = PretrainingData(corpus, tokenizer, batch_size, max_length, seed=0, objective=objective)
    batches = [data.batch(step) for step in range(min(len(data), HELD_OUT_BATCHES))]
    if not any((batch["labels"] != -100).any() for batch in batches):
        raise InputError(
            "the documents to measure on hold no piece that the tokenizer knows; take a model for such text"
        )
    words = None
    # Masks are what both know; and a piece that tells of the space before it is none of the Gazette's words.
    has_limit = gazette and not tokenizer.keeps_spaces and not OBJECTIVES[objective].direction
    if has_limit and not isinstance(documents, Prepared):
        words = MaskedWords.draw(documents, tokenizer, max_length, objective)

    def measure(model: BertForMaskedLM) -> dict[str, float]:
        return evaluate_pretraining(model, batches) | (words.measure(model) if words and words.places else {})

    return measure


@dataclass(frozen=True)
class Place:
    """One masked word of a whole document, as a model and as the Gazette see it."""

    input_ids: list[int]
    token_type_ids: list[int]
    position: int  # of the mask, in tokens
    word: int  # the true one, a row of MaskedWords.vocabulary
    log_chance: float  # of the true word, by the Gazette: no model can give more on average
    likeliest: int  # by the Gazette


@dataclass(frozen=True)
class MaskedWords:
    """Single masked words of Gazette documents, where the best possible answer is known.

    Only words that are one piece count, in documents that fit the window; model and limit are both
    renormalised over those words.
    """

    vocabulary: list[int]  # the pieces that are words
    places: list[Place]

    @classmethod
    def draw(
        cls,
        documents: Sequence[Document],
        tokenizer: Any,
        max_length: int,
        objective: str,
        number: int = 500,
        gazette: Gazette | None = None,
    ) -> MaskedWords:
        """Masked words, drawn uniformly over all that count.

        Args:
            documents: of the Gazette.
            tokenizer: the model's.
            max_length: the window, in tokens.
            objective: one about pairs shows a document in two halves, as in training; "mlm" in one.
            number: how many words.
            gazette: the one that wrote the documents; None: the package's own.
        """
        from bertmini.gazette import Gazette, words_of

        gazette = gazette or Gazette()
        words = sorted(word for word in gazette.world.word_forms if word in tokenizer.vocab)
        row_of = {word: row for row, word in enumerate(words)}
        candidates: list[tuple[int, int, int]] = []
        spelled: dict[int, list[list[list[int]]]] = {}
        room = max_length - (3 if OBJECTIVES[objective].pair_label else 2)
        for number_of_document, document in enumerate(documents):
            pieces = [tokenizer.encode_ids(list(words_of(sentence))) for sentence in document]
            if sum(len(word) for sentence in pieces for word in sentence) <= room:
                spelled[number_of_document] = pieces
                candidates += [
                    (number_of_document, s, w)
                    for s, sentence in enumerate(document)
                    for w, word in enumerate(words_of(sentence))
                    if word in row_of
                ]
        places = []
        for d, s, w in random.Random("masked words").sample(candidates, min(number, len(candidates))):
            chances = {
                word: chance
                for word, chance in gazette.masked_word(documents[d], s, w).items()
                if word in row_of
            }
            truth = words_of(documents[d][s])[w]
            chance = chances[truth] / math.fsum(chances.values())
            inputs = masked_document(spelled[d], s, w, tokenizer, objective)
            likeliest = max(chances, key=lambda word: chances[word])
            places.append(Place(*inputs, row_of[truth], math.log(chance), row_of[likeliest]))
        return cls([tokenizer.vocab[word] for word in words], places)

    @torch.no_grad()
    def measure(self, model: BertForMaskedLM, batch_size: int = 32) -> dict[str, float]:
        """Loss in nats and accuracy of a model, word_…, and of the best possible answers, limit_…"""
        device = next(model.parameters()).device
        loss, right = 0.0, 0
        for start in range(0, len(self.places), batch_size):
            some = self.places[start : start + batch_size]
            ids, types = [place.input_ids for place in some], [place.token_type_ids for place in some]
            output = model.bert(**to_device(pad_inputs(ids, types, model.config.pad_token_id), device))
            at_mask = output.last_hidden_state[range(len(some)), [place.position for place in some]]
            logits = model.mlm_head(at_mask, model.bert.embeddings.word.weight)  # [batch, vocabulary]
            logits = logits.float()[:, self.vocabulary]  # [batch, words]
            truth = torch.tensor([place.word for place in some], device=device)
            loss += nn.functional.cross_entropy(logits, truth, reduction="sum").item()
            right += int((logits.argmax(-1) == truth).sum())
        number = len(self.places)
        return {
            "word_loss": loss / number,
            "word_accuracy": right / number,
            "limit_loss": -math.fsum(place.log_chance for place in self.places) / number,
            "limit_accuracy": sum(place.likeliest == place.word for place in self.places) / number,
        }


def masked_document(
    pieces: list[list[list[int]]], sentence: int, word: int, tokenizer: Any, objective: str
) -> tuple[list[int], list[int], int]:
    """Ids, segments and the mask's position of a document [sentences][words][pieces] with one word masked."""
    middle = len(pieces) // 2 if OBJECTIVES[objective].pair_label else len(pieces)
    input_ids, position = [tokenizer.cls_token_id], 0
    for s, spelled in enumerate(pieces):
        if s == middle and s > 0:
            input_ids.append(tokenizer.sep_token_id)
        for w, ids in enumerate(spelled):
            if (s, w) == (sentence, word):
                position, ids = len(input_ids), [tokenizer.mask_token_id]
            input_ids += ids
    input_ids.append(tokenizer.sep_token_id)
    first = input_ids.index(tokenizer.sep_token_id) + 1
    return input_ids, [0] * first + [1] * (len(input_ids) - first), position


def summary(history: History, evaluate: Callable | None) -> dict[str, Any]:
    """The metrics of a run: the last losses, the last measurement on held-out documents, and the speed."""
    logged = [line for line in history.lines if "loss" in line][-1]
    told = ("step", "learning_rate", "gradient_norm", *MEASURED)
    measured = [line["dev"] for line in history.lines if "dev" in line]
    return {
        "train": {name: value for name, value in logged.items() if name not in told},
        **({"dev": measured[-1]} if evaluate else {}),
        "steps": history.progress.step,
        "seconds": history.progress.seconds,
        "tokens_per_second": history.tokens_per_second,
    }
