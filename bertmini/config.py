"""The configuration: what a model is, as a value."""

from __future__ import annotations

import math
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


@dataclass(frozen=True)
class Family:
    """Where a family's configuration differs from BERT's.

    Args:
        fields: our field, and its name in the family's `config.json` where that is another.
        defaults: values that hold where a `config.json` does not give them.
        published: values of the models that were published, for the presets.
        has_pooler: whether the bare model ends in a pooler.
        has_pairs: whether it was pretrained on pairs of sentences: by next-sentence prediction, or by order.
        first_position: where positions are counted from, beyond the id of padding; None: from 0.
        head_act: activation of the masked-language head; None: that of the layers.
        fixed: values that are written into transformers' code, whatever a `config.json` says.
    """

    fields: dict[str, str] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    published: dict[str, Any] = field(default_factory=dict)
    has_pooler: bool = True
    has_pairs: bool = True
    first_position: int | None = None
    head_act: str | None = None
    fixed: dict[str, Any] = field(default_factory=dict)


FAMILIES = {
    "bert": Family(),
    "roberta": Family(  # Liu et al. 2019, arXiv 1907.11692
        defaults={"vocab_size": 50265, "pad_token_id": 1},
        published={"max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5},
        has_pairs=False,
        first_position=1,
        head_act="gelu",
    ),
    "albert": Family(  # Lan et al. 2019, arXiv 1909.11942
        fields={"classifier_dropout": "classifier_dropout_prob"},
        defaults={
            "vocab_size": 30000,
            "hidden_size": 4096,
            "num_attention_heads": 64,
            "intermediate_size": 16384,
            "embedding_size": 128,
            "num_hidden_groups": 1,
            "hidden_act": "gelu_new",
            "hidden_dropout_prob": 0.0,
            "attention_probs_dropout_prob": 0.0,
            "classifier_dropout": 0.1,
        },
    ),
    "distilbert": Family(  # Sanh et al. 2019, arXiv 1910.01108
        fields={
            "hidden_size": "dim",
            "num_hidden_layers": "n_layers",
            "num_attention_heads": "n_heads",
            "intermediate_size": "hidden_dim",
            "hidden_act": "activation",
            "hidden_dropout_prob": "dropout",
            "attention_probs_dropout_prob": "attention_dropout",
            "classifier_dropout": "seq_classif_dropout",
        },
        defaults={
            "num_hidden_layers": 6,
            "type_vocab_size": 0,
            "pooler_act": "relu",
            "classifier_dropout": 0.2,
        },
        has_pooler=False,
        has_pairs=False,
        fixed={"type_vocab_size": 0, "layer_norm_eps": 1e-12},
    ),
}

DIRECTIONS = ("left-to-right", "right-to-left")

# What all layers may have in common while the rest is each layer's own, and a layer's parts that it means.
SHARED_PARTS = {
    "attention": ("attention", "attention_norm"),
    "feed-forward": ("feed_forward", "feed_forward_norm"),
}

# Fields of transformers' that make another model than we have, and the value that makes ours.
FIXED: dict[str, Any] = {
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "inner_group_num": 1,
}

# What pruning leaves of each layer, and the field that says what there was.
PRUNABLE = {"heads_by_layer": "num_attention_heads", "intermediate_by_layer": "intermediate_size"}

# Fields that no family of transformers' reads, but where its defaults name them.
OURS = {
    "embedding_size", "num_hidden_groups", "shared_part", "pooler_act", "direction", "features",
    "attention_head_size", "quantization", *PRUNABLE,
}  # fmt: skip

KINDS: dict[str, Any] = {  # of the fields of BertConfig
    "int": int,
    "int | None": int | None,
    "float": int | float,
    "float | None": int | float | None,
    "str": str,
    "str | None": str | None,
    "dict[int, str] | None": dict | None,
    "list[int] | None": list | None,
}


@dataclass(frozen=True)
class BertConfig:
    """Everything that fixes a model's shape; names and defaults are those of transformers' `config.json`.

    BERT, RoBERTa, ALBERT and DistilBERT are values of it.

    Args:
        model_type: the family, a name in `FAMILIES`.
        vocab_size: number of pieces in the vocabulary.
        hidden_size: width of the hidden states.
        num_hidden_layers: number of encoder layers.
        num_attention_heads: heads a layer; divides `hidden_size`.
        intermediate_size: width of the feed-forward network's inner layer.
        hidden_act: its activation, a name in `bertmini.model.encoder.ACTIVATIONS`.
        hidden_dropout_prob: dropout on embeddings and on each sublayer's output.
        attention_probs_dropout_prob: dropout on the attention weights.
        max_position_embeddings: rows of the position table, the longest sequence.
        type_vocab_size: number of segments; 0: there is no such table.
        initializer_range: standard deviation of the initial weights.
        layer_norm_eps: epsilon of every LayerNorm.
        pad_token_id: the id of padding, whose embedding starts as zero.
        classifier_dropout: dropout before a task's head; None takes `hidden_dropout_prob`.
        id2label: the task's labels by class index.
        embedding_size: width of the embedding tables, from which a projection leads to `hidden_size`; None
            takes `hidden_size`, without one (ALBERT's factorised embedding).
        num_hidden_groups: how many different layers there are; the layers of a group share their weights.
            None: all are different.
        shared_part: what all layers have in common where the rest is each layer's own, a name in
            `SHARED_PARTS`; None: nothing but what `num_hidden_groups` says.
        pooler_act: activation of the pooler, "tanh" or "relu".
        direction: of a language model that reads one way, a name in `DIRECTIONS`; None: it reads both ways.
        problem_type: "single_label_classification" or "regression"; None decides by the number of labels.
        features: the states that a feature-based tagger reads, a name in `bertmini.model.tagging.FEATURES`.
        attention_head_size: features of a head; None: `hidden_size / num_attention_heads`.
        heads_by_layer: heads of each of the different layers, where pruning left some; None: all have
            `num_attention_heads`.
        intermediate_by_layer: the same for `intermediate_size`.
        quantization: "dynamic" or "static" where the encoder's matrices are of 8-bit numbers.
        extra: fields of a loaded `config.json` that bertmini does not use, kept for saving.

    Raises:
        InputError: when a value is of another kind or out of range, or the sizes do not fit together.
    """

    model_type: str = "bert"
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
    embedding_size: int | None = None
    num_hidden_groups: int | None = None
    shared_part: str | None = None
    pooler_act: str = "tanh"
    direction: str | None = None
    classifier_dropout: float | None = None
    id2label: dict[int, str] | None = None
    problem_type: str | None = None
    features: str | None = None
    attention_head_size: int | None = None
    heads_by_layer: list[int] | None = None
    intermediate_by_layer: list[int] | None = None
    quantization: str | None = None
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        for each in fields(self):
            check_field(each.name, getattr(self, each.name), str(each.type))
        if self.model_type not in FAMILIES:
            raise InputError(f"model_type is {self.model_type!r}; expected one of {', '.join(FAMILIES)}")
        if self.direction and self.direction not in DIRECTIONS:
            raise InputError(f"direction is {self.direction!r}; expected one of {', '.join(DIRECTIONS)}")
        if (groups := self.num_hidden_groups) and self.num_hidden_layers % groups:
            raise InputError(
                f"num_hidden_layers {self.num_hidden_layers} is not a multiple of num_hidden_groups {groups}"
            )
        if self.shared_part and self.shared_part not in SHARED_PARTS:
            raise InputError(
                f"shared_part is {self.shared_part!r}; expected one of {', '.join(SHARED_PARTS)}"
            )
        if self.shared_part and self.is_pruned:
            raise InputError(
                f"shared_part is {self.shared_part!r}, and the layers have different sizes; "
                "expected one of the two"
            )
        if self.id2label and list(self.id2label) != list(range(len(self.id2label))):
            raise InputError(f"id2label numbers its labels {list(self.id2label)!r:.60}; expected 0, 1, …")
        for name, most in PRUNABLE.items():
            if (left := getattr(self, name)) is not None:
                check_pruned(name, left, self.num_different_layers, getattr(self, most))
        if not self.attention_head_size and self.hidden_size % self.num_attention_heads:
            raise InputError(
                f"hidden_size {self.hidden_size} is not a multiple of num_attention_heads "
                f"{self.num_attention_heads}: every head needs the same whole number of features"
            )
        if self.quantization not in (None, "dynamic", "static"):
            raise InputError(f"quantization is {self.quantization!r}; expected dynamic, static or none")
        if not 0 <= self.pad_token_id < self.vocab_size:
            raise InputError(f"pad_token_id {self.pad_token_id} is not one of the {self.vocab_size} ids")

    @property
    def family(self) -> Family:
        return FAMILIES[self.model_type]

    @property
    def first_position(self) -> int:
        """The row of the position table that the first token gets; RoBERTa's follows that of padding."""
        after = self.family.first_position
        return 0 if after is None else self.pad_token_id + after

    @property
    def max_length(self) -> int:
        """Tokens of the longest sequence."""
        return self.max_position_embeddings - self.first_position

    @property
    def fits_transformers(self) -> bool:
        """Whether transformers has such encoders: there, only ALBERT is factorised and shares layers.

        It has BERT as a left-to-right model too, but sums a text up by its first token, which has seen
        nothing.
        """
        if self.direction or self.shared_part:
            return False
        parts = (self.embedding_size, self.num_hidden_groups)
        has_theirs = None not in parts if self.model_type == "albert" else parts == (None, None)
        is_whole = not self.is_pruned and self.num_attention_heads * self.head_size == self.hidden_size
        has_theirs = has_theirs and is_whole and not self.quantization
        fixed = self.family.fixed
        has_theirs = has_theirs and all(getattr(self, name) == value for name, value in fixed.items())
        has_theirs = has_theirs and (self.type_vocab_size > 0 or "type_vocab_size" in fixed)
        return has_theirs and self.pooler_act == self.family.defaults.get("pooler_act", "tanh")

    def refuse_quantized(self) -> None:
        """Raise an InputError for a model of 8-bit numbers, which are too coarse to be changed a little."""
        if self.quantization:
            raise InputError(
                "the model is quantised already, and its 8-bit numbers no longer learn; take the model that "
                "it was made from"
            )

    @property
    def is_pruned(self) -> bool:
        """Whether heads or units were taken out, from each layer as many as it could spare."""
        return any(getattr(self, name) is not None for name in PRUNABLE)

    @property
    def num_different_layers(self) -> int:
        return self.num_hidden_groups or self.num_hidden_layers

    def group_of(self, layer: int) -> int:
        """Which of the different layers stands at a depth, both from 0."""
        return layer * self.num_different_layers // self.num_hidden_layers

    @property
    def parts_in_common(self) -> tuple[str, ...]:
        """The parts of a layer that are the first one's in all layers."""
        return SHARED_PARTS[self.shared_part] if self.shared_part else ()

    def of_layer(self, number: int) -> BertConfig:
        """The configuration as one of the different layers has it, with the heads and units left there."""
        if not self.is_pruned:
            return self
        left = {
            most: getattr(self, name)[number] for name, most in PRUNABLE.items() if getattr(self, name)
        }
        whole = dict.fromkeys(PRUNABLE)
        return self.replace(**left, **whole, attention_head_size=self.head_size)

    @property
    def head_size(self) -> int:
        return self.attention_head_size or self.hidden_size // self.num_attention_heads

    @property
    def num_labels(self) -> int:
        return len(self.id2label) if self.id2label else 2

    @classmethod
    def preset(cls, name: str, family: str = "bert", **overrides: Any) -> BertConfig:
        """A published size by name: tiny, mini, small, medium, base or large.

        Args:
            name: of the size.
            family: a name in `FAMILIES`.
            overrides: other fields.
        """
        if name not in PRESETS:
            raise InputError(f"no preset {name!r}: choose one of {', '.join(PRESETS)}")
        layers, hidden, heads = PRESETS[name]
        shape = {
            "num_hidden_layers": layers,
            "hidden_size": hidden,
            "num_attention_heads": heads,
            "intermediate_size": 4 * hidden,
        }
        known = FAMILIES.get(family, Family())  # an unknown name is refused with the other fields
        return cls(**{**known.defaults, **known.published, **shape, "model_type": family, **overrides})

    def replace(self, **changes: Any) -> BertConfig:
        """The same configuration with some fields changed."""
        return replace(self, **changes)

    @classmethod
    def load(cls, file: str | Path) -> BertConfig:
        """Read a `config.json`, keeping the fields that bertmini does not know in `extra`."""
        values = read_json(Path(file))
        for name, expected in FIXED.items():
            if (found := values.get(name) or expected) != expected:
                raise InputError(f"{file}: {name} is {found!r}, and bertmini reads {expected!r}")
        model_type = values.get("model_type") or "bert"
        is_ours = model_type == "bertmini"  # of a family, with a part that transformers does not have
        if is_ours:
            model_type = values.pop("family", "bert")
        if model_type not in FAMILIES:
            raise InputError(
                f"{file}: model_type is {model_type!r}, and bertmini reads {', '.join(FAMILIES)}"
            )
        family = FAMILIES[model_type]
        for ours, theirs in family.fields.items():
            if theirs in values:
                values[ours] = values.pop(theirs)
        if not is_ours:
            kept = {name: v for name, v in values.items() if name not in OURS or name in family.defaults}
            values = kept | family.fixed
        number = values.pop("num_labels", None)  # of old files, which do not name their labels
        if type(number) is int and number > 0 and number != 2 and not values.get("id2label"):
            values["id2label"] = {index: f"LABEL_{index}" for index in range(number)}
        values = {**family.defaults, **values, "model_type": model_type}
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
        values = {**values.pop("extra"), **values}
        if self.id2label:
            values["label2id"] = {label: index for index, label in self.id2label.items()}
        if self.pooler_act == self.family.defaults.get("pooler_act", "tanh"):
            del values["pooler_act"]  # what a family always has, its files do not say
        names = self.family.fields
        # Where a file says nothing, the family's defaults hold.
        said = () if self.fits_transformers else self.family.defaults
        return {
            names.get(name, name): value
            for name, value in values.items()
            if value is not None or name in said
        }


def check_field(name: str, value: Any, kind: str) -> None:
    if not isinstance(value, KINDS.get(kind, object)):
        raise InputError(f"{name} is {value!r:.60}; expected {kind}")
    smallest = 0 if name in ("num_hidden_layers", "pad_token_id", "type_vocab_size") else 1
    if isinstance(value, int) and kind.startswith("int") and value < smallest:
        raise InputError(f"{name} is {value}; expected {smallest} or more")
    if "dropout" in name and value is not None and not 0 <= value <= 1:
        raise InputError(f"{name} is {value}; expected a probability, from 0 to 1")
    if kind == "float" and not 0 <= value < math.inf:
        raise InputError(f"{name} is {value}; expected a number, 0 or more")


def check_pruned(name: str, left: list[Any], layers: int, most: int) -> None:
    if len(left) != layers:
        raise InputError(f"{name} has {len(left)} numbers; expected {layers}, one for each different layer")
    for number in left:
        if type(number) is not int or not 1 <= number <= most:
            raise InputError(f"{name} holds {number!r:.60}; expected whole numbers from 1 to {most}")


def by_index(labels: Any) -> dict[int, str]:
    """JSON's names are strings and in any order."""
    try:
        return dict(sorted((int(index), str(label)) for index, label in labels.items()))
    except (AttributeError, ValueError):
        raise InputError(f"id2label is {labels!r:.60}; expected a label for each number from 0") from None
