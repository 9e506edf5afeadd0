"""RoBERTa's tokenizer, of byte-level BPE."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from bertmini.errors import InputError
from bertmini.files import read_json, read_text, write
from bertmini.hub import locate
from bertmini.tokenizer.base import (
    Backend,
    Encoded,
    Tokenizer,
    added_tokens,
    check_texts,
    in_order_of_ids,
    read_settings,
    refuse_added,
    special_tokens_of,
)
from bertmini.tokenizer.bpe import (
    CHUNK,
    LETTERS,
    ByteLevelEncoder,
    Merge,
    split_words,
    to_bytes,
    train_byte_level_bpe,
    without_spaces,
)
from bertmini.tokenizer.normalize import Normalizer

# The arguments of a tokenizer and their names and defaults in a tokenizer_config.json.
RULES = (("add_prefix_space", "add_prefix_space", False),)
TRAINED_FIRST = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")  # their order in a new vocabulary


class ByteLevelBPETokenizer(Tokenizer):
    """RoBERTa's tokenizer, in Python to be read or on the tokenizers library to be fast, with the same ids.

    It reads every text, and decoding gives the text back. A special token that a text spells out becomes its
    own id; <mask> takes the white space before it, so that what is guessed may begin with a space.

    Args:
        vocab: the pieces in the order of their ids, in byte letters (`bertmini.tokenizer.bpe.byte_letters`).
        merges: the pairs of pieces that training joined, in their order.
        add_prefix_space: put a space before a text that begins with none.
        mask_takes_space: whether <mask> stands for the white space before it, too, as in the published ones.
        model_max_length: in tokens, where `truncation=True` cuts when no `max_length` is given.
        backend: "fast" or "python".

    Raises:
        InputError: the vocabulary lacks a special token, a byte, or a piece of `merges`.

    Source: Radford et al. 2019 (GPT-2), section 2.2; Liu et al. 2019, arXiv 1907.11692, section 4.4.
    """

    SPECIAL_TOKENS = ("<pad>", "<unk>", "<s>", "</s>", "<mask>")
    VOCABULARY = ("vocab.json", "merges.txt")
    has_segments = False
    separators = 2
    keeps_spaces = True

    def __init__(
        self,
        vocab: Sequence[str],
        merges: Sequence[Merge],
        *,
        add_prefix_space: bool = False,
        mask_takes_space: bool = True,
        model_max_length: int = 512,
        backend: Backend = "fast",
    ):
        cased = Normalizer(lowercase=False)
        super().__init__(vocab, cased, model_max_length, backend)
        self.merges, self.add_prefix_space = list(merges), add_prefix_space
        self.mask_takes_space = mask_takes_space
        check_merges(self.vocab, self.merges)
        if backend == "fast":
            self.rust = self.to_rust(trim_offsets=False)
        else:
            takes_space = [self.mask_token] if mask_takes_space else []
            self.python = ByteLevelEncoder(
                self.vocab, self.merges, self.SPECIAL_TOKENS, takes_space, add_prefix_space
            )

    @property
    def rules(self) -> list[Any]:
        return [self.pieces, self.merges, self.add_prefix_space, self.mask_takes_space]

    def to_rust(self, trim_offsets: bool = True) -> Any:
        """The same tokenizer as a `tokenizers.Tokenizer`."""
        from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

        rust = Tokenizer(models.BPE(self.vocab, self.merges))
        rust.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=self.add_prefix_space)
        ends = (self.sep_token, self.sep_token_id), (self.cls_token, self.cls_token_id)
        rust.post_processor = processors.RobertaProcessing(*ends, trim_offsets, self.add_prefix_space)
        rust.decoder = decoders.ByteLevel()
        mask = AddedToken(self.mask_token, lstrip=self.mask_takes_space)
        rust.add_special_tokens([*self.SPECIAL_TOKENS[:-1], mask])
        return rust

    @classmethod
    def train(
        cls, texts: Iterable[str], vocab_size: int = 8000, *, min_frequency: int = 1, **options: Any
    ) -> ByteLevelBPETokenizer:
        """Learn a vocabulary from texts.

        Args:
            texts: read once.
            vocab_size, min_frequency: see `bertmini.tokenizer.bpe.train_byte_level_bpe`.
            **options: see the class.

        Raises:
            InputError: a text that is no string, or a `vocab_size` that the texts do not support.
        """
        words: Counter[str] = Counter()
        lead = " " if options.get("add_prefix_space") else ""
        for text in texts:
            check_texts([text])
            words.update(split_words(text if text.startswith(" ") else lead + text))
        vocab, merges = train_byte_level_bpe(
            words, vocab_size, min_frequency=min_frequency, special_tokens=TRAINED_FIRST
        )
        return cls(vocab, merges, **options)

    @classmethod
    def from_pretrained(cls, directory: str | Path, backend: Backend = "fast") -> ByteLevelBPETokenizer:
        """Load a tokenizer that bertmini or transformers saved, from a directory or by a model's hub id."""
        directory = locate(directory)
        files = [directory / name for name in cls.VOCABULARY]
        rust_file = directory / "tokenizer.json"
        if all(file.exists() for file in files):
            pieces, merges = in_order_of_ids(read_json(files[0]), files[0]), read_merges(files[1])
            source = files[0]
        elif rust_file.exists():  # all that transformers writes since its version 5
            pieces, merges = read_pieces(rust_file)
            source = rust_file
        else:
            raise InputError(
                f"{directory}: no vocab.json with a merges.txt, and no tokenizer.json; give a tokenizer's "
                "directory"
            )
        refuse_added(directory, cls.SPECIAL_TOKENS, "BPE")
        settings = read_settings(directory / "tokenizer_config.json", RULES)
        try:
            takes_space = mask_takes_space(directory)
            return cls(pieces, merges, **settings, mask_takes_space=takes_space, backend=backend)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None

    def save_pretrained(self, directory: str | Path) -> None:
        """Write vocab.json, merges.txt, tokenizer_config.json and tokenizer.json, which transformers reads
        as well."""
        config = {
            "tokenizer_class": "RobertaTokenizer",
            "add_prefix_space": self.add_prefix_space,
            "model_max_length": self.model_max_length,
            **special_tokens_of(self),
            "mask_token": {
                "__type": "AddedToken", "content": self.mask_token, "lstrip": self.mask_takes_space,
                "normalized": False, "rstrip": False, "single_word": False, "special": True,
            },
        }  # fmt: skip
        merges = "".join(f"{left} {right}\n" for left, right in self.merges)
        for name, text in (
            ("vocab.json", json.dumps(self.vocab, ensure_ascii=False)),
            ("merges.txt", f"#version: 0.2\n{merges}"),
            ("tokenizer_config.json", json.dumps(config, indent=2)),
            ("tokenizer.json", self.to_rust().to_str(pretty=True)),
        ):
            write(Path(directory) / name, text.encode())

    def encode_places(self, texts: Sequence[str]) -> list[Encoded]:
        """The ids, offsets and words of each text; a piece has its place without the space before it."""
        rows = super().encode_places(texts)
        if self.backend == "fast":
            for text, row in zip(texts, rows, strict=True):
                for n, (i, (start, end)) in enumerate(zip(row.ids, row.offsets, strict=True)):
                    if i == self.mask_token_id:  # with white space of any kind
                        start = end - len(self.mask_token)
                    elif self.pieces[i] == LETTERS[ord(" ")] and text[start] != " ":
                        end = start  # of a space that was put before the text
                    row.offsets[n] = without_spaces(text, start, end)
        return rows

    def in_chunks(self, sentences: Sequence[str]) -> tuple[list[str], list[int]]:
        chunks = [CHUNK.split(sentence) for sentence in sentences]
        return list(chain.from_iterable(chunks)), list(map(len, chunks))

    def piece_text(self, number: int) -> str:
        return to_bytes(self.pieces[number]).decode(errors="replace")

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of a row of ids, its spaces as they were; bytes that are no UTF-8 become U+FFFD."""
        skipped = self.all_special_ids if skip_special_tokens else []
        tokens = self.convert_ids_to_tokens(i for i in ids if i not in skipped)
        return b"".join(map(to_bytes, tokens)).decode(errors="replace")


def check_merges(vocab: dict[str, int], merges: Sequence[Merge]) -> None:
    if missing := [letter for letter in LETTERS if letter not in vocab]:
        raise InputError(
            f"{len(missing)} of the 256 bytes are no pieces, {missing[0]!r} is the first; a byte-level "
            "vocabulary has all"
        )
    for number, (left, right) in enumerate(merges, start=1):
        for piece in (left, right, left + right):
            if piece not in vocab:
                raise InputError(
                    f"merge {number} is of {left!r} and {right!r}, and {piece!r} is no piece; the two files "
                    "belong to different tokenizers"
                )


def read_merges(file: Path) -> list[Merge]:
    """The merges of a merges.txt, a pair on each line."""
    merges = []
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        if not line or (number == 1 and line.startswith("#version")):
            continue
        left, *rest = line.split(" ")
        if len(rest) != 1:
            raise InputError(f"{file}:{number}: {line!r:.60} is no merge; expected two pieces and a space")
        merges.append((left, rest[0]))
    return merges


def read_pieces(file: Path) -> tuple[list[str], list[Merge]]:
    """The pieces in the order of their ids and the merges, from a tokenizer.json."""
    content = read_json(file)
    model: Any = content.get("model")
    is_bpe = isinstance(model, dict) and model.get("type") == "BPE"
    ids, merges = (model.get("vocab"), model.get("merges")) if is_bpe else (None, None)
    if not isinstance(ids, dict) or not isinstance(merges, list) or not is_byte_level(content):
        raise InputError(f"{file}: holds no byte-level BPE; give the directory of a RoBERTa's tokenizer")
    pairs = [tuple(pair.split(" ") if isinstance(pair, str) else pair) for pair in merges]
    if bad := [number for number, pair in enumerate(pairs, start=1) if len(pair) != 2]:
        raise InputError(f"{file}: merge {bad[0]} is {merges[bad[0] - 1]!r:.60}; expected two pieces")
    added = added_tokens(content, ByteLevelBPETokenizer.SPECIAL_TOKENS, file)
    return in_order_of_ids(ids | added, file), pairs  # type: ignore[return-value]


def mask_takes_space(directory: Path) -> bool:
    """Whether the files of a tokenizer say so; where they say nothing, it does."""
    content, config = (
        read_json(file) if (file := directory / name).exists() else {}
        for name in ("tokenizer.json", "tokenizer_config.json")
    )
    described = [*(content.get("added_tokens") or []), config.get("mask_token")]
    found = [each for each in described if isinstance(each, dict) and each.get("content") == "<mask>"]
    return bool(found[0].get("lstrip")) if found else True


def is_byte_level(content: dict[str, Any]) -> bool:
    words: Any = content.get("pre_tokenizer") or {}
    return any(each.get("type") == "ByteLevel" for each in words.get("pretokenizers") or [words])
