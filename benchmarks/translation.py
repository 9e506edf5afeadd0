"""Translation from scratch: one encoder with a mask beside an encoder and a decoder, in the same time.

Both learn from the same batches, with the same vocabulary, rate and minutes, on the same machine, one after
the other: bertmini's model of size mini (four layers, which read and write), and PyTorch's own nn.Transformer
of the same width with two layers that read and two that write. Both write greedily, bertmini also with beams.

    python benchmarks/translation.py --minutes 8 --vocab-size 1000
    python benchmarks/translation.py --data multi30k --text-columns de --label-column en --minutes 30
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from machine import earlier, save
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from bertmini import BertConfig, WordPieceTokenizer
from bertmini.data.parallel import Parallel, read_parallel
from bertmini.machine import keep_freed_memory
from bertmini.model.bert import BertOutput
from bertmini.model.heads import IGNORED, mean_cross_entropy
from bertmini.model.seq2seq import BertForSequenceToSequence
from bertmini.tasks import seq2seq
from bertmini.tasks.decoding import Decoding
from bertmini.training import Options, train

NAME = "translation"
MAX_LENGTH = 128


class EncoderDecoder(nn.Module):
    """nn.Transformer with what it leaves to its users: embeddings, positions and a tied output layer."""

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        width, layers = config.hidden_size, config.num_hidden_layers // 2
        self.words = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        self.positions = nn.Embedding(config.max_position_embeddings, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.transformer = nn.Transformer(
            width,
            config.num_attention_heads,
            layers,
            layers,
            config.intermediate_size,
            config.hidden_dropout_prob,
            "gelu",
            batch_first=True,
        )
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        nn.init.normal_(self.words.weight, std=config.initializer_range)
        nn.init.normal_(self.positions.weight, std=config.initializer_range)

    def embed(self, ids: Tensor) -> Tensor:
        positions = torch.arange(ids.size(1), device=ids.device)
        return self.dropout(self.norm(self.words(ids) + self.positions(positions)))

    def read(self, source: Tensor) -> Tensor:
        return self.transformer.encoder(self.embed(source), src_key_padding_mask=source == 0)

    def write(self, target: Tensor, memory: Tensor, source: Tensor) -> Tensor:
        """Hidden states [batch, length, hidden] of the target so far."""
        hidden = nn.Transformer.generate_square_subsequent_mask(target.size(1), device=target.device)
        return self.transformer.decoder(
            self.embed(target),
            memory,
            tgt_mask=hidden,
            memory_key_padding_mask=source == 0,
            tgt_is_causal=True,
        )

    def predict(self, states: Tensor) -> Tensor:
        return F.linear(states, self.words.weight, self.bias)

    def forward(
        self, input_ids: Tensor, token_type_ids: Tensor, attention_mask: Tensor, labels: Tensor
    ) -> BertOutput:
        """The same batch as bertmini's, taken apart: the target is what has a label, its start the [SEP]."""
        is_source = (token_type_ids == 0) & (input_ids != 0)
        source = pad_sequence([row[keep] for row, keep in zip(input_ids, is_source, strict=True)], True)
        has_label = labels != IGNORED
        target = pad_sequence([row[keep] for row, keep in zip(input_ids, has_label, strict=True)], True)
        states = self.write(target, self.read(source), source)
        output = BertOutput(states)
        output.losses["seq2seq"] = mean_cross_entropy(self.predict(states[target != 0]), labels[has_label])
        return output


