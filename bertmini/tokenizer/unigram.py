"""ALBERT's tokenizer, a unigram model, on the tokenizers library."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bertmini.errors import InputError
from bertmini.files import read_json, write
from bertmini.hub import locate
from bertmini.tokenizer.base import (
    Backend,
    Tokenizer,
    added_tokens,
    check_texts,
    read_settings,
    special_tokens_of,
)
from bertmini.tokenizer.normalize import Normalizer

# The arguments of a tokenizer and their names and defaults in a tokenizer_config.json.
RULES = (("lowercase", "do_lower_case", True), ("keep_accents", "keep_accents", False))


class UnigramTokenizer(Tokenizer):
    """ALBERT's tokenizer: of all ways to cut a word into pieces, the one whose probability is highest.

    ▁ stands for the space before a piece. It works on the tokenizers library alone.

    Args:
        scores: the pieces in the order of their ids, each with the logarithm of its probability; the second
            one is that of what is unknown.
        lowercase: fold to lower case.
        keep_accents: do not drop combining marks.
        charsmap: SentencePiece's compiled rules of normalisation, where a published tokenizer has them.
        model_max_length: in tokens, where `truncation=True` cuts when no `max_length` is given.

    Raises:
        InputError: the vocabulary lacks a special token, or <unk> is not the second piece.

    Source: Kudo 2018, arXiv 1804.10959; Kudo & Richardson 2018, arXiv 1808.06226 (SentencePiece).
    """

    SPECIAL_TOKENS = ("<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]")
    VOCABULARY = ("tokenizer.json",)
    keeps_spaces = True

    def __init__(
        self,
        scores: Sequence[tuple[str, float]],
        *,
        lowercase: bool = True,
        keep_accents: bool = False,
        charsmap: bytes | None = None,
        model_max_length: int = 512,
    ):
        rules = Normalizer(lowercase, strip_accents=not keep_accents)
        super().__init__([piece for piece, _ in scores], rules, model_max_length, "fast")
        if self.unk_token_id != 1:  # where transformers looks for it
            raise InputError(f"{self.unk_token} has the id {self.unk_token_id}; expected 1")
        self.scores, self.charsmap = [(piece, float(score)) for piece, score in scores], charsmap
        self.lowercase, self.keep_accents = lowercase, keep_accents
        self.rust = self.to_rust()

    @property
    def rules(self) -> list[Any]:
        charsmap = base64.b64encode(self.charsmap).decode() if self.charsmap else None
        return [self.scores, self.lowercase, self.keep_accents, charsmap]

    def to_rust(self) -> Any:
        """The same tokenizer as a `tokenizers.Tokenizer`."""
        from tokenizers import models, processors

        rust = with_albert_rules(
            models.Unigram(self.scores, unk_id=1, byte_fallback=False),
            self.lowercase,
            self.keep_accents,
            self.charsmap,
        )
        ends = [(self.cls_token, self.cls_token_id), (self.sep_token, self.sep_token_id)]
        rust.post_processor = processors.TemplateProcessing(
            single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", special_tokens=ends
        )
        rust.add_special_tokens(list(self.SPECIAL_TOKENS))
        return rust

    @classmethod
    def train(
        cls,
        texts: Iterable[str],
        vocab_size: int = 8000,
        *,
        lowercase: bool = True,
        keep_accents: bool = False,
        **options: Any,
    ) -> UnigramTokenizer:
        """Learn a vocabulary from texts, by the tokenizers library.

        Args:
            texts: read once.
            vocab_size: number of pieces to reach.
            lowercase, keep_accents, **options: see the class.

        Raises:
            InputError: a text that is no string, or a `vocab_size` that the texts do not support.
        """
        from tokenizers import models, trainers

        def checked() -> Iterator[str]:
            for text in texts:
                check_texts([text])
                yield text

        rust = with_albert_rules(models.Unigram(), lowercase, keep_accents)
        trainer = trainers.UnigramTrainer(
            vocab_size=vocab_size, special_tokens=list(cls.SPECIAL_TOKENS), unk_token="<unk>",
            show_progress=False,
        )  # fmt: skip
        try:
            rust.train_from_iterator(checked(), trainer)
        except InputError:
            raise
        except Exception as error:  # what the library says of a text without a word, or of too small a size
            raise InputError(f"vocab_size={vocab_size}: no vocabulary of this text ({error})") from None
        scores = [(piece, score) for piece, score in json.loads(rust.to_str())["model"]["vocab"]]
        if len(scores) != vocab_size:
            problem = "too large" if len(scores) < vocab_size else "too small"
            raise InputError(f"vocab_size={vocab_size} is {problem}: this text makes {len(scores)} pieces")
        return cls(scores, lowercase=lowercase, keep_accents=keep_accents, **options)

    @classmethod
    def from_pretrained(cls, directory: str | Path, backend: Backend = "fast") -> UnigramTokenizer:
        """Load a tokenizer that bertmini or transformers saved, from a directory or by a model's hub id.

        Args:
            directory: or hub id.
            backend: "fast"; there is no other.
        """
        if backend != "fast":
            raise InputError(f"backend={backend!r}: a unigram tokenizer has no other than 'fast'")
        directory = locate(directory)
        file = directory / "tokenizer.json"
        if not file.exists():
            raise InputError(missing_unigram(directory))
        content = read_json(file)
        model: Any = content.get("model")
        scores = model.get("vocab") if isinstance(model, dict) and model.get("type") == "Unigram" else None
        if not isinstance(scores, list):
            raise InputError(f"{file}: holds no unigram model; give the directory of an ALBERT's tokenizer")
        added_tokens(content, cls.SPECIAL_TOKENS, file)
        settings = read_settings(directory / "tokenizer_config.json", RULES)
        try:
            pairs = [(str(piece), float(score)) for piece, score in scores]
            return cls(pairs, charsmap=charsmap_of(content), **settings)
        except (TypeError, ValueError) as error:
            raise InputError(f"{file}: {error}") from None

    def save_pretrained(self, directory: str | Path) -> None:
        """Write tokenizer_config.json and tokenizer.json, which transformers reads as well."""
        config = {
            "tokenizer_class": "AlbertTokenizer",
            **{theirs: getattr(self, ours) for ours, theirs, _ in RULES},
            "model_max_length": self.model_max_length,
            **special_tokens_of(self),
        }
        for name, text in (
            ("tokenizer_config.json", json.dumps(config, indent=2)),
            ("tokenizer.json", self.to_rust().to_str(pretty=True)),
        ):
            write(Path(directory) / name, text.encode())

    def decode(self, ids: Iterable[int], skip_special_tokens: bool = False) -> str:
        """The text of a row of ids, as far as normalisation left it."""
        return self.rust.decode(self.known_ids(ids), skip_special_tokens=skip_special_tokens)

    def piece_text(self, number: int) -> str:
        return self.pieces[number].replace("▁", " ")


def with_albert_rules(model: Any, lowercase: bool, keep_accents: bool, charsmap: bytes | None = None) -> Any:
    """A `tokenizers.Tokenizer` that makes words of a text as ALBERT's does, ▁ in front of each."""
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers

    rules: list[Any] = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    if not keep_accents:
        rules += [normalizers.NFKD(), normalizers.StripAccents()]
    if lowercase:
        rules.append(normalizers.Lowercase())
    if charsmap:
        rules.append(normalizers.Precompiled(charsmap))
    rust = Tokenizer(model)
    rust.normalizer = normalizers.Sequence(rules)
    spaces: dict[str, Any] = {"replacement": "▁", "prepend_scheme": "always"}
    rust.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(**spaces)]
    )
    rust.decoder = decoders.Metaspace(**spaces)
    return rust


def charsmap_of(content: dict[str, Any]) -> bytes | None:
    """SentencePiece's rules in a tokenizer.json."""
    normalizer: Any = content.get("normalizer") or {}
    for each in normalizer.get("normalizers") or [normalizer]:
        if each.get("type") == "Precompiled":
            return base64.b64decode(each["precompiled_charsmap"])
    return None


def missing_unigram(directory: Path) -> str:
    if models := sorted(directory.glob("*.model")):
        return (
            f"{models[0]} is SentencePiece's, which bertmini does not read: open it once with transformers, "
            "whose save_pretrained writes a tokenizer.json"
        )
    return f"{directory}: no tokenizer.json; give a tokenizer's directory"
