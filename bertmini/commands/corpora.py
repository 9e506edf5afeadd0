"""Commands that make data: a vocabulary, prepared text, the Gazette as files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from tyro.conf import Positional, arg

from bertmini.commands.options import Corpus, Count, Directory, MaybeCount, TextReading
from bertmini.commands.runs import refuse_existing
from bertmini.errors import InputError
from bertmini.files import new_directory


@dataclass(kw_only=True)
class TrainTokenizer:
    """Train a vocabulary on running text: word pieces, byte-level BPE or a unigram model."""

    corpus: Positional[Corpus] = ("gazette",)
    """Text files and folders; or gazette; or a data set of the hub with a column named text."""
    out: Directory
    """The tokenizer's directory; made new."""
    vocab_size: Count = 8000
    """Pieces in the vocabulary."""
    kind: Literal["wordpiece", "bpe", "unigram"] = "wordpiece"
    """wordpiece: BERT's. bpe: RoBERTa's, of bytes. unigram: ALBERT's, by the tokenizers library."""
    cased: bool = False
    """Keep capitals and accents, as bpe always does."""
    min_frequency: Count = 1
    """Count below which two pieces are not joined; a unigram model joins none."""
    reading: TextReading = field(default_factory=TextReading)

    def run(self) -> None:
        refuse_existing(self.out)
        if self.kind == "unigram" and self.min_frequency > 1:
            raise InputError(f"--min-frequency {self.min_frequency}: a unigram model has none; leave it out")
        with new_directory(self.out) as directory:
            refuse_prepared(self.corpus)
            documents: Any = self.reading.read(self.corpus, held_out=0)[0]
            texts = (sentence for document in documents for sentence in document)
            tokenizer = self.train(texts)
            tokenizer.save_pretrained(directory)
        print(f"{self.out}: {len(tokenizer)} pieces")

    def train(self, texts: Iterable[str]) -> Any:
        from bertmini.tokenizer import ByteLevelBPETokenizer, UnigramTokenizer, WordPieceTokenizer

        size, frequency = self.vocab_size, self.min_frequency
        if self.kind == "bpe":
            return ByteLevelBPETokenizer.train(texts, size, min_frequency=frequency)
        if self.kind == "unigram":
            return UnigramTokenizer.train(texts, size, lowercase=not self.cased, keep_accents=self.cased)
        return WordPieceTokenizer.train(texts, size, lowercase=not self.cased, min_frequency=frequency)


@dataclass(kw_only=True)
class Prepare:
    """Tokenise running text of any size once, into files that pretraining reads piece by piece."""

    corpus: Positional[Corpus] = ("gazette",)
    """Text files and folders; or gazette; or a data set of the hub with a column named text."""
    tokenizer: Directory
    """The tokenizer, which is saved with the text."""
    out: Directory
    """The directory; made new. After an interruption the same command goes on with what was written."""
    held_out: Count = 20
    """One document in N is held out, to measure on; 0: none."""
    processes: MaybeCount = None
    """Processes that tokenise. Without it: as many as there are cores."""
    seed: int = 0
    """Seed of the order in which the files of a data set of the hub are read."""
    reading: TextReading = field(default_factory=TextReading)

    def run(self) -> None:
        from bertmini.data.prepare import prepare
        from bertmini.tasks.pretrain import stream_corpus
        from bertmini.tokenizer import load_tokenizer

        refuse_existing(self.out)
        refuse_prepared(self.corpus)
        tokenizer = load_tokenizer(self.tokenizer)
        texts, source = stream_corpus(
            self.corpus, held_out=self.held_out, seed=self.seed, **asdict(self.reading)
        )
        processes = self.processes or os.cpu_count() or 1
        record = prepare(texts, tokenizer, self.out, source, held_out=self.held_out, processes=processes)
        for part, found in record["parts"].items():
            counts = (f"{found[name]:,} {name}" for name in ("documents", "sentences", "tokens"))
            print(f"{part:5}  {', '.join(counts)}")
        print(self.out)

    def interrupted(self) -> str:
        """What an interruption leaves."""
        return "give the same command again to go on"


@dataclass(kw_only=True)
class GazetteExport:
    """Write a task of the embedded corpus, or the corpus itself, as the files that people have."""

    task: Positional[Annotated[str, arg(metavar="TASK")]]
    """The task: topic, emotion, acceptability, similarity, paraphrase, inference, entities, questions,
    continuation or quillish; or corpus, its running text, a sentence on each line and a blank line between
    documents, as Google's BERT reads it, and every command here with --separator ""."""
    out: Directory
    """The directory; made new."""
    rows: MaybeCount = None
    """Examples in the train part. Without it: the task's own number."""
    seed: int = 0
    """Which Gazette: each seed writes another."""

    def run(self) -> None:
        from bertmini.gazette import Gazette

        refuse_existing(self.out)
        with new_directory(self.out) as directory:
            files = Gazette(self.seed).export(self.task, directory, self.rows)
        print(f"{self.out}: {', '.join(file.name for file in files)}")


def refuse_prepared(data: tuple[str, ...]) -> None:
    from bertmini.data.prepare import is_prepared

    if prepared := [name for name in data if is_prepared(name)]:
        raise InputError(f"{prepared[0]} is prepared already; name the running text that it was made of")
