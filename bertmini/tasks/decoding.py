"""Beam search: the likeliest text that a model may write, sought along a few beginnings at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from bertmini.errors import InputError
from bertmini.model.seq2seq import BertForSequenceToSequence


@dataclass(frozen=True)
class Decoding:
    """How a text is sought; the names are those of transformers' `generate`.

    Args:
        num_beams: beginnings that are kept at every step; 1 takes the likeliest piece each time (greedy).
        length_penalty: texts are compared by log-probability / length ** length_penalty. 0 compares the
            probabilities themselves, which are higher for shorter texts; 1 the mean of a piece.

    Raises:
        InputError: there is no beam, or half a one.
    """

    num_beams: int = 4
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        if self.num_beams < 1 or self.num_beams != int(self.num_beams):
            raise InputError(f"num_beams is {self.num_beams}; expected a whole number, 1 or more")


@dataclass(frozen=True)
class Written:
    """A text that was found: its ids, the end ([SEP]) among them, and the sum of their log-probabilities."""

    ids: list[int]
    log_prob: float

    def score(self, how: Decoding) -> float:
        return self.log_prob / len(self.ids) ** how.length_penalty


@dataclass
class Found:
    """What was found for one source: the best text, and how many that ended."""

    best: Written | None = None
    ends: int = 0

    def add(self, text: Written, how: Decoding) -> None:
        if self.best is None or text.score(how) > self.best.score(how):
            self.best = text


@torch.no_grad()
def beam_search(
    model: BertForSequenceToSequence,
    input_ids: Tensor,
    attention_mask: Tensor,
    limits: Sequence[int],
    end: int,
    forbidden: Sequence[int] = (),
    how: Decoding = Decoding(),
) -> list[Written]:
    """Write a target for each source of a batch.

    At each step every beginning is continued by every piece. What ends among the best `num_beams` of all
    these is found, and the best that go on are the next beginnings. A source is done when as many ends as
    beams were found; or at its limit, where a text without an end counts if no other was found.

    Args:
        model: in evaluation mode.
        input_ids: the sources, [CLS] … [SEP] and padding, [batch, length].
        attention_mask: 1 for a real token and 0 for padding, [batch, length].
        limits: pieces of each target at most, the end included.
        end: the id that ends a target.
        forbidden: ids that are never written.
        how: beams and length penalty.

    Returns:
        The best text for each source by its penalised score.

    Source: Wu et al. 2016, arXiv 1609.08144, section 7, with a simpler length penalty.
    """
    beams, found = how.num_beams, [Found() for _ in limits]
    reading = Reading.begin(model, input_ids, attention_mask)
    sources = list(range(len(limits)))  # those that are not done; "open" in shapes
    totals = torch.zeros(len(limits), 1, device=input_ids.device)  # log-probabilities, [open, beginnings]
    written = input_ids.new_zeros(len(limits), 1, 0)  # [open, beginnings, pieces]
    for step in range(1, max(limits) + 1):
        log_probs = reading.log_probs(forbidden).view(*totals.shape, -1)  # [open, beginnings, vocab]
        # A beginning ends in one way only, so that of twice as many as beams enough go on.
        values, parents, pieces = best_continuations(totals, log_probs, 2 * beams)  # [open, candidates]
        texts = torch.cat([pick(written, parents), pieces[:, :, None]], dim=2)
        is_end = pieces == end
        for row, place in (is_end & values.isfinite())[:, :beams].nonzero().tolist():
            found[sources[row]].ends += 1
            found[sources[row]].add(Written(texts[row, place].tolist(), float(values[row, place])), how)

        totals, chosen = values.masked_fill(is_end, float("-inf")).topk(min(beams, values.size(1)))
        written, parents = pick(texts, chosen), parents.gather(1, chosen)
        for row, source in enumerate(sources):
            if step == limits[source] and found[source].best is None:
                found[source].add(Written(written[row, 0].tolist(), float(totals[row, 0])), how)
        still = [i for i, s in enumerate(sources) if step < limits[s] and found[s].ends < beams]
        if not still:
            break
        sources, totals, written = [sources[i] for i in still], totals[still], written[still]
        reading.go_on(still, parents[still], written[:, :, -1], position=step - 1)
    return [each.best for each in found if each.best is not None]


def best_continuations(totals: Tensor, log_probs: Tensor, number: int) -> tuple[Tensor, Tensor, Tensor]:
    """The likeliest beginnings with one more piece, of each source, the best first.

    Args:
        totals: log-probabilities of the beginnings, [open, beginnings].
        log_probs: those of each next piece, [open, beginnings, vocab].
        number: how many at most.

    Returns:
        Their log-probabilities, which beginning each continues, and by which piece, each [open, candidates].
    """
    vocab = log_probs.size(2)
    continued = (totals[:, :, None] + log_probs).flatten(1)  # [open, beginnings * vocab]
    values, places = continued.topk(min(number, continued.size(1)))
    return values, places // vocab, places % vocab


def pick(texts: Tensor, chosen: Tensor) -> Tensor:
    """Of texts [open, candidates, pieces] those that are chosen, [open, chosen, pieces]."""
    return texts.gather(1, chosen[:, :, None].expand(-1, -1, texts.size(2)))


@dataclass
class Reading:
    """What the model has read so far, in rows: each source's beginnings, one after the other."""

    model: BertForSequenceToSequence
    attention_mask: Tensor  # [rows, length]
    beginnings: int = 1  # of a source
    states: Tensor = field(init=False)  # at the last position, [rows, hidden]
    past: list[tuple[Tensor, Tensor]] | None = None

    @classmethod
    def begin(cls, model: BertForSequenceToSequence, input_ids: Tensor, attention_mask: Tensor) -> Reading:
        """Read the sources, [batch, length] each."""
        reading = cls(model, attention_mask)
        positions = torch.arange(input_ids.size(1), device=input_ids.device)[None]
        states, reading.past = model.read_on(
            input_ids, torch.zeros_like(input_ids), positions, attention_mask
        )
        reading.states = states[torch.arange(len(states)), attention_mask.sum(dim=1) - 1]
        return reading

    def log_probs(self, forbidden: Sequence[int]) -> Tensor:
        """Of the next piece, [rows, vocab]."""
        logits = self.model.predict(self.states).float()
        logits[:, list(forbidden)] = float("-inf")
        return logits.log_softmax(dim=-1)

    def go_on(self, still: list[int], parents: Tensor, pieces: Tensor, position: int) -> None:
        """Read a piece more.

        Args:
            still: the sources that are not done, by their place among those that were not.
            parents: which beginning each new one continues, [open, beginnings].
            pieces: by which piece, [open, beginnings].
            position: of the piece in its text.
        """
        first = torch.tensor(still, device=parents.device)[:, None] * self.beginnings
        rows, ids = (first + parents).flatten(), pieces.reshape(-1, 1)
        self.beginnings = parents.size(1)
        self.attention_mask = torch.cat([self.attention_mask[rows], torch.ones_like(ids)], dim=1)
        past = [(k[rows], v[rows]) for k, v in self.past or []]
        states, self.past = self.model.read_on(
            ids, torch.ones_like(ids), torch.full_like(ids, position), self.attention_mask, past
        )
        self.states = states[:, 0]
