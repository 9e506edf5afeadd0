"""Sequence to sequence: the mask, the readers, beam search, and writing with a masked model."""

from __future__ import annotations

import itertools
import json
import math
from types import SimpleNamespace

import pytest
import torch

from bertmini import BertConfig, BertForMaskedLM, InputError, Predictor, WordPieceTokenizer
from bertmini.data.parallel import Parallel, read_parallel
from bertmini.model.attention import sequence_to_sequence_mask
from bertmini.model.seq2seq import BertForSequenceToSequence, change_vocabulary, positions_in_each
from bertmini.tasks import generate, seq2seq
from bertmini.tasks.decoding import Decoding, beam_search
from bertmini.tokenizer.normalize import Normalizer

WORDS = ["the", "a", "cat", "dog", "bird", "sees", "hears", "small", "old", "red"]
END, FORBIDDEN = 3, [0, 1, 2, 4]


@pytest.fixture(scope="module")
def tokenizer() -> WordPieceTokenizer:
    return WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])


def new_model(vocab_size: int, seed: int = 0, std: float = 0.3) -> BertForSequenceToSequence:
    """A tiny model whose random weights are large enough to have opinions."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        initializer_range=std,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return BertForSequenceToSequence(config).eval()


def sources(seed: int = 0, vocab_size: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """Three sources of different lengths, padded."""
    torch.manual_seed(seed)
    ids = torch.randint(5, vocab_size, (3, 6))
    mask = torch.ones_like(ids)
    for row, length in enumerate((6, 3, 4)):
        ids[row, 0], ids[row, length - 1] = 2, 3
        ids[row, length:], mask[row, length:] = 0, 0
    return ids, mask


def next_log_probs(model: BertForSequenceToSequence, source: list[int], written: list[int]) -> torch.Tensor:
    """Of the next piece, by the whole model and without a cache."""
    ids = torch.tensor([source + written])
    types = torch.tensor([[0] * len(source) + [1] * len(written)])
    logits = model(ids, types).prediction_logits[0, -1]
    logits[FORBIDDEN] = float("-inf")
    return logits.log_softmax(-1)


# --- the mask


def test_the_mask_lets_the_source_see_itself_and_the_target_all_before_it():
    types = torch.tensor([[0, 0, 1, 1, 0]])
    real = torch.tensor([[1, 1, 1, 1, 0]])
    expected = [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 0]]
    assert sequence_to_sequence_mask(types, real)[0].int().tolist() == expected


def test_no_position_learns_of_what_is_written_after_it():
    model, types = new_model(12), torch.tensor([[0, 0, 0, 1, 1, 1]])
    ids = torch.tensor([[2, 6, 3, 7, 8, 9]])
    before = model(ids, types).prediction_logits
    for changed in (3, 4, 5):
        other = ids.clone()
        other[0, changed] = 11
        after = model(other, types).prediction_logits
        assert torch.equal(before[:, :changed], after[:, :changed])
        assert not torch.allclose(before[:, changed], after[:, changed])


def test_every_position_of_the_target_learns_of_every_word_of_the_source():
    model, types = new_model(12), torch.tensor([[0, 0, 0, 0, 1, 1]])
    ids = torch.tensor([[2, 6, 7, 3, 8, 9]])
    before = model(ids, types).prediction_logits
    for changed in (1, 2):
        other = ids.clone()
        other[0, changed] = 11
        assert not torch.isclose(before, model(other, types).prediction_logits).all(-1).any()


def test_positions_begin_again_in_the_target():
    types = torch.tensor([[0, 0, 0, 1, 1, 0], [0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    assert positions_in_each(types).tolist()[:2] == [[0, 1, 2, 0, 1, 5], [0, 0, 1, 2, 3, 4]]
    assert positions_in_each(types)[2].tolist() == [0, 1, 2, 3, 4, 5]


# --- batches


def test_each_position_is_to_predict_the_next_piece_of_the_target(tokenizer):
    data = seq2seq.data([Parallel("the cat", "a dog")], tokenizer, None)
    batch = data.batch(0)
    assert tokenizer.convert_ids_to_tokens(batch["input_ids"][0].tolist()) == (
        ["[CLS]", "the", "cat", "[SEP]", "a", "dog"]
    )
    assert batch["labels"][0].tolist() == [
        -100,
        -100,
        -100,
        *tokenizer.convert_tokens_to_ids(["a", "dog", "[SEP]"]),
    ]
    assert batch["attention_mask"].shape == (1, 6, 6)


def test_the_loss_is_the_log_probability_of_the_targets(tokenizer):
    model = new_model(len(tokenizer))
    pairs = [Parallel("the cat sees", "a dog"), Parallel("a dog", "the small cat hears")]
    (batch,) = seq2seq.data(pairs, tokenizer, model.config).batches_for_evaluation()
    total = pieces = 0.0
    for pair in pairs:
        row = tokenizer(pair.source)["input_ids"]
        target = tokenizer.encode_ids([pair.target])[0] + [tokenizer.sep_token_id]
        for i, piece in enumerate(target):
            ids, types = torch.tensor([row + target[:i]]), torch.tensor([[0] * len(row) + [1] * i])
            total -= model(ids, types).prediction_logits[0, -1].log_softmax(-1)[piece].item()
        pieces += len(target)
    assert model(**batch).loss.item() == pytest.approx(total / pieces, rel=1e-5)
    watched = seq2seq.watch(model, seq2seq.data(pairs, tokenizer, model.config, batch_size=1))
    assert watched["loss"] == pytest.approx(total / pieces, rel=1e-5)
    assert watched["perplexity"] == pytest.approx(math.exp(total / pieces), rel=1e-4)


def test_pairs_that_are_too_long_are_cut_and_counted(tokenizer):
    pairs = [Parallel("the cat sees the dog", "a dog"), Parallel("a", "a")]
    with pytest.warns(UserWarning, match="1 of 2 pairs are longer than 8 tokens"):
        data = seq2seq.data(pairs, tokenizer, None, max_length=8)
    assert max(map(len, data.input_ids)) == 8


# --- writing


def test_reading_on_gives_what_reading_all_at_once_gives():
    model, (ids, mask) = new_model(9), sources()
    types = torch.zeros_like(ids)
    states, past = model.read_on(ids, types, torch.arange(6)[None], mask)
    for position, piece in enumerate((5, 7, 8)):
        new = torch.full((3, 1), piece)
        mask = torch.cat([mask, torch.ones_like(new)], 1)
        states, past = model.read_on(new, torch.ones_like(new), torch.full_like(new, position), mask, past)
    for row, length in enumerate((6, 3, 4)):
        whole = torch.cat([ids[row, :length], torch.tensor([5, 7, 8])])[None]
        row_types = torch.tensor([[0] * length + [1] * 3])
        expected = model(whole, row_types).prediction_logits[0, -1]
        assert torch.allclose(model.predict(states[row, 0]), expected, atol=1e-4)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_beam_as_wide_as_all_texts_finds_the_best_of_all_texts(length_penalty):
    model, (ids, mask) = new_model(8), sources(vocab_size=8)
    how = Decoding(num_beams=3**4, length_penalty=length_penalty)
    found = beam_search(model, ids, mask, [4] * 3, END, FORBIDDEN, how)
    for row, text in enumerate(found):
        source = ids[row][mask[row].bool()].tolist()
        best = max(
            (log_prob_of(model, source, [*words, END]) / (n + 1) ** length_penalty, [*words, END])
            for n in range(4)
            for words in itertools.product((5, 6, 7), repeat=n)
        )
        assert text.ids == best[1]
        assert text.log_prob / len(text.ids) ** length_penalty == pytest.approx(best[0], abs=1e-4)


def log_prob_of(model: BertForSequenceToSequence, source: list[int], written: list[int]) -> float:
    return sum(next_log_probs(model, source, written[:i])[piece].item() for i, piece in enumerate(written))


def plain_beam_search(model, source, beams, length_penalty, limit):
    """The definition, one source and one beginning at a time, without a cache."""
    beginnings, ended = [(0.0, [])], []
    for step in range(1, limit + 1):
        following = []
        for total, written in beginnings:
            scores = next_log_probs(model, source, written).tolist()
            following += [(total + s, [*written, piece]) for piece, s in enumerate(scores) if s > -math.inf]
        following.sort(key=lambda each: -each[0])
        ended += [each for each in following[:beams] if each[1][-1] == END]
        beginnings = [each for each in following if each[1][-1] != END][:beams]
        if len(ended) >= beams or step == limit:
            break
    return max(ended or beginnings[:1], key=lambda each: each[0] / len(each[1]) ** length_penalty)


@pytest.mark.parametrize("beams", [1, 2, 4])
@pytest.mark.parametrize("seed", range(3))
def test_a_batch_of_beams_finds_what_the_definition_finds(beams, seed):
    model, (ids, mask) = new_model(12, seed, std=0.5), sources(seed, vocab_size=12)
    limits = [7, 4, 6]
    found = beam_search(model, ids, mask, limits, END, FORBIDDEN, Decoding(beams, 0.7))
    for row, text in enumerate(found):
        source = ids[row][mask[row].bool()].tolist()
        total, written = plain_beam_search(model, source, beams, 0.7, limits[row])
        assert (text.ids, text.log_prob) == (written, pytest.approx(total, abs=1e-4))


def test_one_beam_takes_the_likeliest_piece_each_time():
    model, (ids, mask) = new_model(12, 5), sources(5, vocab_size=12)
    for row, text in enumerate(beam_search(model, ids, mask, [8] * 3, END, FORBIDDEN, Decoding(1))):
        source, written = ids[row][mask[row].bool()].tolist(), []
        while len(written) < 8 and (not written or written[-1] != END):
            written.append(int(next_log_probs(model, source, written).argmax()))
        assert text.ids == written


# --- reading


def write_files(folder, **files: str):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def test_parallel_files_are_read_in_the_direction_that_is_asked_for(tmp_path):
    folder = write_files(
        tmp_path,
        train__de="ein Hund\neine Katze\n",
        train__en="a dog\na cat\n",
        val__de="ja\n",
        val__en="yes\n",
    )
    there, back = read_parallel(folder, ["de"], "en"), read_parallel(folder, ["en"], "de")
    assert there == {
        "train": [Parallel("ein Hund", "a dog"), Parallel("eine Katze", "a cat")],
        "dev": [Parallel("ja", "yes")],
    }
    assert back["train"][1] == Parallel("a cat", "eine Katze")


@pytest.mark.parametrize(
    ("file", "text", "names"),
    [
        ("train.tsv", 'source\ttarget\nein "Hund"\ta "dog"\n', {}),
        ("train.csv", 'de,en\n"ein ""Hund""","a ""dog"""\n', {"text_columns": ["de"], "label_column": "en"}),
        ("train.tsv", 'ein "Hund"\ta "dog"\n', {"text_columns": ["1"], "label_column": "2"}),
        ("train.jsonl", json.dumps({"src": 'ein "Hund"', "tgt": 'a "dog"'}) + "\n", {}),
    ],
)
def test_tables_with_two_columns_are_read(tmp_path, file, text, names):
    (tmp_path / file).write_text(text)
    assert read_parallel(tmp_path, **names) == {"train": [Parallel('ein "Hund"', 'a "dog"')]}


