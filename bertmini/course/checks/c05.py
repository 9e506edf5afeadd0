"""Chapter 05, examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bertmini.course.exercises import Wrong, exercise, expect_tensor, run
from bertmini.course.replace import samples

MASK, SPECIAL = 4, (0, 1, 2, 3, 4)
ALL_MASK = {"mask_share": 1.0, "random_share": 0.0}
ALL_RANDOM = {"mask_share": 0.0, "random_share": 1.0}
ALL_KEPT = {"mask_share": 0.0, "random_share": 0.0}


@exercise("05.1")
def pair_up(attempt: Callable[..., Any]) -> None:
    """`pair_up(sentences, target, cut, other, coin)`: one example for next sentence prediction."""
    a, b, c, x = ["fog", "."], ["rain", "."], ["sun", "."], ["bread", "."]
    one = "a single sentence leaves nothing for B, so B comes from elsewhere, whatever the coin says"
    enough = "`target` is reached after {}: do not gather another"
    cases: list[tuple[tuple, tuple, str]] = [
        (([a, b], 4, 1, x, False), (a, b, 0, 2), "no coin, no change: B is what follows A"),
        (([a, b], 4, 1, x, True), (a, x, 1, 1), "the sentences that were meant for B are still unused"),
        (([a, b, c], 6, 2, x, False), (a + b, c, 0, 3), "A is the first `cut` sentences, joined in one list"),
        (([a, b, c], 6, 1, x, False), (a, b + c, 0, 3), "B is all that was gathered behind A"),
        (([a, b, c], 3, 1, x, False), (a, b, 0, 2), "stop as soon as there are `target` tokens"),
        (([a, b, c], 4, 1, x, False), (a, b, 0, 2), enough.format("2 sentences")),
        (([a, b], 9, 1, x, False), (a, b, 0, 2), "stop also where the document ends"),
        (([a, b], 2, 1, x, False), (a, x, 1, 1), f"{enough.format('1 sentence')}; {one}"),
        (([a], 9, 1, x, False), (a, x, 1, 1), one),
    ]
    for given, expected, why in cases:
        answer = run(attempt, *given)
        if not isinstance(answer, tuple) or len(answer) != 4:
            raise Wrong(f"pair_up returns (a, b, is_not_next, used); yours returned {answer!r}")
        if (list(answer[0]), list(answer[1]), *answer[2:]) != expected:
            names = ("sentences", "target", "cut", "other", "coin")
            inputs = ", ".join(f"{name} {value}" for name, value in zip(names, given, strict=True))
            raise Wrong(f"for {inputs} you gave {answer}, expected {expected}: {why}")


@exercise("05.2")
def mask_tokens(attempt: Callable[..., Any]) -> None:
    """`my_mask_tokens(...)`: as the package's, with the reader's own use of chance."""
    frame = [[2, 7, 3]]
    cases: list[tuple[list, dict, list, list, str]] = [
        ([[7]], ALL_MASK, [[4]], [[7]], "at least one token of a row is chosen"),
        (frame, ALL_MASK, [[2, 4, 3]], [[-100, 7, -100]], "only maskable tokens are chosen"),
        (frame, ALL_KEPT, frame, [[-100, 7, -100]], "a chosen token that stays is predicted too"),
        (frame, ALL_RANDOM, [[2, 5, 3]], [[-100, 7, -100]], "5 is the only id that is not special"),
        ([[2, 7, 3], [2, 5, 3]], ALL_MASK, [[2, 4, 3], [2, 4, 3]], [[-100, 7, -100], [-100, 5, -100]],
         "every row is masked"),
        ([[2, 3], [7, 3]], ALL_MASK, [[2, 3], [4, 3]], [[-100, -100], [7, -100]],
         "a row with nothing maskable stays as it is, and asks nothing"),
    ]  # fmt: skip
    for rows, shares, masked, labels, why in cases:
        input_ids = torch.tensor(rows)
        given = f"input_ids {rows}, mask_share {shares['mask_share']}, random_share {shares['random_share']}"
        given += f" ({why})"
        answer = _masked(attempt, input_ids, vocab_size=6, **shares)
        expect_tensor(answer[1], torch.tensor(labels), f"{given}: as labels,")
        expect_tensor(answer[0], torch.tensor(masked), f"{given}: as masked ids,")
        if input_ids.tolist() != rows:
            raise Wrong(f"for {given} you changed input_ids itself; change a copy, input_ids.clone()")

    input_ids = torch.arange(100, 140).repeat(2, 1)
    input_ids[1, 20:] = 0  # padding
    how_many = (_masked(attempt, input_ids)[1] != -100).sum(dim=1).tolist()
    if how_many != [6, 3]:
        raise Wrong(f"of rows with 40 and 20 maskable tokens you chose {how_many}, 15 % of each are [6, 3]")

    states = [torch.Generator().manual_seed(seed) for seed in (1, 1, 2)]
    first, again, other = (_masked(attempt, input_ids, generator=state)[1] for state in states)
    if not torch.equal(first, again):
        raise Wrong("a generator in the same state gave two different masks: draw with generator=generator")
    if torch.equal(first, other):
        raise Wrong("generators in two different states gave the same mask: draw the places by chance")

    chosen = (_masked(attempt, torch.full((400, 20), 100))[1] != -100).float().mean(dim=0)
    if chosen.min() < 0.06 or chosen.max() > 0.26:
        rates = f"{chosen.min():.0%} and {chosen.max():.0%}"
        raise Wrong(f"of 20 places some are chosen in {rates} of the rows, 15 % were expected of each")
    _check_fates(attempt)


def _check_fates(attempt: Callable[..., Any]) -> None:
    input_ids = torch.full((4, 4000), 100)
    masked_ids, labels = _masked(attempt, input_ids)
    for row, label in zip(masked_ids, labels, strict=True):
        shown = row[label != -100]
        shares = {
            "[MASK]": ((shown == MASK).float().mean().item(), 0.8),
            "another token": (((shown != MASK) & (shown != 100)).float().mean().item(), 0.1),
            "themselves": ((shown == 100).float().mean().item(), 0.1),
        }
        for name, (share, expected) in shares.items():
            if not abs(share - expected) <= 0.08:  # nan is far from everything
                raise Wrong(f"of 600 chosen tokens {share:.0%} show {name}, {expected:.0%} were expected")
    strangers = masked_ids[(masked_ids != MASK) & (masked_ids != 100)]
    if bool((strangers < len(SPECIAL)).any()):
        raise Wrong(f"a random token has the special id {int(strangers.min())}")
    if len(strangers.unique()) < 100:
        kinds = len(strangers.unique())
        raise Wrong(f"{len(strangers)} random tokens are only {kinds} different ones, of 995 possible")


def _masked(
    attempt: Callable[..., Any],
    input_ids: Tensor,
    vocab_size: int = 1000,
    generator: torch.Generator | None = None,
    **shares: float,
) -> tuple[Tensor, Tensor]:
    answer = run(
        attempt,
        input_ids,
        input_ids > MASK,
        mask_token_id=MASK,
        vocab_size=vocab_size,
        special_ids=SPECIAL,
        generator=generator,
        **shares,
    )
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise Wrong(f"the function returns (masked ids, labels); yours returned {type(answer).__name__}")
    for part, name in zip(answer, ("masked ids", "labels"), strict=True):
        if not isinstance(part, Tensor) or part.shape != input_ids.shape:
            found = list(part.shape) if isinstance(part, Tensor) else type(part).__name__
            raise Wrong(f"for input_ids of shape {list(input_ids.shape)} your {name} are {found}")
    return answer


@samples("mask_tokens")
def mask_tokens_samples() -> list[tuple[tuple, dict]]:
    """Calls that leave nothing to chance: the reader may draw in another order than the package."""
    one_each = torch.tensor([[2, 5, 3, 0], [2, 9, 3, 0]])
    all_of_them = torch.tensor([[2, 5, 6, 3], [2, 7, 8, 3]])
    fixed: dict[str, Any] = {"mask_token_id": MASK, "vocab_size": 6, "special_ids": SPECIAL}
    return [
        ((input_ids, input_ids > MASK), {**fixed, **shares, "rate": rate})
        for input_ids, rate in ((one_each, 0.15), (all_of_them, 1.0))
        for shares in (ALL_MASK, ALL_RANDOM, ALL_KEPT)
    ]


@exercise("05.3")
def padding_waste(attempt: Callable[..., Any]) -> None:
    """`padding_waste(lengths, batch_size)`: the share of all positions that are padding."""
    cases: list[tuple[list[int], int, float, str]] = [
        ([3], 1, 0.0, "a row alone needs no padding"),
        ([1, 3], 2, 1 / 3, "two rows of 3 are 6 positions, 2 of them padding"),
        ([1, 3], 1, 0.0, "batches of one row need no padding"),
        ([1, 3, 2, 2], 2, 0.2, "each batch has its own longest row: 2 of 6 + 4 positions"),
        ([1, 3, 2], 2, 0.25, "the last batch may have fewer rows: 2 of 6 + 2 positions"),
    ]
    for lengths, batch_size, expected, why in cases:
        answer = run(attempt, lengths, batch_size)
        if not abs(float(answer) - expected) <= 1e-6:  # nan is far from everything
            given = f"lengths {lengths} and batch_size {batch_size}"
            raise Wrong(f"for {given} you gave {float(answer):.4f}, expected {expected:.4f}: {why}")