@torch.no_grad()
def write_greedily(model: EncoderDecoder, tokenizer: WordPieceTokenizer, texts: Sequence[str]) -> list[str]:
    """Translations, in batches by length; the whole target is read again for every piece."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    written = [""] * len(texts)
    forbidden = [i for i in tokenizer.all_special_ids if i != tokenizer.sep_token_id]
    for start in range(0, len(order), 100):
        chosen = order[start : start + 100]
        how = {"padding": True, "truncation": True, "max_length": MAX_LENGTH, "return_tensors": "pt"}
        source = tokenizer([texts[i] for i in chosen], **how)["input_ids"]
        memory, target = model.read(source), torch.full((len(chosen), 1), tokenizer.sep_token_id)
        is_open = torch.ones(len(chosen), dtype=torch.bool)
        while is_open.any() and target.size(1) < MAX_LENGTH:
            logits = model.predict(model.write(target, memory, source)[:, -1])
            logits[:, forbidden] = float("-inf")
            piece = logits.argmax(dim=-1).masked_fill(~is_open, 0)
            target, is_open = (
                torch.cat([target, piece[:, None]], 1),
                is_open & (piece != tokenizer.sep_token_id),
            )
        for i, row in zip(chosen, target.tolist(), strict=True):
            written[i] = seq2seq.spaced(tokenizer.decode(row, skip_special_tokens=True))
    return written


def learn(model: Any, data: Any, dev: Any, options: Options) -> dict[str, Any]:
    """Train for the minutes; how far that came."""
    history = train(model, data.batch, options, evaluate=lambda model: seq2seq.watch(model, dev))
    steps, losses = history.curve("loss", "dev")
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": history.progress.step,
        "epochs": history.progress.step / len(data),
        "seconds": history.progress.seconds,
        "dev_loss": dict(zip(steps, losses, strict=True)),
        "best_step": history.progress.best_step,
    }


def bertmini(splits: dict, tokenizer: Any, config: BertConfig, options: Options, data: Any) -> dict[str, Any]:
    torch.manual_seed(options.seed)
    model = BertForSequenceToSequence(config)
    measured = learn(model, data["train"], data["dev"], options)
    for name, how in (("greedy", Decoding(1)), ("beams", Decoding(4))):
        started = time.perf_counter()
        sources = [pair.source for pair in splits["test"]]
        written = [answer["text"] for answer in seq2seq.predict(model, tokenizer, sources, how=how)]
        measured[f"bleu_{name}"] = seq2seq.bleu(written, [pair.target for pair in splits["test"]], tokenizer)
        measured[f"writing_{name}"] = time.perf_counter() - started
    measured["samples"] = [
        {"source": pair.source, "target": pair.target, "written": text}
        for pair, text in zip(splits["test"][:5], written, strict=False)
    ]
    return measured | {"test_loss": seq2seq.watch(model, data["test"])["loss"]}


def encoder_decoder(
    splits: dict, tokenizer: Any, config: BertConfig, options: Options, data: Any
) -> dict[str, Any]:
    torch.manual_seed(options.seed)
    model = EncoderDecoder(config)
    torch.backends.mha.set_fastpath_enabled(False)  # it does not look at autocast on the CPU
    measured = learn(model, data["train"], data["dev"], options)
    started = time.perf_counter()
    written = write_greedily(model, tokenizer, [pair.source for pair in splits["test"]])
    measured["bleu_greedy"] = seq2seq.bleu(written, [pair.target for pair in splits["test"]], tokenizer)
    measured["writing_greedy"] = time.perf_counter() - started
    return measured | {"test_loss": seq2seq.watch(model, data["test"])["loss"]}


SYSTEMS = {"bertmini": bertmini, "encoder_decoder": encoder_decoder}


def run(splits: dict[str, list[Parallel]], arguments: argparse.Namespace, seed: int) -> dict[str, Any]:
    texts = (text for pair in splits["train"] for text in (pair.source, pair.target or ""))
    tokenizer = WordPieceTokenizer.train(
        texts, arguments.vocab_size, lowercase=not arguments.cased, model_max_length=MAX_LENGTH
    )
    config = BertConfig.preset("mini", vocab_size=len(tokenizer), max_position_embeddings=MAX_LENGTH)
    settings = (tokenizer, config, arguments.batch_size, MAX_LENGTH, seed)
    data = {part: seq2seq.data(examples, *settings) for part, examples in splits.items()}
    options = Options(
        minutes=arguments.minutes,
        learning_rate=arguments.learning_rate,
        batch_size=arguments.batch_size,
        evaluate_every=len(data["train"]),
        metric="loss",
        seed=seed,
    )
    measured: dict[str, Any] = {}
    for name, system in SYSTEMS.items():
        measured[name] = system(splits, tokenizer, config, options, data)
        print(name, {k: v for k, v in measured[name].items() if k not in ("samples", "dev_loss")}, flush=True)
    ceiling = [
        seq2seq.spaced(text)
        for text in tokenizer.batch_decode(tokenizer.encode_ids([pair.target for pair in splits["test"]]))
    ]
    targets = [pair.target for pair in splits["test"]]
    return measured | {"seed": seed, "bleu_of_targets": seq2seq.bleu(ceiling, targets, tokenizer)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="gazette/quillish")
    parser.add_argument("--text-columns", nargs="*")
    parser.add_argument("--label-column")
    parser.add_argument("--minutes", type=float, default=30.0, help="of training, for each of the two")
    parser.add_argument("--rows", type=int, help="training pairs; all without it")
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--cased", action="store_true")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--name", default=NAME, help="of the file of results")
    arguments = parser.parse_args()

    keep_freed_memory()
    splits = read_parallel(arguments.data, arguments.text_columns, arguments.label_column)
    splits["train"] = splits["train"][: arguments.rows]
    name = Path(arguments.data).name
    settings = {key: value for key, value in vars(arguments).items() if key not in ("data", "name", "seeds")}
    settings["pairs"] = len(splits["train"])
    runs = earlier(arguments.name).get("sets", {}).get(name, settings | {"runs": []})
    for key, value in settings.items():
        if runs[key] != value:
            raise SystemExit(f"{name}: measured with {key} {runs[key]}, and now it is {value}")
    for seed in range(len(runs["runs"]), arguments.seeds):
        runs["runs"].append(run(splits, arguments, seed))
        sets = earlier(arguments.name).get("sets", {}) | {name: runs}
        print(save(arguments.name, {"sets": sets}))


if __name__ == "__main__":
    main()
