"""A Sphinx extension: fills the results page with what the benchmarks measured.

A line `<!-- results: NAME -->` of `book/results.md` becomes the tables and pictures that the function of that
name makes of `benchmarks/results/*.json`. A measurement that is not there leaves a line that says so.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from sphinx.application import Sphinx

from bertmini.hub import SHIPPED
from book.tools.project import ROOT

RESULTS = ROOT / "benchmarks" / "results"
METRICS = SHIPPED / "metrics.json"
PAGE = "book/results"
PLACE = re.compile(r"^<!-- results: (\w+) -->$", re.MULTILINE)
STARTS = {
    "scratch": "*mini*, random weights",
    "own": "*mini*, from the books",
    "real": "6 layers, from much text",
}
Measured = dict[str, Any]


def read(name: str) -> Measured | None:
    file = RESULTS / f"{name}.json"
    return json.loads(file.read_text("utf-8")) if file.exists() else None


def drawn(picture: Any) -> str:
    """A picture on the page, dressed as a chapter's output so that it looks the same on a dark one."""
    return f'<div class="cell_output" style="margin-bottom: 1.5rem">{picture.html()}</div>'


def missing(command: str) -> str:
    return f"*Not measured yet.* This makes the measurement: `{command}`"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table, all columns but the first to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def where(measured: Measured) -> str:
    """The machine and the versions, in a line."""
    machine, versions = measured["machine"], measured["versions"]
    parts = [
        *machine["gpus"],
        machine["processor"],
        f"{machine['threads']} thread{'s' * (machine['threads'] > 1)}",
        machine["capability"],
        *[f"{name} {versions[name]}" for name in ("torch", "transformers", "tokenizers") if name in versions],
    ]
    speeds = [f"{value:,.0f} in {name}" for name, value in measured.get("gflops", {}).items()]
    speed = f" Its GFLOPs a second in products of matrices: {', '.join(speeds)}." if speeds else ""
    return f"Measured on: {', '.join(parts)}.{speed}"


def percent(values: Sequence[float]) -> str:
    """A share, or the mean of several with their spread; nothing, of none."""
    if not values:
        return ""
    mean = f"{statistics.mean(values):.1%}"
    return mean if len(values) == 1 else f"{mean} (from {min(values):.1%} to {max(values):.1%})"


def decimals(values: Sequence[float]) -> str:
    if not values:
        return ""
    mean = f"{statistics.mean(values):.3f}"
    return mean if len(values) == 1 else f"{mean} (from {min(values):.3f} to {max(values):.3f})"


def tokenizer() -> str:
    measured = read("tokenizer")
    if measured is None:
        return missing("python benchmarks/tokenizer.py")
    speeds = measured["words per second"]
    rows = [
        [kind, f"{row['bertmini']:,}", f"{row['transformers']:,}", f"{row['ratio']:.2f}"]
        for kind, row in speeds.items()
        if isinstance(row, dict)
    ]
    python = f"{speeds['python words per second']:,}"
    training = [
        [f"{int(size):,}", row["bertmini"], row["tokenizers"], f"{row['ratio']:.2f}"]
        for size, row in measured["training seconds"].items()
    ]
    return "\n\n".join([
        table(
            ["words a second", "bertmini", "transformers", "speed, bertmini / transformers"],
            [["Python, lists of ids", python, "", ""], *rows],
        ),
        "Training a vocabulary on the same text, in seconds, beside the `tokenizers` library:",
        table(["pieces", "bertmini", "tokenizers", "time, bertmini / tokenizers"], training),
        where(measured),
    ])  # fmt: skip


