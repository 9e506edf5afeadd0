"""BERT's tokenizer, of word pieces."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bertmini.errors import InputError
from bertmini.files import read_json, read_text, write
from bertmini.hub import locate
from bertmini.tokenizer.base import (
    Backend,
    Tokenizer,
    added_tokens,
    check_texts,
    in_order_of_ids,
    read_settings,
    refuse_added,
)
from bertmini.tokenizer.normalize import Normalizer
from bertmini.tokenizer.train import train_wordpiece
from bertmini.tokenizer.wordpiece import CHUNK, WordPieceEncoder

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
# Decoded text has no space before these, as in the tokenizers library.
CLOSED_UP = (".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re")
GENERIC = ("PreTrainedTokenizerFast", "TokenizersBackend")  # classes that take a tokenizer.json as it is
# The arguments of a tokenizer and their names and defaults in a tokenizer_config.json.
RULES = (
    ("lowercase", "do_lower_case", True),
    ("strip_accents", "strip_accents", None),
    ("split_cjk", "tokenize_chinese_chars", True),
)


class WordPieceTokenizer(Tokenizer):
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

    SPECIAL_TOKENS = SPECIAL_TOKENS
    VOCABULARY = ("vocab.txt",)

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
        vocab = list(vocab)
        check_vocab(vocab)
        super().__init__(vocab, Normalizer(lowercase, strip_accents, split_cjk), model_max_length, backend)
        self.lowercase, self.strip_accents, self.split_cjk = lowercase, strip_accents, split_cjk
        if backend == "fast":
            self.rust = self.to_rust()
        else:
            self.python = WordPieceEncoder(self.vocab, self.normalizer, SPECIAL_TOKENS)

    @property
    def rules(self) -> list[Any]:
        return [self.pieces, self.lowercase, self.strip_accents, self.split_cjk]

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
        refuse_added(directory, SPECIAL_TOKENS, "WordPiece")
        return cls(pieces, **settings_of(directory), backend=backend)

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

    def word_edges(self) -> tuple[list[bool], list[bool]]:
        return [piece.startswith("##") for piece in self.pieces], [False] * self.vocab_size


def settings_of(directory: Path) -> dict[str, Any]:
    """The arguments of a tokenizer as its files give them.

    Raises:
        InputError: a tokenizer.json that transformers takes as it is has other rules than BERT's.
    """
    config, file = directory / "tokenizer_config.json", directory / "tokenizer.json"
    settings = read_settings(config, RULES)
    is_generic = config.exists() and read_json(config).get("tokenizer_class") in GENERIC
    if not (is_generic and file.exists()):
        return settings
    content: Any = read_json(file)
    rules, words = content.get("normalizer") or {}, content.get("pre_tokenizer") or {}
    found = rules.get("type"), words.get("type")
    if found != ("BertNormalizer", "BertPreTokenizer"):
        raise InputError(f"{file}: its rules are {found[0]} and {found[1]}; bertmini reads BERT's")
    own = {"lowercase": "lowercase", "strip_accents": "strip_accents", "split_cjk": "handle_chinese_chars"}
    return settings | {ours: rules[theirs] for ours, theirs in own.items()}


def check_vocab(pieces: Sequence[str], source: str = "") -> None:
    lines: dict[str, int] = {}
    for line, piece in enumerate(pieces, start=1):
        if lines.setdefault(piece, line) < line:
            raise InputError(
                f"{source}piece {piece!r} stands in lines {lines[piece]} and {line}; rename the first "
                f"(to [unused-{lines[piece]}], say), which keeps all ids as they are"
            )
    if missing := [token for token in SPECIAL_TOKENS if token not in lines]:
        raise InputError(f"{source}no {', '.join(missing)} among {len(pieces)} pieces; add them, one a line")


def read_pieces(file: Path) -> list[str]:
    """The pieces in the order of their ids, from a tokenizer.json."""
    ids = wordpiece_of(file)
    if not isinstance(ids, dict):
        raise InputError(f"{file}: holds no WordPiece vocabulary; give the directory of a BERT's tokenizer")
    return in_order_of_ids(ids, file)


def wordpiece_of(file: Path) -> Any:
    """The ids by piece of a tokenizer.json that holds word pieces; None where it holds others.

    Raises:
        InputError: it has added tokens beside the special ones.
    """
    content = read_json(file)
    model: Any = content.get("model")
    if not (isinstance(model, dict) and model.get("type", "WordPiece") == "WordPiece"):
        return None
    added_tokens(content, SPECIAL_TOKENS, file)
    return model.get("vocab")
