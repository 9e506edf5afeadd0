"""The configuration: what a model is, as a value."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bertmini.errors import InputError
from bertmini.files import read_json

# Layers, hidden size, heads: tiny to medium as in Turc et al. 2019 (arXiv 1908.08962), base and large as in
# Devlin et al. 2018. The feed-forward network is four times as wide as the hidden states.
PRESETS = {
    "tiny": (2, 128, 2),
    "mini": (4, 256, 4),
    "small": (4, 512, 8),
    "medium": (8, 512, 8),
    "base": (12, 768, 12),
    "large": (24, 1024, 16),
}

# Fields of transformers' that make another model, and the values that make BERT; the first is the default.
# "bertmini" is a BERT with a part that transformers does not have.
FIXED: dict[str, tuple[Any, ...]] = {
    "model_type": ("bert", "bertmini"),
    "position_embedding_type": ("absolute",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
}

KINDS: dict[str, Any] = {  # of the fields of BertConfig
    "int": int,
    "float": int | float,
    "float | None": int | float | None,
    "str": str,
    "str | None": str | None,
    "dict[int, str] | None": dict | None,
}


@dataclass(frozen=True)
class BertConfig:
    """Everything that fixes a model's shape; names and defaults are those of transformers' `config.json`.

    Args:
        vocab_size: number of pieces in the vocabulary.
        hidden_size: width of the hidden states.
        num_hidden_layers: number of encoder layers.
        num_attention_heads: heads a layer; divides `hidden_size`.
        intermediate_size: width of the feed-forward network's inner layer.
        hidden_act: its activation, a name in `bertmini.model.encoder.ACTIVATIONS`.
        hidden_dropout_prob: dropout on embeddings and on each sublayer's output.
        attention_probs_dropout_prob: dropout on the attention weights.
        max_position_embeddings: rows of the position table, the longest sequence.
        type_vocab_size: number of segments.
        initializer_range: standard deviation of the initial weights.
        layer_norm_eps: epsilon of every LayerNorm.
        pad_token_id: the id of padding, whose embedding starts as zero.
        classifier_dropout: dropout before a task's head; None takes `hidden_dropout_prob`.
        id2label: the task's labels by class index.
        problem_type: "single_label_classification" or "regression"; None decides by the number of labels.
        features: the states that a feature-based tagger reads, a name in `bertmini.model.tagging.FEATURES`.
        extra: fields of a loaded `config.json` that bertmini does not use, kept for saving.

    Raises:
        InputError: when a value is of another kind or out of range, or the sizes do not fit together.
    """

    vocab_size: int = 30522
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    initializer_range: float = 0.02
    layer_norm_eps: float = 1e-12
    pad_token_id: int = 0
    classifier_dropout: float | None = None
    id2label: dict[int, str] | None = None
    problem_type: str | None = None
    features: str | None = None
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for each in fields(self):
            check_field(each.name, getattr(self, each.name), str(each.type))
        if self.id2label and list(self.id2label) != list(range(len(self.id2label))):
            raise InputError(f"id2label numbers its labels {list(self.id2label)!r:.60}; expected 0, 1, …")
        if self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads "
                f"{self.num_attention_heads}: every head needs the same whole number of features"
            )
        if not 0 <= self.pad_token_id < self.vocab_size:
            raise InputError(f"pad_token_id {self.pad_token_id} is not one of the {self.vocab_size} ids")

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def num_labels(self) -> int:
        return len(self.id2label) if self.id2label else 2

    @classmethod
    def preset(cls, name: str, **overrides: Any) -> BertConfig:
        """A published size by name: tiny, mini, small, medium, base or large."""
        if name not in PRESETS:
            raise InputError(f"no preset {name!r}: choose one of {', '.join(PRESETS)}")
        layers, hidden, heads = PRESETS[name]
        shape = {
            "num_hidden_layers": layers,
            "hidden_size": hidden,
            "num_attention_heads": heads,
            "intermediate_size": 4 * hidden,
        }
        return cls(**{**shape, **overrides})

    def replace(self, **changes: Any) -> BertConfig:
        """The same configuration with some fields changed."""
        return replace(self, **changes)

    @classmethod
    def load(cls, file: str | Path) -> BertConfig:
        """Read a `config.json`, keeping the fields that bertmini does not know in `extra`."""
        values = read_json(Path(file))
        for name, expected in FIXED.items():
            if (found := values.get(name) or expected[0]) not in expected:
                raise InputError(f"{file}: {name} is {found!r}, and bertmini reads {expected[0]!r}")
        known = {f.name for f in fields(cls)} - {"extra"}
        extra = {name: value for name, value in values.items() if name not in known}
        try:
            if values.get("id2label"):
                values["id2label"] = by_index(values["id2label"])
            return cls(**{name: value for name, value in values.items() if name in known}, extra=extra)
        except InputError as error:
            raise InputError(f"{file}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """The content of `config.json`."""
        values = asdict(self)
        values = {**values.pop("extra"), "model_type": "bert", **values}
        if self.id2label:
            values["label2id"] = {label: index for index, label in self.id2label.items()}
        return {name: value for name, value in values.items() if value is not None}


def check_field(name: str, value: Any, kind: str) -> None:
    if not isinstance(value, KINDS.get(kind, object)):
        raise InputError(f"{name} is {value!r:.60}; expected {kind}")
    smallest = 0 if name in ("num_hidden_layers", "pad_token_id") else 1
    if kind == "int" and value < smallest:
        raise InputError(f"{name} is {value}; expected {smallest} or more")
    if "dropout" in name and value is not None and not 0 <= value <= 1:
        raise InputError(f"{name} is {value}; expected a probability, from 0 to 1")


def by_index(labels: Any) -> dict[int, str]:
    """JSON's names are strings and in any order."""
    try:
        return dict(sorted((int(index), label) for index, label in labels.items()))
    except (AttributeError, ValueError):
        raise InputError(f"id2label is {labels!r:.60}; expected a label for each number from 0") from None
