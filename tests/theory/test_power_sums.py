import numpy as np
import pytest

from logclock.theory.power_sums import power_bins, power_sum, smooth_nodes


@pytest.mark.parametrize("num_terms", [1, 7, 60, 61, 100, 12_345, 10**8])
def test_bins_cover_every_index_once(num_terms):
    first, last = power_bins(num_terms)

    assert (first[0], last[-1]) == (1, num_terms)
    assert (first <= last).all()
    assert (first[1:] == last[:-1] + 1).all()
    assert len(first) < 300


@pytest.mark.parametrize("exponent", [-0.6, 0.5, 1.0, 1.4, 2.0, 3.4])
def test_power_sums_are_the_sums(exponent):
    j = np.arange(1, 20_001, dtype=float)

    assert power_sum(20_000, exponent) == pytest.approx((j**-exponent).sum(), rel=1e-9)


def test_smooth_sums_are_the_sums():
    j = np.arange(1, 100_001, dtype=float)
    x, weights = smooth_nodes(100_000)

    # without an Euler-Maclaurin correction the integral from 60.5 on misses f'(60) / 24, about 2e-6 of the sum
    assert weights @ (x**-1.7 / (1 + 50 / x**2)) == pytest.approx((j**-1.7 / (1 + 50 / j**2)).sum(), rel=5e-6)
