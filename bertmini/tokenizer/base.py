"""What all tokenizers share: texts become the arrays that a model takes, and ids become text again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch

from bertmini.errors import InputError
from bertmini.files import read_json
from bertmini.tokenizer.normalize import Normalizer, is_punctuation, is_space

Backend = Literal["fast", "python"]


class Encoded(NamedTuple):
    """A text in pieces: for each its id, its (start, end) in the text, and the number of its word."""

    ids: list[int]
    offsets: list[tuple[int, int]]
    words: list[int]


class Tokenizer:
    """What a family's tokenizer adds to this: its pieces, how a text becomes their ids, and its files.

    A special token that a text spells out, as in "the [MASK] is open", becomes its own id.

    Args:
        pieces: in the order of their ids.
        normalizer: the rules for case and accents, and for what a word is where a task asks for words.
        model_max_length: in tokens, where `truncation=True` cuts when no `max_length` is given.
        backend: "fast", on the tokenizers library, or "python", code to be read, with the same ids.

    Raises:
        InputError: a special token is not among the pieces.
    """

    SPECIAL_TOKENS: ClassVar[tuple[str, str, str, str, str]]  # pad, unk, cls, sep, mask
    VOCABULARY: ClassVar[tuple[str, ...]]  # the files that hold it
    has_segments = True  # whether a row's second text has token type 1
    separators = 1  # between two texts
    keeps_spaces = False  # whether a piece says if a space stands before it

    rust: Any  # a tokenizers.Tokenizer
    python: Any  # has ids(text) and encode(text)

    def __init__(
        self, pieces: Sequence[str], normalizer: Normalizer, model_max_length: int, backend: Backend
    ) -> None:
        self.pieces, self.normalizer = list(pieces), normalizer
        self.vocab = {piece: i for i, piece in enumerate(self.pieces)}
        self.vocab_size = len(self.pieces)
        if missing := [token for token in self.SPECIAL_TOKENS if token not in self.vocab]:
            raise InputError(f"no {', '.join(missing)} among {len(self.pieces)} pieces; add them")
        self.pad_token, self.unk_token, self.cls_token, self.sep_token, self.mask_token = self.SPECIAL_TOKENS
        self.all_special_tokens = list(self.SPECIAL_TOKENS)
        self.all_special_ids = [self.vocab[token] for token in self.SPECIAL_TOKENS]
        self.pad_token_id, self.unk_token_id, self.cls_token_id, self.sep_token_id, self.mask_token_id = (
            self.all_special_ids
        )
        self.model_max_length, self.backend = model_max_length, backend

    @property
    def rules(self) -> list[Any]:
        """All that decides what becomes of a text, in terms of JSON: tokenizers with the same are one."""
        raise NotImplementedError

    def to_rust(self) -> Any:
        """The same tokenizer as a `tokenizers.Tokenizer`."""
        raise NotImplementedError

    def save_pretrained(self, directory: str | Path) -> None:
        """Write the tokenizer's files, which transformers reads as well."""
        raise NotImplementedError

    def encode_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text without special tokens around it: the fast way through a corpus."""
        check_texts(texts)
        if self.backend == "python":
            return [self.python.ids(text) for text in texts]
        return [row.ids for row in self.rust.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_places(self, texts: Sequence[str]) -> list[Encoded]:
        """The ids, offsets and words of each text without special tokens around it."""
        check_texts(texts)
        if self.backend == "python":
            return [self.python.encode(text) for text in texts]
        rows = self.rust.encode_batch(texts, add_special_tokens=False)
        return [Encoded(row.ids, row.offsets, row.word_ids) for row in rows]

    def in_chunks(self, sentences: Sequence[str]) -> tuple[list[str], list[int]]:
        """Sentences in parts that come again and again, with the same ids end to end; how many each has."""
        return " ".join(sentences).split(" "), [sentence.count(" ") + 1 for sentence in sentences]

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

        RoBERTa's rows are `<s> text </s>` and `<s> text </s></s> pair </s>`, all of token type 0.

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
            rows = [truncate(a, b, limit, self.separators) for a, b in rows]

        cls, sep, between = self.cls_token_id, self.sep_token_id, self.separators
        second = int(self.has_segments)
        sizes = [(len(a.ids) + 2, len(b.ids) + between if b else 0) for a, b in rows]
        batch: dict[str, Any] = {
            "input_ids": [frame(cls, a.ids, sep, b and b.ids, between) for a, b in rows],
            "token_type_ids": [[0] * n + [second] * m for n, m in sizes],
            "attention_mask": [[1] * (n + m) for n, m in sizes],
        }
        if return_offsets:
            batch["offset_mapping"] = [
                frame((0, 0), a.offsets, (0, 0), b and b.offsets, between) for a, b in rows
            ]
        if return_word_ids:
            batch["word_ids"] = [frame(None, a.words, None, b and b.words, between) for a, b in rows]
        if return_special_tokens_mask:
            batch["special_tokens_mask"] = [
                frame(1, [0] * len(a.ids), 1, b and [0] * len(b.ids), between) for a, b in rows
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

    def piece_text(self, number: int) -> str:
        """What a piece stands for, by its id, with a space in front where it says that there is one."""
        return self.pieces[number]

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """The ids of each word by itself, as it stands in a running text."""
        return self.encode_ids([f" {word}" for word in words] if self.keeps_spaces else words)

    def word_edges(self) -> tuple[list[bool], list[bool]]:
        """For each piece whether it goes on with the word before it, and whether its word ends with it.

        A piece that begins with a space or a mark begins a word, and one that ends in a mark ends it.
        """
        texts = [self.piece_text(i) for i in range(self.vocab_size)]
        goes_on = [bool(text) and not is_edge(text[0]) for text in texts]
        return goes_on, [bool(text.strip(" ")) and is_edge(text[-1]) for text in texts]

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of a row of ids."""
        raise NotImplementedError

    def batch_decode(self, rows: Iterable[Iterable[int]], skip_special_tokens: bool = False) -> list[str]:
        return [self.decode(row, skip_special_tokens) for row in rows]

    def convert_ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """The pieces of ids.

        Raises:
            InputError: there is no such id; labels have -100 where nothing is asked.
        """
        return [self.pieces[i] for i in self.known_ids(ids)]

    def known_ids(self, ids: Iterable[int]) -> list[int]:
        ids = [int(i) for i in ids]
        if wrong := [i for i in ids if not 0 <= i < self.vocab_size]:
            raise InputError(f"id {wrong[0]} is no piece's; expected 0 to {self.vocab_size - 1}")
        return ids

    def convert_tokens_to_ids(self, tokens: Iterable[str]) -> list[int]:
        return [self.vocab.get(token, self.unk_token_id) for token in tokens]

    def __len__(self) -> int:
        return self.vocab_size


