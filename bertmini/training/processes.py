"""Several processes that train one model: what each does, and how they agree.

`accelerate launch --multi_gpu` or `--use_fsdp` or torchrun starts them; one alone is the usual case.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

T = TypeVar("T")


class Processes:
    """This process among those that train the model.

    Each works on its own rows of a batch. Data parallel (the default): each holds the whole model, and
    their gradients are averaged while the backward pass still runs (Li et al. 2020, arXiv 2006.15704).
    Sharded: each holds a part of every weight, of its gradient and its moments, and gathers the weights of a
    layer when its turn comes (Zhao et al. 2023, arXiv 2304.11277).

    Args:
        rank: the number of this process, from 0; 0 is the one that writes.
        number: of processes.
        sharded: whether the model is parted among them.
    """

    def __init__(self, rank: int = 0, number: int = 1, sharded: bool = False) -> None:
        self.rank, self.number, self.sharded = rank, number, sharded

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    @property
    def part(self) -> tuple[int, int]:
        """Which rows of a batch are this process's, as PretrainingData and TaskData take it."""
        return self.rank, self.number

    def wait(self) -> None:
        """Until all have come so far."""
        if self.number > 1:
            distributed.barrier()

    def agree(self, value: T) -> T:
        """The main process's value, in all of them."""
        if self.number == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values)
        return values[0]

    def gather(self, value: T) -> list[T]:
        """The values of all, by rank."""
        values = [value] * self.number
        if self.number > 1:
            distributed.all_gather_object(values, value)
        return values

    def sum(self, values: Sequence[float]) -> list[float]:
        """Each value summed over all."""
        if self.number == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        distributed.all_reduce(total)
        return total.tolist()

    def share(self, model: nn.Module) -> nn.Module:
        """The model to train: the same one, or a copy of which each process keeps its part."""
        if not self.sharded:
            return model
        from torch.distributed.fsdp import fully_shard

        from bertmini.model.encoder import Layer

        model = copy.deepcopy(model)
        for module in model.modules():
            if isinstance(module, Layer):
                fully_shard(module)
        fully_shard(model)
        return model

    def step(self, model: nn.Module, loss: Callable[[nn.Module, Any], Any]) -> Callable[[Any], Any]:
        """What gives the loss of a batch; its backward pass averages the gradients of all processes."""
        step = Step(model, loss)
        return step if self.number == 1 or self.sharded else DistributedDataParallel(step)

    @contextmanager
    def without_averaging(self, step: Any) -> Iterator[None]:
        """Within it gradients are only added up, as for all batches of an update but the last."""
        if self.sharded:
            step.model.set_requires_gradient_sync(False)
            yield
            step.model.set_requires_gradient_sync(True)
        elif self.number > 1:
            with step.no_sync():
                yield
        else:
            yield

    @contextmanager
    def whole(self, model: Any) -> Iterator[None]:
        """Within it a sharded model can be called part by part, as evaluation does."""
        if self.sharded:
            model.unshard()
        yield
        if self.sharded:
            for module in model.modules():  # layers that were never called through the whole model stay whole
                if hasattr(module, "reshard"):
                    module.reshard()


class Step(nn.Module):
    """A loss as a module: what data parallel training wraps, while the loss sees the model as it is."""

    def __init__(self, model: nn.Module, loss: Callable[[nn.Module, Any], Any]) -> None:
        super().__init__()
        self.model, self.loss = model, loss

    def forward(self, batch: dict[str, Tensor]) -> Any:
        return self.loss(self.model, batch)


ALONE = Processes()


@cache
def processes() -> Processes:
    """The processes of this run, as the launcher says in the environment."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return ALONE
    from accelerate import PartialState

    # Numbers are agreed on over the processor, so that no GPU has to wait for them.
    state = (
        PartialState(backend="cpu:gloo,cuda:nccl") if torch.cuda.is_available() else PartialState(cpu=True)
    )
    sharded = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    return Processes(state.process_index, state.num_processes, sharded)


def whole_tensor(tensor: Tensor) -> Tensor:
    """A tensor on the CPU, put together where it is parted among processes (all have to ask)."""
    parted = getattr(tensor, "full_tensor", None)
    return (parted() if parted else tensor).detach().cpu().contiguous()


@contextmanager
def whole_in_place(tensor: Tensor) -> Iterator[Tensor]:
    """A tensor to be changed by its indices, also where it is parted among processes."""
    parted = getattr(tensor, "full_tensor", None)
    whole = parted() if parted else tensor
    yield whole
    if parted:
        tensor.copy_(like(whole, tensor))


def like(tensor: Tensor, pattern: Tensor) -> Tensor:
    """A whole tensor on the device of another, and parted as that one is."""
    if not hasattr(pattern, "full_tensor"):
        return tensor.to(pattern.device)
    from torch.distributed.tensor import distribute_tensor

    parted: Any = pattern
    # Each process has the whole tensor and takes its part: nothing need be sent.
    return distribute_tensor(
        tensor.to(parted.device), parted.device_mesh, parted.placements, src_data_rank=None
    )