def test_unequal_parallel_files_are_refused_with_both_counts(tmp_path):
    folder = write_files(tmp_path, train__de="eins\nzwei\ndrei\n", train__en="one\ntwo\n")
    with pytest.raises(InputError, match=r"train\.de has 3 lines, \S*train\.en has 2 lines"):
        read_parallel(folder, ["de"], "en")


def test_a_direction_that_is_not_there_or_half_given_is_refused(tmp_path):
    folder = write_files(tmp_path, train__de="eins\n", train__en="one\n")
    with pytest.raises(
        InputError, match=r"train\.de:1: found de, en; expected source and target or src and tgt"
    ):
        read_parallel(folder)
    with pytest.raises(InputError, match="found de, en; expected de and fr"):
        read_parallel(folder, ["de"], "fr")
    with pytest.raises(InputError, match="takes two names"):
        read_parallel(folder, ["de"])


def test_rows_without_a_side_are_left_out_and_counted(tmp_path):
    folder = write_files(tmp_path, train__de="eins\n\ndrei\n", train__en="one\ntwo\n \n")
    with pytest.warns(UserWarning, match=r"2 rows lack a side and are left out, \S*train\.de:2 first"):
        assert read_parallel(folder, ["de"], "en") == {"train": [Parallel("eins", "one")]}


