"""The configuration: what a model is, as a value."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from bertmini.errors import InputError

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
        extra: fields of a loaded `config.json` that bertmini does not use, kept for saving.

    Raises:
        InputError: when the sizes do not fit together.
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
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
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
        try:
            values = json.loads(Path(file).read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise InputError(f"{file} does not exist: a model directory holds a config.json") from None
        except ValueError as error:
            raise InputError(f"{file} is not JSON ({error}): was it written to the end?") from None
        if values.get("model_type", "bert") != "bert":
            raise InputError(f"{file}: model_type is {values['model_type']!r}, and bertmini reads 'bert'")
        known = {f.name for f in fields(cls)} - {"extra"}
        if values.get("id2label"):
            values["id2label"] = {int(index): label for index, label in values["id2label"].items()}
        extra = {name: value for name, value in values.items() if name not in known}
        return cls(**{name: value for name, value in values.items() if name in known}, extra=extra)

    def to_dict(self) -> dict[str, Any]:
        """The content of `config.json`."""
        values = asdict(self)
        values = {**values.pop("extra"), "model_type": "bert", **values}
        if self.id2label:
            values["label2id"] = {label: index for index, label in self.id2label.items()}
        return {name: value for name, value in values.items() if value is not None}
