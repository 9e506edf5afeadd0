"""Masks for the masked language model: which tokens are asked for, and what stands in their place."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from bertmini.errors import InputError

RATE = 0.15  # the share of the tokens that BERT masks

# (input_ids, maskable, generator) to bool [batch, length]: where a unit begins that is chosen as a whole.
Units = Callable[[Tensor, Tensor, torch.Generator | None], Tensor]


def mask_tokens(
    input_ids: torch.Tensor,
    maskable: torch.Tensor,
    *,
    mask_token_id: int,
    vocab_size: int,
    generator: torch.Generator | None = None,
    special_ids: Sequence[int] = (),
    rate: float = RATE,
    mask_share: float = 0.8,
    random_share: float = 0.1,
    rows: slice = slice(None),
    units: Units | None = None,
    weights: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Choose tokens to predict and hide most of them (Devlin et al. 2018, sections 3.1 and A.1).

    Args:
        input_ids: int64 [batch, length].
        maskable: bool [batch, length], True where a token may be chosen.
        generator: the source of chance: the same state gives the same masks.
        special_ids: ids that a random token never is.
        rate: share of a row's maskable tokens that is chosen, rounded, one at least.
        mask_share, random_share: shares of the chosen that become [MASK] and a random token; the rest stays.
        rows: those to mask; their masks are the ones that they get among all rows.
        units: says which tokens are chosen together, a value of `MASKING`; None: each by itself.
        weights: of each piece, [vocab], above 0, to choose single tokens by; None: all alike.

    Returns:
        (ids with masks, labels), int64 [rows, length]; the label is -100 where nothing is predicted.
    """
    specials = sorted(set(special_ids))
    scores = torch.rand(input_ids.shape, generator=generator)[rows]
    random_ids = torch.randint(vocab_size - len(specials), input_ids.shape, generator=generator)[rows]
    fate = torch.rand(input_ids.shape, generator=generator)[rows]
    if units:
        begins = units(input_ids, maskable, generator)[rows]
        chance = torch.rand((len(input_ids), 1), generator=generator)[rows]
    input_ids, maskable = input_ids[rows], maskable[rows]

    how_many = (rate * maskable.sum(dim=1, keepdim=True).double()).round().clamp(min=1)  # [batch, 1]
    if units:
        chosen = choose_units(scores, begins, maskable, how_many, chance)
    else:  # in each row the maskable tokens with the lowest random scores
        if weights is not None:  # a race, in which the next to arrive is each with its share of the weights
            scores = -torch.log1p(-scores) / weights[input_ids]
        rank = scores.masked_fill(~maskable, torch.inf).argsort(dim=1).argsort(dim=1)  # [batch, length]
        chosen = maskable & (rank < how_many)
    labels = torch.where(chosen, input_ids, -100)

    for special in specials:  # step over each
        random_ids += random_ids >= special
    masked_ids = torch.where(chosen & (fate < mask_share + random_share), random_ids, input_ids)
    masked_ids = torch.where(chosen & (fate < mask_share), mask_token_id, masked_ids)
    return masked_ids, labels


def rarity_weights(counts: Any, smoothing: float) -> Tensor:
    """Weights by which rare pieces are masked more often: max(count, 1)^-smoothing.

    Args:
        counts: how often each piece stands in the corpus, int [vocab].
        smoothing: 0 gives all the same weight, 1 lets each piece be masked about as often as any other.

    Returns:
        float32 [vocab], from 0 to 1.

    Raises:
        InputError: the smoothing is below 0.

    Source: Lample & Conneau 2019, arXiv 1901.07291, section 3.3, with 0.5; DistilBERT's code has 0.7.
    """
    if smoothing < 0:
        raise InputError(f"the smoothing of mask weights is {smoothing}; expected 0 or more")
    return torch.as_tensor(counts).clamp(min=1).double().pow(-smoothing).float()


def choose_units(
    scores: Tensor, begins: Tensor, maskable: Tensor, how_many: Tensor, chance: Tensor
) -> Tensor:
    """Choose whole units, in the order of their scores, until so many tokens are chosen.

    The last unit rarely ends where it should. It is taken with the probability that makes the expected number
    of tokens exactly `how_many`. Google's code leaves it out if it is too long, and so masks long words less.

    Args:
        scores: random numbers below 1, [batch, length]; that of a unit is its first token's.
        begins: bool [batch, length], where a unit begins.
        maskable: bool [batch, length], for all tokens of a unit or for none.
        how_many: tokens to choose, [batch, 1].
        chance: a random number below 1 for each row, [batch, 1].

    Returns:
        bool [batch, length], the chosen tokens. Whether one becomes [MASK] is then decided for each of them
        by itself, as in Google's code (create_pretraining_data.py, do_whole_word_mask).
    """
    first = (
        torch.where(begins, torch.arange(begins.size(1)), 0).cummax(dim=1).values
    )  # its unit's first place
    scores = scores.gather(1, first).masked_fill(~maskable, 2.0)
    rank = scores.argsort(dim=1, stable=True).argsort(dim=1)  # the tokens of a unit stay together
    before = rank.gather(1, first)  # tokens in the units that come first
    size = torch.zeros_like(first).scatter_add_(1, first, torch.ones_like(first)).gather(1, first)
    return maskable & (chance * size < how_many - before)


def follows_text(maskable: Tensor) -> Tensor:
    """Where a token may belong to the unit of the one before it: both are text."""
    return maskable & F.pad(maskable[:, :-1], (1, 0))