def test_a_test_part_without_targets_is_left_out_with_a_warning(tmp_path):
    folder = write_files(tmp_path, train__de="eins\n", train__en="one\n", test__de="zwei\n")
    with pytest.warns(UserWarning, match="the test part is left out"):
        assert set(read_parallel(folder, ["de"], "en")) == {"train"}


def test_translations_of_the_hub_have_a_text_for_each_language(monkeypatch):
    rows = [{"id": "1", "translation": {"de": "ein Hund", "en": "a dog"}}]
    monkeypatch.setattr("bertmini.data.hub.load", lambda name: {"train": rows, "validation": rows})
    found = read_parallel("hf:somebody/set", ["de"], "en")
    assert found == {"train": [Parallel("ein Hund", "a dog")], "dev": [Parallel("ein Hund", "a dog")]}


# --- the vocabulary


def test_a_new_vocabulary_keeps_the_vectors_of_pieces_that_were_known():
    model = new_model(8)
    old = model.bert.embeddings.word.weight.clone()
    model.mlm_head.bias.data = torch.arange(8.0)
    change_vocabulary(model, [*"abcdefgh"], [*"axhyzb"])
    new = model.bert.embeddings.word.weight
    assert model.config.vocab_size == len(new) == 6
    assert torch.equal(new[[0, 2, 5]], old[[0, 7, 1]])
    assert model.mlm_head.bias.tolist() == [0, 0, 7, 0, 0, 1]
    assert model(torch.tensor([[1, 5]]), torch.tensor([[0, 1]])).prediction_logits.shape == (1, 2, 6)