def frame(cls: Any, a: list[Any], sep: Any, b: list[Any] | None, separators: int = 1) -> list[Any]:
    """A row with what stands at its special tokens; `separators` of them stand between two texts."""
    return [cls, *a, sep] if b is None else [cls, *a, *[sep] * separators, *b, sep]


def truncate(
    a: Encoded, b: Encoded | None, limit: int, separators: int = 1
) -> tuple[Encoded, Encoded | None]:
    """Cut a row to `limit` tokens, of a pair the longer text first."""
    room = limit - (2 if b is None else 2 + separators)
    if room < 0:
        raise InputError(
            f"max_length={limit} has no room for the special tokens; ask for at least {limit - room}"
        )
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
                f"text {number}, {text[:40]!r}, has half of a surrogate pair; decode it as UTF-8 or UTF-16 "
                "first"
            )


def is_edge(character: str) -> bool:
    """Whether a character stands outside of words: white space, and punctuation."""
    return is_space(character) or is_punctuation(character)


def special_tokens_of(tokenizer: Tokenizer) -> dict[str, Any]:
    """The special tokens by the names that a tokenizer_config.json has for them."""
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    tokens: dict[str, Any] = dict(zip(names, tokenizer.SPECIAL_TOKENS, strict=True))
    return {"bos_token": tokens["cls_token"], "eos_token": tokens["sep_token"], **tokens}


def added_tokens(content: dict[str, Any], known: Sequence[str], file: Path) -> dict[str, int]:
    """The tokens that a tokenizer.json holds beside its model, with their ids.

    Raises:
        InputError: one is none of the special tokens; where a text has it, the ids would be others.
    """
    added = {token["content"]: token["id"] for token in content.get("added_tokens") or []}
    if others := [token for token in added if token not in known]:
        raise InputError(f"{file}: {others[0]!r} is an added token, and bertmini reads {', '.join(known)}")
    return added


def refuse_added(directory: Path, known: Sequence[str], kind: str) -> None:
    """Refuse a tokenizer that has tokens beside its vocabulary, in whichever of its files they stand.

    Args:
        known: the special tokens.
        kind: of the tokenizer, as a tokenizer.json has it; one of another kind was left behind by a model.

    Raises:
        InputError: where a text has one, the ids would be others.
    """
    for name in ("tokenizer.json", "added_tokens.json", "tokenizer_config.json"):
        file = directory / name
        content: Any = read_json(file) if file.exists() else {}
        if name == "tokenizer.json":
            model = content.get("model")
            if not isinstance(model, dict) or model.get("type", kind) == kind:
                added_tokens(content, known, file)
            continue
        of_config = (content.get("added_tokens_decoder") or {}).values()
        others = content if name == "added_tokens.json" else [each["content"] for each in of_config]
        if wrong := [token for token in others if token not in known]:
            raise InputError(f"{file}: {wrong[0]!r} is an added token, and bertmini reads {', '.join(known)}")


def in_order_of_ids(ids: Any, file: Path) -> list[str]:
    """Pieces in the order of their ids.

    Raises:
        InputError: the ids leave out numbers.
    """
    if set(ids.values()) != set(range(len(ids))):
        raise InputError(f"{file}: its ids leave out numbers; expected 0 to {len(ids) - 1}, each once")
    return sorted(ids, key=ids.__getitem__)


def read_settings(file: Path, rules: Sequence[tuple[str, str, bool | None]]) -> dict[str, Any]:
    """The arguments of a tokenizer as a tokenizer_config.json gives them.

    Args:
        file: which need not be there.
        rules: the names of arguments here and there, and what holds where the file says nothing.
    """
    config = read_json(file) if file.exists() else {}
    settings = {}
    for ours, theirs, default in rules:
        settings[ours] = config.get(theirs, default)
        if settings[ours] is not default and not isinstance(settings[ours], bool):
            raise InputError(f"{file}: {theirs} is {settings[ours]!r:.60}; expected true or false")
    length = config.get("model_max_length")
    if not isinstance(length, int | float) or not 0 < length < 1e6:  # transformers writes 1e30 for "unknown"
        length = 512
    return {**settings, "model_max_length": int(length)}
