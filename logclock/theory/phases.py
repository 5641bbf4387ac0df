"""Which power laws does theory predict at (alpha, beta), for each algorithm, and how well is each one founded?

The risk is a sum of pieces, each a power of t and d. At compute f = d t the best d balances two of them.
"""

import dataclasses
import math
from typing import Literal

from logclock.config.registry import suggestion
from logclock.schedules import check
from logclock.theory.algorithm import ALGORITHMS

__all__ = [
    "ComputeExponents",
    "Phase",
    "Status",
    "compute_exponents",
    "effective_time_exponent",
    "phase",
    "piece_exponents",
]

Phase = Literal["Ia", "Ib", "Ic", "II", "III", "IVa", "IVb"]
Status = Literal["proved", "derived", "measured"]
"""proved: in arXiv:2405.15074; derived: from the moment equations, and then measured; measured: only that."""

Piece = Literal["capacity", "target", "distortion", "noise"]

FOUR_A = 1 - 1 / math.sqrt(2)
CONSTANT_SPLIT = 0.75
DECAYING_SPLIT = (3 + math.sqrt(5)) / 4
"""Above these alpha a longer run still pays once the distortion dominates, so the best d moves to the floor."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ComputeExponents:
    """P*(f) ~ f^-eta at d*(f) ~ f^xi and t*(f) ~ f^(1 - xi).

    Args:
        eta: Loss exponent.
        xi: Size exponent.
        balance: The two pieces that are equal at the best size.
        status: How well founded the entry is.
    """

    eta: float
    xi: float
    balance: tuple[Piece, Piece]
    status: Status


def phase(alpha: float, beta: float) -> Phase:
    """Return the phase of a problem; a point on a boundary belongs to either side, and the exponents agree there.

    Examples:
        >>> phase(1.0, 0.3), phase(1.0, 0.7), phase(1.0, 1.3), phase(0.4, 1.0)
        ('Ia', 'II', 'III', 'IVa')

    Raises:
        ValueError: alpha <= 0, or 2 (alpha + beta) <= 1, where the risk is infinite.
    """
    check(alpha > 0, "alpha", "be > 0", alpha)
    check(2 * (alpha + beta) > 1, "2 (alpha + beta)", "exceed 1", 2 * (alpha + beta), advice="The risk is infinite.")
    if alpha > 0.5:
        if beta < 0.5:
            return "Ia"
        return "II" if beta < alpha else "III"
    if beta < 0.5:
        return "Ib"
    if alpha < 0.25:
        return "Ic"
    return "IVa" if alpha > FOUR_A else "IVb"


def effective_time_exponent(algorithm: str, alpha: float, log_time: float) -> float:
    """Return log_d of the time at which plain gradient flow would be as far, at t = d^log_time, for a fixed step.

    The momentum adds (int sqrt(gamma3) dt)^2 to the time t of the gradient:
        DANA-constant, alpha > 1/2: t up to t = d, then t^2 / d
        DANA-decaying, alpha > 1/2: t^p with p = 2 - 1 / (2 alpha)
        all others: t
    Below alpha = 1/2 the stable step is d^-(1 - 2 alpha), and all modes are resolved before momentum can help.

    Args:
        algorithm: A name of `ALGORITHMS`.
        alpha: Decay of the data.
        log_time: ln t / ln d.
    """
    _check_name(algorithm)
    if alpha <= 0.5:
        return log_time - (1 - 2 * alpha)
    if algorithm == "dana-constant":
        return max(log_time, 2 * log_time - 1)
    if algorithm == "dana-decaying":
        return (2 - 1 / (2 * alpha)) * log_time
    return log_time


def piece_exponents(algorithm: str, alpha: float, beta: float, log_time: float) -> dict[Piece, float]:
    """Return the exponents x of the pieces of the risk, each of size d^-x, at t = d^log_time; the least dominates.

    With the effective time theta and the step gamma (1, or d^-(1 - 2 alpha) below alpha = 1/2):
        capacity    F_0  = d^(-2 alpha + max(0, 1 - 2 beta))
        target      F_pp = theta^-((2 alpha + 2 beta - 1) / (2 alpha))
        distortion  F_ac = theta^-((2 alpha - 1) / (2 alpha)) / d     if alpha > 1/2 and beta > 1/2
        noise       K_pp = gamma theta^-((4 alpha - 1) / (2 alpha))   if alpha > 1/4

    Args:
        algorithm: A name of `ALGORITHMS`.
        alpha: Decay of the data.
        beta: Decay of the target.
        log_time: ln t / ln d.
    """
    phase(alpha, beta)
    theta = effective_time_exponent(algorithm, alpha, log_time)
    pieces: dict[Piece, float] = {
        "capacity": 2 * alpha - max(0.0, 1 - 2 * beta),
        "target": theta * (2 * alpha + 2 * beta - 1) / (2 * alpha),
    }
    if alpha > 0.5 and beta > 0.5:
        pieces["distortion"] = 1 + theta * (2 * alpha - 1) / (2 * alpha)
    if alpha > 0.25:
        pieces["noise"] = max(0.0, 1 - 2 * alpha) + theta * (4 * alpha - 1) / (2 * alpha)
    return pieces


def compute_exponents(algorithm: str, alpha: float, beta: float) -> ComputeExponents:
    """Return the compute-optimal exponents in closed form.

    SGD's are those of the phases. SGD with momentum and schedule-free SGD share them, and so does DANA below
    alpha = 1/2.

    Args:
        algorithm: A name of `ALGORITHMS`.
        alpha: Decay of the data.
        beta: Decay of the target.

    References: Paquette et al. 2024, arXiv:2405.15074 (SGD); Ferbach et al. 2025, arXiv:2505.16098 (DANA), whose
        tables were not at hand: DANA's entries are derived here.
    """
    _check_name(algorithm)
    named = phase(alpha, beta)
    if algorithm.startswith("dana") and alpha > 0.5:
        return (
            _dana_constant(named, alpha, beta) if algorithm == "dana-constant" else _dana_decaying(named, alpha, beta)
        )
    eta, xi, balance = _sgd(named, alpha, beta)
    status: Status = "derived" if alpha < 0.25 else "proved"
    if algorithm != "sgd":
        status = "derived" if algorithm.startswith("dana") else "measured"
    return ComputeExponents(eta=eta, xi=xi, balance=balance, status=status)


def _sgd(named: Phase, a: float, b: float) -> tuple[float, float, tuple[Piece, Piece]]:
    q = 2 * a + 2 * b - 1
    match named:
        case "Ia":
            return q / (2 * a + 1), 1 / (2 * a + 1), ("target", "capacity")
        case "Ib":
            return q / 2, 1 / 2, ("target", "capacity")
        case "Ic":
            r = 3 * a + 2 * b - 1 - 2 * a * b
            return a * q / r, q / (2 * r), ("target", "capacity")
        case "II":
            return q / (2 * (a + b)), b / (a + b), ("target", "distortion")
        case "III":
            return (4 * a - 1) / (4 * a), 1 / 2, ("noise", "distortion")
        case "IVa":
            return a, 1 / 2, ("noise", "capacity")
        case "IVb":
            r = 2 * b - a - 2 * a * b
            return (1 - 2 * a) * q / (2 * r), (b - a) / r, ("target", "noise")


def _dana_constant(named: Phase, a: float, b: float) -> ComputeExponents:
    q = 2 * a + 2 * b - 1
    if named == "Ia":
        return _derived(2 * q / (2 * a + 3), 2 / (2 * a + 3), "target", "capacity")
    if a > CONSTANT_SPLIT:
        return _derived(4 * a / (2 * a + 3), 2 / (2 * a + 3), "distortion", "capacity")
    if named == "II":
        return _derived(q / (a + 3 * b), 2 * b / (a + 3 * b), "target", "distortion")
    return _derived((4 * a - 1) / (4 * a), 1 / 2, "noise", "distortion")


def _dana_decaying(named: Phase, a: float, b: float) -> ComputeExponents:
    q, r = 2 * a + 2 * b - 1, 4 * a * a + 4 * a - 1
    if named == "Ia":
        return _derived(q * (4 * a - 1) / r, (4 * a - 1) / r, "target", "capacity")
    if a > DECAYING_SPLIT:
        return _derived(2 * a * (4 * a - 1) / r, (4 * a - 1) / r, "distortion", "capacity")
    if named == "II":
        s = b * (4 * a - 1) + 2 * a * a
        return _derived(q * (4 * a - 1) / (2 * s), b * (4 * a - 1) / s, "target", "distortion")
    return _derived((4 * a - 1) ** 2 / (2 * a * (6 * a - 1)), (4 * a - 1) / (6 * a - 1), "noise", "distortion")


def _derived(eta: float, xi: float, first: Piece, second: Piece) -> ComputeExponents:
    return ComputeExponents(eta=eta, xi=xi, balance=(first, second), status="derived")


def _check_name(algorithm: str) -> None:
    if algorithm not in ALGORITHMS:
        hint = suggestion(algorithm, ALGORITHMS)
        raise ValueError(f"unknown algorithm {algorithm!r}.{hint} Known: {', '.join(ALGORITHMS)}.")
