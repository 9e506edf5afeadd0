"""The command line, `bertmini COMMAND …`: which commands there are, and how one is read and run.

Each command is a dataclass in `bertmini.commands`; its fields are the options.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import torch
import tyro

from bertmini.commands.answering import Embed, Evaluate, Fill, Predict, Search
from bertmini.commands.compressing import Compress
from bertmini.commands.corpora import GazetteExport, Prepare, TrainTokenizer
from bertmini.commands.finetuning import (
    FinetuneChoice,
    FinetuneClassify,
    FinetuneGlue,
    FinetuneQa,
    FinetuneRegress,
    FinetuneSeq2Seq,
    FinetuneTag,
    FinetuneVectors,
    finder,
)
from bertmini.commands.options import check_numbers, fill_in, flat
from bertmini.commands.pretraining import Distill, Pretrain
from bertmini.commands.runs import NOTHING_WRITTEN, is_main
from bertmini.commands.shipping import Cost, Export
from bertmini.errors import InputError
from bertmini.machine import keep_freed_memory

COMMANDS: dict[str, Any] = {
    "train-tokenizer": TrainTokenizer,
    "prepare": Prepare,
    "pretrain": Pretrain,
    "finetune classify": FinetuneClassify,
    "finetune regress": FinetuneRegress,
    "finetune tag": FinetuneTag,
    "finetune qa": FinetuneQa,
    "finetune seq2seq": FinetuneSeq2Seq,
    "finetune vectors": FinetuneVectors,
    "finetune choice": FinetuneChoice,
    "finetune glue": FinetuneGlue,
    "evaluate": Evaluate,
    "predict": Predict,
    "fill": Fill,
    "embed": Embed,
    "search": Search,
    "distill": Distill,
    "compress": Compress,
    "export": Export,
    "gazette export": GazetteExport,
    "cost": Cost,
}
COMMANDS |= {
    name.replace("finetune", "lr-find"): finder(command)
    for name, command in COMMANDS.items()
    if name.startswith("finetune ")
}


def parse(arguments: list[str]) -> Any:
    """The command that the arguments name, with its options.

    Raises:
        InputError: for what the command does not know or cannot read.
        SystemExit: after --help.
    """
    name = next((n for n in (" ".join(arguments[:2]), *arguments[:1]) if n in COMMANDS), None)
    if name is None:
        return parse_without_command(arguments)
    rest = arguments[len(name.split()) :]
    command = tyro_parse(name, rest)
    if getattr(command, "resume", False):
        command = resumed(name, rest, command)
    check_numbers(command)
    return command


def parse_without_command(arguments: list[str]) -> None:
    if arguments and arguments[0] == "--version":
        from bertmini.version import __version__

        print(f"bertmini {__version__}")
        raise SystemExit(0)
    words = [word for word in arguments if not word.startswith("-")]
    known = [name for name in COMMANDS if not words or name.startswith(f"{words[0]} ")]
    if {"-h", "--help"} & set(arguments) and known:
        print("usage: bertmini COMMAND …\n")
        for name in known:
            print(f"  {name:18} {COMMANDS[name].__doc__.splitlines()[0]}")
        print("\nbertmini COMMAND --help tells a command's options.")
        raise SystemExit(0)
    wanted = f"{' '.join(words[:2])!r} is no command" if words else "no command was given"
    raise InputError(f"{wanted}; expected one of {', '.join(known or COMMANDS)} (bertmini --help)")


def tyro_parse(name: str, arguments: list[str], default: Any = None) -> Any:
    """A command from its arguments, tyro's boxed errors folded to one line."""
    told = io.StringIO()
    # A flag that a run began with would else be there only as its opposite, --no-….
    single_flags = () if default else (tyro.conf.FlagCreatePairsOff,)
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(
                COMMANDS[name], args=arguments, default=default, prog=f"bertmini {name}",
                config=(*single_flags, tyro.conf.OmitArgPrefixes, tyro.conf.SuppressFixed),
            )  # fmt: skip
    except SystemExit as exit:
        if not exit.code:
            raise
        raise InputError(f"{fold(told.getvalue())} (bertmini {name} --help)") from None


def fold(box: str) -> str:
    """What a box of tyro's says, in one line: its title, its colours and its advice left out."""
    box = re.sub(r"\x1b\[[\d;]*m", "", box)
    lines = [line.strip("│╭╰╮╯─ ") for line in box.strip().splitlines()][1:]
    sections = " ".join(line if line.strip("-") else "\n" for line in lines).split("\n")
    advice = ("For full", "Argument helptext", "Got errors")
    told = [
        section.strip() for section in sections if section.strip() and not section.strip().startswith(advice)
    ]
    return "; ".join(told).replace(" (required)", "").replace(".;", ";")