# --- BLEU and text


def test_bleu_is_that_of_sacrebleu(tokenizer):
    from sacrebleu import corpus_bleu

    written = ["the cat sees the dog.", "a small bird hears a cat.", "red dogs and old birds sing."]
    targets = ["the cat sees a dog.", "a small bird hears the cat.", "red birds and old dogs sing."]
    assert seq2seq.bleu(written, targets, tokenizer) == corpus_bleu(written, [targets]).score
    assert seq2seq.bleu(targets, targets, tokenizer) == pytest.approx(100)


def test_an_uncased_model_is_not_asked_for_capitals_and_accents():
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    uncased, cased = (WordPieceTokenizer(pieces, lowercase=low) for low in (True, False))
    written, targets = ["die mowe sieht das schiff."], ["Die Möwe sieht das Schiff."]
    assert seq2seq.bleu(written, targets, uncased) == pytest.approx(100)
    assert seq2seq.bleu(written, targets, cased) < 50


def test_text_gets_the_spaces_that_people_set():
    for text in ('a man\'s t-shirt says "stop".', "one (or two) dogs; 50% of them, too?", "all - or none."):
        words = [word for word, _ in Normalizer().words(text)]
        tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(words)])
        decoded = tokenizer.decode(tokenizer.encode_ids([text])[0])
        assert seq2seq.spaced(decoded) == ("all-or none." if " - " in text else text)  # it cannot know


# --- the whole way