def pretraining_step() -> str:
    measured = read("pretraining_step")
    if measured is None:
        return missing("python benchmarks/pretraining_step.py --data BOOKS")
    rows = [
        [
            f"{case['preset']}, {case['precision']}, {case['rows']}",
            f"{case['bertmini']['tokens_per_second']:,}",
            f"{case['transformers']['tokens_per_second']:,}",
            case["speed over transformers"],
            case["speed over transformers, tuned"],
            f"{case['bertmini']['peak_memory_mb']:,}",
            f"{case['transformers']['peak_memory_mb']:,}",
            f"{case['peak_flops'] / 1e9:,.0f}",
            f"{case['share_of_peak']:.0%}",
        ]
        for case in measured["cases"]
    ]
    header = ["tokens a second", "bertmini", "theirs", "ratio", "tuned", "memory", "theirs", "peak", "share"]
    alone = measured | {"gflops": {}}  # each row has its own peak
    once = [
        f"{row[0]} ({case['rows_a_round']} rows)"
        for row, case in zip(rows, measured["cases"], strict=True)
        if case.get("rounds") == 1
    ]
    told = [f"Measured in a single round, not a median of several: {'; '.join(once)}."] if once else []
    return "\n\n".join([table(header, rows), *told, where(alone)])


def padding() -> str:
    measured = read("padding")
    if measured is None:
        return missing("python benchmarks/padding.py")
    forms = ("padded", "by length", "packed")
    rows = [
        [f"{line['share of padding']:.0%}", *(f"{line[form]:,}" for form in forms)]
        for line in measured["tokens_per_second"]
    ]
    return "\n\n".join([table(["padding in a random batch", *forms], rows), where(measured)])


def preparation() -> str:
    measured = read("preparation")
    if measured is None:
        return missing("python benchmarks/preparation.py --data DATA")
    speed, grown = measured["speed"], measured["growth"]
    megabytes = [f"{speed['megabytes_per_second'][who]:.1f}" for who in ("ours", "theirs")]
    sizes = [
        [
            size,
            *(
                text
                for part in ("prepare", "read")
                for text in (f"{row[part]['nanoseconds_per_token']:,.0f}", f"{row[part]['peak_mb']:,.0f}")
            ),
        ]
        for size, row in grown.items()
        if " to " not in size
    ]
    took = {
        part: [
            1e-9 * row[part]["nanoseconds_per_token"] * row[part]["tokens"]
            for row in grown.values()
            if part in row
        ]
        for part in ("prepare", "read")
    }
    shares = [
        [case, f"{row['batch_ms']:.2f}", f"{row['share']:.1%}"] for case, row in measured["step"].items()
    ]
    return "\n\n".join([
        table(
            ["", "bertmini", "`datasets.map`", "ratio"],
            [["MB of text a second", *megabytes, f"{speed['ratio']:.2f}"]],
        ),
        "Nanoseconds for a token as the text grows, and memory at its highest, in MB:",
        table(["text", "to prepare", "memory", "to read", "memory"], sizes),
        f"The least text was prepared in {min(took['prepare']):.1f} s. The batches that were read took "
        f"{min(took['read']):.0f} to {max(took['read']):.0f} s.",
        "What of a training step is making its batch, reading, pairing and masking included:",
        table(["", "ms a batch", "of a step"], shares),
        where(measured),
    ])  # fmt: skip


def inference() -> str:
    measured = read("inference")
    if measured is None:
        return missing("python benchmarks/inference.py --data DATA --model MODEL")
    speed = measured["rows_per_second"]
    rows = [
        ["bertmini", speed["bertmini"], ""],
        ["bertmini in float32", speed["bertmini_float32"], ""],
        ["pipeline", speed["pipeline"], measured["ratio_to_pipeline"]],
        ["pipeline, bertmini in float32", speed["pipeline"], measured["ratio_to_pipeline_in_float32"]],
        ["the best loop by hand", speed["loop"], measured["ratio_to_loop"]],
    ]
    texts = [[name, f"{each:,.0f}", f"{ratio:.2f}" if ratio else ""] for name, each, ratio in rows]
    same, exact = measured["same_labels_as_pipeline"], measured["same_labels_as_pipeline_in_float32"]
    return "\n\n".join([
        table(["", "rows a second", "bertmini's speed over it"], texts),
        f"Of the {measured['rows']:,} labels {same:.2%} are those of the pipeline, in float32 {exact:.2%}.",
        where(measured),
    ])  # fmt: skip