def resumed(name: str, arguments: list[str], command: Any) -> Any:
    """The command as its run began.

    Raises:
        InputError: where an option is given that was another then.
    """
    from bertmini.training import Run

    out, begun = command.out, copy.deepcopy(command)
    settings = Run(out).record()["settings"]
    if settings.get("command") != COMMANDS[name].__name__:
        raise InputError(
            f"{out}: was not begun with bertmini {name}; run.json names the command that began it"
        )
    fill_in(begun, settings)
    again = tyro_parse(name, arguments, default=begun)
    before, now = flat(asdict(begun)), flat(asdict(again))
    for option in before.keys() - {"resume", "out"}:
        if before[option] != now[option]:
            raise InputError(
                f"--{option.replace('_', '-')} {now[option]}: the run in {out} began with {before[option]}; "
                "leave the option out"
            )
    return again


@contextlib.contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """Within it a scheduler's or a launcher's way to say stop is as good as Ctrl-C, the first time: what is
    said and written after that is not to be cut off when the launcher says it again."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@stopped_by_sigterm()
def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns its exit code: 0, 1 when another process has died, 2 for bad input, 130 when
    interrupted."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = None
    make_stdout_safe()
    try:
        with warnings.catch_warnings(), told_on_stderr():
            try:
                command = parse(arguments)
            except SystemExit:  # after --help, which is written here and not when Python ends
                sys.stdout.flush()
                raise
            keep_freed_memory()
            command.run()
            sys.stdout.flush()
        return 0
    except SystemExit as exit:
        return int(exit.code or 0)
    except InputError as error:
        if is_main() or os.environ.get("LOCAL_RANK") == "0":  # all processes of a machine have found the same
            print(f"bertmini: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if is_main():
            print(f"bertmini: interrupted; {kept(command)}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our lines has gone: head, say
        let_go_of_stdout()
        return 0
    except (MemoryError, torch.OutOfMemoryError) as error:
        return out_of_memory(error, command)
    except RuntimeError as error:
        if "allocate memory" in str(error):  # as torch says it on a CPU
            return out_of_memory(error, command)
        if re.search(r"\bC(\+\+)? compiler\b", str(error)):  # as torch.compile says it on a CPU and on a GPU
            if is_main():
                print(
                    "bertmini: error: --compile needs a C++ compiler, and none is found here; install one, "
                    "name it in the variable CXX, or leave --compile out",
                    file=sys.stderr,
                )
            return 2
        if int(os.environ.get("WORLD_SIZE", "1")) > 1 and is_lost_connection(error):
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher's comes soon, and would cut this off
            print(f"bertmini: error: another process of this run has died; {kept(command)}", file=sys.stderr)
            return 1
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        try:
            sys.stdout.flush()
        except OSError:  # what is left to write finds no room, and would be tried again when Python ends
            let_go_of_stdout()
            where = where or "standard output: "
        print(f"bertmini: error: {where}{error.strerror or error}", file=sys.stderr)
        return 2


def make_stdout_safe() -> None:
    """Let every text be written: to files and pipes in UTF-8, on Windows too, and nowhere if it is closed."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115  (to the end of the process)
    if isinstance(sys.stdout, io.TextIOWrapper):
        encoding = None if sys.stdout.isatty() else "utf-8"
        sys.stdout.reconfigure(errors="backslashreplace", encoding=encoding)


def let_go_of_stdout() -> None:
    """Send nowhere what can no longer be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def is_lost_connection(error: RuntimeError) -> bool:
    """Whether a process waited for another one in vain, as gloo and NCCL say it."""
    said = ("closed by peer", "Connection reset", "Timed out", "gloo", "NCCL")
    return any(words in str(error) for words in said)


def out_of_memory(error: BaseException, command: Any) -> int:
    told = " ".join(str(error).split())[:200]
    options = {"batch_tokens": "--batch-tokens", "training": "--batch-size, and more --accumulation",
               "batch_size": "--batch-size"}  # fmt: skip
    advice = next((f"; take a smaller {options[name]}" for name in options if hasattr(command, name)), "")
    print(f"bertmini: error: the memory is full ({told}){advice}", file=sys.stderr)
    return 2


def kept(command: Any) -> str:
    """What an interrupted command leaves."""
    return command.interrupted() if hasattr(command, "interrupted") else NOTHING_WRITTEN


@contextlib.contextmanager
def told_on_stderr() -> Iterator[None]:
    """Warnings of this package, and measurements while training, each in one line."""
    warnings.simplefilter("ignore")
    warnings.filterwarnings("always", module="bertmini")
    warnings.showwarning = lambda message, *_: print(f"bertmini: warning: {message}", file=sys.stderr)  # type: ignore[assignment]
    handler = Measurements()
    logger = logging.getLogger("bertmini")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class Measurements(logging.Handler):
    """Prints what the training loop logs about held-out data, and its warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        if isinstance(record.args, dict) and "dev" in record.args:
            numbers = "  ".join(f"{name} {value:.4g}" for name, value in record.args["dev"].items())
            tqdm.write(f"step {record.args['step']}  {numbers}", file=sys.stderr)
        elif record.levelno >= logging.WARNING:
            tqdm.write(f"bertmini: warning: {record.getMessage()}", file=sys.stderr)


if __name__ == "__main__":
    from bertmini.cli import main as command  # as a module of the package, whose warnings are shown

    sys.exit(command())
