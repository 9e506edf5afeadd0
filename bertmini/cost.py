"""What a model costs before it is trained: parameters, operations, memory, time.

Counted from the shapes, as chapter 04 counts parameters by hand. An operation (FLOP) is one multiplication or
one addition in a matrix product. Whatever else a step does is in the share of the peak that it reaches.
"""

from __future__ import annotations

from dataclasses import dataclass

from bertmini.config import BertConfig
from bertmini.errors import InputError

MASKED = 0.15  # share of the tokens that the prediction head sees
BYTES = {"float32": 4, "bf16": 2, "fp16": 2}


def parameters(config: BertConfig, *, nsp: bool = True) -> dict[str, int]:
    """Parameters by part: embeddings, encoder, pooler, heads.

    Args:
        nsp: with the pooler and the head of next-sentence prediction.
    """
    hidden, inner = config.hidden_size, config.intermediate_size
    tables = config.vocab_size + config.max_position_embeddings + config.type_vocab_size
    layer = 4 * (hidden + 1) * hidden + (hidden + 1) * inner + (inner + 1) * hidden + 4 * hidden
    return {
        "embeddings": tables * hidden + 2 * hidden,
        "encoder": config.num_hidden_layers * layer,
        "pooler": nsp * (hidden + 1) * hidden,
        "heads": (hidden + 1) * hidden + 2 * hidden + config.vocab_size + nsp * 2 * (hidden + 1),
    }


def flops(config: BertConfig, length: int, *, nsp: bool = True, masked: float = MASKED) -> dict[str, float]:
    """Operations of one forward pass, a token, by part.

    A backward pass takes twice as many: one product for the gradient of the inputs, one for the weights'.

    Args:
        length: tokens of a row. Every token looks at every other, so attention grows with it.
        masked: share of the tokens that are predicted.
    """
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    return {
        "projections": layers * 2 * 4 * hidden**2,
        "attention": layers * 2 * 2 * hidden * length,
        "feed-forward": layers * 2 * 2 * hidden * inner,
        "heads": 2 * masked * hidden * (hidden + config.vocab_size)
        + nsp * 2 * hidden * (hidden + 2) / length,
    }


def state_bytes(config: BertConfig, *, nsp: bool = True) -> dict[str, int]:
    """Memory that does not depend on the batch: weights, gradients and AdamW's two moments, in float32."""
    number = sum(parameters(config, nsp=nsp).values())
    return {"weights": 4 * number, "gradients": 4 * number, "optimizer": 8 * number}


def activation_bytes(
    config: BertConfig,
    tokens: int,
    length: int,
    precision: str = "bf16",
    *,
    fused: bool = True,
    checkpointing: bool = False,
    masked: float = MASKED,
) -> dict[str, float]:
    """What the forward pass keeps for the backward pass, by part; tests compare it with what autograd keeps.

    Args:
        tokens: of a batch, padding included.
        length: tokens of a row.
        precision: of the matrix products. The residual stream, LayerNorm and losses stay in float32.
        fused: attention never forms its table of weights; a CPU cannot do so in training with dropout.
        checkpointing: keep each layer's input alone, and compute the rest again when its turn comes.
        masked: share of the tokens that are predicted.
    """
    if precision not in BYTES:
        raise InputError(f"precision is {precision!r}; expected one of {', '.join(BYTES)}")
    small, hidden, inner = BYTES[precision], config.hidden_size, config.intermediate_size
    coins = 4 if config.hidden_dropout_prob else 0  # dropout keeps its coins
    # In the products' format: the input, q, k, v, the context (mixed precision casts the input for each of
    # q, k and v); in float32: the sums before both LayerNorms. Attention weights: softmax, coins, product.
    casts = 0 if small == 4 else 2
    layer = {
        "attention": hidden * (small * (5 + casts) + 4) + hidden * min(coins, small),
        "attention weights": 0 if fused else 3 * small * length * config.num_attention_heads,
        "feed-forward": hidden * (small + 4) + hidden * min(coins, small) + inner * 2 * small,
    }
    number = 1 if checkpointing else config.num_hidden_layers
    kept: dict[str, float] = {name: number * tokens * value for name, value in layer.items()}
    if checkpointing:
        kept["layer inputs"] = config.num_hidden_layers * tokens * hidden * 4
    kept["embeddings"] = tokens * hidden * (8 + coins)
    kept["heads"] = masked * tokens * (4 * config.vocab_size + hidden * (2 * small + 8))
    return kept


