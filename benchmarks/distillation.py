"""Distillation: what a student of half the layers keeps of its teacher, and what the teacher is worth to it.

gazette  The teacher is the model that bertmini ships. The student begins as every second one of its
         layers and learns from it on running text; beside it the same shape, from random weights, learns from
         the text alone, in as many steps on the same batches. All are fine-tuned for tasks of the Gazette, as
         gazette.py does.
real     The teacher is a pretrained model of six layers (--model), fine-tuned for real emotions (--data). The
         student begins as every second one of its layers and learns from its answers and the labels; beside
         it the same layers of the pretrained model learn from the labels alone, as long.

Parameters, and the time of a forward pass (teacher and student in turn), stand beside the scores. Each score
(for real, each seed's three) is saved as soon as it is known, and an interrupted measurement goes on.

    python benchmarks/distillation.py gazette --cache DIR [--seeds 5]
    python benchmarks/distillation.py real --data DATA/emotion --model MODEL [--seeds 5]
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from gazette import SETTINGS, learn
from machine import earlier, save

from bertmini import BertForPreTraining, WordPieceTokenizer
from bertmini.compress.distill import distillation_loss, student_from_teacher
from bertmini.data.task_files import read_task
from bertmini.files import new_directory
from bertmini.gazette import Gazette
from bertmini.hub import shipped
from bertmini.machine import keep_freed_memory
from bertmini.tasks import classify, finetune, load_for_task, pretrain, task_options
from bertmini.training import Options

TASKS = ("topic", "emotion", "similarity", "inference", "entities")
DOCUMENTS, LENGTH, BATCH = 20_000, 256, 16
EPOCHS, LEARNING_RATE = 3, 2e-4  # of the real emotions; a student of a teacher has as many
SHAPES = {"32 rows of 64 tokens": (32, 64), "1 row of 32 tokens": (1, 32)}
ROUNDS = 15
TEACHER, STUDENT, ALONE = "teacher", "student", "student without a teacher"
Measured = dict[str, Any]


def pretrained(who: str, seed: int, steps: int, cache: Path) -> Path:
    """The directory of a pretrained model; a student that is not there yet is made."""
    if who == TEACHER:
        return Path(shipped())
    directory = cache / f"{who.replace(' ', '-')}-{steps}-{seed}"
    if not directory.exists():
        teacher = BertForPreTraining.from_pretrained(shipped())
        tokenizer = WordPieceTokenizer.from_pretrained(shipped())
        tokenizer.model_max_length = LENGTH
        student, loss = student_from_teacher(teacher), None
        if who == STUDENT:
            loss = distillation_loss(teacher)
        else:
            torch.manual_seed(seed)
            student = type(student)(student.config)
        documents = [document.sentences for document in Gazette().documents(DOCUMENTS)]
        data = pretrain.training_data(documents, tokenizer, BATCH, LENGTH, "mlm+nsp", seed)
        options = Options(steps, batch_size=BATCH, learning_rate=1e-3, seed=seed)
        pretrain.pretrain(student, options, data, loss=loss, short_share=0.4)
        with new_directory(directory) as scratch:
            student.save_pretrained(scratch)
            tokenizer.save_pretrained(scratch)
    return directory


def on_the_gazette(options: argparse.Namespace, found: Measured) -> None:
    """Add what is missing to the scores by model, task and seed."""
    for seed in range(options.seeds):
        for who in (TEACHER, STUDENT, ALONE):
            directory = pretrained(who, seed, options.steps, options.cache)
            for name in TASKS:
                of_task = found["scores"].setdefault(who, {}).setdefault(name, {})
                if str(seed) not in of_task:
                    run = learn(Gazette(), name, SETTINGS[name], "mini", "pretrained", seed, directory)
                    of_task[str(seed)] = run[SETTINGS[name].measure]
                    print(who, name, seed, f"{of_task[str(seed)]:.3f}", flush=True)
                    keep(found, "gazette", options)
    if "seconds" not in found:
        models = {
            who: BertForPreTraining.from_pretrained(pretrained(who, 0, options.steps, options.cache)).bert
            for who in (TEACHER, STUDENT)
        }
        found |= costs(models)
        keep(found, "gazette", options)


def on_real_emotions(options: argparse.Namespace, found: Measured) -> None:
    """Add what is missing to the scores by model and seed."""
    splits = read_task(options.data, "classify")
    tokenizer = WordPieceTokenizer.from_pretrained(options.model)
    tokenizer.model_max_length = 128
    for seed in range(options.seeds):
        rows = min(options.rows, len(splits["train"]))
        train = random.Random(seed).sample(splits["train"], rows)
        parts = {"train": train, "test": splits["test"]}
        settings = {"learning_rate": LEARNING_RATE, "batch_size": BATCH, "seed": seed}
        how = task_options(classify, parts, EPOCHS, **settings)

        def taught(model: Any, loss: Callable | None = None, parts: Any = parts, how: Any = how) -> float:
            _, metrics = finetune(classify, parts, model, tokenizer, how, loss=loss)
            return metrics["test"]["accuracy"]

        scores: dict[str, dict[str, float]] = {
            who: found["scores"].setdefault(who, {}).setdefault("emotion", {})
            for who in (TEACHER, STUDENT, ALONE)
        }
        if str(seed) in scores[ALONE]:
            continue
        teacher: Any = load_for_task(classify, train, options.model, seed=seed)
        alone = student_from_teacher(teacher)
        scores[TEACHER][str(seed)] = taught(teacher)
        student = student_from_teacher(teacher)
        scores[STUDENT][str(seed)] = taught(student, distillation_loss(teacher))
        scores[ALONE][str(seed)] = taught(alone)
        print(seed, {who: of_task[str(seed)] for who, of_task in scores.items()}, flush=True)
        if "seconds" not in found:
            found |= costs({TEACHER: teacher.bert, STUDENT: student.bert})
        keep(found, "real", options)


@torch.no_grad()
def costs(models: dict[str, Any]) -> Measured:
    """Parameters, those of the layers alone, and the seconds of a forward pass: medians, both in turn."""
    generator = torch.Generator().manual_seed(0)
    seconds: dict[str, dict[str, list[float]]] = {who: {shape: [] for shape in SHAPES} for who in models}
    for number in range(ROUNDS + 1):
        for shape, size in SHAPES.items():
            ids = torch.randint(5, 900, size, generator=generator)
            for who, model in models.items():
                started = time.perf_counter()
                model.eval()(ids)
                if number:  # what is done once is not the model's
                    seconds[who][shape].append(time.perf_counter() - started)
    return {
        "parameters": {who: count(model) for who, model in models.items()},
        "of the layers": {who: count(model.encoder) for who, model in models.items()},
        "seconds": {
            who: {shape: statistics.median(values) for shape, values in of_shape.items()}
            for who, of_shape in seconds.items()
        },
    }


def count(module: Any) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def keep(found: Measured, name: str, options: argparse.Namespace) -> None:
    save("distillation", earlier("distillation") | {name: {"settings": settings_of(name, options), **found}})


def settings_of(name: str, options: argparse.Namespace) -> Measured:
    """What a score depends on beside its seed."""
    return {"steps": options.steps} if name == "gazette" else {"rows": options.rows}


def main() -> None:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("sets", nargs="+", choices=("gazette", "real"))
    parser.add_argument("--cache", type=Path, help="where students are kept, for gazette")
    parser.add_argument("--data", type=Path, help="folder with train and test, for real")
    parser.add_argument("--model", type=Path, help="directory of a pretrained model, for real")
    parser.add_argument("--steps", type=int, default=2000, help="of learning from running text")
    parser.add_argument("--rows", type=int, default=8000, help="labelled texts, for real")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    for name, needed in {"gazette": ("cache",), "real": ("data", "model")}.items():
        if name in options.sets and (missing := [each for each in needed if not getattr(options, each)]):
            parser.error(f"{name} needs --{' and --'.join(missing)}")
    keep_freed_memory()
    for name in options.sets:
        found = earlier("distillation").get(name, {"settings": settings_of(name, options), "scores": {}})
        if (before := found.pop("settings")) != settings_of(name, options):
            raise SystemExit(f"{name}: measured with {before}, and now it is {settings_of(name, options)}")
        (on_the_gazette if name == "gazette" else on_real_emotions)(options, found)


if __name__ == "__main__":
    main()
