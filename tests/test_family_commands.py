"""The commands on a RoBERTa and an ALBERT of random weights, each with its own tokenizer."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from bertmini import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    ByteLevelBPETokenizer,
    Gazette,
    InputError,
    Predictor,
    UnigramTokenizer,
    WordPieceTokenizer,
    load_tokenizer,
)
from bertmini.cli import main
from bertmini.data.batches import PretrainingData
from bertmini.data.corpus import Corpus
from bertmini.data.masking import Entities, WholeWords
from bertmini.data.questions import Question
from bertmini.tasks import fill, tag
from bertmini.tasks.windows import WindowRows, windows

TEXTS = [document.text for document in Gazette(seed=7).documents(200)]
BYTES = ByteLevelBPETokenizer.train(TEXTS, 600)
UNIGRAM = UnigramTokenizer.train(TEXTS, 400)
TOKENIZERS = {"roberta": BYTES, "albert": UNIGRAM}


def save(family: str, directory: Path, **fields) -> Path:
    tokenizer = TOKENIZERS[family]
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    shape = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id, **size}
    config = BertConfig.preset("tiny", family, **shape | {"max_position_embeddings": 66} | fields)
    BertForMaskedLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module", params=list(TOKENIZERS))
def start(request, tmp_path_factory) -> Path:
    return save(request.param, tmp_path_factory.mktemp(request.param))


def answers(capsys, command: str, *more: str) -> list:
    assert main([*command.split(), *more]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def refused(capsys, command: str, *more: str) -> str:
    assert main([*command.split(), *more]) == 2
    error = capsys.readouterr().err.strip()
    assert error.count("\n") == 0
    return error


@pytest.mark.parametrize(("kind", "made"), [("bpe", ByteLevelBPETokenizer), ("unigram", UnigramTokenizer)])
def test_train_tokenizer_makes_each_kind(tmp_path, capsys, small_corpus, kind, made):
    out = tmp_path / "tokenizer"
    assert main(f"train-tokenizer {small_corpus} --out {out} --kind {kind} --vocab-size 400".split()) == 0
    assert capsys.readouterr().out == f"{out}: 400 pieces\n"
    loaded = load_tokenizer(out)
    assert isinstance(loaded, made)
    text = small_corpus.read_text()[:200]
    theirs = transformers.AutoTokenizer.from_pretrained(out)
    assert loaded(text)["input_ids"] == theirs(text)["input_ids"]


def test_train_tokenizer_refuses_what_a_kind_does_not_have(tmp_path, capsys, small_corpus):
    command = f"train-tokenizer {small_corpus} --out {tmp_path / 'out'}"
    assert "--min-frequency 2" in refused(capsys, f"{command} --kind unigram --min-frequency 2")
    assert "vocab_size=100 is too small" in refused(capsys, f"{command} --kind bpe --vocab-size 100")
    assert not (tmp_path / "out").exists()


def test_fill_gives_the_candidates_of_transformers(start, capsys):
    mask = load_tokenizer(start).mask_token
    (answer,) = answers(capsys, f"fill --model {start} --top 3", f"Abel sold ten {mask} at the market.")
    pipeline = transformers.pipeline("fill-mask", model=str(start), top_k=3)
    expected = pipeline(f"Abel sold ten {mask} at the market.")
    assert [c["score"] for c in answer["masks"][0]] == pytest.approx([e["score"] for e in expected], abs=1e-5)
    tokenizer = load_tokenizer(start)
    assert [c["token"] for c in answer["masks"][0]] == [tokenizer.piece_text(e["token"]) for e in expected]


def test_fill_names_the_mask_that_is_missing(start, capsys):
    mask = load_tokenizer(start).mask_token
    assert "put one where" in refused(capsys, f"fill --model {start}", "no gap here")
    assert mask in refused(capsys, f"fill --model {start}", "no gap here")


def test_a_classifier_is_tuned_measured_asked_and_turned_into_vectors(start, tmp_path, capsys, mood_files):
    out = tmp_path / "run"
    command = f"finetune classify --data {mood_files} --model {start} --out {out} --epochs 1 --max-length 32"
    assert main(command.split()) == 0
    capsys.readouterr()
    assert main(f"evaluate --data {mood_files} --model {out}".split()) == 0
    assert 0 <= json.loads(capsys.readouterr().out)["test"]["accuracy"] <= 1
    text = "the captain was happy on day 3"
    (answer,) = answers(capsys, f"predict --model {out} --precision float32", text)
    theirs = transformers.pipeline("text-classification", model=str(out))(text)[0]
    assert answer["label"] == theirs["label"]
    assert answer["score"] == pytest.approx(theirs["score"], abs=1e-5)
    done = subprocess.run(
        [sys.executable, "-m", "bertmini", "embed", "--model", str(out), text, "another"], capture_output=True
    )
    assert np.load(io.BytesIO(done.stdout)).shape == (2, 16)


def test_pretraining_goes_on_and_is_measured_on_text(start, tmp_path, capsys, small_corpus):
    out = tmp_path / "more"
    command = f"pretrain --data {small_corpus} --init {start} --objective mlm --masking whole-word --steps 2"
    assert main(f"{command} --batch-size 4 --max-length 32 --out {out}".split()) == 0
    capsys.readouterr()
    for data in (small_corpus, "gazette"):
        assert main(f"evaluate --data {data} --model {out}".split()) == 0
        measured = json.loads(capsys.readouterr().out)["test"]
        assert np.isfinite(list(measured.values())).all()
    assert load_tokenizer(out).rules == load_tokenizer(start).rules


def test_a_prepared_corpus_is_the_same_as_one_read_at_once(tmp_path, capsys, small_corpus):
    directory, out = save("roberta", tmp_path / "start"), tmp_path / "prepared"
    command = f"prepare {small_corpus} --tokenizer {directory} --out {out} --processes 1 --held-out 0"
    assert main(command.split()) == 0
    from bertmini.data.prepare import Prepared
    from bertmini.tasks.pretrain import read_corpus

    documents = read_corpus((str(small_corpus),), held_out=0)[0]
    whole = Corpus.from_documents(documents, BYTES)
    assert Prepared(out)[0].token_ids.tolist() == whole.token_ids.tolist()


def test_a_vocabulary_of_another_size_is_refused_in_a_line(tmp_path, capsys, mood_files):
    directory = save("roberta", tmp_path / "start", vocab_size=len(BYTES) - 1)
    command = f"finetune classify --data {mood_files} --model {directory} --out {tmp_path / 'out'}"
    for line in (
        refused(capsys, command),
        refused(capsys, f"fill --model {directory}", "a <mask>"),
    ):
        assert f"{directory}: the tokenizer has {len(BYTES)} pieces and the model knows" in line
    WordPieceTokenizer([*WordPieceTokenizer.SPECIAL_TOKENS, "a"]).save_pretrained(directory)
    for name in ("vocab.json", "merges.txt"):
        (directory / name).unlink()
    assert "the tokenizer's padding is 0 and the model's 1" in refused(capsys, command)


def test_writing_is_refused_without_segments(tmp_path, capsys):
    directory = save("roberta", tmp_path / "start")
    command = f"finetune seq2seq --model {directory} --out {tmp_path / 'out'}"
    assert "this tokenizer has no segments" in refused(capsys, command)
    assert "a new vocabulary is of word pieces" in refused(capsys, f"{command} --vocab-size 500")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("family", list(TOKENIZERS))
def test_whole_words_and_names_are_found(family):
    tokenizer = TOKENIZERS[family]
    text = "Then Abel Oddlestone, a baker, sold Abel Oddlestone bread."
    ids = torch.tensor([tokenizer.encode_ids([text])[0]])
    maskable = torch.ones_like(ids, dtype=torch.bool)

    def units(begins: torch.Tensor) -> list[str]:
        places = begins[0].nonzero().flatten().tolist()
        parts = [ids[0, a:b].tolist() for a, b in zip(places, [*places[1:], None], strict=True)]
        return ["".join(map(tokenizer.piece_text, part)).strip() for part in parts]

    lower = (lambda words: [w.lower() for w in words]) if family == "albert" else list
    found = [unit for unit in units(WholeWords(tokenizer)(ids, maskable, None)) if unit]
    assert found[:4] == lower(["Then", "Abel", "Oddlestone", ","])
    assert "baker" in found
    names = units(Entities(tokenizer, ["Abel Oddlestone"])(ids, maskable, None))
    assert names.count(lower(["Abel Oddlestone"])[0]) == 2


def test_a_corpus_has_the_tokens_of_its_running_text():
    sentences = ["The harbour is open.", "Abel sold  fish.", "It rained."]
    corpus = Corpus.from_documents([sentences, ["A new one."]], BYTES)
    whole = BYTES.encode_ids([" ".join(sentences), "A new one."])
    assert corpus.token_ids.tolist() == whole[0] + whole[1]


def test_pairs_for_pretraining_are_rows_of_the_tokenizer():
    corpus = Corpus.from_documents([["The harbour is open.", "Abel sold fish."] * 8] * 4, BYTES)
    batch = PretrainingData(corpus, BYTES, 4, 32, seed=0).batch(0)
    row = batch["input_ids"][0][batch["attention_mask"][0].bool()].tolist()
    separators = [place for place, i in enumerate(row) if i == BYTES.sep_token_id]
    assert row[0] == BYTES.cls_token_id
    assert len(separators) == 3
    assert separators[1] == separators[0] + 1
    assert separators[2] == len(row) - 1 <= 31
    with pytest.raises(InputError, match="max_length is 5; expected at least 6, for <s> a </s></s> b </s>"):
        PretrainingData(corpus, BYTES, 4, 5, seed=0)
    assert len(PretrainingData(corpus, BYTES, 4, 6, seed=0))


@pytest.mark.parametrize("family", list(TOKENIZERS))
def test_windows_of_a_passage_are_rows_of_the_tokenizer(family):
    tokenizer, text = TOKENIZERS[family], TEXTS[0]
    question = Question("Who sold fish?", text)
    ((_, window),) = windows([question], tokenizer, 512)
    batch = WindowRows([window], tokenizer).batch(np.array([0]))
    expected = tokenizer("Who sold fish?", text, return_offsets=True)
    assert batch["input_ids"][0].tolist() == expected["input_ids"]
    assert batch["may_end"][0].nonzero().flatten().tolist() == list(
        range(window.first, len(expected["input_ids"]) - 1)
    )
    places = [tuple(place) for place in window.offsets.tolist()]
    assert places == expected["offset_mapping"][window.first : -1]


def test_a_tagger_reads_words_as_transformers_reads_split_ones(start):
    tokenizer = load_tokenizer(start)
    words = ["Abel", "Oddlestone", "'s", "(", "1234"]
    rows = tag.WordRows.of_words([words], tokenizer, 64)
    own = transformers.AutoTokenizer.from_pretrained(start, add_prefix_space=True)
    expected = own(words, is_split_into_words=True)
    assert rows.batch(np.array([0]))["input_ids"][0].tolist() == expected["input_ids"]
    firsts = [expected.word_ids().index(word) for word in range(len(words))]
    assert rows.starts.nonzero()[0].tolist() == firsts


def test_proposals_are_whole_words(start):
    predictor = Predictor.from_pretrained(start)
    (masks,) = fill.proposals(predictor.model, predictor.tokenizer, ["The [MASK] is open."], top=200)
    assert len(masks) == 1
    assert masks[0]
    assert all(word.isalpha() and word == word.strip() for word in masks[0])


def test_padding_of_every_family_is_cut_in_pictures():
    from bertmini.viz.attention import real_tokens

    assert real_tokens(["<s>", "a", "</s>", "<pad>", "<pad>"]) == ["<s>", "a", "</s>"]


def test_next_sentences_on_roberta_need_no_other_tokenizer(tmp_path):
    config = BertConfig.preset("tiny", "roberta", vocab_size=len(BYTES), max_position_embeddings=66)
    model = BertForPreTraining(config).eval()
    output = model(**BYTES(["The harbour"], ["is open"], return_tensors="pt"))
    assert output.seq_relationship_logits.shape == (1, 2)
    with pytest.raises(InputError, match="padding is 0"):
        Predictor(model, WordPieceTokenizer([*WordPieceTokenizer.SPECIAL_TOKENS, "a"]))


def test_spaces_alone_are_no_answer():
    ((_, window),) = windows([Question("where", "Oslo  ")], BYTES, 32)
    batch = WindowRows([window], BYTES).batch(np.arange(1))
    widths = window.offsets[:, 1] - window.offsets[:, 0]
    assert 0 in widths
    for side in ("may_start", "may_end"):
        told = batch[side][0, window.first : window.first + len(widths)]
        assert told.tolist() == (widths > 0).tolist()


def test_an_albert_translates_the_gazette_with_its_own_pieces():
    from bertmini.commands.finetuning import FinetuneSeq2Seq
    from bertmini.model.seq2seq import BertForSequenceToSequence

    model = BertForSequenceToSequence(BertConfig.preset("tiny", "albert", vocab_size=len(UNIGRAM)))
    command = FinetuneSeq2Seq(data="gazette/quillish", out="x")
    assert command.settle_model(model, UNIGRAM, []) is UNIGRAM
    command.vocab_size = 500
    with pytest.raises(InputError, match="leave --vocab-size out"):
        command.settle_model(model, UNIGRAM, [])
