"""What reads in place of one BERT: two one-way models side by side, and an LSTM on top."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bertmini import (
    BertConfig,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    InputError,
)
from bertmini.config import DIRECTIONS
from bertmini.data.packing import pack
from bertmini.model.bert import Bert
from bertmini.model.one_way import LstmOnTop, SideBySide, read_by_lstm, read_side_by_side
from bertmini.model.tagging import BertCrfForTokenClassification
from bertmini.tasks.sequence import row_logits

HEADS = (
    BertForSequenceClassification,
    BertForTokenClassification,
    BertCrfForTokenClassification,
    BertForQuestionAnswering,
    BertForMultipleChoice,
)
LENGTHS = (9, 6, 2)


def tiny(direction=None, hidden_size=16):
    size = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    return BertConfig(
        vocab_size=40, max_position_embeddings=16, hidden_size=hidden_size, direction=direction, **size
    )


def randomized(model, seed=0):
    torch.manual_seed(seed)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def padded():
    ids = torch.randint(5, 40, (len(LENGTHS), max(LENGTHS)), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]).long()
    return {"input_ids": ids * mask, "attention_mask": mask}


def alone(batch, row):
    return {"input_ids": batch["input_ids"][row : row + 1, : LENGTHS[row]]}


def side_by_side(kind):
    model = kind(tiny(DIRECTIONS[0]))
    read_side_by_side(model, Bert(tiny(DIRECTIONS[1], hidden_size=8)))
    return model


def with_lstm(kind):
    model = kind(tiny(DIRECTIONS[0]))
    read_by_lstm(model)
    return model


def labels_for(model, batch):
    """Something to learn for each of the heads."""
    starts = batch["attention_mask"].bool()
    if isinstance(model, BertForTokenClassification):
        return {"labels": torch.where(starts, batch["input_ids"] % 2, -100), "word_starts": starts}
    if isinstance(model, BertForQuestionAnswering):
        return {"start_positions": torch.tensor([1, 0, 0]), "end_positions": torch.tensor([3, 0, 0])}
    if isinstance(model, BertForMultipleChoice):
        return {"labels": torch.tensor([1])}
    return {"labels": torch.tensor([0, 1, 1])}


@torch.no_grad()
def test_states_side_by_side_are_those_of_the_two_models():
    models = [randomized(Bert(tiny(direction)), seed) for seed, direction in enumerate(DIRECTIONS)]
    batch = padded()
    expected = [model(**batch).last_hidden_state for model in models]
    both = SideBySide(*models, add_pooler=True).eval()
    output = both(**batch)
    assert torch.equal(output.last_hidden_state, torch.cat(expected, dim=-1))
    for row, length in enumerate(LENGTHS):
        ends = torch.cat([expected[0][row, length - 1], expected[1][row, 0]])
        assert torch.allclose(output.pooler_output[row], torch.tanh(both.pooler.dense(ends)), atol=1e-6)


@torch.no_grad()
def test_the_lstm_on_top_is_that_of_torch_on_each_text_alone():
    bert, batch = randomized(Bert(tiny(DIRECTIONS[0]))), padded()
    reader = randomized(LstmOnTop(bert, add_pooler=True), seed=1)
    output = reader(**batch)
    for row, length in enumerate(LENGTHS):
        below = bert(**alone(batch, row)).last_hidden_state
        states, (ends, _) = reader.lstm(below)  # without padding, and without packing
        assert torch.allclose(output.last_hidden_state[row, :length], states[0], atol=1e-5)
        assert not output.last_hidden_state[row, length:].any()
        summed_up = torch.tanh(reader.pooler.dense(torch.cat([ends[2, 0], ends[3, 0]])))
        assert torch.allclose(output.pooler_output[row], summed_up, atol=1e-5)


@torch.no_grad()
def test_the_lstm_reads_packed_texts_as_padded_ones():
    reader, batch = randomized(LstmOnTop(Bert(tiny()), add_pooler=True)), padded()
    packed, whole = reader(**pack(dict(batch))), reader(**batch)
    real = batch["attention_mask"].bool()
    assert torch.allclose(packed.last_hidden_state[0], whole.last_hidden_state[real], atol=1e-5)
    assert torch.allclose(packed.pooler_output, whole.pooler_output, atol=1e-5)


@torch.no_grad()
def answers(model, batch):
    """The logits of each row, without those of padding."""
    mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool()
    lengths = mask.sum(dim=1).tolist()
    if isinstance(model, BertForTokenClassification):
        return model(**batch, word_starts=mask).logits.split(lengths)
    output = model(**batch)
    if isinstance(model, BertForQuestionAnswering):
        ends = torch.stack([output.start_logits, output.end_logits], dim=-1)
        return [row[:length] for row, length in zip(ends, lengths, strict=True)]
    # The rows of a batch are the options of one question.
    return output.logits.T if isinstance(model, BertForMultipleChoice) else output.logits


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("change", [side_by_side, with_lstm])
def test_every_head_reads_them_and_padding_changes_nothing(kind, change):
    model, batch = randomized(change(kind)), padded()
    for row, found in enumerate(answers(model, batch)):
        (expected,) = answers(model, alone(batch, row))
        assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("change", [side_by_side, with_lstm])
def test_the_gradient_reaches_everything_that_is_read(kind, change):
    model, batch = randomized(change(kind)), padded()
    model.train()
    model(**batch, **labels_for(model, batch)).loss.backward()
    untouched = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    # What shifts all scores of a softmax alike has no gradient.
    shifts = ("key.bias", "classifier.bias", "qa_outputs.bias")
    assert all(name.endswith(shifts) for name in untouched)


@torch.no_grad()
@pytest.mark.parametrize("kind", [BertForSequenceClassification, BertForMultipleChoice])
def test_quick_answers_are_those_of_the_whole_model(kind):
    batch = padded() | {"token_type_ids": torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.long)}
    models = [kind(tiny(direction)) for direction in (None, *DIRECTIONS)]
    for model in map(randomized, [*models, side_by_side(kind), with_lstm(kind)]):
        found, expected = row_logits(model, batch).flatten(), model(**batch).logits.flatten()
        assert torch.allclose(found, expected, atol=1e-5)


def test_a_head_begins_as_wide_as_what_it_reads_and_with_its_bias():
    model = BertForSequenceClassification(tiny(DIRECTIONS[0]))
    model.begin_head(0.75)
    read_side_by_side(model, Bert(tiny(DIRECTIONS[1])))
    assert model.classifier.weight.shape == (2, 32)
    assert (model.classifier.bias == 0.75).all()


def test_what_cannot_stand_side_by_side_is_refused():
    left, right = (Bert(tiny(direction)) for direction in DIRECTIONS)
    with pytest.raises(InputError, match="the models read right-to-left and left-to-right; expected left"):
        SideBySide(right, left, add_pooler=False)
    with pytest.raises(InputError, match="the models read left-to-right and both ways"):
        read_side_by_side(BertForTokenClassification(tiny(DIRECTIONS[0])), Bert(tiny()))
    other = Bert(tiny(DIRECTIONS[1]).replace(vocab_size=50))
    with pytest.raises(InputError, match="know 40 and 50 pieces; expected one vocabulary"):
        SideBySide(left, other, add_pooler=False)
    with pytest.raises(InputError, match="BertForMaskedLM has no BERT below the head of a task"):
        read_by_lstm(BertForMaskedLM(tiny()))
    with pytest.raises(InputError, match="has no BERT below"):
        read_by_lstm(with_lstm(BertForTokenClassification))


@pytest.mark.parametrize("change", [side_by_side, with_lstm])
def test_a_model_that_no_configuration_describes_is_not_saved(change, tmp_path):
    with pytest.raises(InputError, match="cannot be saved; save the models below it"):
        change(BertForTokenClassification).save_pretrained(tmp_path / "model")
    assert not (tmp_path / "model").exists()
