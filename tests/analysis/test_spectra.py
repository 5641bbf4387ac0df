"""Do ranks, outlier measures and token classes have the values that their definitions give by hand?"""

import math

import numpy as np
import pytest
import scipy.stats

from logclock.analysis.diagnosis import kind_of
from logclock.analysis.spectra import (
    Covariance,
    hard_rank,
    kurtosis,
    max_to_median,
    soft_rank,
    token_classes,
    width_exponent,
)


@pytest.mark.parametrize("size", [1, 7, 300])
@pytest.mark.parametrize("scale", [1e-300, 1.0, 1e300])
def test_an_identity_uses_all_directions_at_any_scale(size, scale):
    values = np.full(size, scale)

    assert soft_rank(values) == pytest.approx(size, rel=1e-12)
    assert hard_rank(values) == pytest.approx(size, rel=1e-12)


def test_a_matrix_of_rank_one_uses_one_direction():
    values = np.array([0.0, -1e-17, 5.0])  # rounding may leave an eigenvalue below zero

    assert (soft_rank(values), hard_rank(values)) == (1.0, 1.0)


def test_ranks_of_two_shares_agree_with_those_by_hand():
    values = np.array([3.0, 1.0])

    assert soft_rank(values) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)), rel=1e-14)
    assert hard_rank(values) == pytest.approx(16 / 10, rel=1e-14)


def test_the_hard_rank_never_exceeds_the_soft_one():
    random = np.random.default_rng(0)

    for power in (0.0, 1.0, 4.0, 20.0):
        values = random.uniform(size=50) ** power
        assert hard_rank(values) <= soft_rank(values) * (1 + 1e-12)


def test_nothing_has_no_rank():
    assert soft_rank(np.zeros(3)) is None
    assert hard_rank(np.zeros(0)) is None


def test_kurtosis_agrees_with_hand_and_with_scipy():
    matrix = np.random.default_rng(0).standard_t(5, size=(30, 40)) + 3

    assert kurtosis(np.array([[-1.0, -1.0], [-1.0, 3.0]])) == pytest.approx(21 / 9, rel=1e-14)
    assert kurtosis(matrix) == pytest.approx(scipy.stats.kurtosis(matrix, axis=None, fisher=False), rel=1e-12)
    assert kurtosis(1e-200 * matrix) == pytest.approx(kurtosis(matrix), rel=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e5])
def test_equal_entries_have_no_kurtosis(value):
    assert kurtosis(np.full((7, 3), value)) is None


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ([[1.0, -1.0, 1.0]], 1.0),
        ([[1.0, 2.0, -8.0]], 4.0),
        ([[1.0, 2.0, -8.0], [3.0, 3.0, -3.0], [0.0, 0.0, 0.0]], 2.5),  # between 4 and 1; a row of zeros says nothing
        ([[0.0, 0.0, 1.0]], math.inf),
        ([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0]], math.inf),
        ([[0.0, 0.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 2.0]], 2.0),
        ([[0.0, 0.0]], None),
    ],
)
def test_max_to_median_is_the_median_over_rows(matrix, expected):
    assert max_to_median(np.array(matrix)) == expected


def test_tokens_are_of_the_head_up_to_a_third_of_all_occurrences():
    counts = np.array([5, 33, 20, 0, 14, 28])  # sorted: 33, 28, 20, 14, 5, 0; running 33, 61, 81, 95, 100, 100

    assert token_classes(counts).tolist() == [2, 0, 2, 2, 2, 1]


def test_equally_frequent_tokens_are_sorted_by_their_ids():
    assert token_classes(np.array([1] * 6)).tolist() == [0, 1, 1, 1, 2, 2]


def test_the_head_is_empty_where_one_token_has_more_than_a_third():
    assert token_classes(np.array([40, 20, 40])).tolist() == [1, 2, 2]


def test_counts_of_nothing_are_refused():
    with pytest.raises(ValueError, match=r"no token occurs, so none is frequent\. Give the counts of a dataset"):
        token_classes(np.zeros(4))


def test_a_covariance_in_batches_is_that_of_all_at_once_even_far_from_zero():
    states = np.random.default_rng(0).standard_normal((101, 5)) * [1, 2, 3, 4, 5] + 1e6
    parts, other = Covariance(5), Covariance(5)
    for batch in np.split(states[:60], [7, 7, 30]):
        parts.add(batch)
    other.add(states[60:])
    parts.merge(other)
    parts.merge(Covariance(5))

    expected = np.linalg.eigvalsh(np.cov(states, rowvar=False))
    assert parts.count == 101
    assert parts.eigenvalues() == pytest.approx(expected, rel=1e-8)  # 1e6 takes 6 of 16 digits


def test_a_covariance_of_one_state_is_refused():
    covariance = Covariance(2)
    covariance.add(np.ones((1, 2)))

    with pytest.raises(ValueError, match="needs at least 2 states, got 1"):
        covariance.eigenvalues()


def test_a_power_law_in_the_width_has_its_exponent():
    ranks = {width: [2 * width**0.8, 8 * width**0.8] for width in (64, 128, 512)}

    assert width_exponent(ranks) == pytest.approx(0.8, rel=1e-12)
    assert width_exponent({64: [3.0]}) is None


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("blocks.0.output, head", "blocks.*.output, head"),
        ("blocks.12.experts[3]", "blocks.*.experts[*]"),
        ("h.3", "h.*"),
        ("conv1d.weight", "conv1d.weight"),
    ],
)
def test_a_kind_is_a_name_without_the_number_of_its_layer(name, kind):
    assert kind_of(name) == kind