def cost() -> str:
    measured = read("cost")
    if measured is None:
        return missing("python benchmarks/cost.py")
    rows = []
    for case, row in measured["cases"].items():
        told, real = row["predicted"], row["measured"]
        seconds = [f"{told['seconds']:.2f}", f"{real['seconds']:.2f}", f"{row['seconds_ratio']:.2f}"]
        memory = [f"{told['memory_mb']:,.0f}", f"{real['memory_mb']:,.0f}", f"{row['memory_ratio']:.2f}"]
        rows.append([case, f"{row['tokens']:,}", *seconds, *memory])
    header = ["", "tokens", "seconds, predicted", "measured", "ratio", "MB, predicted", "measured", "ratio"]
    return "\n\n".join([table(header, rows), where(measured)])


def gutenberg() -> str:
    run = (read("gutenberg") or {}).get("pretraining")
    if run is None:
        return missing("python benchmarks/gutenberg.py --pretrained RUN")
    from bertmini import viz

    dev = run["metrics"]["dev"]
    rows = [
        [
            "masked pieces right",
            f"{dev['mlm_accuracy']:.1%}",
            f"{dev['mlm_baseline_accuracy']:.1%} (most frequent piece)",
        ],
        ["perplexity", f"{dev['mlm_perplexity']:.1f}", ""],
    ]
    if "nsp_accuracy" in dev:
        chance = dev.get("nsp_baseline_accuracy")
        beside = f"{chance:.1%} (more frequent answer)" if chance else ""
        rows.append(["next sentence right", f"{dev['nsp_accuracy']:.1%}", beside])
    learned = run["metrics"]
    text = (
        f"{run['parameters']:,} parameters, {learned['steps']:,} steps in {learned['seconds'] / 60:.0f} "
        f"minutes, {learned['tokens_per_second']:,.0f} tokens a second."
    )
    pictures = [
        drawn(viz.loss_curve(run["curve"], [name], title=title))
        for name, title in (("mlm", "masked pieces"), ("nsp", "next sentence"))
        if name in run["curve"][0]
    ]
    return "\n\n".join([table(["held out", "model", "without learning"], rows), text, *pictures, where(run)])


def starts() -> dict[str, list[Measured]]:
    """The fine-tuned runs by their start; those of the side-by-side run serve where no other were named."""
    found = dict((read("gutenberg") or {}).get("finetuning", {}))
    side_by_side = read("emotion")
    if "real" not in found and side_by_side:
        found["real"] = [{"metrics": run} for run in side_by_side["bertmini"]]
    return {start: found[start] for start in STARTS if start in found}


def finetuning() -> str:
    found = starts()
    rows: list[list[Any]] = []
    for start, name in STARTS.items():
        if start not in found:
            rows.append([name, "not measured yet", "", "", ""])
            continue
        runs = [run["metrics"] for run in found[start]]
        rows.append(
            [
                name,
                len(runs),
                percent([run["dev"]["accuracy"] for run in runs]),
                percent([run["test"]["accuracy"] for run in runs]),
                decimals([run["test"]["f1_macro"] for run in runs]),
            ]
        )
    parts = [table(["start", "runs", "dev accuracy", "test accuracy", "test macro F1"], rows)]
    if len(found) < len(STARTS):
        parts.append(missing("python benchmarks/gutenberg.py --scratch RUN --own RUN --real RUN"))
    runs = [run for each in found.values() for run in each if "machine" in run]
    return "\n\n".join([*parts, *([where(runs[0])] if runs else [])])


def classes() -> str:
    """For each start the first run's table and confusion matrix on the test part."""
    from bertmini import viz

    parts = []
    for start, runs in starts().items():
        test = runs[0]["metrics"]["test"]
        rows = [
            [label, *(f"{row[name]:.3f}" for name in ("precision", "recall", "f1")), row["support"]]
            for label, row in test["classes"].items()
        ]
        name = STARTS[start].replace("*", "")
        picture = viz.confusion_matrix(test["confusion_matrix"], list(test["classes"]), title=name)
        parts += [f"**{name}**"]
        parts += [table(["label", "precision", "recall", "F1", "messages"], rows), drawn(picture)]
    return "\n\n".join(parts) or "*Not measured yet.*"


