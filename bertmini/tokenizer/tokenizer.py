"""The tokenizer: texts become the arrays that a model takes, and ids become text again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from bertmini.errors import InputError
from bertmini.files import read_json, read_text, write
from bertmini.hub import locate
from bertmini.tokenizer.normalize import Normalizer
from bertmini.tokenizer.train import train_wordpiece
from bertmini.tokenizer.wordpiece import CHUNK, Encoded, WordPieceEncoder

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Decoded text has no space before these, as in the tokenizers library.
CLOSED_UP = (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re")
# The arguments of a tokenizer and their names and defaults in a tokenizer_config.json.
RULES = (
    ("lowercase", "do_lower_case", True),
    ("strip_accents", "strip_accents", None),
    ("split_cjk", "tokenize_chinese_chars", True),
)
Backend = Literal["fast", "python"]


class WordPieceTokenizer:
    """BERT's tokenizer, in Python to be read or on the tokenizers library to be fast, with the same ids.

    A special token that a text spells out, as in "the [MASK] is open", becomes its own id.

    Args:
        vocab: the pieces in the order of their ids.
        lowercase, strip_accents, split_cjk: the rules, see `Normalizer`.
        model_max_length: in tokens, where `truncation=True` cuts when no `max_length` is given.
        backend: "fast" or "python".

    Raises:
        InputError: the vocabulary repeats a piece or lacks a special token.
    """

    pad_token, unk_token, cls_token, sep_token, mask_token = SPECIAL_TOKENS

    def __init__(
        self,
        vocab: Sequence[str],
        *,
        lowercase: bool = True,
        strip_accents: bool | None = None,
        split_cjk: bool = True,
        model_max_length: int = 512,
        backend: Backend = "fast",
    ):
        self.pieces = list(vocab)
        check_vocab(self.pieces)
        self.vocab = {piece: i for i, piece in enumerate(self.pieces)}
        self.vocab_size = len(self.pieces)
        self.all_special_tokens, self.all_special_ids = (
            list(SPECIAL_TOKENS),
            [*map(self.vocab.get, SPECIAL_TOKENS)],
        )
        self.pad_token_id, self.unk_token_id, self.cls_token_id, self.sep_token_id, self.mask_token_id = (
            self.vocab[token] for token in SPECIAL_TOKENS
        )
        self.normalizer = Normalizer(lowercase, strip_accents, split_cjk)
        self.lowercase, self.strip_accents, self.split_cjk = lowercase, strip_accents, split_cjk
        self.model_max_length, self.backend = model_max_length, backend
        if backend == "fast":
            self.rust = self.to_rust()
        else:
            self.python = WordPieceEncoder(self.vocab, self.normalizer, SPECIAL_TOKENS)

    def to_rust(self) -> Any:
        """The same tokenizer as a `tokenizers.Tokenizer`."""
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

        rust = Tokenizer(models.WordPiece(self.vocab, unk_token=self.unk_token))
        rust.normalizer = normalizers.BertNormalizer(True, self.split_cjk, self.strip_accents, self.lowercase)
        rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        ends = (self.sep_token, self.sep_token_id), (self.cls_token, self.cls_token_id)
        rust.post_processor = processors.BertProcessing(*ends)
        rust.decoder = decoders.WordPiece()
        rust.add_special_tokens(list(SPECIAL_TOKENS))
        return rust

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int = 8000,
        *,
        lowercase: bool = True,
        min_frequency: int = 1,
        special_tokens: Sequence[str] = SPECIAL_TOKENS,
        limit_alphabet: int | None = None,
        **options: Any,
    ) -> WordPieceTokenizer:
        """Learn a vocabulary from texts.

        Args:
            texts: read once.
            vocab_size, min_frequency, special_tokens, limit_alphabet: see `train_wordpiece`.
            lowercase, **options: see the class.

        Raises:
            InputError: a text that is no string, or a `vocab_size` that the texts do not support.
        """
        chunks: Counter[str] = Counter()
        for text in texts:
            check_texts([text])
            chunks.update(CHUNK.findall(text))
        rules = Normalizer(lowercase, options.get("strip_accents"), options.get("split_cjk", True))
        words: Counter[str] = Counter()
        for chunk, count in chunks.items():  # each chunk is normalised once, however often it occurs
            for word, _ in rules.words(chunk):
                words[word] += count
        vocab = train_wordpiece(
            words,
            vocab_size,
            min_frequency=min_frequency,
            special_tokens=special_tokens,
            limit_alphabet=limit_alphabet,
        )
        return cls(vocab, lowercase=lowercase, **options)

    @classmethod
    def from_pretrained(cls, directory: str | Path, backend: Backend = "fast") -> WordPieceTokenizer:
        """Load a tokenizer that bertmini or transformers saved, from a directory or by a model's hub id."""
        directory = locate(directory)
        vocab_file, rust_file = directory / "vocab.txt", directory / "tokenizer.json"
        if vocab_file.exists():
            pieces = read_text(vocab_file).removesuffix("\n").split("\n")
            check_vocab(pieces, f"{vocab_file}: ")
        elif rust_file.exists():  # all that transformers writes since its version 5
            pieces = read_pieces(rust_file)
        else:
            raise InputError(f"{directory}: no vocab.txt and no tokenizer.json; give a tokenizer's directory")
        return cls(pieces, **read_settings(directory / "tokenizer_config.json"), backend=backend)

    def save_pretrained(self, directory: str | Path) -> None:
        """Write vocab.txt, tokenizer_config.json and tokenizer.json, which transformers reads as well."""
        config = {
            "tokenizer_class": "BertTokenizer",
            **{theirs: getattr(self, ours) for ours, theirs, _ in RULES},
            "model_max_length": self.model_max_length,
            **{f"{token[1:-1].lower()}_token": token for token in SPECIAL_TOKENS},
        }
        for name, text in (
            ("vocab.txt", "\n".join(self.pieces) + "\n"),
            ("tokenizer_config.json", json.dumps(config, indent=2)),
            ("tokenizer.json", self.to_rust().to_str(pretty=True)),
        ):
            write(Path(directory) / name, text.encode())

    def encode_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text without [CLS] and [SEP]: the fast way through a corpus."""
        check_texts(texts)
        if self.backend == "python":
            return [self.python.ids(text) for text in texts]
        return [row.ids for row in self.rust.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_places(self, texts: Sequence[str]) -> list[Encoded]:
        """The ids, offsets and words of each text without [CLS] and [SEP]."""
        check_texts(texts)
        if self.backend == "python":
            return [self.python.encode(text) for text in texts]
        rows = self.rust.encode_batch(texts, add_special_tokens=False)
        return [Encoded(row.ids, row.offsets, row.word_ids) for row in rows]

    def tokenize(self, text: str) -> list[str]:
        """The pieces of one text."""
        return self.convert_ids_to_tokens(self.encode_ids([text])[0])

    def __call__(
        self,
        texts: str | Sequence[str],
        pairs: str | Sequence[str] | None = None,
        *,
        padding: bool | Literal["longest", "max_length"] = False,
        truncation: bool = False,
        max_length: int | None = None,
        return_tensors: Literal["np", "pt"] | None = None,
        return_offsets: bool = False,
        return_word_ids: bool = False,
        return_special_tokens_mask: bool = False,
    ) -> dict[str, Any]:
        """Encode texts as `[CLS] text [SEP]`, or with their pairs as `[CLS] text [SEP] pair [SEP]`.

        Args:
            texts: one text or many.
            pairs: as many second texts.
            padding: fill rows up to the longest (True) or to `max_length`.
            truncation: cut rows to `max_length`, of a pair the longer text first.
            max_length: in tokens, special tokens included; None is `model_max_length`.
            return_tensors: "np", "pt", or None for lists.
            return_offsets: add `offset_mapping`, the (start, end) of each piece in its text.
            return_word_ids: add `word_ids`, the number of each piece's word in its text, always as lists.
            return_special_tokens_mask: add `special_tokens_mask`, 1 at tokens that were added.

        Returns:
            `input_ids`, `token_type_ids`, `attention_mask`, each [batch, length] or [length].

        Raises:
            InputError: a text that is no string, a text without its pair, rows that do not fit one tensor.
        """
        a_texts = [texts] if isinstance(texts, str) else list(texts)
        b_texts = [pairs] if isinstance(pairs, str) else None if pairs is None else list(pairs)
        if b_texts is not None and len(a_texts) != len(b_texts):
            raise InputError(f"{len(a_texts)} texts with {len(b_texts)} pairs; give each text one pair")
        limit = self.model_max_length if max_length is None else max_length
        encode = self.encode_places if return_offsets or return_word_ids else self.encode_only
        encoded = encode(a_texts)
        rows = [
            (a, b)
            for a, b in zip(encoded, encode(b_texts) if b_texts else [None] * len(encoded), strict=True)
        ]
        if truncation:
            rows = [truncate(a, b, limit) for a, b in rows]

        cls, sep = self.cls_token_id, self.sep_token_id
        sizes = [(len(a.ids) + 2, len(b.ids) + 1 if b else 0) for a, b in rows]
        batch: dict[str, Any] = {
            "input_ids": [frame(cls, a.ids, sep, b and b.ids) for a, b in rows],
            "token_type_ids": [[0] * n + [1] * m for n, m in sizes],
            "attention_mask": [[1] * (n + m) for n, m in sizes],
        }
        if return_offsets:
            batch["offset_mapping"] = [frame((0, 0), a.offsets, (0, 0), b and b.offsets) for a, b in rows]
        if return_word_ids:
            batch["word_ids"] = [frame(None, a.words, None, b and b.words) for a, b in rows]
        if return_special_tokens_mask:
            batch["special_tokens_mask"] = [
                frame(1, [0] * len(a.ids), 1, b and [0] * len(b.ids)) for a, b in rows
            ]

        if padding:
            width = limit if padding == "max_length" else max(map(sum, sizes), default=0)
            fillers = {
                "input_ids": self.pad_token_id,
                "special_tokens_mask": 1,
                "offset_mapping": (0, 0),
                "word_ids": None,
            }
            for name, column in batch.items():
                filler = [fillers.get(name, 0)]
                batch[name] = [row + filler * (width - len(row)) for row in column]
        if return_tensors:
            lengths = sorted({len(row) for row in batch["input_ids"]})
            if len(lengths) > 1:
                raise InputError(
                    f"rows of {lengths[0]} to {lengths[-1]} tokens do not fit one tensor; "
                    "pass padding=True, and truncation=True with a max_length"
                )
            for name in batch.keys() - {"word_ids"}:
                array = np.array(batch[name], dtype=np.int64)
                batch[name] = torch.from_numpy(array) if return_tensors == "pt" else array
        elif isinstance(texts, str):
            batch = {name: column[0] for name, column in batch.items()}
        return batch

    def encode_only(self, texts: Sequence[str]) -> list[Encoded]:
        return [Encoded(ids, [], []) for ids in self.encode_ids(texts)]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of a row of ids: pieces joined to words, no space before a full stop or a comma."""
        skipped = self.all_special_ids if skip_special_tokens else []
        text = ""
        for number, token in enumerate(self.convert_ids_to_tokens(i for i in ids if i not in skipped)):
            if number and token.startswith("##"):
                text += token[2:]
            else:
                text += token if not number or token.startswith(CLOSED_UP) else " " + token
        return text

    def batch_decode(self, rows: Iterable[Iterable[int]], skip_special_tokens: bool = False) -> list[str]:
        return [self.decode(row, skip_special_tokens) for row in rows]

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        return [self.pieces[i] for i in ids]

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        return [self.vocab.get(token, self.unk_token_id) for token in tokens]

    def __len__(self) -> int:
        return self.vocab_size


