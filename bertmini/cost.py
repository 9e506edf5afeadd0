"""What a model costs before it is trained: parameters, operations, memory, time.

Counted from the shapes, as chapter 04 counts parameters by hand. An operation (FLOP) is one multiplication or
one addition in a matrix product. A step takes the time of its products, plus that of reading and writing
everything else, plus the optimiser's update (chapter 21): three rates of the processor, measured or from a
data sheet (Williams et al. 2009 draw two of them as a roofline).
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bertmini.config import BertConfig
from bertmini.errors import InputError
from bertmini.machine import best_device, matrix_peak

MASKED = 0.15  # share of the tokens that the prediction head sees
BYTES = {"float32": 4, "bf16": 2, "fp16": 2}
# How often a byte that is kept for the backward pass is read or written outside matrix products: written,
# read by what comes next, read by the backward pass, its gradient written and read, and copies on the way.
# In mixed precision many are turned into 16 bits and back. A test counts.
TOUCHES, CASTS = 6.5, 2


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
    hidden, depth = config.hidden_size, range(config.num_hidden_layers)
    width = config.embedding_size or hidden  # of the tables, and of the head that predicts pieces
    layers = [config.of_layer(config.group_of(i)) for i in depth]
    heads = sum(layer.num_attention_heads * layer.head_size for layer in layers)  # features of all layers
    inner = sum(layer.intermediate_size for layer in layers)
    return {
        "projections": 2 * 4 * hidden * heads,
        "attention": 2 * 2 * heads * length,
        "feed-forward": 2 * 2 * hidden * inner,
        "embeddings": 2 * width * hidden if config.embedding_size else 0,
        "heads": 2 * masked * width * (hidden + config.vocab_size)
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


def moved_bytes(
    config: BertConfig, tokens: int, length: int, precision: str = "bf16", *, fused: bool = True
) -> float:
    """What a forward and a backward pass read and write outside matrix products.

    Args:
        tokens, length, precision, fused: as in `activation_bytes`.
    """
    kept = sum(activation_bytes(config, tokens, length, precision, fused=fused).values())
    # The word table has two gradients, of looking up and of predicting: cleared, written, and added up.
    table = 20 * config.vocab_size * config.hidden_size
    if precision == "float32":
        return TOUCHES * kept + table
    # Each weight becomes 16 bits (4 read, 2 written), and its gradient 32 again (2 and 4).
    return (TOUCHES + CASTS) * kept + 12 * sum(parameters(config).values()) + table


def working_bytes(
    config: BertConfig, tokens: int, precision: str = "bf16", *, masked: float = MASKED
) -> float:
    """What is there beside state and activations where a step needs the most memory.

    That is where the backward pass begins: the gradients of the logits and of their log-probabilities, the
    word table's gradient, of which there are two for a moment, and the weights in 16 bits.
    """
    copies = 0 if precision == "float32" else BYTES[precision] * sum(parameters(config).values())
    return copies + 4 * config.vocab_size * (2 * masked * tokens + config.hidden_size)


@dataclass(frozen=True)
class Processor:
    """What decides how fast a processor trains.

    Args:
        peak: operations a second in large matrix products, in the products' format.
        products: operations a second in products of the model's sizes.
        bandwidth: bytes a second that everything else reads and writes.
        update: seconds that the optimiser takes for a parameter.
        memory: bytes; infinite where that is not known.
        link: bytes a second that it sends to one in the same machine while it receives as many.
        network: the same, to one in another machine.
        together: how many a machine has.
        fused: attention never forms its table of weights in training.
    """

    peak: float
    products: float
    bandwidth: float
    update: float
    memory: float = math.inf
    link: float = 10e9
    network: float = 1e9
    together: int = 8
    fused: bool = True


def from_sheet(peak: float, bandwidth: float, memory: float, link: float, network: float) -> Processor:
    """A GPU by its data sheet: 16-bit TFLOP/s, GB/s, GB, and GB/s in each direction to GPUs near and far.

    No program reaches a data sheet. We take 70 % of it in products of BERT's sizes and 80 % in copies, and
    chapter 21 holds that against published runs. AdamW and clipping move 40 bytes for a parameter.
    """
    stream = 0.8 * bandwidth * 1e9
    return Processor(
        peak=peak * 1e12,
        products=0.7 * peak * 1e12,
        bandwidth=stream,
        update=40 / stream,
        memory=memory * 1e9,
        link=0.8 * link * 1e9,
        network=0.8 * network * 1e9,
    )


# NVIDIA's data sheets of the SXM modules and of the DGX-1, DGX A100 and DGX H100 that hold eight of them,
# with a network of 4 x 100, 8 x 200 and 8 x 400 Gbit/s.
PROCESSORS = {
    "v100": from_sheet(125, 900, 32, 150, 6.25),
    "a100": from_sheet(312, 2039, 80, 300, 25),
    "h100": from_sheet(989, 3350, 80, 450, 50),
}


def measured(
    config: BertConfig,
    tokens: int = 4096,
    length: int = 128,
    precision: str = "bf16",
    device: torch.device | None = None,
) -> Processor:
    """The processor here, measured at the sizes of a model in a few seconds.

    Args:
        config: BertConfig, whose sizes the matrices have.
        tokens: of a batch; on a CPU the rates hardly change from 2,048 on, so that no more are timed.
        length: tokens of a row.
        precision: of the matrix products.
        device: where; None: where a model would train.
    """
    from bertmini.training.loop import DTYPES  # which counts operations by this module

    device, dtype = device or best_device(), DTYPES[precision]
    most = 2048 if device.type == "cpu" else 16_384
    tokens = length * max(1, min(tokens, most) // length)
    # On a CPU `attend` takes the kernel in float32 without dropout.
    has_kernel = device.type != "cpu" or not (
        config.attention_probs_dropout_prob or dtype == torch.bfloat16
    )
    with torch.random.fork_rng():
        return Processor(
            peak=matrix_peak(dtype, device),
            products=product_rate(config, tokens, length, dtype, device),
            bandwidth=moving_rate(config, tokens, dtype, device),
            update=update_seconds(config, device),
            fused=has_kernel,
        )


def seconds_of(work: Callable[[], object], device: torch.device, times: int = 5) -> float:
    """The median time of some runs, after one that warms up."""
    seconds = []
    for _ in range(times + 1):
        started = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def product_rate(
    config: BertConfig, tokens: int, length: int, dtype: torch.dtype, device: torch.device
) -> float:
    """Operations a second in a step's matrix products, each kind timed forward and backward."""
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    masked, heads = max(1, round(MASKED * tokens)), tokens // length * config.num_attention_heads
    # How many in a step, and the sizes of both matrices.
    kinds = [
        (4 * layers + 1, (tokens, hidden), (hidden, hidden)),
        (layers, (tokens, hidden), (hidden, inner)),
        (layers, (tokens, inner), (inner, hidden)),
        (layers, (heads, length, config.head_size), (heads, config.head_size, length)),
        (layers, (heads, length, length), (heads, length, config.head_size)),
        (1, (masked, hidden), (hidden, config.vocab_size)),
    ]
    operations, seconds = 0.0, 0.0
    for number, left_shape, right_shape in kinds:
        left = torch.randn(left_shape, device=device, dtype=dtype, requires_grad=True)
        stored = (*right_shape[:-2], right_shape[-1], right_shape[-2])  # as weights and keys are
        right = torch.randn(stored, device=device, dtype=dtype, requires_grad=True)
        gradient = torch.randn(*left_shape[:-1], right_shape[-1], device=device, dtype=dtype)

        def there_and_back(left: Tensor = left, right: Tensor = right, gradient: Tensor = gradient) -> None:
            torch.autograd.grad(left @ right.mT, (left, right), gradient)

        operations += 3 * number * 2 * left.numel() * right_shape[-1]
        seconds += number * seconds_of(there_and_back, device)
    return operations / seconds