def emotion() -> str:
    measured = read("emotion")
    if measured is None:
        return missing("python benchmarks/emotion.py --data DATA --model MODEL")
    rows = [
        [
            name,
            len(measured[name]),
            f"{statistics.median(run['seconds'] for run in measured[name]):,.0f}",
            percent([run["dev"]["accuracy"] for run in measured[name]]),
            percent([run["test"]["accuracy"] for run in measured[name]]),
            decimals([run["test"]["f1_macro"] for run in measured[name]]),
        ]
        for name in ("bertmini", "transformers")
        if measured[name]
    ]
    header = ["", "runs", "seconds, median", "dev accuracy", "test accuracy", "test macro F1"]
    parts = [table(header, rows)]
    if measured["transformers"]:
        parts.append(f"bertmini takes **{measured['time_ratio']:.0%}** of the time.")
    return "\n\n".join([*parts, where(measured)])


def questions() -> str:
    measured = read("questions")
    if measured is None:
        return missing("python benchmarks/questions.py --data DATA/squad --model MODEL")
    runs = measured["runs"]
    results = {
        "transformers": ("transformers", "dev"),
        "transformers, tuned": ("transformers_tuned", "dev"),
        "bertmini": ("bertmini", "dev"),
        "bertmini, with its threshold": ("bertmini", "dev at the threshold"),
    }
    parts = ("exact", "f1", "has_answer_f1", "no_answer_f1")
    rows = [
        [name, len(runs[who]), *(percent([run[dev][part] for run in runs[who]]) for part in parts)]
        for name, (who, dev) in results.items()
        if runs[who]
    ]
    names = {who: name for name, (who, dev) in results.items() if dev == "dev" and runs[who]}
    speeds = [
        [name, *(f"{statistics.median(run[f'{kind}_windows_per_second'] for run in runs[who]):.1f}"
                 for kind in ("training", "answering"))]
        for who, name in names.items()
    ]  # fmt: skip
    header = ["", "runs", "exact match", "F1", "F1, with an answer", "F1, without"]
    told = f"{measured['rows']:,} training questions, {measured['dev_questions']:,} dev questions."
    return "\n\n".join([
        table(header, rows), told,
        table(["windows a second", "training", "answering"], speeds), where(measured),
    ])  # fmt: skip


def tagging() -> str:
    measured = read("tagging")
    if measured is None:
        return missing("python benchmarks/tagging.py --data DATA --model MODEL")
    parts = []
    if side_by_side := measured.get("fine-tuning"):
        rows = [
            [
                name,
                len(runs),
                *(percent([run[which] for run in runs]) for which in ("f1", "precision", "recall")),
                f"{statistics.median(run['seconds'] for run in runs):,.0f}",
            ]
            for name, runs in side_by_side["runs"].items()
            if runs
        ]
        header = ["WNUT 2017, test", "runs", "entity F1", "precision", "recall", "seconds, median"]
        parts.append(table(header, rows))
    if ways := measured.get("features"):
        names = list(next(iter(ways.values())))
        rows = [
            [name, *(percent([run["f1"] for run in ways[data][name]]) for data in ways)] for name in names
        ]
        parts.append(table(["entity F1, test", *ways], rows))
    return "\n\n".join([*parts, where(measured)])


def five_sets() -> str:
    script = "python benchmarks/finetuning.py --data DATA --model MODEL"
    peers = {
        "finetuning": "--peers trainer_tuned",
        "finetuning_defaults": "--name finetuning_defaults --rows 1600",
    }
    return "\n\n".join(
        beside_trainer(measured) if (measured := read(name)) else missing(f"{script} {options}")
        for name, options in peers.items()
    )


