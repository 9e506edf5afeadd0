"""Preparation: a corpus of any size, tokenised once into Arrow files, and read from them block by block.

prepared.json             where the corpus came from, counts, versions, a digest
vocab.txt …               the tokenizer
train/data-00000.arrow …  the documents to train on; datasets.load_from_disk("train") opens them
dev/data-00000.arrow …    those held out
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from bertmini.data.corpus import Corpus, Encoder
from bertmini.data.text import split_sentences
from bertmini.errors import InputError
from bertmini.files import lock, read_json, refuse_mount, sync_directory, write
from bertmini.machine import versions

BLOCK = 4_000_000  # characters, about a million tokens: what is tokenised, and later shuffled, at once
SHARD = 16  # blocks in a file, which is what an interruption can cost
PARTS = ("train", "dev")
FILES = "data-*.arrow"
RECORD, PLAN, LOCK = "prepared.json", "plan.json", ".lock"

encoder: Encoder  # of a process that tokenises


def prepare(
    texts: Iterable[str],
    tokenizer: Any,
    out: str | Path,
    source: Any,
    *,
    held_out: int = 20,
    processes: int = 1,
) -> dict[str, Any]:
    """Tokenise documents in several processes, in memory that does not grow with their number.

    Until all is done, the files are in a hidden directory beside `out`. After an interruption the same call
    goes on from there: finished files are kept, and all come out as if nothing had happened.

    Args:
        texts: the documents, in an order that is always the same.
        tokenizer: what is saved with them.
        out: the directory, new or empty.
        source: what the documents are, in terms of JSON, for prepared.json and for going on.
        held_out: one document in so many is held out; 0 holds none out.
        processes: that tokenise; one more reads and writes.

    Returns:
        What prepared.json holds.

    Raises:
        InputError: there is no token; or another corpus was being prepared at `out`.
    """
    final = Path(out).resolve()
    refuse_mount(final)
    directory = final.with_name(f".{final.name}.preparing")
    with alone(directory):
        plan = begin(directory, tokenizer, source, held_out)
        writers = {part: Writer(directory / part) for part in PARTS}
        done = {part: len(writer.sizes) for part, writer in writers.items()}
        missing = without_done(in_blocks(texts, held_out), done)
        with closing(tokenised(missing, directory, processes)) as blocks, progress() as bar:
            bar.update(sum(tokens for writer in writers.values() for *_, tokens in writer.sizes))
            for part, corpus in blocks:
                writers[part].add(corpus)
                bar.update(len(corpus))
        vocabulary = [directory / name for name in tokenizer.VOCABULARY]
        record = finish(directory, writers, plan, vocabulary)
    was_there = final.exists()
    if was_there:  # an empty one, perhaps where the user stands
        for path in sorted(directory.iterdir(), key=lambda path: path.name == RECORD):
            os.replace(path, final / path.name)
        directory.rmdir()
    else:
        os.replace(directory, final)
    for name in (PLAN, LOCK):
        (final / name).unlink()
    sync_directory(final if was_there else final.parent)
    return record


@contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Within it no other process prepares in this directory. It goes if all fails before a file is finished.

    Raises:
        InputError: one does already.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / LOCK, "w") as file:
        lock(file, f"{directory}: another process is preparing here; wait for it")
        try:
            yield
        except BaseException:
            if not any(directory.glob(f"*/{FILES}")):  # nothing that an interruption could have cost
                shutil.rmtree(directory, ignore_errors=True)
            raise


def progress() -> tqdm:
    return tqdm(unit=" tokens", unit_scale=True, disable=None)


def begin(directory: Path, tokenizer: Any, source: Any, held_out: int) -> dict[str, Any]:
    """Make the directory, or see that an interrupted preparation there was to be the same."""
    whole = json.dumps([source, held_out, BLOCK, SHARD, tokenizer.rules, versions()["bertmini"]])
    plan = {"source": source, "held_out": held_out, "shard": SHARD}
    plan["plan"] = hashlib.sha256(whole.encode()).hexdigest()
    if any(directory.glob(f"*/{FILES}")) and read_json(directory / PLAN) != plan:
        raise InputError(
            f"{directory} holds an interrupted preparation of another text, or with other options; "
            "prepare the same again to go on with it, or remove it"
        )
    tokenizer.save_pretrained(directory)
    write(directory / PLAN, json.dumps(plan).encode())
    return plan


def in_blocks(texts: Iterable[str], held_out: int) -> Iterator[tuple[str, list[str]]]:
    """Documents in blocks, each with the part that it belongs to."""
    texts, first, size = iter(texts), [], 0
    for text in texts:
        first.append(text)
        size += len(text)
        # Of long documents more are read ahead, so that some are held out, as far as a file's blocks go.
        if size >= 2 * BLOCK and (len(first) >= 2 * held_out or size >= SHARD * BLOCK):
            break
    else:
        if not first:
            raise InputError("there is no document in the corpus; expected running text")
        if held_out and len(first) == 1:
            raise InputError("one document cannot be split in training and held-out ones; hold out none (0)")
        # Two held-out documents at least where there are enough, as in a corpus that is not prepared.
        held_out = held_out and max(2, min(held_out, len(first) // 2))
    waiting: dict[str, list[str]] = {part: [] for part in PARTS}
    sizes = dict.fromkeys(PARTS, 0)
    for number, text in enumerate(chain(first, texts), start=1):
        part = "dev" if held_out and number % held_out == 0 else "train"
        waiting[part].append(text)
        sizes[part] += len(text)
        if sizes[part] >= 2 * BLOCK:  # so much stays that the last block has several documents, too
            block, size = [], 0
            for each in waiting[part]:
                block.append(each)
                if (size := size + len(each)) >= BLOCK:
                    break
            yield part, block
            waiting[part], sizes[part] = waiting[part][len(block) :], sizes[part] - size
    yield from ((part, block) for part, block in waiting.items() if block)


def without_done(
    blocks: Iterable[tuple[str, list[str]]], done: dict[str, int]
) -> Iterator[tuple[str, list[str]]]:
    """The blocks that follow the first so many of each part."""
    met = dict.fromkeys(done, 0)
    for part, block in blocks:
        met[part] += 1
        if met[part] > done[part]:
            yield part, block


def tokenised(
    blocks: Iterable[tuple[str, list[str]]], directory: Path, processes: int
) -> Generator[tuple[str, Corpus]]:
    """Blocks as tokens, in their order."""
    pool = ProcessPoolExecutor(processes, initializer=start_worker, initargs=(directory,))
    waiting: deque[tuple[str, Future[Corpus]]] = deque()

    def oldest() -> tuple[str, Corpus]:
        part, result = waiting.popleft()
        return part, result.result()

    try:
        for part, block in blocks:
            waiting.append((part, pool.submit(tokenise, block)))
            if len(waiting) > 2 * processes:  # all at once would fill the memory
                yield oldest()
        while waiting:
            yield oldest()
    except BrokenProcessPool:
        raise InputError("a process that tokenised was killed; use fewer if the memory was full") from None
    finally:
        pool.shutdown(cancel_futures=True)


def start_worker(tokenizer: Path) -> None:
    """Load the tokenizer in a process that is to tokenise, and let it end when the main process does."""
    from bertmini.tokenizer import load_tokenizer

    global encoder
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the processes are as many as were asked for
    encoder = Encoder(load_tokenizer(tokenizer))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the main process ends the others
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def tokenise(texts: list[str]) -> Corpus:
    return Corpus.from_documents(map(split_sentences, texts), encoder)


class Writer:
    """Writes the blocks of a part, in files that get their name when they are whole.

    A file is an Arrow stream. A batch of it is a block; a row is a document, with its tokens and the lengths
    of its sentences.
    """

    def __init__(self, directory: Path) -> None:
        self.directory, self.batches = directory, 0
        self.sizes = [size_of(batch) for file in self.files() for batch in batches_of(file)]
        for path in directory.glob(".*.tmp"):  # half-written when it was interrupted
            path.unlink()

    def files(self) -> list[Path]:
        return sorted(self.directory.glob(FILES))

    def add(self, corpus: Corpus) -> None:
        places = corpus.sentence_starts[corpus.document_starts]  # of each document's first token
        lengths = np.diff(corpus.sentence_starts)
        columns = {
            "input_ids": pa.ListArray.from_arrays(arrow(places), arrow(corpus.token_ids)),
            "sentence_lengths": pa.ListArray.from_arrays(arrow(corpus.document_starts), arrow(lengths)),
        }
        batch = pa.record_batch(columns)
        if not self.batches:
            self.directory.mkdir(exist_ok=True)
            self.final = self.directory / FILES.replace("*", f"{len(self.files()):05}")
            self.temporary = self.final.with_name(f".{self.final.name}.tmp")
            self.stream = pa.ipc.new_stream(str(self.temporary), batch.schema)
        self.stream.write_batch(batch)
        self.batches += 1
        self.sizes.append(size_of(batch))
        if self.batches == SHARD:
            self.close()

    def close(self) -> None:
        """Give the file its name."""
        if not self.batches:
            return
        self.stream.close()
        sync(self.temporary)
        os.replace(self.temporary, self.final)
        sync_directory(self.directory)
        self.batches = 0


def arrow(array: np.ndarray) -> pa.Array:
    """The same numbers without a copy; pa.array would import pandas to ask whether they are its own."""
    return pa.Array.from_buffers(pa.int32(), len(array), [None, pa.py_buffer(array)])


def numbers(array: pa.Array) -> np.ndarray:
    """The way back, without a copy and without pandas, too."""
    return np.frombuffer(array.buffers()[1], np.int32)[array.offset :][: len(array)]


def sync(file: Path) -> None:
    """Make sure that a file is on the disk before it gets its name."""
    with open(file, "rb+") as written:
        os.fsync(written.fileno())


def batches_of(file: Path) -> Iterator[pa.RecordBatch]:
    """The blocks in a file, in pages of it that are read when they are used."""
    with pa.memory_map(str(file)) as source, pa.ipc.open_stream(source) as stream:
        yield from stream


def size_of(batch: pa.RecordBatch) -> tuple[int, int, int]:
    """Documents, sentences and tokens of a block."""
    return batch.num_rows, len(batch["sentence_lengths"].values), len(batch["input_ids"].values)


def finish(
    directory: Path, writers: dict[str, Writer], plan: dict[str, Any], vocabulary: Sequence[Path]
) -> dict[str, Any]:
    """Write what describes the files, for us and for the library datasets."""
    digest, parts = hashlib.sha256(b"".join(file.read_bytes() for file in vocabulary)), {}
    for part, writer in writers.items():
        writer.close()
        if not writer.sizes:
            continue
        for file in writer.files():
            with open(file, "rb") as data:
                digest.update(hashlib.file_digest(data, "sha256").digest())
        documents, sentences, tokens = (sum(numbers) for numbers in zip(*writer.sizes, strict=True))
        parts[part] = {"documents": documents, "sentences": sentences, "tokens": tokens}
        parts[part] |= {"files": {file.name: file.stat().st_size for file in writer.files()}}
        parts[part] |= {"blocks": [[documents, tokens] for documents, _, tokens in writer.sizes]}
        state: dict[str, Any] = {
            "_data_files": [{"filename": file.name} for file in writer.files()],
            "_split": part,
        }
        state |= dict.fromkeys(("_format_columns", "_format_type"))
        state |= {"_fingerprint": digest.hexdigest()[:16], "_format_kwargs": {}, "_output_all_columns": False}
        write(directory / part / "state.json", json.dumps(state).encode())
        write(directory / part / "dataset_info.json", b"{}")
    write(directory / "dataset_dict.json", json.dumps({"splits": list(parts)}).encode())
    del plan["plan"]
    record = {"sha256": digest.hexdigest(), **plan, "versions": versions("pyarrow"), "parts": parts}
    write(directory / RECORD, (json.dumps(record) + "\n").encode())
    return record


def is_prepared(directory: str | Path) -> bool:
    """Whether `prepare` made this directory."""
    return (Path(directory) / RECORD).is_file()


class Prepared(Sequence[Corpus]):
    """A part of a prepared corpus: a sequence of blocks, each of which is read when it is asked for.

    Args:
        directory: that `prepare` made.
        part: "train" or "dev".
        at_least: tokens of a block; blocks that lie side by side make a larger one. Each has two documents,
            where there are two.

    Raises:
        InputError: a file is missing, or is not as long as it was; `prepare` did not make the directory.
    """

    def __init__(self, directory: str | Path, part: str = "train", at_least: int = 0) -> None:
        self.directory, self.part, self.at_least = Path(directory), part, at_least
        record = read_json(self.directory / RECORD)
        if not {"sha256", "shard", "parts"} <= record.keys():
            raise InputError(f"{self.directory / RECORD} is not bertmini's; prepare the corpus again")
        self.sha256, self.shard = record["sha256"], record["shard"]
        found = record["parts"].get(part)
        if found is None:
            raise InputError(f"{directory} has no part {part}; prepare it again with --held-out")
        self.files = [self.directory / part / name for name in found["files"]]
        for file, size in zip(self.files, found["files"].values(), strict=True):
            if not file.is_file() or file.stat().st_size != size:
                problem = "has another length than it had" if file.exists() else "is missing"
                raise InputError(f"{file} {problem}; put it back, or prepare the corpus again")
        sizes = np.array(found["blocks"])
        self.borders, documents, tokens = [0], 0, 0  # numbers of blocks in the files
        for number, (more, size) in enumerate(sizes.tolist(), start=1):
            documents, tokens = documents + more, tokens + size
            if tokens >= at_least and documents > 1:  # a pair may need two
                self.borders.append(number)
                documents = tokens = 0
        if documents > 1 or len(self.borders) == 1:
            self.borders.append(len(sizes))
        else:  # nothing is left over, or one document, which joins the others
            self.borders[-1] = len(sizes)
        self.sizes = np.add.reduceat(sizes, self.borders[:-1])  # int64 [blocks, 2], documents and tokens

    def __len__(self) -> int:
        return len(self.borders) - 1

    def __getitem__(self, number: int) -> Corpus:  # type: ignore[override]
        token_ids, lengths, counts = [], [], []
        number = range(len(self))[number]  # an IndexError where there is none, which ends a loop
        for block in range(self.borders[number], self.borders[number + 1]):
            file, place = divmod(block, self.shard)
            batch = next(islice(batches_of(self.files[file]), place, None))
            token_ids.append(numbers(batch["input_ids"].values))
            lengths.append(numbers(batch["sentence_lengths"].values))
            counts.append(np.diff(numbers(batch["sentence_lengths"].offsets)))
        return Corpus(
            token_ids=np.concatenate(token_ids),  # a copy: the file's pages need not stay in memory
            sentence_starts=np.cumsum([0, *np.concatenate(lengths)]).astype(np.int32),
            document_starts=np.cumsum([0, *np.concatenate(counts)]).astype(np.int32),
        )

    def __repr__(self) -> str:  # what tells one corpus from another
        return f"Prepared({self.sha256}, {self.part})"
