"""The card of a model: what it is, what it was trained on, how good it is, how to load it, where it ends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PureWindowsPath
from typing import Any

from bertmini.files import read_json
from bertmini.hub import locate
from bertmini.predict import Predictor
from bertmini.tasks import classes_of
from bertmini.tasks.tag import tags_of

SHOWN_LABELS = 30  # more of them are counted, not listed

# A task: what a model of it does, the hub's name for that, and an input of it in Python.
TASKS: dict[str, tuple[str, str, str]] = {
    "fill": ("says what may stand behind a mask", "fill-mask", '"the {mask} is open"'),
    "classify": ("gives a text or a pair of texts one of several labels", "text-classification", '"a text"'),
    "regress": (
        "gives a text or a pair of texts a number",
        "text-classification",
        '("a text", "another one")',
    ),
    "tag": ("finds the entities of a text", "token-classification", '"a text"'),
    "qa": (
        "answers a question from a passage",
        "question-answering",
        '{"question": "Who sails?", "context": "Mara sails home."}',
    ),
    "choice": (
        "chooses one of several options",
        "multiple-choice",
        '{"text": "a text", "options": ["an option", "another one"]}',
    ),
    "vectors": ("gives texts vectors that can be compared", "sentence-similarity", '"a text"'),
}
PIPELINES = ("fill", "classify", "tag")  # where one call of transformers.pipeline does the same
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")  # OWNER/NAME
AUTO_CLASSES = {
    "regress": "AutoModelForSequenceClassification",
    "qa": "AutoModelForQuestionAnswering",
    "choice": "AutoModelForMultipleChoice",
    "vectors": "AutoModel",
}
FAMILIES = {"bert": "BERT", "roberta": "RoBERTa", "albert": "ALBERT", "distilbert": "DistilBERT"}
SPLITS = ("train", "dev", "dev_mismatched", "test")
LEARNED_BY = {  # rows of a training that had steps, and where its options have them
    "steps": "steps",
    "examples in a batch": "batch_size",
    "highest learning rate": "learning_rate",
    "precision": "precision",
}


def model_card(predictor: Predictor, origin: str | Path, name: str) -> str:
    """The card, Markdown with the hub's header, filled from config.json, run.json and metrics.json.

    What the files of a run do not say, the card does not claim: without them it says that nothing is known.
    Of paths it keeps the last part alone.

    Args:
        predictor: the model.
        origin: its directory or hub id.
        name: under which it is published.

    Source: Mitchell et al. 2019, arXiv 1810.03993.
    """
    directory = locate(origin)
    run, metrics = (
        read_json(directory / file) if (directory / file).exists() else {}
        for file in ("run.json", "metrics.json")
    )
    parts = (
        header(predictor),
        f"# {name.rpartition('/')[2]}",
        summary(predictor),
        "## Use",
        use(predictor, name),
        "## Training",
        training(run, metrics),
        "## Results",
        results(metrics),
        "## Limits",
        "\n".join(f"- {limit}" for limit in limits(predictor, run, metrics)),
    )
    return "\n\n".join(parts) + "\n"


def header(predictor: Predictor) -> str:
    fields = {
        "library_name": "transformers",
        "pipeline_tag": TASKS[predictor.task.NAME][1],
        "tags": [predictor.model.config.model_type, "bertmini"],
    }
    lines = (f"{key}: {json.dumps(value)}" for key, value in fields.items())  # JSON is YAML
    return "\n".join(["---", *lines, "---"])


def summary(predictor: Predictor) -> str:
    config, tokenizer = predictor.model.config, predictor.tokenizer
    parameters = sum(parameter.numel() for parameter in predictor.model.parameters())
    what = (
        f"A {FAMILIES[config.model_type]} that {TASKS[predictor.task.NAME][0]}: "
        f"{config.num_hidden_layers} layers, {config.hidden_size} wide, {parameters:,} parameters, "
        f"a vocabulary of {len(tokenizer):,} pieces, rows of up to {predictor.max_length} tokens."
    )
    labels = labels_of(predictor)
    if 0 < len(labels) <= SHOWN_LABELS:
        what += f" Its labels are {', '.join(labels)}."
    elif labels:
        what += f" It has {len(labels)} labels."
    return what


def labels_of(predictor: Predictor) -> list[str]:
    if predictor.task.NAME == "classify":
        return classes_of(predictor.model) or []
    return tags_of(predictor.model.config) if predictor.task.NAME == "tag" else []


def use(predictor: Predictor, name: str) -> str:
    task = predictor.task.NAME
    _, hub_task, given = TASKS[task]
    given = given.replace("{mask}", str(predictor.tokenizer.mask_token))
    ours = f'from bertmini import Predictor\n\nprint(Predictor.from_pretrained("{name}")({given}))'
    if task == "vectors":
        ours = f'from bertmini import Embedder\n\nprint(Embedder.from_pretrained("{name}")([{given}]))'
    theirs = f'from transformers import pipeline\n\nprint(pipeline("{hub_task}", "{name}")({given}))'
    if task not in PIPELINES:
        auto = AUTO_CLASSES[task]
        theirs = (
            f"from transformers import {auto}, AutoTokenizer\n\n"
            f'tokenizer = AutoTokenizer.from_pretrained("{name}")\nmodel = {auto}.from_pretrained("{name}")'
        )
    return "\n\n".join(f"```python\n{code}\n```" for code in (ours, theirs))


def training(run: dict[str, Any], metrics: dict[str, Any]) -> str:
    if not run:
        return "No record of its training is kept with the model."
    settings, options = run.get("settings", {}), run.get("training", {})
    found = metrics.get("search", {})  # of several attempts, the one that was kept
    options = options | {name: found[name] for name in ("learning_rate", "seed") if name in found}
    rows = {
        "data": ", ".join(map(last_part, as_tuple(settings.get("data")))),
        "began from": beginning(settings),
        **({name: options.get(field) for name, field in LEARNED_BY.items()} if options.get("steps") else {}),
        "seed": options.get("seed"),
        "seconds": round(metrics["seconds"]) if "seconds" in metrics else None,
        "processor": processor(run.get("machine", {})),
        "versions": ", ".join(f"{package} {number}" for package, number in run.get("versions", {}).items()),
    }
    told = [(name, str(value)) for name, value in rows.items() if value not in (None, "")]
    return table(("", ""), told)


def as_tuple(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def last_part(name: str, may_be_of_hub: bool = False) -> str:
    """A path's last part; the names of what is no path stay.

    Args:
        may_be_of_hub: whether OWNER/NAME is a model of the hub, where there is no such path.
    """
    if name.startswith("task:"):
        return f"task:{last_part(name.removeprefix('task:'))}"
    is_source = is_of_gazette(name) or name.startswith("hf:")
    is_hub_id = may_be_of_hub and HUB_ID.fullmatch(name) and not Path(name).exists()
    return name if is_source or is_hub_id else PureWindowsPath(name).name  # which knows both separators


def is_of_gazette(data: str) -> bool:
    """Whether a name of data means the embedded corpus or one of its tasks."""
    name = data.removeprefix("task:")
    return name == "gazette" or name.startswith("gazette/")


def beginning(settings: dict[str, Any]) -> str:
    """What the weights were before."""
    command = str(settings.get("command", ""))
    origin = settings.get("teacher" if command == "Distill" else "model") or settings.get("init")
    if settings.get("from_scratch"):
        return "random weights"
    if origin:
        return last_part(origin, may_be_of_hub=True)
    has_start = command.startswith("Finetune") or command == "Compress"
    return "gazette-mini, which bertmini ships" if has_start else "random weights"


def processor(machine: dict[str, Any]) -> str:
    if gpus := machine.get("gpus"):
        return f"{len(gpus)} × {gpus[0]}"
    return f"{machine['processor']}, {machine.get('cores')} cores" if machine.get("processor") else ""


def results(metrics: dict[str, Any]) -> str:
    """The measures of each part of the data, and a table by label of the last part."""
    splits = [split for split in SPLITS if numbers(metrics.get(split))]
    if not splits:
        return "No measurement is kept with the model."
    names = dict.fromkeys(name for split in splits for name in numbers(metrics[split]))
    rows = [(name, *(shown(numbers(metrics[split]).get(name)) for split in splits)) for name in names]
    parts = [table(("", *splits), rows)]
    for what in ("classes", "entities"):
        if isinstance(of_labels := metrics[splits[-1]].get(what), dict) and of_labels:
            columns = list(next(iter(of_labels.values())))
            of_label = [
                (label, *(shown(found.get(c)) for c in columns)) for label, found in of_labels.items()
            ]
            parts += [f"By label, {splits[-1]}:", table(("", *columns), of_label)]
    return "\n\n".join(parts)


def numbers(of_split: Any) -> dict[str, float]:
    found = of_split if isinstance(of_split, dict) else {}
    return {name: value for name, value in found.items() if isinstance(value, float)}


def shown(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def limits(predictor: Predictor, run: dict[str, Any], metrics: dict[str, Any]) -> Iterator[str]:
    settings, task = run.get("settings", {}), predictor.task.NAME
    if any(map(is_of_gazette, as_tuple(settings.get("data")))):
        yield (
            "Its texts come from the Port Quill Gazette, the newspaper of an invented town, written by a "
            "program. Of other texts it knows nothing."
        )
    if numbers(metrics.get("test")):
        yield "The numbers are of one training, and hold for texts like those it was measured on."
    elif numbers(metrics.get("dev")):
        yield "The dev part chose its settings, so that its numbers flatter; no test part was measured."
    else:
        yield "How good it is was not measured here. Measure it on your own texts before you rely on it."
    if task in ("tag", "qa"):
        yield f"Longer texts than {predictor.max_length} tokens are read in overlapping windows."
    elif task == "fill":
        yield f"It takes no texts of more than {predictor.max_length} tokens."
    else:
        yield f"Of a text only the first {predictor.max_length} tokens are read."
    if task != "vectors":
        yield (
            "Its scores are what its softmax gives, and were not calibrated."
            if task != "regress"
            else ("A score may lie outside of the range of those it was trained on.")
        )
    yield "It repeats what its training texts say and leave out, prejudices included."


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    escaped = ([cell.replace("|", "\\|") for cell in row] for row in rows)
    lines = [head, ["---"] * len(head), *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
