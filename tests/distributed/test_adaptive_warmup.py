"""Do ranks that see different losses have one learning rate, and for how long do they talk about it?"""

import math
import random

import pytest
import torch
from distributed.warmup_jobs import follow
from torch import nn

from logclock import AdaptiveWarmup

RAW = {"end_loss": 5.0, "preset": "paper"}
SMOOTH = {"end_loss": 5.0, "ema_halflife": 3.0, "patience": 2, "handover_ramp": 4, "max_warmup_frac": 1.0}


def curves(num=30):
    """Return a noisy loss curve for each rank, far enough apart that each alone would hand over elsewhere."""
    generator = random.Random(0)
    return [
        [end + (10.5 - end) * math.exp(-0.15 * i) + generator.gauss(0, 0.3) for i in range(num)] for end in (3.0, 4.2)
    ]


def alone(losses, **settings):
    """Return the learning rates of one process that sees these losses."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=1e-3)
    warmup = AdaptiveWarmup(optimizer, 60, **settings)
    lrs = [optimizer.param_groups[0]["lr"]]
    for loss in losses:
        optimizer.step()
        warmup.step(loss)
        lrs.append(optimizer.param_groups[0]["lr"])
    return lrs, warmup.handover_step


def rounded_as_sent(losses):
    """Every second loss goes in as a float32 tensor."""
    return [torch.tensor(loss).item() if i % 2 else loss for i, loss in enumerate(losses)]


@pytest.mark.parametrize("settings", [RAW, SMOOTH], ids=["raw", "smooth"])
def test_ranks_with_different_losses_have_the_same_learning_rates_and_hand_over_together(pair, settings):
    first, second = pair.run(follow, curves(), settings)

    assert first["lrs"] == second["lrs"]
    assert first["state"] == second["state"]
    handover = first["state"]["handover_step"]
    own = [alone(losses, **settings)[1] for losses in curves()]
    assert handover is not None
    assert len({handover, *own}) == 3  # each rank alone would have ended somewhere else
    means = [(a + b) / 2 for a, b in zip(*map(rounded_as_sent, curves()), strict=True)]
    lrs, step = alone(means, **settings)
    assert step == handover
    assert first["lrs"] == pytest.approx(lrs, rel=1e-12)


def test_the_mean_is_weighted_by_tokens(pair):
    losses = curves()
    tokens = [[100 * (i % 3) + 50 for i in range(30)], [400 - 100 * (i % 4) for i in range(30)]]

    first, second = pair.run(follow, losses, RAW, tokens)

    sent = [rounded_as_sent(curve) for curve in losses]
    means = [(a * n + b * m) / (n + m) for a, b, n, m in zip(*sent, *tokens, strict=True)]
    assert first["lrs"] == second["lrs"]
    assert first["lrs"] == pytest.approx(alone(means, **RAW)[0], rel=1e-12)


def test_after_the_hand_over_nothing_is_sent(pair):
    ranks = pair.run(follow, curves(), RAW)

    for rank in ranks:
        assert len(rank["dtypes"]) == rank["state"]["handover_step"] < 30
        assert set(rank["dtypes"]) == {"torch.float64"}


def test_one_rank_may_have_all_the_losses(pair):
    """As the last stage of a pipeline; a rank without tokens has a mean of 0 / 0."""
    losses = curves()[1]
    by_none = pair.run(follow, [[None] * 30, losses], RAW)
    by_weight = pair.run(follow, [[math.nan] * 30, losses], RAW, [[0] * 30, [7] * 30])

    expected, _ = alone(rounded_as_sent(losses), **RAW)
    for ranks in (by_none, by_weight):
        assert ranks[0]["lrs"] == ranks[1]["lrs"]
        assert ranks[0]["lrs"] == pytest.approx(expected, rel=1e-12)


def test_a_loss_that_is_not_finite_on_one_rank_is_skipped_on_both(pair):
    losses = curves()
    losses[1][4] = math.nan
    losses[0][7] = math.inf

    first, second = pair.run(follow, losses, RAW)

    assert first == second
    assert first["state"]["skipped"] == 2
    assert first["lrs"][5] == first["lrs"][4]
    assert first["lrs"][8] == first["lrs"][7]


def test_a_backend_without_float64_gets_float32(pair):
    first, second = pair.run(follow, curves(), RAW, None, True)
    exact, _ = pair.run(follow, curves(), RAW)

    assert first == second
    assert set(first["dtypes"]) == {"torch.float32"}
    assert first["state"]["handover_step"] == exact["state"]["handover_step"]
    # float32 rounding of the loss, 5e-7, times the slope of the logarithm of the factor, below 100
    assert first["lrs"] == pytest.approx(exact["lrs"], rel=5e-5)


@pytest.mark.parametrize(
    ("settings", "is_alone"), [({"sync": "none"}, False), ({}, True)], ids=["sync none", "own group"]
)
def test_ranks_that_are_no_replicas_go_their_own_ways(pair, settings, is_alone):
    ranks = pair.run(follow, curves(), RAW | settings, None, False, is_alone)

    for rank, losses in zip(ranks, curves(), strict=True):
        lrs, handover = alone(rounded_as_sent(losses), **RAW)
        assert rank["lrs"] == pytest.approx(lrs, rel=1e-12)
        assert rank["state"]["handover_step"] == handover
    assert ranks[0]["lrs"] != ranks[1]["lrs"]