@dataclass(frozen=True)
class Plan:
    """A pretraining run on paper, with the whole model on each of several GPUs (data parallel).

    Args:
        tokens: seen in all.
        batch_tokens: of one update, all GPUs together.
        micro_tokens: that a GPU works on at once; the rest of its share is accumulated.
        length: tokens of a row.
        gpus: how many.
        peak: operations a second of one of them, in the products' format.
        utilisation: share of the peak that training reaches.
        bandwidth: bytes a second that a GPU sends while it receives as many.
        checkpointing: compute the layers a second time rather than keep what they hold.
    """

    config: BertConfig
    tokens: float
    batch_tokens: int = 131_072
    micro_tokens: int = 16_384
    length: int = 128
    gpus: int = 1
    peak: float = 312e12
    utilisation: float = 0.4
    bandwidth: float = 25e9
    precision: str = "bf16"
    checkpointing: bool = False

    def __post_init__(self) -> None:
        numbers = (
            "tokens",
            "batch_tokens",
            "micro_tokens",
            "length",
            "gpus",
            "peak",
            "utilisation",
            "bandwidth",
        )
        for name in numbers:
            if not getattr(self, name) > 0:
                raise InputError(f"cost: {name} is {getattr(self, name)}; it must be greater than 0")
        if self.utilisation > 1:
            raise InputError(f"cost: utilisation is {self.utilisation}; it is a share of the peak, at most 1")
        if self.length > (rows := self.config.max_position_embeddings):
            raise InputError(f"cost: length is {self.length}; the position table has {rows} rows")
        if self.batch_tokens < self.gpus * self.length:
            raise InputError(
                f"cost: {self.batch_tokens} tokens an update are less than a row of {self.length} for each "
                f"of {self.gpus} GPUs; take fewer GPUs, or more tokens an update"
            )

    @property
    def flops_per_token(self) -> float:
        """Operations of training: forward, backward, and the layers' second forward with checkpointing."""
        forward = flops(self.config, self.length)
        again = sum(forward.values()) - forward["heads"] if self.checkpointing else 0
        return 3 * sum(forward.values()) + again

    @property
    def compute_seconds(self) -> float:
        """Of the arithmetic of one update."""
        return self.flops_per_token * self.batch_tokens / (self.gpus * self.peak * self.utilisation)

    @property
    def communication_seconds(self) -> float:
        """Of one update's gradients: in a ring each is sent and received almost twice, in float32."""
        gradients = state_bytes(self.config)["gradients"]
        return 2 * (self.gpus - 1) / self.gpus * gradients / self.bandwidth

    @property
    def step_seconds(self) -> float:
        """Of one update. Gradients travel while the rest of the last backward pass still runs."""
        micro = min(1.0, self.gpus * self.micro_tokens / self.batch_tokens)
        hidden = min(self.communication_seconds, 2 / 3 * micro * self.compute_seconds)
        return self.compute_seconds + self.communication_seconds - hidden

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.tokens / self.batch_tokens * self.step_seconds

    @property
    def memory(self) -> dict[str, float]:
        """Bytes on each GPU, by part."""
        at_once = min(self.micro_tokens, self.batch_tokens // self.gpus)
        kept = activation_bytes(
            self.config, at_once, self.length, self.precision, checkpointing=self.checkpointing
        )
        return {**state_bytes(self.config), "activations": sum(kept.values())}


def describe(plan: Plan) -> list[str]:
    """The plan as lines of a table, each with its unit."""
    parts, memory = parameters(plan.config), plan.memory
    per_token = flops(plan.config, plan.length)
    total = sum(per_token.values())
    share = plan.communication_seconds / plan.compute_seconds
    return [
        f"parameters      {sum(parts.values()) / 1e6:10.1f} M      {in_parts(parts, 1e6)}",
        f"forward pass    {total / 1e6:10.1f} MFLOP  a token: {in_parts(per_token, 1e6)}",
        f"training        {plan.flops_per_token * plan.tokens:10.3g} FLOP   {plan.tokens:.3g} tokens, "
        f"{plan.tokens / plan.batch_tokens:,.0f} updates",
        f"memory          {sum(memory.values()) / 2**30:10.2f} GiB    each GPU: {in_parts(memory, 2**30)}",
        f"an update       {plan.step_seconds:10.3g} s      gradients travel for {share:.0%} of the "
        "arithmetic's time, partly beside it",
        f"speed           {plan.batch_tokens / plan.step_seconds:10,.0f} tokens/s",
        f"time            {duration(plan.seconds)}, {plan.gpus * plan.seconds / 3600:,.1f} GPU hours",
    ]


def in_parts(values: dict[str, float] | dict[str, int], unit: float) -> str:
    return ", ".join(f"{name} {value / unit:.3g}" for name, value in values.items() if value)


def duration(seconds: float) -> str:
    """Seconds in the unit that people would say."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "minutes"), (172_800, 3600, "hours")):
        if seconds < limit:
            return f"{seconds / unit:10.1f} {name}"
    return f"{seconds / 86_400:10.1f} days"