def beside_trainer(measured: Measured) -> str:
    names = {"bertmini": "bertmini", "trainer": "Trainer", "trainer_tuned": "Trainer, tuned"}
    rows = []
    for name in ("emotion", "sst2", "trec", "rte", "stsb"):
        of_set = measured.get(name, {"runs": {}})
        for who, runs in of_set["runs"].items():
            measure = of_set.get("measure", "accuracy")
            seconds = statistics.median(run["seconds"] for run in runs)
            ratio = f"{of_set['time_ratios'][who]:.2f}" if who in of_set["time_ratios"] else ""
            found = decimals([run[measure] for run in runs])
            above = f"{of_set['above'][who]:+.3f}" if who in of_set["above"] else ""
            if who in of_set["standard_error"]:
                above += f" ± {of_set['standard_error'][who]:.3f}"
            label = f"{name}, {of_set['rows']:,} rows, {names[who]}"
            rows.append([label, len(runs), f"{seconds:,.0f}", ratio, measure, found, above])
        if not of_set["runs"]:
            rows.append([f"{name}: not measured yet", "", "", "", "", "", ""])
    header = ["", "runs", "seconds, median", "times bertmini's", "measure", "dev", "bertmini above it"]
    text = (
        "Compared are runs of the same seeds, in time those with as many threads; ± is the standard error of "
        "the difference."
    )
    return "\n\n".join([table(header, rows), text, where(measured)])


def choice() -> str:
    measured = read("choice")
    if measured is None:
        return missing("python benchmarks/choice.py --data DATA --model MODEL")
    names = {"tfidf": "words in common (TF-IDF)", "option_words": "words of the option alone"}
    rows = [["guessing", "", percent([measured["chance"]]), ""]]
    rows += [[names[name], "", percent([value]), ""] for name, value in measured["baselines"].items()]
    for who, runs in ((who, runs) for who, runs in measured["runs"].items() if runs):
        seconds = f"{statistics.median(run['seconds'] for run in runs):,.0f}"
        rows.append([who, str(len(runs)), percent([run["accuracy"] for run in runs]), seconds])
    text = f"{measured['rows']:,} questions to train on, {measured['questions']:,} to answer."
    return "\n\n".join([table(["", "runs", "right", "seconds, median"], rows), text, where(measured)])


LITTLE_DATA = {
    "curves": "The Gazette's emotions over the number of labelled letters:",
    "options": "Options of `bertmini finetune classify`, one at a time, after as many updates each:",
    "rare": "One emotion left with a twentieth of its labels:",
    "domain": "From a model of general text:",
    "chinese": "Chinese reviews:",
}


def little_data() -> str:
    measured = read("little_data") or {}
    parts = []
    for part, words in LITTLE_DATA.items():
        if part not in measured:
            parts += [words, missing(f"python benchmarks/little_data.py {part}")]
            continue
        runs, header = measured[part]["runs"], ["", "runs", "accuracy", "macro F1"]
        if part == "curves":
            rows = [
                [f"{name}, {int(number):,} labels", *of_runs(results)]
                for name, of_start in runs.items()
                for number, results in of_start.items()
            ]
        elif part == "rare":
            header.append("recall of the rare one")
            label = measured[part]["label"]
            rows = [
                [name, *of_runs(results), percent([run["recalls"][label] for run in results])]
                for name, results in runs.items()
            ]
        else:
            rows = [[name, *of_runs(results)] for name, results in runs.items()]
        parts += [words, table(header, rows)]
    return "\n\n".join([*parts, *([where(measured)] if measured else [])])


def of_runs(results: Sequence[Measured]) -> list[Any]:
    """How many runs there are, and their accuracy and macro F1."""
    accuracy, f1 = ([run[name] for run in results] for name in ("accuracy", "f1_macro"))
    return [len(results), percent(accuracy), decimals(f1)]


