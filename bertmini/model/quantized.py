"""Layers in 8-bit whole numbers: a number is a small integer times a scale.

Weights have a scale for each output feature. What they multiply has one for each token, measured at each
call ("dynamic"), or one range for all, measured once on examples ("static"). Products are summed as integers,
which many processors do faster than with 32-bit floating-point numbers.

Jacob et al. 2018, arXiv 1712.05877; for BERT Zafrir et al. 2019, arXiv 1910.06188.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOST = 127  # of a weight, so that 0 is in the middle
HAS_KERNEL = torch.backends.mkldnn.is_available()  # oneDNN's, in all builds for x86


def to_int8(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Each row as integers from -127 to 127, and its scale: row ≈ integers · scale.

    Args:
        rows: [..., features].

    Returns:
        int8 [..., features], and float32 [..., 1].
    """
    scales = rows.abs().amax(dim=-1, keepdim=True).clamp(min=1e-20) / MOST
    return (rows / scales).round_().to(torch.int8), scales


class QuantizedLinear(nn.Module):
    """A linear layer in 8 bits.

        y = s_x · s_w · (X - z) Wᵀ + b

    X and W are integers, s_w [out] and s_x their scales, z the integer that stands for 0.

    Args:
        in_features, out_features: as for `nn.Linear`.
        static: whether inputs have one range for all, s_x and z, which has to be set. Otherwise each token
            has its own s_x, and z is the middle.
    """

    weight_int8: Tensor
    weight_scale: Tensor
    bias: Tensor
    input_scale: Tensor
    input_zero: Tensor

    def __init__(self, in_features: int, out_features: int, static: bool) -> None:
        super().__init__()
        self.in_features, self.out_features, self.static = in_features, out_features, static
        self.register_buffer("weight_int8", torch.zeros(out_features, in_features, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.ones(out_features))
        self.register_buffer("bias", torch.zeros(out_features))
        if static:
            self.register_buffer("input_scale", torch.ones(()))
            self.register_buffer("input_zero", torch.zeros((), dtype=torch.int32))
        self.packed: tuple[Tensor, Tensor] | None = None  # the weight as the kernel wants it

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, static={self.static}"

    @property
    def weight(self) -> Tensor:
        """The weight that the integers stand for, float32 [out, in]."""
        return self.weight_int8 * self.weight_scale[:, None]

    def set_weight(self, weight: Tensor, bias: Tensor) -> None:
        """Take over a linear layer's weight [out, in] and bias [out]."""
        integers, scales = to_int8(weight.detach().float())
        self.weight_int8.copy_(integers)
        self.weight_scale.copy_(scales[:, 0])
        self.bias.copy_(bias.detach())
        self.packed = None

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self.packed = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "packed": None}  # the kernel's own form can be neither copied nor pickled

    def set_range(self, low: float, high: float) -> None:
        """Let integers 0 to 255 stand for the inputs from `low` to `high`, with 0 among them exactly."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / 255, 1e-20)
        self.input_scale.fill_(scale)
        self.input_zero.fill_(round(-low / scale))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] to float32 [..., out]."""
        if self.static:
            scale, zero = self.input_scale, self.input_zero
            integers = (x.float() / scale).add_(zero).round_().clamp_(0, 255).to(torch.uint8)
            return self.multiply(integers, float(scale), int(zero), self.bias)
        integers, scales = to_int8(x.float())
        shifted = integers.view(torch.uint8) ^ 128  # + 128: the kernel wants inputs from 0 to 255
        return torch.addcmul(self.bias, self.multiply(shifted, 1.0, 128, None), scales)

    def multiply(self, integers: Tensor, scale: float, zero: int, bias: Tensor | None) -> Tensor:
        if integers.device.type != "cpu" or not HAS_KERNEL:  # the same numbers without the speed
            return F.linear((integers.float() - zero) * scale, self.weight, bias)
        if self.packed is None:
            weight = torch.ops.onednn.qlinear_prepack(self.weight_int8, None)
            self.packed = weight, torch.zeros(self.out_features, dtype=torch.int32)
        weight, zeros = self.packed
        # The output's scale, zero and type, and nothing done after it.
        output: tuple[Any, ...] = (1.0, 0, torch.float32, "none", [], "")
        return torch.ops.onednn.qlinear_pointwise(
            integers, scale, zero, weight, self.weight_scale, zeros, bias, *output
        )


class QuantizedEmbedding(nn.Module):
    """A table of vectors in 8 bits, with a scale for each row: a quarter of the memory."""

    weight_int8: Tensor
    weight_scale: Tensor

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        self.register_buffer("weight_int8", torch.zeros(num_embeddings, embedding_dim, dtype=torch.int8))
        self.register_buffer("weight_scale", torch.ones(num_embeddings))

    @property
    def weight(self) -> Tensor:
        """The table that the integers stand for, float32 [rows, features]."""
        return self.weight_int8 * self.weight_scale[:, None]

    def set_weight(self, weight: Tensor) -> None:
        """Take over a table [rows, features]."""
        integers, scales = to_int8(weight.detach().float())
        self.weight_int8.copy_(integers)
        self.weight_scale.copy_(scales[:, 0])

    def forward(self, ids: Tensor) -> Tensor:
        """Ids [...] to their vectors, float32 [..., features]."""
        return F.embedding(ids, self.weight_int8) * F.embedding(ids, self.weight_scale[:, None])


def quantize_layers(model: Any) -> dict[str, tuple[Any, Any]]:
    """Put layers of 8 bits in place of the encoder's linear layers and of the word embedding.

    Args:
        model: changed in place, as its configuration's `quantization` says. The new layers are empty.

    Returns:
        By name the layer that stood there, and the new one.
    """
    static, bert = model.config.quantization == "static", getattr(model, "bert", model)
    replaced: dict[str, tuple[Any, Any]] = {}
    # The layers of a group are one module, which has several names.
    for name, module in [*bert.named_modules(remove_duplicate=False)]:
        if name == "embeddings.word":
            new: Any = QuantizedEmbedding(module.num_embeddings, module.embedding_dim)
        elif name.startswith("encoder.") and isinstance(module, nn.Linear):
            new = QuantizedLinear(module.in_features, module.out_features, static)
        else:
            continue
        parent, _, own = name.rpartition(".")
        if getattr(bert.get_submodule(parent), own) is module:  # not yet replaced under another name
            setattr(bert.get_submodule(parent), own, new)
            replaced[name] = module, new
    return replaced