class WholeWords:
    """The pieces of a word together: no piece is guessed from the others of its word.

    Args:
        tokenizer: its `word_edges` says which pieces go on with a word, in WordPiece those with ##.

    Source: google-research/bert, README, "Whole Word Masking".
    """

    def __init__(self, tokenizer: Any) -> None:
        self.goes_on, self.ends = map(torch.tensor, tokenizer.word_edges())  # [vocab] each

    def __call__(self, input_ids: Tensor, maskable: Tensor, generator: torch.Generator | None) -> Tensor:
        after_end = F.pad(self.ends[input_ids[:, :-1]], (1, 0))
        return ~(self.goes_on[input_ids] & ~after_end & follows_text(maskable))


class NGrams(WholeWords):
    """One, two or three words in a row together, n of them with probability proportional to 1/n.

    Source: Lan et al. 2019, arXiv 1909.11942, section 4.1.
    """

    chances = torch.tensor([6 / 11, 3 / 11, 2 / 11])  # of n = 1, 2, 3

    def __call__(self, input_ids: Tensor, maskable: Tensor, generator: torch.Generator | None) -> Tensor:
        words = super().__call__(input_ids, maskable, generator)
        rows, length = input_ids.shape
        drawn = torch.multinomial(self.chances, rows * length, replacement=True, generator=generator) + 1
        drawn = drawn.view(rows, length)  # words in each n-gram of a row
        starts = (drawn.cumsum(dim=1) - drawn).clamp(max=length)  # the number of its first word
        is_start = torch.zeros(rows, length + 1, dtype=torch.bool).scatter_(1, starts, True)  # [batch, words]
        number = words.cumsum(dim=1) - 1  # of the word at each place, [batch, length]
        return words & (is_start.gather(1, number) | ~follows_text(maskable))


class Spans(NGrams):
    """One to ten words in a row together: a geometric distribution, cut off, with a mean of 3.8 words.

    Source: Joshi et al. 2019 (SpanBERT), arXiv 1907.10529, section 3.1.
    """

    chances = 0.2 * 0.8 ** torch.arange(10) / (1 - 0.8**10)  # of n = 1 to 10


class Entities(WholeWords):
    """The words of a name together, where it stands in a list of names; other words one by one.

    Args:
        tokenizer: as for `WholeWords`.
        names: "Mara Fennick", say. Where two of them overlap in a text, they are one unit.

    Raises:
        InputError: there is no name.

    Source: Sun et al. 2019 (ERNIE), arXiv 1904.09223, section 3.2.
    """

    def __init__(self, tokenizer: Any, names: Iterable[str]) -> None:
        super().__init__(tokenizer)
        spellings = list(names)
        if tokenizer.keeps_spaces:  # a name may begin a text
            spellings += [f" {name}" for name in spellings]
        spelled = [ids for ids in tokenizer.encode_ids(spellings) if ids]
        known = [ids for ids in spelled if tokenizer.unk_token_id not in ids]
        times = 1 + tokenizer.keeps_spaces  # that each name is spelled
        if not known:
            raise InputError(
                f"{len(spelled) // times} names, none of which the tokenizer can spell; expected some"
            )
        if unknown := (len(spelled) - len(known)) // times:
            warnings.warn(f"{unknown} names with unknown characters are left out", stacklevel=2)
        self.pad_id, self.size, self.longest = tokenizer.pad_token_id, len(tokenizer), max(map(len, known))
        # The names as a tree: a node for each beginning of a name, and a branch for each piece after it.
        branches: dict[tuple[int, int], int] = {}  # (node, piece) to node
        is_name = [False]
        for ids in known:
            node = 0
            for piece in ids:
                node = branches.setdefault((node, piece), len(is_name))
                is_name += [False] * (node == len(is_name))
            is_name[node] = True
        self.is_name = torch.tensor([*is_name, False])  # [nodes + 1]; the last one is none
        self.keys = torch.tensor([node * self.size + piece for node, piece in sorted(branches)])
        self.nodes = torch.tensor([branches[branch] for branch in sorted(branches)])

    def __call__(self, input_ids: Tensor, maskable: Tensor, generator: torch.Generator | None) -> Tensor:
        words = super().__call__(input_ids, maskable, generator)
        places, none = torch.arange(input_ids.size(1)), len(self.is_name) - 1
        node = torch.where(words, 0, none)  # where the pieces from each place on have led in the tree
        end = places.expand_as(input_ids)  # of the longest name from each place on
        for n in range(min(self.longest, input_ids.size(1))):
            key = node * self.size + F.pad(input_ids[:, n:], (0, n), value=self.pad_id)
            branch = torch.searchsorted(self.keys, key).clamp(max=len(self.keys) - 1)
            node = torch.where(self.keys[branch] == key, self.nodes[branch], none)
            ends_here = F.pad(words[:, n + 1 :], (0, n + 1), value=True)  # no piece of its last word follows
            end = torch.where(self.is_name[node] & ends_here, places + n + 1, end)
        end = F.pad(end.cummax(dim=1).values[:, :-1], (1, 0))  # the farthest from all places before
        return words & (end <= places)


MASKING: dict[str, Callable[..., Units] | None] = {
    "token": None, "whole-word": WholeWords, "ngram": NGrams, "span": Spans, "entity": Entities,
}  # fmt: skip
