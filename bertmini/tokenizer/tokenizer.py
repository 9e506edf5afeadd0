"""The tokenizer: texts become the arrays that a model takes, with transformers' names, and ids become text again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from bertmini.errors import InputError
from bertmini.tokenizer.normalize import Normalizer
from bertmini.tokenizer.train import train_wordpiece
from bertmini.tokenizer.wordpiece import CHUNK, Encoded, WordPieceEncoder

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Decoded text has no space before these, as with the decoder of the tokenizers library.
CLOSED_UP = (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re")


class WordPieceTokenizer:
    """BERT's tokenizer: in Python to be read, or on the tokenizers library to be fast, with the same ids.

    A special token that is spelled out in a text, as in "the [MASK] is open", becomes its own id.

    Args:
        vocab: the pieces in the order of their ids.
        lowercase: fold text to lower case.
        strip_accents: drop accents; None does as `lowercase` says.
        split_cjk: make each Chinese character a word.
        model_max_length: in tokens; where `truncation=True` cuts when no `max_length` is given.
        backend: "fast" or "python".

    Raises:
        InputError: the vocabulary repeats a piece or lacks a special token.

    Source: Devlin et al. 2018 (arXiv 1810.04805), section 3.
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
        backend: Literal["fast", "python"] = "fast",
    ):
        self.pieces = list(vocab)
        check_vocab(self.pieces, "vocabulary")
        self.vocab = {piece: i for i, piece in enumerate(self.pieces)}
        self.vocab_size = len(self.pieces)
        self.lowercase, self.strip_accents, self.split_cjk = lowercase, strip_accents, split_cjk
        self.model_max_length, self.backend = model_max_length, backend
        ids = [self.vocab[token] for token in SPECIAL_TOKENS]
        self.pad_token_id, self.unk_token_id, self.cls_token_id, self.sep_token_id, self.mask_token_id = ids
        self.all_special_tokens, self.all_special_ids = list(SPECIAL_TOKENS), ids
        if backend == "python":
            normalizer = Normalizer(lowercase, strip_accents, split_cjk)
            self.encoder = WordPieceEncoder(self.vocab, normalizer, SPECIAL_TOKENS)
        else:
            self.rust = self.to_rust()

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int = 8000,
        *,
        min_frequency: int = 1,
        special_tokens: Sequence[str] = SPECIAL_TOKENS,
        limit_alphabet: int | None = None,
        **options: Any,
    ) -> WordPieceTokenizer:
        """Learn a vocabulary from texts.

        Args:
            texts: any iterable of strings, read once.
            vocab_size, min_frequency, special_tokens, limit_alphabet: as in `train_wordpiece`.
            **options: as in the class.

        Raises:
            InputError: a text that is no string, or a `vocab_size` that the texts do not support.
        """
        chunks: Counter[str] = Counter()
        for text in texts:
            check_texts([text])
            chunks.update(CHUNK.findall(text))
        rules = {name: options[name] for name in ("lowercase", "strip_accents", "split_cjk") if name in options}
        normalizer = Normalizer(**rules)
        words: Counter[str] = Counter()
        for chunk, count in chunks.items():  # a chunk is normalised once, however often it occurs
            for word, _ in normalizer.words(chunk):
                words[word] += count
        vocab = train_wordpiece(
            words,
            vocab_size,
            min_frequency=min_frequency,
            special_tokens=special_tokens,
            limit_alphabet=limit_alphabet,
        )
        return cls(vocab, **options)

    @classmethod
    def from_pretrained(
        cls, directory: str | Path, backend: Literal["fast", "python"] = "fast"
    ) -> WordPieceTokenizer:
        """Load a tokenizer in transformers' format.

        Args:
            directory: holds vocab.txt and tokenizer_config.json (without it: lower case); or a model's hub id.
            backend: "fast" or "python".

        Raises:
            InputError: nothing found, or a malformed file.
        """
        directory = find_directory(directory)
        pieces = read_utf8(directory / "vocab.txt").removesuffix("\n").split("\n")
        check_vocab(pieces, str(directory / "vocab.txt"))
        path = directory / "tokenizer_config.json"
        try:
            config = json.loads(read_utf8(path)) if path.exists() else {}
        except json.JSONDecodeError as error:
            raise InputError(f"{path}:{error.lineno}: not JSON ({error.msg}); save the tokenizer again") from None
        return cls(
            pieces,
            lowercase=config.get("do_lower_case", True),
            strip_accents=config.get("strip_accents"),
            split_cjk=config.get("tokenize_chinese_chars", True),
            # transformers writes 1e30 where it knows no limit; BERT's position table has 512 rows
            model_max_length=min(int(config.get("model_max_length", 512)), 512),
            backend=backend,
        )

    def save_pretrained(self, directory: str | Path) -> None:
        """Write vocab.txt, tokenizer_config.json and tokenizer.json, as transformers reads them."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
        config = {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": self.lowercase,
            "strip_accents": self.strip_accents,
            "tokenize_chinese_chars": self.split_cjk,
            "model_max_length": self.model_max_length,
            **dict(zip(names, SPECIAL_TOKENS, strict=True)),
        }
        (directory / "vocab.txt").write_text("\n".join(self.pieces) + "\n", encoding="utf-8", newline="\n")
        (directory / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        self.to_rust().save(str(directory / "tokenizer.json"))

    def to_rust(self) -> Any:
        """This tokenizer as a `tokenizers.Tokenizer`."""
        from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

        rust = Tokenizer(models.WordPiece(self.vocab, unk_token=self.unk_token))
        rust.normalizer = normalizers.BertNormalizer(
            lowercase=self.lowercase, strip_accents=self.strip_accents, handle_chinese_chars=self.split_cjk
        )
        rust.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        rust.post_processor = processors.TemplateProcessing(
            single="[CLS]:0 $A:0 [SEP]:0",
            pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
            special_tokens=[("[CLS]", self.cls_token_id), ("[SEP]", self.sep_token_id)],
        )
        rust.decoder = decoders.WordPiece()
        rust.add_special_tokens(list(SPECIAL_TOKENS))
        return rust

    def encode_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, without [CLS] and [SEP]: the fast way through a corpus."""
        check_texts(texts)
        if self.backend == "python":
            return [self.encoder.ids(text) for text in texts]
        return [row.ids for row in self.rust.encode_batch_fast(texts, add_special_tokens=False)]

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """The ids, offsets and word numbers of each text, without [CLS] and [SEP]."""
        check_texts(texts)
        if self.backend == "python":
            return [self.encoder.encode(text) for text in texts]
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
            return_word_ids: add `word_ids`, the number of each piece's word in its text; always lists.
            return_special_tokens_mask: add `special_tokens_mask`, 1 at each token that was added.

        Returns:
            `input_ids`, `token_type_ids`, `attention_mask`, each [batch, length]; [length] for one text as a list.

        Raises:
            InputError: a text that is no string, a text without its pair, rows that do not fit one tensor.
        """
        a_texts = [texts] if isinstance(texts, str) else list(texts)
        b_texts = [pairs] if isinstance(pairs, str) else None if pairs is None else list(pairs)
        if b_texts is not None and len(a_texts) != len(b_texts):
            raise InputError(f"{len(a_texts)} texts with {len(b_texts)} pairs; give each text one pair")
        limit = self.model_max_length if max_length is None else max_length
        encode = self.encode if return_offsets or return_word_ids else self.encode_without_places
        of_a = encode(a_texts)
        of_b: Sequence[Encoded | None] = [None] * len(of_a) if b_texts is None else encode(b_texts)
        rows = list(zip(of_a, of_b, strict=True))
        if truncation:
            rows = [truncate(a, b, limit) for a, b in rows]

        sizes = [(len(a.ids) + 2, 0 if b is None else len(b.ids) + 1) for a, b in rows]
        # name: (rows, what padding adds)
        columns: dict[str, tuple[list[list[Any]], Any]] = {
            "input_ids": (
                [frame(a, b, "ids", self.cls_token_id, self.sep_token_id) for a, b in rows],
                self.pad_token_id,
            ),
            "token_type_ids": ([[0] * n + [1] * m for n, m in sizes], 0),
            "attention_mask": ([[1] * (n + m) for n, m in sizes], 0),
        }
        if return_offsets:
            columns["offset_mapping"] = ([frame(a, b, "offsets", (0, 0), (0, 0)) for a, b in rows], (0, 0))
        if return_word_ids:
            columns["word_ids"] = ([frame(a, b, "words", None, None) for a, b in rows], None)
        if return_special_tokens_mask:
            marks = [[1] + [0] * (n - 2) + [1] + ([0] * (m - 1) + [1] if m else []) for n, m in sizes]
            columns["special_tokens_mask"] = (marks, 1)
        batch: dict[str, Any] = {name: column for name, (column, _) in columns.items()}

        lengths = [n + m for n, m in sizes]
        if padding:
            width = limit if padding == "max_length" else max(lengths, default=0)
            for name, (column, filler) in columns.items():
                batch[name] = [row + [filler] * (width - len(row)) for row in column]
            lengths = [max(length, width) for length in lengths]
        if return_tensors:
            if len(set(lengths)) > 1:
                raise InputError(
                    f"rows of {min(lengths)} to {max(lengths)} tokens do not fit one tensor; "
                    "pass padding=True, and truncation=True with a max_length"
                )
            for name in batch.keys() - {"word_ids"}:
                array = np.array(batch[name], dtype=np.int64)
                batch[name] = torch.from_numpy(array) if return_tensors == "pt" else array
        elif isinstance(texts, str):
            batch = {name: column[0] for name, column in batch.items()}
        return batch

    def encode_without_places(self, texts: Sequence[str]) -> list[Encoded]:
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


def frame(a: Encoded, b: Encoded | None, column: str, at_cls: Any, at_sep: Any) -> list[Any]:
    """One column of a row, with values for the special tokens around it."""
    row = [at_cls, *getattr(a, column), at_sep]
    return row if b is None else [*row, *getattr(b, column), at_sep]


def truncate(a: Encoded, b: Encoded | None, limit: int) -> tuple[Encoded, Encoded | None]:
    """Cut a row to `limit` tokens with its special tokens, of a pair the longer text first."""
    room = limit - (2 if b is None else 3)
    if room < 0:
        raise InputError(f"max_length={limit} is less than the special tokens of a row; ask for at least 3")
    size_a, size_b = len(a.ids), 0 if b is None else len(b.ids)
    if size_a + size_b > room:
        shorter = min(size_a, size_b, room // 2)
        size_a, size_b = (shorter, room - shorter) if size_a <= size_b else (room - shorter, shorter)
    return (
        Encoded(*(column[:size_a] for column in a)),
        b and Encoded(*(column[:size_b] for column in b)),
    )


def check_texts(texts: Sequence[str]) -> None:
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {number} is of type {type(text).__name__}; the tokenizer takes strings")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError as error:
                raise InputError(
                    f"text {number} has half a surrogate pair at character {error.start}; decode it properly first"
                ) from None


def check_vocab(pieces: Sequence[str], source: str) -> None:
    """Refuse a vocabulary that is no one-to-one table, or that lacks a special token."""
    first: dict[str, int] = {}
    for line, piece in enumerate(pieces, start=1):
        if first.setdefault(piece, line) != line:
            raise InputError(f"{source}:{line}: piece {piece!r} is there already, in line {first[piece]}; remove one")
    missing = [token for token in SPECIAL_TOKENS if token not in first]
    if missing:
        raise InputError(f"{source}: no {', '.join(missing)} among its {len(pieces)} pieces; add each as a line")


def read_utf8(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: not found; a tokenizer's directory holds vocab.txt, one piece a line") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 at byte {error.start}; a vocabulary is UTF-8 text") from None


def find_directory(name: str | Path) -> Path:
    """A directory on this machine, or one fetched from the Hugging Face hub."""
    if Path(name).is_dir():
        return Path(name)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        return Path(snapshot_download(str(name), allow_patterns=["vocab.txt", "tokenizer_config.json"]))
    except (HFValidationError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{name}: neither a directory nor a model that the hub gives ({reason})") from None
