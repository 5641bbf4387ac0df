"""What does the spectrum of large random features look like, without drawing them? The deterministic equivalent.

For W of iid N(0, 1/d) entries and D = diag(j^-2alpha), j <= v, the resolvent of D^(1/2) W W^T D^(1/2) at z is close to
diag(1 / (j^-2alpha m(z) - z)), where m solves
    m + (1/d) sum_{j <= v} j^-2alpha m / (j^-2alpha m - z) = 1,  Im z > 0.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from logclock.schedules import check
from logclock.theory.power_sums import smooth_nodes

__all__ = [
    "Densities",
    "limit_risk",
    "self_consistent_ridge",
    "smallest_eigenvalue",
    "spectral_densities",
    "stieltjes",
]

Array = np.ndarray

# Newton is started high above the real axis, where m = 1 to rounding, and followed down in this many equal ratios.
START_HEIGHT = 1e4
NUM_STAGES = 40
NEWTON_STEPS = 3
CHUNK_NUMBERS = 2**20


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Densities:
    """Densities in lambda of what the risk is made of, without the point mass of the v - d missing directions at 0.

    Args:
        x: Eigenvalues lambda, ascending, shape (n,).
        eigenvalue: Of the eigenvalues; integrates to d.
        forcing: Of lambda rho(0); integrates to P(0) - F_0.
        kernel: Of lambda^2; integrates to the trace of K^2.
    """

    x: Array
    eigenvalue: Array
    forcing: Array
    kernel: Array

    def integral(self, density: Array, function: Array | float = 1.0) -> float:
        """Return the integral of density times function over x, by the trapezoid rule in ln x."""
        y = density * function * self.x
        return float(np.sum((y[1:] + y[:-1]) / 2 * np.diff(np.log(self.x))))


def self_consistent_ridge(alpha: float, *, num_features: int, ambient_dim: int) -> float:
    """Return tau with sum_{j <= v} tau / (tau + j^2alpha) = d, by bisection in log tau.

    Features of rank d see the first modes and not the rest; tau is the eigenvalue scale j^2alpha of that edge.
    """
    j, weights = smooth_nodes(ambient_dim)
    powers = j ** (2 * alpha)

    def excess(log_ridge: float) -> float:
        ridge = np.exp(log_ridge)
        return float(weights @ (ridge / (ridge + powers))) - num_features

    return float(np.exp(_bisect(excess, -50.0, 2 * alpha * np.log(ambient_dim) + 50.0)))


def limit_risk(alpha: float, beta: float, *, num_features: int, ambient_dim: int) -> float:
    """Return F_0, the risk that remains after infinite time: sum_{j <= v} j^(-2alpha-2beta) / (1 + tau j^-2alpha).

    Random features scatter around it: their standard deviation is 4 to 9 % at d = 400, alpha = 1.
    """
    tau = self_consistent_ridge(alpha, num_features=num_features, ambient_dim=ambient_dim)
    j, weights = smooth_nodes(ambient_dim)
    return float(weights @ (j ** (-2 * alpha - 2 * beta) / (1 + tau * j ** (-2 * alpha))))


def stieltjes(z: Array, alpha: float, *, num_features: int, ambient_dim: int) -> Array:
    """Return m(z) by Newton's method, following the root from far above the real axis down to z.

    Costs O(v) per point and stage.

    Args:
        z: Complex points with Im z > 0, any shape.
        alpha: Decay of the data.
        num_features: d.
        ambient_dim: v.
    """
    check(bool((z.imag > 0).all()), "Im z", "be > 0", float(z.imag.min()))
    powers = np.arange(1, ambient_dim + 1, dtype=float) ** (-2 * alpha)
    flat, m = z.ravel(), np.ones(z.size, dtype=complex)
    size = max(1, CHUNK_NUMBERS // ambient_dim)
    for start in range(0, z.size, size):
        part = slice(start, start + size)
        m[part] = _followed_root(flat[part], powers, num_features)
    return m.reshape(z.shape)


def spectral_densities(
    x: Array, alpha: float, beta: float, *, num_features: int, ambient_dim: int, height: float = 1e-4
) -> Densities:
    """Return the densities at eigenvalues x, from the values of the resolvent slightly above the real axis.

    Args:
        x: Ascending eigenvalues > 0; log-spaced ones integrate well.
        alpha: Decay of the data.
        beta: Decay of the target.
        num_features: d.
        ambient_dim: v.
        height: Im z as a fraction of x.
    """
    z = x * (1 + 1j * height)
    m = stieltjes(z, alpha, num_features=num_features, ambient_dim=ambient_dim)
    j = np.arange(1, ambient_dim + 1, dtype=float)
    eigenvalue, forcing = np.empty(len(x)), np.empty(len(x))
    for i in range(len(x)):
        resolvent = 1 / (j ** (-2 * alpha) * m[i] - z[i])
        eigenvalue[i] = resolvent.imag.sum()
        forcing[i] = j ** (-2 * alpha - 2 * beta) @ resolvent.imag
    # The point mass at 0 has left a tail of Im(-1/z) = height / x in both; it belongs to the mass excluded.
    null_forcing = limit_risk(alpha, beta, num_features=num_features, ambient_dim=ambient_dim)
    tail = (-1 / z).imag
    return Densities(
        x=x,
        eigenvalue=(eigenvalue - (ambient_dim - num_features) * tail) / np.pi,
        forcing=(forcing - null_forcing * tail) / np.pi,
        kernel=num_features * ((1 - m) * z).imag / np.pi,
    )


def smallest_eigenvalue(alpha: float, *, num_features: int, ambient_dim: int) -> float:
    """Return the lower edge of the spectrum of K.

    With u < 0 from 1 = (1/d) sum j^-4alpha u^2 / (j^-2alpha u - 1)^2, by bisection:
        lambda_min = 1/u - (1/d) sum j^-2alpha / (j^-2alpha u - 1)
    """
    j, weights = smooth_nodes(ambient_dim)
    powers = j ** (-2 * alpha)

    def crowding(log_size: float) -> float:
        ratio = powers * np.exp(log_size)
        return float(weights @ (ratio / (1 + ratio)) ** 2) / num_features

    log_size = _bisect(lambda y: crowding(y) - 1, -50.0, 2 * alpha * np.log(ambient_dim) + 50.0)
    u = -np.exp(log_size)
    return float(1 / u - weights @ (powers / (powers * u - 1)) / num_features)


def _followed_root(z: Array, powers: Array, num_features: int) -> Array:
    """Return m at a few points: Newton's steps for F(m) = 1 at every stage of a geometric descent in Im z."""
    m = np.ones(len(z), dtype=complex)
    start = np.maximum(START_HEIGHT, z.imag)
    for stage in range(1, NUM_STAGES + 1):
        height = start * (z.imag / start) ** (stage / NUM_STAGES)
        point = z.real + 1j * height
        for _ in range(NEWTON_STEPS):
            inverse = 1 / (powers * m[:, None] - point[:, None])
            total = (powers * inverse).sum(axis=1) / num_features
            slope = 1 - point * (powers * inverse**2).sum(axis=1) / num_features
            m = m + (1 - m - m * total) / slope
    return m


def _bisect(function: Callable[[float], float], low: float, high: float) -> float:
    """Return the root of an increasing function, to rounding."""
    while True:
        middle = (low + high) / 2
        if middle in (low, high):
            return middle
        low, high = (middle, high) if function(middle) < 0 else (low, middle)
