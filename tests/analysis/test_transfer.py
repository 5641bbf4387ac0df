import math

import pytest

from logclock.analysis.lr_rules import LrTrial
from logclock.analysis.transfer import lr_transfer

RATES = (2e-3, 4e-3, 8e-3, 16e-3, 32e-3)


def sweep(best_lr, best_loss, curvature=0.1):
    return [LrTrial(lr=lr, loss=best_loss + curvature * math.log(lr / best_lr) ** 2) for lr in RATES]


def test_the_three_numbers_of_exact_parabolas():
    found = lr_transfer({256: sweep(4e-3, 3.0, curvature=0.2), 64: sweep(16e-3, 3.5)})

    assert list(found.optima) == [64, 256]
    assert found.spread == pytest.approx(4)
    assert (found.gap(64), found.gap(256)) == (pytest.approx(0.5), 0)
    assert found.shift(64) == pytest.approx(math.log(4))
    assert found.cost(64) == pytest.approx(0.2 * math.log(4) ** 2)  # by the curvature of the widest


def test_a_rate_that_stays_costs_nothing():
    found = lr_transfer({64: sweep(8e-3, 3.5), 128: sweep(8e-3, 3.2)})

    assert found.spread == pytest.approx(1)
    assert found.cost(64) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("best_lr", [1e-3, 1e-1])
def test_a_minimum_outside_of_the_sweep_is_refused(best_lr):
    with pytest.raises(ValueError, match="the sweep at width 128 shows no minimum between its learning rates"):
        lr_transfer({64: sweep(8e-3, 3.5), 128: sweep(best_lr, 3.2)})


def test_one_width_is_refused():
    with pytest.raises(ValueError, match="two widths or more, got 1"):
        lr_transfer({64: sweep(8e-3, 3.5)})