def frame(cls: Any, a: list[Any], sep: Any, b: list[Any] | None) -> list[Any]:
    """A row with what stands at its special tokens."""
    return [cls, *a, sep] if b is None else [cls, *a, sep, *b, sep]


def truncate(a: Encoded, b: Encoded | None, limit: int) -> tuple[Encoded, Encoded | None]:
    """Cut a row to `limit` tokens, of a pair the longer text first."""
    room = limit - (2 if b is None else 3)
    if room < 0:
        raise InputError(f"max_length={limit} has no room for the special tokens; ask for at least 3")
    keep_a, keep_b = len(a.ids), len(b.ids) if b else 0
    if keep_a + keep_b > room:
        shorter = min(keep_a, keep_b, room // 2)
        keep_a, keep_b = (shorter, room - shorter) if keep_a <= keep_b else (room - shorter, shorter)
    return cut(a, keep_a), b and cut(b, keep_b)


def cut(encoded: Encoded, length: int) -> Encoded:
    return Encoded(encoded.ids[:length], encoded.offsets[:length], encoded.words[:length])


def check_texts(texts: Sequence[str]) -> None:
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {number} is of type {type(text).__name__}; the tokenizer takes strings")
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise InputError(
                f"text {number} has half of a surrogate pair; decode it as UTF-8 or UTF-16 first"
            )


def check_vocab(pieces: Sequence[str], source: str = "") -> None:
    lines: dict[str, int] = {}
    for line, piece in enumerate(pieces, start=1):
        if lines.setdefault(piece, line) < line:
            raise InputError(f"{source}piece {piece!r} stands in lines {lines[piece]} and {line}; remove one")
    if missing := [token for token in SPECIAL_TOKENS if token not in lines]:
        raise InputError(f"{source}no {', '.join(missing)} among {len(pieces)} pieces; add them, one a line")


def read_pieces(file: Path) -> list[str]:
    """The pieces in the order of their ids, from a tokenizer.json."""
    model: Any = read_json(file).get("model")
    is_wordpiece = isinstance(model, dict) and model.get("type", "WordPiece") == "WordPiece"
    ids = model.get("vocab") if is_wordpiece else None
    if not isinstance(ids, dict):
        raise InputError(f"{file}: holds no WordPiece vocabulary; give the directory of a BERT's tokenizer")
    if set(ids.values()) != set(range(len(ids))):
        raise InputError(f"{file}: its ids leave out numbers; expected 0 to {len(ids) - 1}, each once")
    return sorted(ids, key=ids.__getitem__)


def read_settings(file: Path) -> dict[str, Any]:
    """The tokenizer's arguments as a tokenizer_config.json gives them."""
    config = read_json(file) if file.exists() else {}
    settings = {}
    for ours, theirs, default in RULES:
        settings[ours] = config.get(theirs, default)
        if settings[ours] is not default and not isinstance(settings[ours], bool):
            raise InputError(f"{file}: {theirs} is {settings[ours]!r:.60}; expected true or false")
    length = config.get("model_max_length")
    if not isinstance(length, int | float) or not 0 < length < 1e6:  # transformers writes 1e30 for "unknown"
        length = 512
    return {**settings, "model_max_length": int(length)}
