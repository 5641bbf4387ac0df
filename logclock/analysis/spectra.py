"""How many directions does a matrix or a cloud of hidden states use, and how far do its largest numbers stand out?

All numbers here come from plain arrays, in float64: D is the width of a hidden state, N the number of tokens.
"""

from collections.abc import Mapping, Sequence

import numpy as np

__all__ = [
    "CLASSES",
    "Covariance",
    "hard_rank",
    "kurtosis",
    "max_to_median",
    "soft_rank",
    "token_classes",
    "width_exponent",
]

CLASSES = ("head", "mid", "tail")
"""Classes of tokens, the frequent ones first."""

_BOUNDS = (33, 67)
"""Percent of all occurrences, up to which a token belongs to the head and to the middle."""


def soft_rank(eigenvalues: np.ndarray) -> float | None:
    """Return exp of the entropy of the eigenvalues' shares: exp(-sum p ln p), p_i = l_i / sum(l).

    Args:
        eigenvalues: Of a covariance, or squared singular values; rounding below zero counts as zero.

    Returns:
        Between 1 and the number of eigenvalues; None if all are zero.
    """
    shares = _shares(eigenvalues)
    if shares is None:
        return None
    positive = shares[shares > 0]
    return float(np.exp(-np.sum(positive * np.log(positive))))


def hard_rank(eigenvalues: np.ndarray) -> float | None:
    """Return the participation ratio (sum l)^2 / sum l^2, which never exceeds the soft rank; arguments as there."""
    shares = _shares(eigenvalues)
    return None if shares is None else float(1 / np.sum(shares * shares))


def _shares(eigenvalues: np.ndarray) -> np.ndarray | None:
    values = np.clip(np.asarray(eigenvalues, dtype=np.float64), 0, None)
    largest = values.max(initial=0)
    if largest == 0:
        return None
    values = values / largest  # so that squares of tiny or huge ones stay in range
    shares: np.ndarray = values / values.sum()
    return shares


def kurtosis(weight: np.ndarray) -> float | None:
    """Return the fourth central moment over the squared variance of all entries: 3 for a normal distribution.

    Returns:
        None if all entries are equal.
    """
    values = np.asarray(weight, dtype=np.float64)
    centred = values - values.mean()
    largest = np.abs(centred).max(initial=0)
    # Equal entries leave a difference to their mean of rounding's size.
    if largest <= 1e-14 * np.abs(values).max(initial=0):
        return None
    squares = (centred / largest) ** 2
    return float(np.mean(squares * squares) / np.mean(squares) ** 2)


def max_to_median(weight: np.ndarray) -> float | None:
    """Return the median over rows of max(abs(w)) / median(abs(w)): 1 if all entries of a row are of one size.

    A row shares one scale when it is quantized, so that is where an outlier costs. A row that is zero in more than half
    its entries counts as infinite; rows of zeros alone do not count.

    Returns:
        None if there is no row with a nonzero entry.
    """
    sizes = np.abs(np.asarray(weight, dtype=np.float64))
    largest = sizes.max(axis=1)
    sizes, largest = sizes[largest > 0], largest[largest > 0]
    if not len(sizes):
        return None
    medians = np.median(sizes, axis=1)
    with np.errstate(divide="ignore"):
        ratios = largest / medians
    middle = np.sort(ratios)[[(len(ratios) - 1) // 2, len(ratios) // 2]]  # np.median has inf - inf = nan
    return float(middle[0] if middle[0] == middle[1] else middle.mean())


def token_classes(counts: np.ndarray) -> np.ndarray:
    """Return for every token id its class as an index into CLASSES.

    Tokens are sorted by how often they occur, ties by id; with the running share of all occurrences, its own included,
    up to 0.33 a token is of the head, up to 0.67 of the middle, else of the tail. So the head may be empty: one token
    may have more than a third of all occurrences.

    Args:
        counts: Occurrences by token id.

    Raises:
        ValueError: No token occurs.
    """
    counts = np.asarray(counts, dtype=np.int64)
    total = int(counts.sum())
    if total == 0:
        raise ValueError("no token occurs, so none is frequent. Give the counts of a dataset with tokens.")
    order = np.argsort(-counts, kind="stable")
    running = np.cumsum(counts[order])
    classes = np.empty(len(counts), dtype=np.int64)
    classes[order] = sum((100 * running > bound * total).astype(np.int64) for bound in _BOUNDS)
    return classes


class Covariance:
    """The covariance of vectors that arrive in batches, without keeping them.

    Deviations are summed around the mean of each batch, and batches joined by the distance of their means, so nothing
    cancels where the mean is far from zero.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        self.count = 0
        self.mean = np.zeros(width)
        self._scatter = np.zeros((width, width))

    def add(self, states: np.ndarray) -> None:
        """Take in N states, one per row."""
        if len(states):
            states = np.asarray(states, dtype=np.float64)
            mean = states.mean(axis=0)
            centred = states - mean
            self._join(len(states), mean, centred.T @ centred)

    def merge(self, other: "Covariance") -> None:
        """Take in all that another one has taken in."""
        if other.count:
            self._join(other.count, other.mean, other._scatter)

    def _join(self, count: int, mean: np.ndarray, scatter: np.ndarray) -> None:
        total = self.count + count
        distance = mean - self.mean
        self._scatter = self._scatter + scatter + np.outer(distance, distance) * (self.count * count / total)
        self.mean = self.mean + distance * (count / total)
        self.count = total

    def eigenvalues(self) -> np.ndarray:
        """Return the eigenvalues of Xc^T Xc / (N - 1), ascending.

        Raises:
            ValueError: Fewer than two states were added.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs at least 2 states, got {self.count}. Add more tokens.")
        values: np.ndarray = np.linalg.eigvalsh(self._scatter / (self.count - 1))
        return values


def width_exponent(ranks: Mapping[int, Sequence[float]]) -> float | None:
    """Return the slope of ln(rank) against ln(width), by least squares.

    Args:
        ranks: By width, of every layer and run of that width; their mean logarithm is one point.

    Returns:
        None if there are fewer than two widths.
    """
    widths = sorted(width for width, values in ranks.items() if values)
    if len(widths) < 2:
        return None
    x = np.log(np.array(widths, dtype=np.float64))
    y = np.array([np.mean(np.log(ranks[width])) for width in widths])
    x = x - x.mean()
    return float(np.sum(x * y) / np.sum(x * x))
