import itertools

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import minimize_scalar

from logclock.schedules import dual_norm_ratio, optimal_ratio

SHARPNESS = [10, 100, 1e3, 2.8e3, 1e4, 1e5, 1e6, 7e6]

# adaptive-warmup.md 6.2, by div.
PUBLISHED = {
    2: [0.506, 0.498, 0.448, 0.392, 0.324, 0.223, 0.150, 0.106],
    5: [0.312, 0.279, 0.274, 0.266, 0.236, 0.169, 0.116, 0.082],
    10: [0.254, 0.191, 0.174, 0.177, 0.173, 0.135, 0.096, 0.070],
    25: [0.213, 0.135, 0.104, 0.279, 0.294, 0.107, 0.070, 0.052],
    100: [0.151, 0.084, 0.062, 0.322, 0.332, 0.340, 0.280, 0.104],
}


@pytest.mark.parametrize("div", PUBLISHED)
def test_the_published_table_is_reproduced(div):
    ratios = [optimal_ratio(div=div, sharpness=sharpness) for sharpness in SHARPNESS]

    # The table was made on a grid: it is within a unit of its third digit of the minimiser, see the next test.
    assert ratios == pytest.approx(PUBLISHED[div], abs=1e-3)


def mismatch(ratio, sharpness, div):
    """J of adaptive-warmup.md 2.2 in scaled variables, by adaptive quadrature on pieces that meet at the kink."""

    def integrand(u):
        eta = 1 / (1 + (div - 1) / u * ((u - ratio) / (1 - ratio)) ** 2) if u > 0 else 0.0
        rises = u <= ratio
        target = (1 - np.cos(np.pi * u / ratio)) / 2 if rises else 1 + (1 / div - 1) * (u - ratio) / (1 - ratio)
        return np.exp(-sharpness * (u - ratio) ** 2 / 2) * (eta - target) ** 2

    reach = 12 / np.sqrt(sharpness)
    low, high = max(0, ratio - reach), min(1, ratio + reach)
    edges = np.unique(np.concatenate([np.linspace(low, ratio, 5), np.linspace(ratio, high, 5)]))
    return sum(quad(integrand, a, b, epsabs=0, epsrel=1e-11)[0] for a, b in itertools.pairwise(edges))


@pytest.mark.parametrize(
    ("div", "sharpness"), [(2, 1e4), (2, 7e6), (5, 60), (10, 10), (25, 7e6), (100, 10), (100, 2.8e3), (100, 7e6)]
)
def test_the_ratio_minimises_the_mismatch(div, sharpness):
    ratio = optimal_ratio(div=div, sharpness=sharpness)

    # Globally on a coarse grid, and exactly nearby; a minimum is known to the root of the quadrature's accuracy.
    best = mismatch(ratio, sharpness, div)
    assert all(best <= mismatch(other, sharpness, div) * (1 + 1e-9) for other in np.linspace(0.02, 0.98, 49))
    near = minimize_scalar(
        mismatch, bounds=(ratio - 0.01, ratio + 0.01), args=(sharpness, div), method="bounded", options={"xatol": 1e-8}
    )
    assert ratio == pytest.approx(near.x, abs=1e-6)


HIDDEN_12 = [(2304, 768), (768, 768), (2048, 768), (2048, 768), (768, 2048)] * 12
EMBEDDING = (50304, 768)


@pytest.mark.parametrize(
    ("layers", "norm", "expected"),
    [
        (1, "spectral", 46_848),
        (1, "sign", 123_568_128),
        (1, "frobenius", 61),
        (2, "spectral", 92_928),
        (2, "sign", 208_502_784),
        (2, "frobenius", 121),
    ],
)
def test_dual_norm_ratios_of_the_study_s_models(layers, norm, expected):
    """Its 12 and 24 layers, counted its way: every matrix under one norm, the embedding too, no vectors."""
    assert dual_norm_ratio({norm: [*HIDDEN_12 * layers, EMBEDDING]}) == expected


@pytest.mark.parametrize("norm", ["spectral", "sign", "frobenius"])
def test_the_dual_norm_ratio_is_the_largest_ratio_of_dual_norm_to_norm(norm):
    """The orthogonal matrix, the matrix of signs and any matrix attain it; random matrices stay below."""
    generator = np.random.default_rng(0)

    def singular(v):
        return np.linalg.svd(v, compute_uv=False)

    ratio = {
        "spectral": lambda v: singular(v).sum() / singular(v).max(),
        "sign": lambda v: np.abs(v).sum() / np.abs(v).max(),
        "frobenius": lambda v: 1.0,
    }[norm]
    extreme = np.eye(4, 6) if norm == "spectral" else np.ones((4, 6))

    bound = dual_norm_ratio({norm: [(4, 6)]})

    assert ratio(extreme) == pytest.approx(bound)
    assert all(ratio(generator.normal(size=(4, 6))) <= bound for _ in range(100))


def test_published_minimisers_of_the_study_s_runs():
    """adaptive-warmup.md 6.1: Delta* of an exact solver, for the initial loss 10.95."""
    runs = [  # norm, layers / 12, f*, div, Delta*
        ("spectral", 1, 3.2, 100, 2.49),
        ("spectral", 2, 3.2, 100, 2.55),
        ("sign", 1, 3.5, 100, 0.784),
        ("sign", 2, 3.5, 100, 0.501),
        ("frobenius", 1, 4.3, 5, 2.22),
        ("frobenius", 1, 4.2, 2, 3.44),
    ]
    for norm, layers, f_star, div, expected in runs:
        gap = 10.95 - f_star
        sharpness = dual_norm_ratio({norm: [*HIDDEN_12 * layers, EMBEDDING]}) * 1e-3 * gap**2

        found = gap * optimal_ratio(div=div, sharpness=sharpness)

        assert found == pytest.approx(expected, abs=0.02)  # the study's grid of 500 points has steps of 0.015


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: optimal_ratio(div=1.0, sharpness=10), r"div must be > 1, got 1\.0"),
        (lambda: optimal_ratio(div=10, sharpness=0), "sharpness must be > 0 and finite, got 0"),
        (
            lambda: dual_norm_ratio({"nuclear": [(2, 2)]}),
            "a norm must be one of spectral, sign, frobenius, got 'nuclear'",
        ),
    ],
)
def test_values_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