def gazette() -> str:
    if not METRICS.exists():
        return "*Not measured yet.* The model that bertmini ships brings its own measurement, `metrics.json`."
    dev = json.loads(METRICS.read_text("utf-8"))["dev"]
    if "word_loss" not in dev:
        return "*Not measured yet.* The shipped model's `metrics.json` does not hold the limit."
    rows = [
        ["loss, nats", *(f"{dev[f'{who}_loss']:.3f}" for who in ("word", "limit"))],
        ["words right", *(f"{dev[f'{who}_accuracy']:.1%}" for who in ("word", "limit"))],
    ]
    distance = round(dev["word_loss"], 3) - round(dev["limit_loss"], 3)  # as the table has them
    parts = [
        table(["one masked word", "shipped model", "best possible"], rows),
        f"The model's loss is **{distance:.3f} nats** above the limit, on words that are one piece, in "
        "documents that fit its window.",
        table(
            ["masked pieces, as in training", "shipped model", "most frequent piece"],
            [["right", f"{dev['mlm_accuracy']:.1%}", f"{dev['mlm_baseline_accuracy']:.1%}"]],
        ),
    ]
    if "nsp_accuracy" in dev:
        parts.append(f"Next sentence: {dev['nsp_accuracy']:.1%} right.")
    return "\n\n".join(parts)


RUNS = ("tiny, random weights", "tiny, pretrained", "mini, random weights", "mini, pretrained")
SATURATED = 0.99  # of the ceiling
MEASURES = {"accuracy": "accuracy", "f1": "F1", "pearson": "Pearson", "bleu": "BLEU / 100"}


def as_share(of_task: Measured, value: float) -> float:
    """A measure of a task of the Gazette from 0 to 1; BLEU goes to 100."""
    return value / 100 if of_task["settings"]["measure"] == "bleu" else value


def reached(of_task: Measured) -> dict[str, float]:
    """What each kind of model gets on a task, the mean of its runs, and what words alone get."""
    measure = of_task["settings"]["measure"]
    means = {
        name: statistics.mean(run[measure] for run in runs) for name, runs in of_task["runs"].items() if runs
    }
    found = {"words alone": of_task["baseline"]} | means
    return {name: as_share(of_task, value) for name, value in found.items()}


def chance(texts: int) -> float:
    """Two standard errors of the difference of two shares near 0.75 of so many texts."""
    return 2 * (2 * 0.75 * 0.25 / texts) ** 0.5


def out_of_order(found: dict[str, float], texts: int) -> list[str]:
    """What should be better on a task and is worse, by more than chance explains with so many test texts."""
    should = [
        ("tiny, pretrained", "tiny, random weights"), ("mini, pretrained", "mini, random weights"),
        ("mini, pretrained", "tiny, pretrained"), ("mini, pretrained", "words alone"),
    ]  # fmt: skip
    return [
        f"*{better}* is below *{worse}*"
        for better, worse in should
        if better in found and worse in found and found[better] < found[worse] - chance(texts)
    ]


def gazette_tasks() -> str:
    measured = read("gazette")
    if measured is None:
        return missing("python benchmarks/gazette.py --cache DIR")
    columns = ["words alone", *RUNS]
    rows, balance, wrong, saturated = [], [], [], []
    for name, of_task in measured["tasks"].items():
        settings, counts = of_task["settings"], of_task["labels"]
        found, ceiling = reached(of_task), as_share(of_task, of_task["ceiling"])
        cells = [f"{found[column]:.2f}" if column in found else "" for column in columns]
        best = f"{'≥ ' if of_task['known'] == 'at least' else ''}{ceiling:.2f}"
        label = f"{name}, {MEASURES[settings['measure']]}"
        rows.append([label, f"{settings['rows']:,} × {settings['epochs']}", *cells, best])
        if faults := out_of_order(found, settings["test"]):
            wrong.append(f"{name} ({', '.join(faults)})")
        if max(found.values()) > SATURATED * ceiling:
            saturated.append(name)
        shares = [f"{label} {count / sum(counts.values()):.1%}" for label, count in counts.items()]
        again = f"{of_task['collisions']} of {settings['test']:,}"
        balance.append([name, len(counts), shares[0], shares[-1], again])
    corpus = measured["corpus"]
    again = ", ".join(f"{number} of {split}" for split, number in corpus["collisions"].items())
    return "\n\n".join([
        table(["", "rows × epochs", *columns, "best possible"], rows),
        "What is blank has not been measured yet: `python benchmarks/gazette.py --cache DIR` goes on with it."
        if any("" in row for row in rows) else "",
        f"Within a hundredth of the best possible: {', '.join(saturated) or 'none'}.",
        "In the wrong order, by more than two standard errors of a difference: "
        f"{'; '.join(wrong) or 'none'}.",
        "Labels in the training rows, and test examples that stand in them too:",
        table(["", "labels", "commonest", "rarest", "in both parts"], balance),
        f"The corpus writes {corpus['documents']:,} documents in {corpus['seconds']:.1f} seconds. Of the "
        f"first thousand of each other split so many stand among them: {again}.",
        where(measured),
    ])  # fmt: skip