@pytest.fixture(scope="module")
def reversing(tmp_path_factory):
    """A run directory of `bertmini finetune seq2seq`: the words of a text, backwards."""
    from bertmini.cli import main

    folder = tmp_path_factory.mktemp("reversed")
    data = folder / "data"
    pairs = [" ".join(words) for words in itertools.product("abcd", repeat=4)]
    files = {"train": pairs, "dev": pairs[::9], "test": pairs[::7]}
    data.mkdir()
    for part, lines in files.items():
        (data / f"{part}.there").write_text("".join(f"{line}\n" for line in lines))
        (data / f"{part}.back").write_text("".join(f"{line[::-1]}\n" for line in lines))
    torch.manual_seed(0)
    origin, out = folder / "origin", folder / "run"
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "z"])
    config = BertConfig(
        vocab_size=7,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    BertForMaskedLM(config).save_pretrained(origin)
    tokenizer.save_pretrained(origin)
    command = (
        f"finetune seq2seq --data {data} --model {origin} --out {out} --text-columns there --vocab-size 9"
    )
    options = "--label-column back --epochs 15 --learning-rate 5e-3 --num-beams 2 --max-length 16"
    assert main(f"{command} {options} --precision float32".split()) == 0
    return out, data


def test_fine_tuning_learns_to_write_backwards(reversing):
    out, _ = reversing
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["test"]["bleu"] > 90
    assert metrics["test"]["samples"][0] == {
        "source": "a a a a",
        "target": "a a a a",
        "written": "a a a a",
    }


def test_a_directory_says_how_it_writes_and_that_it_is_no_model_of_transformers(reversing):
    out, _ = reversing
    config = json.loads((out / "config.json").read_text())
    assert config["model_type"] == "bertmini"
    assert config["architectures"] == ["BertForSequenceToSequence"]
    assert config["task_specific_params"]["seq2seq"] == {"num_beams": 2, "length_penalty": 1.0}
    predictor = Predictor.from_pretrained(out)
    assert predictor.task is seq2seq
    assert seq2seq.decoding_of(predictor.model.config) == Decoding(2, 1.0)


def test_predictions_come_in_order_whatever_the_batch(reversing):
    out, _ = reversing
    texts = ["a b c d", "d d a c", "b c a c", "c c d d", "d b a b"] * 3
    small = Predictor.from_pretrained(out, batch_tokens=5)(texts)
    large = Predictor.from_pretrained(out)(texts)
    assert [answer["text"] for answer in small] == [answer["text"] for answer in large]
    assert large[0]["text"] == "d c b a"
    assert 0 < large[0]["score"] <= 1


def test_the_shell_predicts_and_evaluates(reversing, capsys):
    from bertmini.cli import main

    out, data = reversing
    assert main(["predict", "--model", str(out), "a b c d", '{"text": "d a a b"}', "a b\tc d"]) == 0
    answers = [json.loads(line)["text"] for line in capsys.readouterr().out.splitlines()]
    assert answers == ["d c b a", "b a a d", "d c b a"]  # a tab is a space: nothing here reads pairs
    names = ["--text-columns", "there", "--label-column", "back"]
    assert main(["evaluate", "--model", str(out), "--data", str(data), *names]) == 0
    assert json.loads(capsys.readouterr().out)["test"]["bleu"] > 90


def test_what_is_no_text_is_refused(reversing):
    predictor = Predictor.from_pretrained(reversing[0])
    with pytest.raises(InputError, match="is no text"):
        predictor(("a", "pair"))


def test_a_source_that_is_too_long_is_cut_with_a_warning(reversing):
    predictor = Predictor.from_pretrained(reversing[0])
    with pytest.warns(UserWarning, match="1 texts are longer than 16 tokens"):
        predictor(["a " * 30])


def test_a_new_vocabulary_alone_can_be_cased(tmp_path, reversing, capsys):
    from bertmini.cli import main

    out, data = reversing
    command = f"finetune seq2seq --data {data} --model {out} --out {tmp_path / 'run'} --cased"
    assert main([*command.split(), "--text-columns", "there", "--label-column", "back"]) == 2
    assert "--vocab-size" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# --- a masked model that writes


TEXTS = {"the cat sees a dog": 0.4, "the dog hears a cat": 0.3, "the dog hears a bird": 0.3}


class Knowing(torch.nn.Module):
    """A masked model that knows exactly which texts there are, and how frequent each is."""

    def __init__(self, tokenizer):
        super().__init__()
        self.config = BertConfig(max_position_embeddings=16)
        self.place, self.mask = torch.nn.Parameter(torch.zeros(1)), tokenizer.mask_token_id
        self.texts = tokenizer(list(TEXTS), return_tensors="pt")["input_ids"]
        words = SimpleNamespace(word=SimpleNamespace(weight=torch.empty(len(tokenizer), 0)))
        self.bert = Reads(self.texts, self.mask, words)

    def mlm_head(self, states, words):
        return states


class Reads:
    def __init__(self, texts, mask, embeddings):
        self.texts, self.mask, self.embeddings = texts, mask, embeddings

    def __call__(self, input_ids, **others):
        same = (input_ids[:, None] == self.texts) | (input_ids[:, None] == self.mask)
        weights = torch.tensor(list(TEXTS.values())) * 1e-6 ** (~same).sum(-1)  # [rows, texts]
        chances = torch.einsum("rt,tlv->rlv", weights, torch.eye(15)[self.texts])
        return SimpleNamespace(last_hidden_state=chances.log())


@pytest.fixture(scope="module")
def knowing(tokenizer):
    return Knowing(tokenizer)


def test_masks_filled_at_once_need_not_fit_and_revised_ones_do(knowing, tokenizer):
    text = ["the [MASK] [MASK] a [MASK]", "the cat [MASK] a [MASK]"]
    once = generate.mask_predict(knowing, tokenizer, text, iterations=1)
    revised = generate.mask_predict(knowing, tokenizer, text, iterations=3)
    assert once == ["the dog hears a dog", "the cat sees a dog"]  # each the likeliest word at its place
    assert revised == ["the dog hears a cat", "the cat sees a dog"]


def test_with_exact_conditionals_a_sweep_draws_each_text_as_often_as_it_is(knowing, tokenizer):
    number = 3000
    drawn = generate.gibbs_sample(knowing, tokenizer, ["the [MASK] [MASK] a [MASK]"] * number, sweeps=1)
    for text, share in TEXTS.items():
        spread = math.sqrt(share * (1 - share) / number)
        assert drawn.count(text) / number == pytest.approx(share, abs=4 * spread)


def test_gibbs_sampling_repeats_by_its_seed_and_a_low_temperature_takes_the_likeliest(knowing, tokenizer):
    texts = ["the [MASK] hears a [MASK]", "the cat [MASK] a [MASK]"] * 5
    first = generate.gibbs_sample(knowing, tokenizer, texts, sweeps=2)
    assert first == generate.gibbs_sample(knowing, tokenizer, texts, sweeps=2)
    assert first != generate.gibbs_sample(knowing, tokenizer, texts, sweeps=2, seed=1)
    cold = generate.gibbs_sample(knowing, tokenizer, ["the [MASK] sees a dog"], temperature=0.01)
    assert cold == ["the cat sees a dog"]


def test_a_masked_bert_writes_what_its_logits_say(tokenizer):
    torch.manual_seed(0)
    config = BertConfig.preset("tiny", vocab_size=len(tokenizer), max_position_embeddings=16)
    model = BertForMaskedLM(config).eval()
    texts = ["the [MASK] [MASK] a [MASK]", "the cat [MASK] a dog"]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    logits = model(**inputs).prediction_logits
    logits[..., tokenizer.all_special_ids] = float("-inf")
    is_mask = inputs["input_ids"] == tokenizer.mask_token_id
    expected = torch.where(is_mask, logits.argmax(-1), inputs["input_ids"])
    written = generate.mask_predict(model, tokenizer, texts, iterations=1)
    assert written == tokenizer.batch_decode(expected.tolist(), skip_special_tokens=True)


def test_a_text_without_a_mask_or_too_long_is_refused(knowing, tokenizer):
    with pytest.raises(InputError, match=r"no \[MASK\] in 'the cat'"):
        generate.mask_predict(knowing, tokenizer, ["the cat"])
    with pytest.raises(InputError, match="22 tokens, and the model was trained on 16"):
        generate.gibbs_sample(knowing, tokenizer, ["[MASK]" + " the" * 19])


def test_rows_to_spare_are_never_written(tokenizer):
    config = BertConfig.preset("tiny", vocab_size=len(tokenizer) + 8, max_position_embeddings=16)
    model = BertForMaskedLM(config).eval()
    with torch.no_grad():
        model.mlm_head.bias[len(tokenizer) :] = 100.0
    for write in (generate.mask_predict, generate.gibbs_sample):
        assert write(model, tokenizer, ["the [MASK] sees"])[0].startswith("the ")
        assert write(model, tokenizer, []) == []
    writer = new_model(len(tokenizer) + 3)
    writer.mlm_head.bias.data[-1] = 100.0
    assert list(seq2seq.predict(writer, tokenizer, ["the cat"]))


FAMILY_FIELDS = {
    "albert": {"embedding_size": 6, "num_hidden_groups": 1},
    "roberta": {"type_vocab_size": 1, "max_position_embeddings": 33, "pad_token_id": 0},
}


@pytest.mark.parametrize("family", FAMILY_FIELDS)
def test_other_families_write_too_and_count_as_they_were_pretrained(family):
    config = new_model(8).config.replace(model_type=family, vocab_size=9, **FAMILY_FIELDS[family])
    torch.manual_seed(0)
    model = BertForSequenceToSequence(config).eval()
    source = torch.tensor([[2, 6, 3]])
    (text,) = beam_search(model, source, torch.ones_like(source), [4], END, FORBIDDEN, Decoding(1, 1.0))
    assert text.log_prob == pytest.approx(log_prob_of(model, [2, 6, 3], text.ids), abs=1e-4)
    ids, types = torch.tensor([[2, 6, 3, 7]]), torch.tensor([[0, 0, 0, 1]])
    places = config.first_position + torch.tensor([[0, 1, 2, 0]])
    assert torch.equal(
        model(ids, types).last_hidden_state, model(ids, types, position_ids=places).last_hidden_state
    )
    change_vocabulary(model, [*"abcdefghi"], [*"axhyzb"])
    assert model(torch.tensor([[1, 5]]), torch.tensor([[0, 1]])).prediction_logits.shape == (1, 2, 6)


@pytest.mark.parametrize("said", [None, {"num_beams": 4, "early_stopping": True}])
def test_decoding_is_read_from_what_others_wrote(said):
    config = new_model(8).config.replace(extra={"task_specific_params": {"seq2seq": said}})
    assert seq2seq.decoding_of(config) == (Decoding(4) if said else Decoding())


def test_how_a_model_writes_takes_its_place_beside_the_settings_of_other_tasks():
    others = {"summarization": {"num_beams": 2}, "seq2seq": {"num_beams": 8}}
    config = new_model(8).config.replace(extra={"task_specific_params": others})
    found = seq2seq.with_decoding(config, Decoding(3)).extra["task_specific_params"]
    assert found == {"summarization": {"num_beams": 2}, "seq2seq": {"num_beams": 3, "length_penalty": 1.0}}


def test_decoding_in_words_is_refused():
    config = new_model(8).config.replace(extra={"task_specific_params": {"seq2seq": {"num_beams": "4"}}})
    with pytest.raises(InputError, match="num_beams is '4'; expected a number"):
        seq2seq.decoding_of(config)


@pytest.mark.parametrize(
    "text", ["我爱北京天安门。", "„Wo ist das alte Haus?“, fragte er.", "¿Dónde está la casa?"]
)
def test_a_perfect_translation_has_100_in_any_script(text):
    words = [word for word, _ in Normalizer().words(text)]
    tokenizer = WordPieceTokenizer(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(words)])
    written = seq2seq.spaced(tokenizer.decode(tokenizer.encode_ids([text])[0]))
    assert seq2seq.bleu([written], [text], tokenizer) == pytest.approx(100)


def test_chinese_is_written_without_spaces():
    assert seq2seq.spaced("我 爱 北 京 。 the sea 天 安 门") == "我爱北京。 the sea 天安门"


def test_numbers_that_write_nothing_are_refused(knowing, tokenizer):
    for how in ({"temperature": 0.0}, {"sweeps": 0}):
        with pytest.raises(InputError, match="expected 1 or more, and more than 0"):
            generate.gibbs_sample(knowing, tokenizer, ["the [MASK]"], **how)
    with pytest.raises(InputError, match="iterations is 0"):
        generate.mask_predict(knowing, tokenizer, ["the [MASK]"], iterations=0)
    with pytest.raises(InputError, match=r"num_beams is 2\.5; expected a whole number"):
        Decoding(2.5)
