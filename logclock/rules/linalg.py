"""Which matrix functions do rules share? Orthogonalization and eigenbases, on stacks `(n, rows, cols)`."""

import functools
import logging
import time

import torch

__all__ = [
    "JORDAN",
    "eigenvectors",
    "fastest_dtype",
    "newton_schulz",
    "refreshed_basis",
    "right_singular_vectors",
    "rotate",
    "spectral_norm_estimate",
]

JORDAN = (3.4445, -4.7750, 2.0315)
"""Of the quintic x -> a x + b x^3 + c x^5: steep at 0, so that five steps lift 0.01 to 0.7, at the price of never
settling: it maps [0.01, 1] into [0.68, 1.13]."""


def newton_schulz(matrices: torch.Tensor, *, num_iterations: int, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return matrices with the same singular vectors and all singular values between about 0.7 and 1.1.

    With X = M / (norm(M) + 1e-7) and `num_iterations` times A = X X^T, X <- a X + (b A + c A A) X.

    Args:
        matrices: `(n, rows, cols)`.
        num_iterations: 5 is usual.
        dtype: Of the iteration; None keeps that of the matrices.

    References: Jordan 2024, kellerjordan.github.io/posts/muon.
    """
    a, b, c = JORDAN
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if is_tall else matrices  # the Gram matrix of the shorter side is the smaller one
    norms = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True)
    dtype = matrices.dtype if dtype is None else dtype
    x = x.to(dtype) / (norms + 1e-7).to(dtype)
    for _ in range(num_iterations):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.mT if is_tall else x).to(matrices.dtype)


@functools.cache
def fastest_dtype(device: str) -> torch.dtype:
    """Return the dtype, bfloat16 or float32, in which matrix products of a device type take less time.

    On accelerators that is bfloat16. Among CPUs it is bfloat16 for those with units for it; the others emulate it some
    thirty times slower, which is found out by timing one product of each, once in a process, and told to the logger
    `logclock`.
    """
    if device != "cpu":
        return torch.bfloat16
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.ones(1, 192, 192, dtype=dtype)
        torch.bmm(x, x)  # the first call sets things up
        start = time.perf_counter()
        for _ in range(3):
            torch.bmm(x, x)
        seconds[dtype] = time.perf_counter() - start
    chosen = min(seconds, key=lambda dtype: seconds[dtype])
    logging.getLogger("logclock").info(
        "matrix iterations run in %s on this CPU: products of 192 x 192 took %.2g s in float32 and %.2g s in bfloat16",
        chosen,
        seconds[torch.float32] / 3,
        seconds[torch.bfloat16] / 3,
    )
    return chosen


def rotate(matrices: torch.Tensor, row_basis: torch.Tensor, col_basis: torch.Tensor) -> torch.Tensor:
    """Return Q_rows^T M Q_cols; a side whose basis is empty stays as it is."""
    if row_basis.numel():
        matrices = row_basis.mT @ matrices
    return matrices @ col_basis if col_basis.numel() else matrices


def eigenvectors(gram: torch.Tensor) -> torch.Tensor:
    """Return the eigenvectors of symmetric matrices in columns, those of the largest eigenvalues first.

    A matrix that is not finite has none: its columns are NaN, so that a diverged run shows as one.
    """
    if not gram.numel():
        return gram
    finite = gram.isfinite().flatten(1).all(dim=1)[:, None, None]
    vectors = torch.linalg.eigh(torch.where(finite, gram, 0.0)).eigenvectors.flip(-1)
    return torch.where(finite, vectors, torch.nan)


def refreshed_basis(gram: torch.Tensor, basis: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the basis after one power iteration, and how its columns were sorted before it."""
    estimates = torch.einsum("...ij,...ij->...j", basis, gram @ basis)  # the diagonal of Q^T A Q
    order = estimates.argsort(dim=-1, descending=True)
    basis = basis.gather(-1, order[..., None, :].expand_as(basis))
    return torch.linalg.qr(gram @ basis).Q, order


def right_singular_vectors(matrices: torch.Tensor, *, before: torch.Tensor) -> torch.Tensor:
    """Return the leading right singular vectors in columns, `(n, cols, k)`, each with the sign nearer to one before.

    A singular vector's sign is arbitrary, and an average along it would cancel when it flips. A vector that is at a
    right angle to the one before, as all are to zeros, has a positive largest element. A matrix that is not finite has
    none: its columns are NaN.

    Args:
        matrices: `(n, rows, cols)` with rows >= cols.
        before: `(n, cols, k)`.
    """
    finite = matrices.isfinite().flatten(1).all(dim=1)[:, None, None]
    vectors = torch.linalg.svd(torch.where(finite, matrices, 0.0), full_matrices=False).Vh.mT[..., : before.shape[-1]]
    along = (vectors * before).sum(-2, keepdim=True)
    largest = vectors.gather(-2, vectors.abs().argmax(-2, keepdim=True))
    signs = torch.where(torch.where(along == 0, largest, along) < 0, -1.0, 1.0)
    return torch.where(finite, vectors * signs, torch.nan)


def spectral_norm_estimate(symmetric: torch.Tensor) -> torch.Tensor:
    """Return a lower bound of the largest eigenvalue of positive semidefinite matrices, `(n, 1, 1)`.

    One power iteration from the longest column, whose length alone is at least the norm over the root of the side. The
    largest element is taken out first, so that squares neither overflow nor vanish. Of zeros it is the smallest normal
    number, so that zeros divided by it are 0.
    """
    smallest = torch.finfo(symmetric.dtype).tiny
    largest = symmetric.abs().amax((-2, -1), keepdim=True).clamp(min=smallest)
    scaled = symmetric / largest
    longest = scaled.square().sum(-2, keepdim=True).argmax(-1, keepdim=True).expand(-1, scaled.shape[-2], 1)
    vector = scaled @ scaled.gather(-1, longest)
    vector = vector / torch.linalg.vector_norm(vector, dim=-2, keepdim=True).clamp(min=smallest)
    length: torch.Tensor = torch.linalg.vector_norm(scaled @ vector, dim=-2, keepdim=True)
    return (largest * length).clamp(min=smallest)