def vectors() -> str:
    measured = read("vectors")
    if measured is None:
        return missing("python benchmarks/vectors.py --data DATA --model MODEL")
    rows = [
        [f"{name}, not trained here", "", "", f"{row['pearson']:.3f}", f"{row['spearman']:.3f}"]
        for name, row in measured["untrained"].items()
    ]
    ratios = []
    for kind, by_whom in measured["trained"].items():
        medians = {who: statistics.median(run["seconds"] for run in runs) for who, runs in by_whom.items()}
        ratios.append(f"{medians['bertmini'] / medians['transformers']:.0%} for the {kind}")
        for who, runs in by_whom.items():
            numbers = (decimals([run[name] for run in runs]) for name in ("pearson", "spearman"))
            rows.append([f"{kind}, {who}", str(len(runs)), f"{medians[who]:,.0f}", *numbers])
    cost = measured["cost"]
    return "\n\n".join([
        table(["", "runs", "seconds, median", "Pearson", "Spearman"], rows),
        f"Trained on {measured['rows']:,} pairs. bertmini takes so much of the plain loop's time: "
        f"{', '.join(ratios)}.",
        f"To compare {cost['texts']:,} texts with each other takes the bi-encoder "
        f"{cost['bi_encoder_seconds']:,.0f} seconds, and the cross-encoder would take "
        f"{cost['cross_encoder_seconds'] / 3600:,.0f} hours, at the {cost['pairs_per_second']:,.0f} pairs a "
        "second that it reads here.",
        where(measured),
    ])  # fmt: skip


def translation() -> str:
    measured = read("translation")
    if measured is None:
        return missing("python benchmarks/translation.py --minutes 8 --vocab-size 1000")
    systems = {"bertmini": "one encoder with a mask", "encoder_decoder": "encoder and decoder"}
    rows = []
    for name, of_set in measured["sets"].items():
        for system, words in systems.items():
            runs = [run[system] for run in of_set["runs"]]
            bleu = statistics.mean(run["bleu_greedy"] for run in runs)
            beams = [run["bleu_beams"] for run in runs if "bleu_beams" in run]
            rows.append([
                f"{name}: {words}", len(runs), f"{runs[0]['parameters'] / 1e6:.1f}",
                f"{statistics.mean(run['seconds'] for run in runs) / 60:.1f}",
                f"{statistics.mean(run['epochs'] for run in runs):.1f}", f"{bleu:.1f}",
                f"{statistics.mean(beams):.1f}" if beams else "",
            ])  # fmt: skip
    header = ["", "runs", "million parameters", "minutes", "epochs", "BLEU, greedy", "BLEU, 4 beams"]
    return "\n\n".join([table(header, rows), where(measured)])


