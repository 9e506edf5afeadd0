"""Similarity of sentences: vectors as they are, a bi-encoder and a cross-encoder; quality, time, and cost.

The start is the 6-layer model, which others have already trained for sentence vectors, so that its raw
numbers are given too; the data are STS-B, its dev part being what is measured on and nothing being chosen by
it. Bi-encoder and cross-encoder are trained by bertmini and by the plain loop that guides to transformers
show, with one recipe: the same epochs, batch, learning rate and loss, in bf16; the four take turns. Then: how
long would it take to compare 10,000 texts with each other?

    python benchmarks/vectors.py --data DATA --model MODEL [--rows 5749] [--seeds 3]
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import earlier, save
from torch.nn import functional as F

from bertmini import Bert, Embedder, Predictor, WordPieceTokenizer
from bertmini.data.task_files import Example
from bertmini.machine import keep_freed_memory
from bertmini.tasks import finetune, load_for_task, regress, task_options, vectors

EPOCHS, BATCH, LEARNING_RATE, MAX_LENGTH = 3, 16, 1e-4, 128
TEXTS = 10_000  # to be compared with each other
Pairs = Sequence[Example]
Score = Callable[[Pairs], list[float]]  # a number for each pair


def correlations(scores: Sequence[float], pairs: Pairs) -> dict[str, float]:
    labels = np.array([pair.label for pair in pairs], dtype=np.float64)
    measured = regress.measure(np.array(scores)[:, None], labels, ())
    return {name: measured[name] for name in ("pearson", "spearman")}


def words_in_common(pairs: Pairs) -> list[float]:
    """The share of all words of a pair that both texts have: what can be said without a model."""
    words = [tuple(set(text.lower().split()) for text in (pair.text, str(pair.pair))) for pair in pairs]
    return [len(one & other) / max(1, len(one | other)) for one, other in words]


@torch.no_grad()
def raw_first(directory: Path, pairs: Pairs) -> list[float]:
    """Cosines of the last hidden states of [CLS]."""
    model, tokenizer = Bert.from_pretrained(directory), WordPieceTokenizer.from_pretrained(directory)
    found: list[float] = []
    for some in chunks(pairs, 64):
        texts = [text for pair in some for text in (pair.text, str(pair.pair))]
        batch = tokenizer(texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        first = model(**batch).last_hidden_state[:, 0]  # [texts, hidden]
        found += F.cosine_similarity(first[::2], first[1::2]).tolist()
    return found


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def bertmini(task: Any, train: Pairs, directory: Path, seed: int) -> Predictor:
    """What `bertmini finetune vectors` and `bertmini finetune regress` do, without a look at the dev part."""
    tokenizer, splits = WordPieceTokenizer.from_pretrained(directory), {"train": list(train)}
    tokenizer.model_max_length = MAX_LENGTH
    model = load_for_task(task, splits["train"], directory, seed=seed)
    options = task_options(
        task, splits, EPOCHS, learning_rate=LEARNING_RATE, batch_size=BATCH, seed=seed, warmup_share=0.1
    )
    finetune(task, splits, model, tokenizer, options, max_length=MAX_LENGTH)
    return Predictor(model, tokenizer)


def transformers(task: Any, train: Pairs, directory: Path, seed: int) -> Score:
    """The loop that guides to transformers show: shuffled batches, padded to their longest, float32."""
    from transformers import (
        AutoModel,
        AutoModelForSequenceClassification,
        AutoTokenizer,
        get_linear_schedule_with_warmup,
    )

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    is_pair_model = task is regress
    if is_pair_model:
        model = AutoModelForSequenceClassification.from_pretrained(directory, num_labels=1)
        torch.nn.init.constant_(model.classifier.bias, regress.start(train))  # bertmini begins there, too
    else:
        model = AutoModel.from_pretrained(directory)

    def tokens(*texts: list[str]) -> Any:
        return tokenizer(*texts, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")

    def mean(texts: list[str]) -> torch.Tensor:
        batch = tokens(texts)
        real = batch["attention_mask"][:, :, None]
        return (model(**batch).last_hidden_state * real).sum(dim=1) / real.sum(dim=1)

    def scores(pairs: Pairs) -> torch.Tensor:
        one, other = [pair.text for pair in pairs], [str(pair.pair) for pair in pairs]
        if is_pair_model:
            return model(**tokens(one, other)).logits.squeeze(-1)
        return F.cosine_similarity(mean(one), mean(other))

    highest = 1.0 if is_pair_model else max(float(pair.label or 0) for pair in train)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.01)
    steps = EPOCHS * -(-len(train) // BATCH)
    schedule = get_linear_schedule_with_warmup(optimizer, round(0.1 * steps), steps)
    model.train()
    dice = random.Random(seed)
    for _ in range(EPOCHS):
        for some in chunks(dice.sample(list(train), len(train)), BATCH):
            labels = torch.tensor([float(pair.label or 0) / highest for pair in some])
            with torch.autocast("cpu", torch.bfloat16):  # as bertmini takes it; a cosine needs its digits
                found = scores(some).float()
            F.mse_loss(found, labels).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    model.eval()

    @torch.inference_mode()
    def answers(pairs: Pairs) -> list[float]:
        return [score for some in chunks(pairs, 64) for score in scores(some).tolist()]

    return answers


def cost(bi_encoder: Predictor, cross_encoder: Predictor, pairs: Pairs) -> dict[str, float]:
    """Seconds to compare TEXTS texts with each other, from the speed on these pairs."""
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.text, str(pair.pair))))
    embedder = Embedder(bi_encoder.model, bi_encoder.tokenizer)
    started = time.perf_counter()
    found = embedder(texts)
    a_text = (time.perf_counter() - started) / len(texts)
    many = np.resize(found, (TEXTS, found.shape[1]))
    started = time.perf_counter()
    for some in chunks(many, 1000):
        some @ many.T
    products = time.perf_counter() - started
    started = time.perf_counter()
    cross_encoder([(pair.text, str(pair.pair)) for pair in pairs])
    a_pair = (time.perf_counter() - started) / len(pairs)
    return {
        "texts": TEXTS,
        "texts_per_second": 1 / a_text,
        "pairs_per_second": 1 / a_pair,
        "bi_encoder_seconds": TEXTS * a_text + products,
        "cross_encoder_seconds": TEXTS * (TEXTS - 1) / 2 * a_pair,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="directory with stsb/")
    parser.add_argument("--model", type=Path, required=True, help="directory of the 6-layer model")
    parser.add_argument("--rows", type=int, help="training pairs; without it all")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    keep_freed_memory()
    splits = vectors.read(str(options.data / "stsb"))
    dev, rows = splits["dev"], min(options.rows or len(splits["train"]), len(splits["train"]))
    pairs = [(pair.text, str(pair.pair)) for pair in dev]
    embedder = Embedder.from_pretrained(options.model)
    one, other = (embedder(list(texts)) for texts in zip(*pairs, strict=True))
    settings = {"rows": rows, "epochs": EPOCHS, "batch_size": BATCH, "learning_rate": LEARNING_RATE}
    result: dict[str, Any] = settings | {
        "untrained": {
            "words in common": correlations(words_in_common(dev), dev),
            "[CLS]": correlations(raw_first(options.model, dev), dev),
            "mean": correlations((one * other).sum(axis=1).tolist(), dev),
        },
        "trained": {kind: {"bertmini": [], "transformers": []} for kind in ("bi-encoder", "cross-encoder")},
    }
    if before := earlier("vectors", settings):
        result["trained"] = before["trained"]
    print(json.dumps(result["untrained"], indent=2), flush=True)
    for seed in range(len(result["trained"]["cross-encoder"]["transformers"]), options.seeds):
        train = random.Random(seed).sample(splits["train"], rows)
        ours: dict[str, Predictor] = {}
        for kind, task in (("bi-encoder", vectors), ("cross-encoder", regress)):
            for who in ("bertmini", "transformers"):
                started = time.perf_counter()
                if who == "bertmini":
                    predictor = ours[kind] = bertmini(task, train, options.model, seed)
                    seconds = time.perf_counter() - started
                    scores = [answer["score"] for answer in predictor(pairs)]
                else:
                    answers = transformers(task, train, options.model, seed)
                    seconds = time.perf_counter() - started
                    scores = answers(dev)
                run = {"seed": seed, "threads": torch.get_num_threads(), "seconds": seconds}
                run |= correlations(scores, dev)
                result["trained"][kind][who].append(run)
                print(kind, who, run, flush=True)
        result["cost"] = cost(ours["bi-encoder"], ours["cross-encoder"], dev)
        save("vectors", result)
        print(json.dumps(result["cost"], indent=2), flush=True)


if __name__ == "__main__":
    main()
