"""Commands that write a model for other programs, and say what one would cost."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import arg

from bertmini.commands.options import Count, Directory, MaybeNumber, Number
from bertmini.commands.runs import refuse_existing
from bertmini.errors import InputError
from bertmini.files import new_directory


@dataclass(kw_only=True)
class Export:
    """Write a model for other programs: ONNX Runtime, transformers, or the hub."""

    model: Directory
    """The model: a directory or a hub id."""
    to: Literal["onnx", "transformers", "hub"]
    """onnx: a graph that runs without PyTorch, in float32 and with int8 weights, checked against it.
    transformers: configuration, weights, tokenizer and a card. hub: the same, uploaded."""
    out: Annotated[str, arg(metavar="DIR|OWNER/NAME")]
    """The directory, made new; or the repository's name on the hub."""
    private: bool = False
    """Let nobody else see the repository."""
    update: bool = False
    """Add a version to a repository that is on the hub already."""

    def run(self) -> None:
        from bertmini import export

        if self.to == "hub":
            print(export.push_to_hub(self.model, self.out, private=self.private, update=self.update))
            return
        if self.private or self.update:
            option = "--private" if self.private else "--update"
            raise InputError(f"{option} is for --to hub; leave it out with --to {self.to}")
        refuse_existing(self.out)
        with new_directory(self.out) as directory:
            if self.to == "transformers":
                export.export_directory(self.model, directory, Path(self.out).resolve().name)
                files: dict[str, Any] = {"model.safetensors": {}}
            else:
                files = export.export_onnx(self.model, directory)["files"]
            sizes = {name: (directory / name).stat().st_size for name in files}
        for name, found in files.items():
            line = f"{self.out}/{name}: {sizes[name] / 1e6:.1f} MB"
            if found:
                line += f", outputs within {found['largest_difference']:.1e} of PyTorch's"
                line += f" (the largest is {found['largest_output']:.3g})"
            print(line)


@dataclass(kw_only=True)
class Cost:
    """Say what pretraining would cost: parameters, operations, memory and time."""

    preset: Literal["tiny", "mini", "small", "medium", "base", "large"] = "base"
    """The model's size, layers x width: 2x128, 4x256, 4x512, 8x512, 12x768, 24x1024."""
    vocab_size: Count = 30522
    """Pieces in the vocabulary."""
    tokens: Number = 1e9
    """Tokens to train on, repetitions included."""
    length: Count = 128
    """Tokens of a row."""
    batch_tokens: Count = 131072
    """Tokens of an update, all GPUs together."""
    micro_tokens: Count = 16384
    """Tokens that a GPU works on at once."""
    gpus: Count = 1
    """How many processors train together."""
    processor: Literal["here", "v100", "a100", "h100"] = "a100"
    """What they are: a GPU by its data sheet, or what this machine has, measured in a few seconds."""
    link: MaybeNumber = None
    """What one sends while it receives as much, in GB/s. Without it: the data sheet's; here 10, and 1 to
    another machine."""
    precision: Literal["bf16", "fp16", "float32"] = "bf16"
    """Number format of the matrix products."""
    checkpointing: bool = False
    """Compute the layers a second time rather than keep what they hold."""
    sharded: bool = False
    """Each keeps a part of the model (FSDP), rather than the whole."""

    def run(self) -> None:
        from bertmini.config import BertConfig
        from bertmini.cost import PROCESSORS, Plan, describe, measured

        settings = asdict(self)
        config = BertConfig.preset(settings.pop("preset"), vocab_size=settings.pop("vocab_size"))
        if self.processor == "here":
            processor = measured(config, self.micro_tokens, self.length, self.precision)
        elif self.precision == "float32":
            raise InputError(
                "--precision float32: the data sheets are of 16-bit products; use bf16, or --processor here"
            )
        else:
            processor = PROCESSORS[self.processor]
        if (link := settings.pop("link")) is not None:
            processor = replace(processor, link=link * 1e9, network=link * 1e9)
        print("\n".join(describe(Plan(config, **settings | {"processor": processor}))))
