"""A vector for each text, the mean of its tokens, and search among them (Reimers & Gurevych 2019)."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from bertmini.data.batches import Batch
from bertmini.data.task_files import Example
from bertmini.errors import InputError
from bertmini.files import read_json, read_text
from bertmini.hub import locate
from bertmini.inference import Precision, Rows, in_order, longest_row, refuse_larger, refuse_nan
from bertmini.machine import best_device
from bertmini.model.bert import Bert
from bertmini.model.vectors import mean_vectors
from bertmini.tasks.sequence import Text, as_example
from bertmini.tokenizer import Tokenizer, load_tokenizer


class Embedder:
    """Turns texts into vectors whose dot product is the cosine of the angle between them.

    Raw BERT's are poor at meaning (chapter 07); those of a model that was trained for it are not.

    Args:
        model: the encoder.
        tokenizer: the model's; longer texts are cut.
        batch_tokens, precision: as for `bertmini.Predictor`.

    Raises:
        InputError: the tokenizer is not the model's.
    """

    def __init__(
        self,
        model: Bert,
        tokenizer: Tokenizer,
        batch_tokens: int | None = None,
        precision: Precision = "float32",
    ) -> None:
        refuse_larger(tokenizer, model.config)
        self.model, self.tokenizer = model.eval(), tokenizer
        self.batch_tokens, self.precision = batch_tokens, precision
        self.max_length = longest_row(tokenizer, model.config)

    @classmethod
    def from_pretrained(cls, directory: str | Path, **options: Any) -> Embedder:
        """The embedder of a directory or a hub id, whatever head its model has, on a GPU where there is one.

        Args:
            directory: holds a model and its tokenizer.
            options: batch_tokens and precision, as for the class.

        Raises:
            InputError: there is no model, or it has another tokenizer.
        """
        directory = locate(directory)
        refuse_other_pooling(directory)
        model = Bert.from_pretrained(directory).to(best_device())
        tokenizer = load_tokenizer(directory)
        tokenizer.model_max_length = longest_text(directory, tokenizer.model_max_length)
        try:
            return cls(model, tokenizer, **options)
        except InputError as error:
            raise InputError(f"{directory}: {error}") from None

    def __call__(self, texts: Text | Iterable[Text]) -> np.ndarray:
        """Vectors of texts and pairs: float32 [texts, hidden]; of a single one, [hidden]."""
        if isinstance(texts, str | tuple | dict | Example):
            return next(self.stream([texts]))[1]
        vectors = [vector for _, vector in self.stream(texts)]
        return np.stack(vectors) if vectors else np.empty((0, self.model.config.hidden_size), np.float32)

    def stream(self, texts: Iterable[Text]) -> Iterator[tuple[Example, np.ndarray]]:
        """Each text with its vector, float32 [hidden], in order, holding a window of texts at a time."""
        return in_order(
            map(as_example, texts), self.rows, self.embed, self.model, self.batch_tokens, self.precision
        )

    def rows(self, examples: Sequence[Example]) -> Rows:
        return Rows.of(examples, self.tokenizer, self.max_length)

    def embed(self, batch: Batch) -> np.ndarray:
        """The vectors of a batch, float32 [batch, hidden]."""
        states = self.model(**batch).last_hidden_state
        return refuse_nan(mean_vectors(states, batch["attention_mask"])).cpu().numpy()


def refuse_other_pooling(directory: Path) -> None:
    """Refuse a model of sentence-transformers whose vectors are not the means of its tokens.

    Raises:
        InputError: its modules.json says so.
    """
    file = directory / "modules.json"
    try:
        modules = json.loads(read_text(file)) if file.exists() else []
        places = {str(module["type"]).rpartition(".")[2]: str(module["path"]) for module in modules}
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{file}: not a list of modules as sentence-transformers writes it") from None
    pooling = read_json(directory / places["Pooling"] / "config.json") if "Pooling" in places else {}
    modes = [name for name, value in pooling.items() if name.startswith("pooling_mode_") and value is True]
    is_mean = modes == ["pooling_mode_mean_tokens"] or pooling.get("pooling_mode") == "mean"
    others = sorted(places.keys() - {"Transformer", "Normalize", "Pooling"})
    if others or (pooling and not is_mean):
        told = ", ".join(others or modes or ["another pooling"])
        raise InputError(f"{file} asks for {told}; bertmini's vectors are means of the tokens' states alone")


def longest_text(directory: Path, otherwise: int) -> int:
    """Tokens at which sentence-transformers cuts a text, often fewer than the tokenizer allows."""
    file = directory / "sentence_bert_config.json"
    length = read_json(file).get("max_seq_length") if file.exists() else None
    return min(length, otherwise) if isinstance(length, int) and length > 0 else otherwise


def search(
    queries: np.ndarray, corpus: np.ndarray, top: int = 10, block: int = 65536
) -> tuple[np.ndarray, np.ndarray]:
    """The vectors of a corpus with the largest dot products, for each query; exact.

    Args:
        queries: [queries, hidden], from an `Embedder`; or one, [hidden].
        corpus: [texts, hidden], in float16 too, say; may be memory-mapped, `np.load(file, mmap_mode="r")`.
        top: how many to find; as many as there are where that is fewer.
        block: texts that are compared at once, so that not all products have to fit in memory.

    Returns:
        scores float32 and places int64, each [queries, top] (of one query, [top]), the best first.

    Raises:
        InputError: the vectors have different widths.
    """
    if queries.shape[-1] != corpus.shape[-1]:
        raise InputError(
            f"queries have {queries.shape[-1]} numbers each, and the corpus {corpus.shape[-1]}: "
            "make both with the same model"
        )
    asked = torch.from_numpy(np.array(np.atleast_2d(queries), np.float32))
    scores, places = torch.empty(len(asked), 0), torch.empty(len(asked), 0, dtype=torch.long)
    for start in range(0, len(corpus), block):
        vectors = torch.from_numpy(np.array(corpus[start : start + block], np.float32))  # [block, hidden]
        some = asked @ vectors.T  # [queries, block]
        numbers = torch.arange(start, start + some.size(1)).expand(len(asked), -1)
        scores, places = torch.cat([scores, some], dim=1), torch.cat([places, numbers], dim=1)
        scores, chosen = scores.topk(min(top, scores.size(1)), dim=1)
        places = places.gather(1, chosen)
    found = scores.numpy(), places.numpy()
    return found if queries.ndim == 2 else (found[0][0], found[1][0])


def write_npy(vectors: Iterable[np.ndarray], width: int, file: BinaryIO) -> int:
    """Write vectors, float32 [width], as a NumPy array [texts, width]; returns the number of texts.

    The file's first bytes tell how many there are, so they wait on disk and not in memory.
    """
    number = 0
    with tempfile.TemporaryFile() as waiting:
        for vector in vectors:
            waiting.write(vector.astype("<f4").tobytes())
            number += 1
        header = {"descr": "<f4", "fortran_order": False, "shape": (number, width)}
        np.lib.format.write_array_header_1_0(file, header)
        waiting.seek(0)
        shutil.copyfileobj(waiting, file)
    return number


def write_parquet(rows: Iterable[tuple[Example, np.ndarray]], width: int, file: BinaryIO) -> int:
    """Write a Parquet table with the columns text, pair and embedding; returns the number of texts."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    embedding = pa.list_(pa.float32(), width)
    schema = pa.schema([("text", pa.string()), ("pair", pa.string()), ("embedding", embedding)])
    number, rows = 0, iter(rows)
    with pq.ParquetWriter(file, schema) as writer:
        while some := list(islice(rows, 1024)):
            vectors = np.stack([vector for _, vector in some])
            columns = [
                pa.array([example.text for example, _ in some], pa.string()),
                pa.array([example.pair for example, _ in some], pa.string()),
                pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), width),
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
            number += len(some)
    return number
