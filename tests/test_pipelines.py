"""What is exported gives the same answers in transformers' pipelines, family by family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from bertmini import BertConfig, Gazette, Predictor, WordPieceTokenizer
from bertmini.cli import main
from bertmini.hub import SHIPPED
from bertmini.model import bert as models
from bertmini.model.questions import BertForQuestionAnswering
from bertmini.model.tagging import BertForTokenClassification
from bertmini.tasks import qa

FAMILIES = ("bert", "roberta", "albert", "distilbert")
HEADS: dict[str, Any] = {
    "fill": models.BertForMaskedLM,
    "classify": models.BertForSequenceClassification,
    "tag": BertForTokenClassification,
    "qa": BertForQuestionAnswering,
}
LABELS = {
    "classify": {0: "calm", 1: "storm", 2: "fog"},
    "tag": {0: "O", 1: "B-PER", 2: "I-PER", 3: "B-LOC", 4: "I-LOC"},
}
PIPELINES = {
    "fill": "fill-mask",
    "classify": "text-classification",
    "tag": "token-classification",
}


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return [text for document in Gazette(seed=3).documents(12, "test") for text in document.sentences][:40]


@pytest.fixture(scope="module")
def systems(tmp_path_factory):
    """Makes a predictor of random weights, and transformers' pipeline on what is exported of it."""
    made: dict[tuple[str, str], tuple[Predictor, Any]] = {}

    def make(family: str, task: str, **options: Any) -> tuple[Predictor, Any]:
        if (family, task) not in made:
            directory = tmp_path_factory.mktemp(f"{family}-{task}")
            save_random(family, task, directory / "run")
            command = f"export --model {directory / 'run'} --to transformers --out {directory / 'out'}"
            assert main(command.split()) == 0
            made[family, task] = (
                Predictor.from_pretrained(directory / "run"),
                system_of(task, str(directory / "out"), **options),
            )
        return made[family, task]

    return make


def system_of(task: str, directory: str, **options: Any) -> Any:
    """transformers' pipeline; its tokenizer and model for questions."""
    if task != "qa":
        return transformers.pipeline(PIPELINES[task], directory, **options)
    model = transformers.AutoModelForQuestionAnswering.from_pretrained(directory).eval()
    return transformers.AutoTokenizer.from_pretrained(directory), model


def save_random(family: str, task: str, directory: Path) -> None:
    """Weights of a spread that makes answers differ; biases and norms too."""
    torch.manual_seed(0)
    tokenizer = WordPieceTokenizer.from_pretrained(SHIPPED)
    sizes = {"embedding_size": 16, "num_hidden_groups": 1} if family == "albert" else {}
    if task in LABELS:
        sizes["id2label"] = LABELS[task]
    config = BertConfig.preset(
        "tiny", family, vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64,
        pad_token_id=tokenizer.pad_token_id, **sizes,
    )  # fmt: skip
    model = HEADS[task](config)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


@pytest.mark.parametrize("family", FAMILIES)
def test_masks_are_filled_with_the_same_pieces(family, systems, sentences):
    ours, theirs = systems(family, "fill")
    for text in sentences:
        words = text.split()
        masked = " ".join([*words[:2], "[MASK]", *words[3:]])
        expected = theirs(masked, top_k=5)
        found = ours(masked)["masks"][0]
        assert [each["token"] for each in found] == [each["token_str"] for each in expected]
        assert [each["score"] for each in found] == pytest.approx([e["score"] for e in expected], abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_and_pairs_get_the_same_labels(family, systems, sentences):
    ours, theirs = systems(family, "classify")
    texts = [*sentences, *zip(sentences, reversed(sentences), strict=True)]
    given = [text if isinstance(text, str) else {"text": text[0], "text_pair": text[1]} for text in texts]
    expected, answers = [theirs(text, top_k=None) for text in given], ours(texts)
    for answer, each in zip(answers, expected, strict=True):
        assert answer["label"] == each[0]["label"]
        assert answer["scores"] == pytest.approx({e["label"]: e["score"] for e in each}, abs=1e-5)
    scores = [answer["score"] for answer in answers]
    assert max(scores) - min(scores) > 1e-3  # a hundred times what they may differ by


@pytest.mark.parametrize("family", FAMILIES)
def test_texts_have_the_same_entities(family, systems, sentences):
    ours, theirs = systems(family, "tag", aggregation_strategy="first")
    number = 0
    for text in sentences:
        expected, found = theirs(text), ours(text)["entities"]
        places = [(each["label"], each["start"], each["end"]) for each in found]
        assert places == [(each["entity_group"], each["start"], each["end"]) for each in expected]
        assert [each["score"] for each in found] == pytest.approx([e["score"] for e in expected], abs=1e-5)
        number += len(found)
    assert number > 20


def answer_of(reader: tuple[Any, Any], question: str, context: str) -> tuple[str, int]:
    """The best answer by the logits of transformers' model: transformers 5 has no pipeline for questions."""
    tokenizer, model = reader
    row = tokenizer(question, context, return_offsets_mapping=True, return_tensors="pt")
    places = row.pop("offset_mapping")[0].tolist()
    with torch.no_grad():
        output = model(**row)
    starts, ends = output.start_logits[0], output.end_logits[0]
    of_context = [i for i, part in enumerate(row.sequence_ids(0)) if part == 1]
    spans = [(i, j) for i in of_context for j in of_context if i <= j < i + qa.LONGEST_ANSWER]
    first, last = max(spans, key=lambda span: float(starts[span[0]] + ends[span[1]]))
    return context[places[first][0] : places[last][1]], places[first][0]


@pytest.mark.parametrize("family", FAMILIES)
def test_questions_have_the_same_answers(family, systems, sentences):
    ours, theirs = systems(family, "qa")
    starts = set()
    for start in range(0, len(sentences) - 4, 4):
        question, context = sentences[start], " ".join(sentences[start + 1 : start + 4])
        found = ours({"question": question, "context": context})
        assert (found["answer"], found["start"]) == answer_of(theirs, question, context)
        starts.add(found["start"])
    assert len(starts) > 3


def test_the_shipped_model_fills_masks_there_as_it_does_here(tmp_path, sentences):
    """The pipeline takes one of its two pretraining heads."""
    command = f"export --model {SHIPPED} --to transformers --out {tmp_path / 'out'}"
    assert main(command.split()) == 0
    theirs = transformers.pipeline("fill-mask", str(tmp_path / "out"))
    ours = Predictor.from_pretrained(SHIPPED)
    for text in sentences:
        masked = " ".join(["[MASK]", *text.split()[1:]])
        expected, found = theirs(masked, top_k=5), ours(masked)["masks"][0]
        assert [each["token"] for each in found] == [each["token_str"] for each in expected]


def test_what_is_exported_loads_here_too_with_the_same_answers(tmp_path, classifier):
    assert main(f"export --model {classifier} --to transformers --out {tmp_path / 'out'}".split()) == 0
    texts = ["the captain was happy on day 3", ("afraid", "angry")]
    assert Predictor.from_pretrained(tmp_path / "out")(texts) == Predictor.from_pretrained(classifier)(texts)