def moving_rate(config: BertConfig, tokens: int, dtype: torch.dtype, device: torch.device) -> float:
    """Bytes a second that what stands between the products reads and writes, forward and backward.

    Timed are activation, sum and LayerNorm in each layer, and the loss over the vocabulary.
    """
    shape, small = (tokens, config.intermediate_size), dtype.itemsize
    masked, pieces = max(1, round(MASKED * tokens)), config.vocab_size
    x = torch.randn(shape, device=device, requires_grad=True)
    logits = torch.randn(masked, pieces, device=device, dtype=dtype, requires_grad=True)
    labels = torch.zeros(masked, dtype=torch.long, device=device)
    norm = nn.LayerNorm(shape[1:], device=device)

    def there_and_back() -> None:
        y = x
        for _ in range(config.num_hidden_layers):
            y = norm(F.gelu(y.to(dtype)) + y)
        loss = F.cross_entropy(logits.float(), labels)
        torch.autograd.grad((y, loss), (x, logits), (torch.ones_like(y), None))

    casts = 3 * (small + 4) if small < 4 else 0
    # Gelu, the sum and LayerNorm, then their backward passes, whose two gradients of y add up.
    layers = (
        (2 * small + (small + 8) + 8 + 3 * small + 12 + 12 + casts) * x.numel() * config.num_hidden_layers
    )
    # The logarithm of softmax, the zeros that its gradient begins as, its backward pass.
    loss = (8 + 4 + 12 + casts * 2 / 3) * logits.numel()
    return (layers + loss) / seconds_of(there_and_back, device)


