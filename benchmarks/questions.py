"""Question answering on SQuAD 2.0: bertmini against plain transformers, same recipe, taking turns.

The start is a pretrained 6-layer model, the data a part of SQuAD 2.0 that is split by article. Windows of
384 tokens that overlap, batches of 16, two epochs, linear warm-up and decay; so many training questions,
drawn by the seed. The peer is what transformers' own example does: windows of the tokenizer, all padded to
384, float32, the twenty best starts and ends, "no answer" where it scores higher; `tuned` has batches padded
to their longest row, and bf16. The example's windows overlap by 128 tokens, ours begin 128 further on, and
are a few more. Nobody looks at the dev part. The last tenth of the training questions, nearly all of them
about other articles, is held out: on those bertmini chooses its threshold; its result is given without it,
too. The rules are the official ones.

    python benchmarks/questions.py --data DATA/squad --model MODEL [--rows 4000] [--seeds 3] [--peers …]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import earlier, save

from bertmini.data.questions import Question, read_questions
from bertmini.machine import keep_freed_memory
from bertmini.tasks.squad import measure

WINDOW, OVERLAP, BATCH, EPOCHS, LEARNING_RATE = 384, 128, 16, 2, 2e-4
Result = dict[str, Any]


def bertmini(learned: list[Question], held_out: list[Question], dev: list[Question],
             directory: Path, seed: int) -> Result:  # fmt: skip
    """What `bertmini finetune qa` does, and its answers."""
    from bertmini import Predictor, WordPieceTokenizer
    from bertmini.tasks import finetune, load_for_task, qa, task_options

    started = time.perf_counter()
    tokenizer = WordPieceTokenizer.from_pretrained(directory)
    tokenizer.model_max_length = WINDOW
    model = load_for_task(qa, learned, directory, seed=seed)
    rows = qa.rows(learned, tokenizer, WINDOW)
    settings = {"learning_rate": LEARNING_RATE, "batch_size": BATCH, "seed": seed}
    options = task_options(qa, {"train": learned}, EPOCHS, rows=rows, **settings)
    finetune(qa, {"train": learned}, model, tokenizer, options, max_length=WINDOW, progress=False)
    trained = time.perf_counter()
    predictor = Predictor(model, tokenizer, precision="auto")
    found = predictor([(question.question, question.context) for question in dev])
    answered = time.perf_counter()
    qa.settle(model, qa.data(held_out, tokenizer, model.config, max_length=WINDOW))
    threshold = qa.threshold_of(model.config)
    assert threshold is not None
    always = [each["best"][0]["answer"] for each in found]
    results = {}
    for name, limit in (("at 0", 0.0), ("at the threshold", threshold)):
        told = [
            answer if each["null_score"] <= limit else "" for answer, each in zip(always, found, strict=True)
        ]
        results[name] = measure(dev, told)
    windows = qa.rows(dev, tokenizer, WINDOW)
    return timed(started, trained, answered, EPOCHS * rows, windows) | {
        "dev": results["at 0"], "dev at the threshold": results["at the threshold"], "threshold": threshold,
    }  # fmt: skip


def timed(started: float, trained: float, answered: float, rows: int, windows: int) -> Result:
    return {
        "seconds": trained - started,
        "training_windows_per_second": rows / (trained - started),
        "answering_windows_per_second": windows / (answered - trained),
    }


def transformers(learned: list[Question], held_out: list[Question], dev: list[Question],
                 directory: Path, seed: int, tuned: bool = False) -> Result:  # fmt: skip
    """What transformers' example for question answering does, in a plain loop."""
    from transformers import AutoModelForQuestionAnswering, AutoTokenizer, get_linear_schedule_with_warmup

    started = time.perf_counter()
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForQuestionAnswering.from_pretrained(directory)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)

    def encode(questions: list[Question]) -> Any:
        return tokenizer(
            [question.question for question in questions], [question.context for question in questions],
            truncation="only_second", max_length=WINDOW, stride=OVERLAP, return_overflowing_tokens=True,
            return_offsets_mapping=True, padding=False if tuned else "max_length",
        )  # fmt: skip

    def batch(features: Any, rows: list[int]) -> Any:
        names = ("input_ids", "token_type_ids", "attention_mask")
        return tokenizer.pad(
            {name: [features[name][row] for row in rows] for name in names}, return_tensors="pt"
        )

    def precision() -> Any:
        return torch.autocast("cpu", torch.bfloat16, enabled=tuned)

    features = encode(learned)
    targets = torch.tensor([target(features, row, learned) for row in range(len(features["input_ids"]))])
    steps = EPOCHS * -(-len(targets) // BATCH)
    schedule = get_linear_schedule_with_warmup(optimizer, steps // 10, steps)
    model.train()
    for _ in range(EPOCHS):
        order = torch.randperm(len(targets)).tolist()
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            starts, ends = targets[rows].T
            with precision():
                loss = model(**batch(features, rows), start_positions=starts, end_positions=ends).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    trained = time.perf_counter()
    model.eval()
    asked = encode(dev)
    logits = []
    for start in range(0, len(asked["input_ids"]), BATCH):
        rows = list(range(start, min(start + BATCH, len(asked["input_ids"]))))
        with torch.inference_mode(), precision():
            output = model(**batch(asked, rows))
        logits += list(
            zip(output.start_logits.float().tolist(), output.end_logits.float().tolist(), strict=True)
        )
    found = answers(asked, logits, dev)
    answered = time.perf_counter()
    times = timed(started, trained, answered, EPOCHS * len(targets), len(logits))
    return times | {"dev": measure(dev, found)}


def target(features: Any, row: int, questions: list[Question]) -> tuple[int, int]:
    """The tokens of the first answer, or [CLS]."""
    question = questions[features["overflow_to_sample_mapping"][row]]
    if not question.answers:
        return 0, 0
    start = question.answers[0].start
    end = start + len(question.answers[0].text)
    inside = [
        i
        for i, ((first, last), part) in enumerate(
            zip(features["offset_mapping"][row], features.sequence_ids(row), strict=True)
        )
        if part == 1 and first < end and start < last
    ]
    offsets = features["offset_mapping"][row]
    is_whole = inside and offsets[inside[0]][0] <= start and end <= offsets[inside[-1]][1]
    return (inside[0], inside[-1]) if is_whole else (0, 0)


def answers(
    features: Any, logits: list[tuple[list[float], list[float]]], questions: list[Question]
) -> list[str]:
    """The best answer of each question among its windows' twenty best starts and ends; "" where none wins."""
    best = [(float("-inf"), "")] * len(questions)
    nulls = [float("inf")] * len(questions)
    for row, (starts, ends) in enumerate(logits):
        number = features["overflow_to_sample_mapping"][row]
        parts, offsets = features.sequence_ids(row), features["offset_mapping"][row]
        nulls[number] = min(nulls[number], starts[0] + ends[0])
        twenty = [
            sorted(range(len(side)), key=side.__getitem__, reverse=True)[:20] for side in (starts, ends)
        ]
        for i in twenty[0]:
            for j in twenty[1]:
                if i <= j < i + 30 and parts[i] == parts[j] == 1:
                    text = questions[number].context[offsets[i][0] : offsets[j][1]]
                    best[number] = max(best[number], (starts[i] + ends[j], text), key=lambda each: each[0])
    return [text if score > null else "" for (score, text), null in zip(best, nulls, strict=True)]


CONTESTANTS: dict[str, Callable[..., Result]] = {
    "bertmini": bertmini,
    "transformers": transformers,
    "transformers_tuned": lambda *given: transformers(*given, tuned=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory with SQuAD's train and dev file")
    parser.add_argument("--model", type=Path, required=True, help="directory of the pretrained 6-layer model")
    parser.add_argument("--rows", type=int, default=4000, help="training questions")
    parser.add_argument("--dev-rows", type=int, default=None, help="dev questions; default: all")
    parser.add_argument("--seeds", type=int, default=3)
    peers = [who for who in CONTESTANTS if who != "bertmini"]
    parser.add_argument("--peers", nargs="*", choices=peers, default=peers)
    options = parser.parse_args()
    keep_freed_memory()
    splits = read_questions(options.data)
    dev = splits["dev"][: options.dev_rows]
    # Questions of one article stand together, so that the last tenth is of others, but for one.
    edge = len(splits["train"]) * 9 // 10
    learned, held_out = splits["train"][:edge], splits["train"][edge:]
    if options.dev_rows:
        held_out = held_out[: options.dev_rows]
    rows = min(options.rows, len(learned))
    settings = {"rows": rows, "dev_questions": len(dev), "window": WINDOW, "batch_size": BATCH,
                "epochs": EPOCHS, "learning_rate": LEARNING_RATE}  # fmt: skip
    runs: dict[str, list[Result]] = {contestant: [] for contestant in CONTESTANTS}
    runs |= earlier("questions", settings).get("runs", {})
    for seed in range(options.seeds):
        chosen = random.Random(seed).sample(learned, rows)
        for contestant in ("bertmini", *options.peers):
            if any(run["seed"] == seed for run in runs[contestant]):
                continue
            found = CONTESTANTS[contestant](chosen, held_out, dev, options.model, seed)
            runs[contestant].append({"seed": seed, "threads": torch.get_num_threads()} | found)
            print(contestant, json.dumps(runs[contestant][-1]), flush=True)
            save("questions", settings | {"runs": runs})
    speeds = {
        speed: {who: statistics.median(run[speed] for run in of) for who, of in runs.items() if of}
        for speed in ("training_windows_per_second", "answering_windows_per_second")
    }
    ratios = {
        speed: {who: of["bertmini"] / of[who] for who in of if who != "bertmini"}
        for speed, of in speeds.items()
    }
    save("questions", settings | {"runs": runs, "ratios": ratios})
    print(json.dumps(ratios, indent=2))


if __name__ == "__main__":
    main()