def distillation() -> str:
    measured = read("distillation")
    if measured is None:
        return missing("python benchmarks/distillation.py gazette --cache DIR")
    parts = []
    for name, words in {"gazette": "the Gazette", "real": "real emotions"}.items():
        if name not in measured:
            parts += [f"**{words}**", missing(f"python benchmarks/distillation.py {name}")]
            continue
        of_set = measured[name]
        scores = of_set["scores"]
        tasks = list(scores["teacher"])
        rows = []
        for who, of_tasks in scores.items():
            seeds = min((list(of_tasks[task]) for task in tasks), key=len)  # measured on all tasks
            shares = [
                statistics.mean(of_tasks[task][seed] for task in tasks)
                / statistics.mean(scores["teacher"][task][seed] for task in tasks)
                for seed in seeds
            ]
            means = [percent([statistics.mean(of_tasks[task].values())]) for task in tasks]
            rows.append([who, len(seeds), *means, percent(shares)])
        parts += [f"**{words}**", table(["", "seeds", *tasks, "of the teacher's"], rows)]
        costs = [
            [
                who,
                *(f"{of_set[kind][who] / 1e6:.2f}" for kind in ("parameters", "of the layers")),
                *(f"{1e3 * seconds:.1f}" for seconds in of_shape.values()),
            ]
            for who, of_shape in of_set["seconds"].items()
        ]
        shapes = list(of_set["seconds"]["teacher"])
        header = ["", "million parameters", "in the layers", *(f"ms, {shape}" for shape in shapes)]
        times = of_set["seconds"]
        faster = [f"{times['teacher'][shape] / times['student'][shape]:.2f} at {shape}" for shape in shapes]
        parts += [table(header, costs), f"So many times faster is the student: {', '.join(faster)}."]
    return "\n\n".join([*parts, where(measured)])


def compress() -> str:
    measured = read("compress")
    if measured is None:
        return missing("python benchmarks/compress.py gazette --work DIR")
    from bertmini import viz

    parts = []
    for name, words in {"gazette": "the Gazette's emotions", "real": "real emotions"}.items():
        if name not in measured:
            parts += [f"**{words}**", missing(f"python benchmarks/compress.py {name} --work DIR")]
            continue
        of_set = measured[name]
        shapes = list(of_set["models"]["whole"]["seconds"])
        rows = [
            [
                variant,
                percent([each["accuracy"]]) if "accuracy" in each else "",
                *(f"{each[size] / 1e6:.1f}" if size in each else "" for size in ("bytes", "zipped_bytes")),
                *(f"{1e3 * each['seconds'][shape]['median']:.2f}" for shape in shapes),
            ]
            for variant, each in of_set["models"].items()
        ]
        told = (
            f"{of_set['rows']:,} texts to learn from, {of_set['test_rows']:,} to answer; {of_set['epochs']} "
            f"epochs, and {of_set['again']} after or during pruning."
        )
        fronts = [f"{shape}: {', '.join(names)}" for shape, names in of_set["fronts"].items()]
        best, dots = of_set["fronts"][shapes[0]], {}
        for variant, each in of_set["models"].items():
            if "accuracy" in each and "bytes" in each:
                cost = 1e3 * each["seconds"][shapes[0]]["median"]
                dots[variant] = (cost, each["accuracy"], each["bytes"] / 1e6)
        picture = viz.trade_off(
            dots, [variant for variant in best if variant in dots], f"milliseconds, {shapes[0]}",
            "accuracy, test", title=f"quality and time, {words}; the area is the size",
        )  # fmt: skip
        header = ["", "accuracy", "MB", "MB, zipped", *(f"ms, {shape}" for shape in shapes)]
        parts += [f"**{words}**", table(header, rows), told]
        parts += [f"What nothing beats, the cheapest first. {'; '.join(fronts)}.", drawn(picture)]
    return "\n\n".join([*parts, where(measured)])


SECTIONS: dict[str, Callable[[], str]] = {
    function.__name__: function
    for function in (
        tokenizer,
        pretraining_step,
        padding,
        preparation,
        inference,
        cost,
        gutenberg,
        finetuning,
        classes,
        emotion,
        questions,
        tagging,
        five_sets,
        vectors,
        choice,
        translation,
        little_data,
        distillation,
        compress,
        gazette,
        gazette_tasks,
    )
}


def filled(text: str) -> str:
    """The page with its places filled.

    Raises:
        KeyError: for a place that no function fills.
    """
    return PLACE.sub(lambda match: SECTIONS[match[1]](), text)


def fill(app: Sphinx, page: str, content: list[str]) -> None:
    if page == PAGE:
        content[0] = filled(content[0])


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("source-read", fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