def update_seconds(config: BertConfig, device: torch.device) -> float:
    """Seconds that clipping and AdamW take for a parameter."""
    from bertmini.training.optimizer import adamw

    shape = (config.hidden_size, config.intermediate_size)
    number = max(1, 2**23 // math.prod(shape))
    model = nn.ParameterList(torch.zeros(shape, device=device) for _ in range(number))
    optimizer = adamw(model, 1e-4, 0.01)
    for parameter in model:
        parameter.grad = torch.ones_like(parameter)

    def update() -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return seconds_of(update, device) / (number * math.prod(shape))


@dataclass(frozen=True)
class Plan:
    """A pretraining run on paper.

    Args:
        tokens: seen in all.
        processor: Processor, of which there are `gpus`.
        batch_tokens: of one update, all GPUs together.
        micro_tokens: that a GPU works on at once; the rest of its share is accumulated.
        length: tokens of a row.
        gpus: how many.
        precision: of the matrix products.
        checkpointing: compute the layers a second time rather than keep what they hold.
        sharded: each GPU keeps a part of weights, gradients and moments, and fetches a layer when its turn
            comes (FSDP); otherwise each has the whole model (data parallel).
    """

    config: BertConfig
    tokens: float
    processor: Processor = PROCESSORS["a100"]
    batch_tokens: int = 131_072
    micro_tokens: int = 16_384
    length: int = 128
    gpus: int = 1
    precision: str = "bf16"
    checkpointing: bool = False
    sharded: bool = False

    def __post_init__(self) -> None:
        for name in ("tokens", "batch_tokens", "micro_tokens", "length", "gpus"):
            if not getattr(self, name) > 0:
                raise InputError(f"cost: {name} is {getattr(self, name)}; it must be greater than 0")
        if self.precision not in BYTES:
            raise InputError(f"cost: precision is {self.precision!r}; expected one of {', '.join(BYTES)}")
        c = self.config
        if c.embedding_size or c.num_hidden_groups or c.shared_part or c.is_pruned or not c.family.has_pooler:
            raise InputError("cost: a plan counts the parts of a BERT, and this model has others")
        if self.length > (longest := c.max_length):
            raise InputError(f"cost: length is {self.length}; the position table has {longest} rows")
        if self.batch_tokens < self.gpus * self.length:
            raise InputError(
                f"cost: {self.batch_tokens} tokens an update are less than a row of {self.length} for each "
                f"of {self.gpus} GPUs; take fewer GPUs, or more tokens an update"
            )

    @property
    def at_once(self) -> int:
        """Tokens that a GPU works on at once."""
        return min(self.micro_tokens, self.batch_tokens // self.gpus)

    @property
    def passes(self) -> float:
        """Forward and backward passes that a GPU makes for an update; more than one accumulate."""
        return self.batch_tokens / self.gpus / self.at_once

    @property
    def flops_per_token(self) -> float:
        """Operations that training needs: forward, and twice as many backward."""
        return 3 * sum(flops(self.config, self.length).values())

    @property
    def again(self) -> float:
        """How much more a step does because it computes its layers a second time."""
        forward = flops(self.config, self.length)
        return 1 + self.checkpointing * (1 - forward["heads"] / sum(forward.values())) / 3

    @property
    def product_seconds(self) -> float:
        """Of an update's matrix products."""
        operations = self.again * self.flops_per_token * self.batch_tokens / self.gpus
        return operations / self.processor.products

    @property
    def moving_seconds(self) -> float:
        """Of what an update reads and writes outside its products."""
        moved = moved_bytes(
            self.config, self.at_once, self.length, self.precision, fused=self.processor.fused
        )
        return self.again * self.passes * moved / self.processor.bandwidth

    @property
    def update_seconds(self) -> float:
        """Of clipping and AdamW; each GPU updates what it keeps."""
        return sum(parameters(self.config).values()) * self.processor.update / self.shards

    @property
    def compute_seconds(self) -> float:
        """Of one update, were there nothing to send."""
        return self.product_seconds + self.moving_seconds + self.update_seconds

    @property
    def communication_seconds(self) -> float:
        """Of one update's messages, in float32.

        In a ring each gradient is sent twice, less a share of 1/gpus: once to be added up, once as the sum
        (Patarasuk & Yuan 2009). Sharded, the sum stays where it belongs, but each pass fetches the weights
        twice, forward and backward: one and a half times as much where nothing accumulates. A ring is as fast
        as its slowest link.
        """
        once = (self.gpus - 1) / self.gpus * state_bytes(self.config)["gradients"]
        far = self.gpus > self.processor.together
        slowest = min(self.processor.link, self.processor.network) if far else self.processor.link
        return (2 * self.passes + 1 if self.sharded else 2) * once / slowest

    @property
    def waiting_seconds(self) -> float:
        """Of one update's messages, what does not travel while the GPU computes.

        Gradients leave during the last backward pass, two thirds of a pass; weights are fetched all along.
        """
        share = 1.0 if self.sharded else 2 / 3 / self.passes
        beside = share * (self.product_seconds + self.moving_seconds)
        return max(0.0, self.communication_seconds - beside)

    @property
    def step_seconds(self) -> float:
        """Of one update."""
        return self.compute_seconds + self.waiting_seconds

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        return self.tokens / self.batch_tokens * self.step_seconds

    @property
    def utilisation(self) -> float:
        """Share of the peak: operations that training needs, second forward passes not counted."""
        reached = self.flops_per_token * self.batch_tokens / self.gpus / self.step_seconds
        return reached / self.processor.peak

    @property
    def shards(self) -> int:
        """In how many parts the model is kept."""
        return self.gpus if self.sharded else 1

    @property
    def memory(self) -> dict[str, float]:
        """Bytes on each GPU where a step needs the most, by part."""
        state = {name: number / self.shards for name, number in state_bytes(self.config).items()}
        kept = activation_bytes(
            self.config,
            self.at_once,
            self.length,
            self.precision,
            fused=self.processor.fused,
            checkpointing=self.checkpointing,
        )
        working = working_bytes(self.config, self.at_once, self.precision)
        return {**state, "activations": sum(kept.values()), "working space": working}


def describe(plan: Plan) -> list[str]:
    """The plan as lines of a table, each with its unit."""
    parts, memory = parameters(plan.config), plan.memory
    per_token = flops(plan.config, plan.length)
    total, step = sum(per_token.values()), plan.step_seconds
    seconds = {
        "products": plan.product_seconds,
        "moving": plan.moving_seconds,
        "update": plan.update_seconds,
        "waiting for messages": plan.waiting_seconds,
    }
    needed = sum(memory.values())
    room = " (more than it has)" if needed > plan.processor.memory else ""
    return [
        f"parameters      {sum(parts.values()) / 1e6:10.1f} M      {in_parts(parts, 1e6)}",
        f"forward pass    {total / 1e6:10.1f} MFLOP  a token: {in_parts(per_token, 1e6)}",
        f"training        {plan.flops_per_token * plan.tokens:10.3g} FLOP   {plan.tokens:.3g} tokens, "
        f"{plan.tokens / plan.batch_tokens:,.0f} updates",
        f"memory          {needed / 2**30:10.2f} GiB    each GPU{room}: {in_parts(memory, 2**30)}",
        f"an update       {step:10.3g} s      {in_parts(seconds, 1)}",
        f"speed           {plan.batch_tokens / step:10,.0f} tokens/s, {plan.utilisation:.0%} of the peak",
        f"time            {duration(plan.seconds)}, {plan.gpus * plan.seconds / 3600:,.1f} GPU hours",
    ]


def in_parts(values: dict[str, float] | dict[str, int], unit: float) -> str:
    """The parts that are not zero, in a unit."""
    return ", ".join(f"{name} {value / unit:.3g}" for name, value in values.items() if value)


def duration(seconds: float) -> str:
    """Seconds in the unit that people would say."""
    for limit, unit, name in ((120, 1, "s"), (7200, 60, "minutes"), (172_800, 3600, "hours")):
        if seconds < limit:
            return f"{seconds / unit:10.1f} {name}"
    return f"{seconds / 86_400:10.1f} days"
