"""Which matrix functions do rules share? Orthogonalization and eigenbases, on stacks `(n, rows, cols)`."""

import functools
import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

__all__ = [
    "COEFFICIENTS",
    "JORDAN",
    "Factor",
    "Triple",
    "adam_in_basis",
    "averaged_gram",
    "by_blocks",
    "divided_by_roots",
    "eigenvectors",
    "fastest_dtype",
    "frobenius",
    "inverse_power",
    "kl_averaged",
    "newton_schulz",
    "orthogonalized",
    "refreshed_basis",
    "renewed",
    "renewed_basis",
    "reordered",
    "right_singular_vectors",
    "rotate",
    "spectral_norm_estimate",
    "started",
    "symmetric_product",
    "transposed_upper_times",
    "upper_product",
    "upper_times",
]

Triple = tuple[float, float, float]

JORDAN: Triple = (3.4445, -4.7750, 2.0315)
"""Of the quintic x -> a x + b x^3 + c x^5: steep at 0, so that five steps lift 0.01 to 0.7, at the price of never
settling: it maps [0.01, 1] into [0.68, 1.13]."""


def _divided_by(divisor: float, triples: tuple[Triple, ...]) -> tuple[Triple, ...]:
    """Return the triples for an input that is to be divided first: the division is part of the first polynomial."""
    a, b, c = triples[0]
    return ((a / divisor, b / divisor**3, c / divisor**5), *triples[1:])


COEFFICIENTS: dict[str, tuple[Triple, ...]] = {
    "jordan": (JORDAN,),
    "quintic": (
        (4.0848, -6.8946, 2.9270),
        (3.9505, -6.3029, 2.6377),
        (3.7418, -5.5913, 2.3037),
        (2.8769, -3.1427, 1.2046),
        (2.8366, -3.0525, 1.2012),
    ),
    "polar-express": _divided_by(
        1.02,  # the safety that the polynomials were fitted with: rounding must not lift a singular value above 1
        (
            (8.156554524902461, -22.48329292557795, 15.878769915207462),
            (4.042929935166739, -2.808917465908714, 0.5000178451051316),
            (3.8916678022926607, -2.772484153217685, 0.5060648178503393),
            (3.285753657755655, -2.3681294933425376, 0.46449024233003106),
            (2.3465413258596377, -1.7097828382687081, 0.42323551169305323),
        ),
    ),
    "polar-express-8": (
        (8.2051, -22.9019, 16.4607),
        (4.0664, -2.8612, 0.5184),
        (3.9096, -2.8234, 0.5250),
        (3.2856, -2.4153, 0.4853),
        (2.2779, -1.6198, 0.3985),
        (1.8726, -1.2307, 0.3585),
        (1.8564, -1.2132, 0.3568),
        (1.8750, -1.2500, 0.3750),
    ),
    "cans": (
        (8.4703, -25.1081, 18.6293),
        (4.1828, -3.1087, 0.5806),
        (3.9619, -2.9541, 0.5630),
        (3.2866, -2.4647, 0.5074),
        (2.2737, -1.6447, 0.4162),
    ),
}
"""Triples (a, b, c) of the steps by name.

`jordan` (Jordan 2024) is one for all steps; `quintic` is YouJiacheng's of the speed runs; `polar-express` and
`polar-express-8` (arXiv:2505.16932) are fitted to 5 and to 8 steps, the latter to reach the polar factor itself; `cans`
(arXiv:2506.10935) are Chebyshev polynomials.
"""


def newton_schulz(
    matrices: torch.Tensor,
    *,
    num_iterations: int,
    coefficients: Sequence[Triple] = (JORDAN,),
    dtype: torch.dtype | None = None,
    form: str = "direct",
) -> torch.Tensor:
    """Return matrices with the same singular vectors and all singular values between about 0.7 and 1.1.

    With X = M / (norm(M) + 1e-7) and `num_iterations` times A = X X^T, X <- a X + (b A + c A A) X.

    Args:
        matrices: `(n, rows, cols)`.
        num_iterations: 5 is usual.
        coefficients: Triple (a, b, c) of each step, the first of them if there are more than steps; the last one
            serves all steps beyond.
        dtype: Of the iteration; None keeps that of the matrices.
        form: "direct" is the above. "gram" runs the polynomials on A alone, which is small beside a long X: with
            P = a I + b A + c A A, Q <- P Q and A <- P A P, and X <- Q X at the end, and once after two steps, because
            small singular values drown in the rounding of their squares until they are lifted. "auto" is "gram" where
            that saves time, see `GRAM_FROM`, and forms half of symmetric products only, see `HALVED_FROM`.

    References: Jordan 2024, kellerjordan.github.io/posts/muon.
    """
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if is_tall else matrices  # the Gram matrix of the shorter side is the smaller one
    norms = torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True)
    dtype = matrices.dtype if dtype is None else dtype
    x = x.to(dtype) / (norms + 1e-7).to(dtype)
    triples = [coefficients[min(k, len(coefficients) - 1)] for k in range(num_iterations)]
    chooses = form == "auto" and x.dtype in (torch.float32, torch.float64)
    if form == "gram" or (chooses and x.shape[-1] >= GRAM_FROM * x.shape[-2]):
        x = _through_gram_matrices(x, triples)
    elif chooses and _is_halved(x):
        for a, b, c in triples:
            gram = symmetric_product(x, x.mT)
            x = torch.baddbmm(x, symmetric_product(gram, gram).mul_(c).add_(gram, alpha=b), x, beta=a)
    else:
        for a, b, c in triples:
            gram = torch.bmm(x, x.mT)
            polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
            x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.mT if is_tall else x).to(matrices.dtype)


GRAM_FROM = 2.0
"""How many times as long as its short side a matrix is from where "auto" takes the Gram form.

With the short side r and the long side l, five steps multiply 20 r r l + 10 r r r times and add as often, in the Gram
form 8 r r l + 28 r r r: equal at l = 1.5 r, and 0.88, 0.74 and 0.67 of it at l = 2 r, 3 r and 4 r. Measured, processor
time in float32 with r = 512: 1.2 of the direct form at l = r, and 0.83, 0.73 and 0.61. In 16-bit formats the squares
lose more than the time is worth, and "auto" stays direct.
"""

HALVED_FROM = 512
"""Side from which "auto" forms symmetric products by halves; below, the calls cost what the arithmetic saves."""

_RESTART = 2


def _through_gram_matrices(x: torch.Tensor, triples: Sequence[Triple]) -> torch.Tensor:
    """Return the Newton-Schulz iterate in the Gram form of `newton_schulz`."""
    gram, factor = symmetric_product(x, x.mT), None
    for k, (a, b, c) in enumerate(triples, start=1):
        polynomial = symmetric_product(gram, gram).mul_(c).add_(gram, alpha=b)
        polynomial.diagonal(dim1=-2, dim2=-1).add_(a)
        factor = polynomial if factor is None else symmetric_product(polynomial, factor)
        if k == len(triples):
            break
        if k == _RESTART:
            x, factor = torch.bmm(factor, x), None
            gram = symmetric_product(x, x.mT)
        else:
            gram = symmetric_product(symmetric_product(polynomial, gram), polynomial)
    return x if factor is None else torch.bmm(factor, x)


def _is_halved(one: torch.Tensor) -> bool:
    """Return whether a symmetric product saves time by halves; an accelerator would rather have one large product."""
    return one.shape[-2] >= HALVED_FROM and one.device.type == "cpu"


def symmetric_product(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return a product that is known to be symmetric, of whose blocks beside the diagonal only one is multiplied."""
    if not _is_halved(one):
        return torch.bmm(one, other)
    size, half = one.shape[-2], one.shape[-2] // 2
    result = one.new_empty(len(one), size, size)
    result[:, :half, :half] = symmetric_product(one[:, :half], other[..., :half])
    result[:, half:, half:] = symmetric_product(one[:, half:], other[..., half:])
    corner = torch.bmm(one[:, :half], other[..., half:])
    result[:, :half, half:], result[:, half:, :half] = corner, corner.mT
    return result


def upper_times(upper: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Return U M of upper triangular U, `(n, side, side)`, without most of the products with zeros."""
    if not _is_halved(upper):
        return upper @ matrices
    half = upper.shape[-1] // 2
    top = upper_times(upper[:, :half, :half], matrices[:, :half])
    top = torch.baddbmm(top, upper[:, :half, half:], matrices[:, half:])
    return torch.cat([top, upper_times(upper[:, half:, half:], matrices[:, half:])], dim=-2)


def transposed_upper_times(upper: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
    """Return U^T M of upper triangular U, `(n, side, side)`, without most of the products with zeros."""
    if not _is_halved(upper):
        return upper.mT @ matrices
    half = upper.shape[-1] // 2
    bottom = transposed_upper_times(upper[:, half:, half:], matrices[:, half:])
    bottom = torch.baddbmm(bottom, upper[:, :half, half:].mT, matrices[:, :half])
    return torch.cat([transposed_upper_times(upper[:, :half, :half], matrices[:, :half]), bottom], dim=-2)


def upper_product(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the product of two upper triangular matrices, `(n, side, side)`, by blocks that are not all zeros."""
    if not _is_halved(one):
        return one @ other
    half = one.shape[-1] // 2
    result = torch.zeros_like(one)
    result[:, :half, :half] = upper_product(one[:, :half, :half], other[:, :half, :half])
    result[:, half:, half:] = upper_product(one[:, half:, half:], other[:, half:, half:])
    corner = upper_times(one[:, :half, :half], other[:, :half, half:])
    result[:, :half, half:] = torch.baddbmm(corner, one[:, :half, half:], other[:, half:, half:])
    return result


def orthogonalized(
    matrices: torch.Tensor,
    *,
    triples: Sequence[Triple],
    num_iterations: int,
    iteration_dtype: str,
    iteration_form: str,
) -> torch.Tensor:
    """Return the result of `newton_schulz` in the format and form that the fields of an `OrthogonalSpec` name."""
    dtype = torch.bfloat16 if iteration_dtype == "bfloat16" else None
    if iteration_dtype == "auto" and matrices.dtype == torch.float32:
        dtype = fastest_dtype(matrices.device.type)
    return newton_schulz(
        matrices, num_iterations=num_iterations, coefficients=triples, dtype=dtype, form=iteration_form
    )


def by_blocks(
    function: Callable[..., torch.Tensor], row_blocks: int | tuple[int, ...], *matrices: torch.Tensor
) -> torch.Tensor:
    """Return a function's results on blocks of rows, put together in their places.

    Args:
        function: Of stacks `(n, rows, cols)`, of which it treats each matrix by itself; it is called once for all
            blocks of one size.
        row_blocks: How many equal blocks, or their sizes.
        *matrices: `(..., rows, cols)`, alike but for the number of columns; all are cut.
    """
    rows = matrices[0].shape[-2]
    # sums over a block then run in one order, whatever the strides of the parameter are
    stacks = [x.reshape(-1, *x.shape[-2:]).contiguous() for x in matrices]
    if isinstance(row_blocks, int):
        blocks = [x.reshape(-1, rows // row_blocks, x.shape[-1]) for x in stacks]
        return function(*blocks).reshape(matrices[0].shape)
    parts = [x.split(row_blocks, dim=-2) for x in stacks]
    results: list[torch.Tensor] = [stacks[0]] * len(row_blocks)
    for size in dict.fromkeys(row_blocks):
        places = [i for i, own in enumerate(row_blocks) if own == size]
        found = function(*(torch.cat([part[i] for i in places]) for part in parts))
        for i, result in zip(places, found.split(len(stacks[0])), strict=True):
            results[i] = result
    return torch.cat(results, dim=-2).reshape(matrices[0].shape)


def frobenius(matrices: torch.Tensor) -> torch.Tensor:
    """Return the norm of every matrix, above 0 so that it can be divided by: a matrix of zeros stays one."""
    norms: torch.Tensor = torch.linalg.vector_norm(matrices, dim=(-2, -1), keepdim=True)
    return norms.clamp_min(1e-30)


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


def averaged_gram(gram: torch.Tensor, matrices: torch.Tensor, ema: float) -> torch.Tensor:
    """Return the average of M M^T after a new M; one that is empty stays so."""
    return gram + ema * (symmetric_product(matrices, matrices.mT) - gram) if gram.numel() else gram


def adam_in_basis(
    grad: torch.Tensor,
    exp_avg: torch.Tensor,
    exp_avg_sq: torch.Tensor,
    row_basis: torch.Tensor,
    col_basis: torch.Tensor,
    *,
    ema1: float,
    ema2: float,
    correction: float,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return Adam's update with squares averaged in a basis, the average in weight space, and that of the squares."""
    exp_avg = exp_avg + ema1 * (grad - exp_avg)
    rotated = rotate(grad, row_basis, col_basis)
    exp_avg_sq = exp_avg_sq + ema2 * (rotated * rotated - exp_avg_sq)
    direction = rotate(exp_avg, row_basis, col_basis) / (exp_avg_sq.sqrt() + eps)
    return correction * rotate(direction, row_basis.mT, col_basis.mT), exp_avg, exp_avg_sq


def _eigh(gram: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return eigenvalues and eigenvectors, the largest first; NaN for a matrix that is not finite.

    Such a matrix has none, and a diverged run must show as one.
    """
    finite = gram.isfinite().flatten(1).all(dim=1)[:, None, None]
    values, vectors = torch.linalg.eigh(torch.where(finite, gram, 0.0))
    return torch.where(finite[..., 0], values.flip(-1), torch.nan), torch.where(finite, vectors.flip(-1), torch.nan)


def eigenvectors(gram: torch.Tensor) -> torch.Tensor:
    """Return the eigenvectors of symmetric matrices in columns, those of the largest eigenvalues first.

    A matrix that is not finite has none: its columns are NaN, so that a diverged run shows as one.
    """
    return _eigh(gram)[1] if gram.numel() else gram


def inverse_power(gram: torch.Tensor, exponent: float, eps: float) -> torch.Tensor:
    """Return (A + eps)^-exponent of positive semidefinite matrices, NaN for one that is not finite.

    Rounding makes small eigenvalues negative; they count as 0. With `eps` = 0 it is the power of the pseudo-inverse:
    what is 0 up to the rounding of the largest eigenvalue stays 0.
    """
    if not gram.numel():
        return gram
    values, vectors = _eigh(gram)
    damped = values.clamp(min=0) + eps
    if eps == 0:
        floor = values[..., :1] * gram.shape[-1] * torch.finfo(gram.dtype).eps
        powers = torch.where(damped > floor, damped, torch.inf) ** -exponent
        powers = torch.where(values.isnan(), values, powers)
    else:
        powers = damped**-exponent
    return (vectors * powers[..., None, :]) @ vectors.mT


def spectrum(gram: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """Return the diagonal of Q^T A Q: eigenvalues as a basis sees them."""
    return torch.einsum("...ij,...ij->...j", basis, gram @ basis)


def refreshed_basis(gram: torch.Tensor, basis: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the basis after one power iteration, and how its columns were sorted before it."""
    order = spectrum(gram, basis).argsort(dim=-1, descending=True)
    basis = basis.gather(-1, order[..., None, :].expand_as(basis))
    return torch.linalg.qr(gram @ basis).Q, order


def renewed_basis(
    gram: torch.Tensor, basis: torch.Tensor, *, is_first: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the first basis, or the next one and how the columns were sorted for it; an empty one stays."""
    if not gram.numel():
        return basis, None
    return (eigenvectors(gram), None) if is_first else refreshed_basis(gram, basis)


def reordered(matrices: torch.Tensor, order: torch.Tensor | None, *, dim: int) -> torch.Tensor:
    """Return matrices with their rows (`dim` -2) or columns (-1) sorted as the vectors of a basis were."""
    if order is None:
        return matrices
    index = order[..., :, None] if dim == -2 else order[..., None, :]
    return matrices.gather(dim, index.expand_as(matrices))


class Factor(NamedTuple):
    """One of the two Kronecker factors by which KL-Shampoo models the squares of gradients, for stacks of matrices.

    Args:
        gram: A, an average of gradients times their transposes, whitened by the other factor, `(n, side, side)`.
        basis: Q, orthonormal columns.
        eigenvalues: The diagonal of Q^T A Q when the basis was made, `(n, side)`.
    """

    gram: torch.Tensor
    basis: torch.Tensor
    eigenvalues: torch.Tensor


def started(factor: Factor, grad: torch.Tensor) -> Factor:
    """Return a factor, rms(G) times the identity as long as no gradient but zeros has come.

    With it the product of both factors is a square of gradients from the first one on, whatever their size.
    """
    if not factor.gram.numel():
        return factor
    rms = grad.contiguous().square().mean(dim=(-2, -1)).sqrt()[:, None]  # sums run in the order of the memory
    is_new = (factor.eigenvalues == 0).all(dim=-1, keepdim=True)
    identity = torch.eye(factor.gram.shape[-1], dtype=factor.gram.dtype, device=factor.gram.device)
    gram = torch.where(is_new[..., None], rms[..., None] * identity, factor.gram)
    return Factor(gram, factor.basis, torch.where(is_new, rms, factor.eigenvalues))


def kl_averaged(
    rows: Factor, cols: Factor, grad: torch.Tensor, *, ema: float, eps: float, is_first: bool
) -> tuple[Factor, Factor]:
    """Return the factors L and R after a gradient: averages of G R^-1 G^T / cols and G^T L^-1 G / rows."""
    row_gram = averaged_gram(rows.gram, _whitened(grad, cols, eps, is_first=is_first), ema)
    col_gram = averaged_gram(cols.gram, _whitened(grad.mT, rows, eps, is_first=is_first), ema)
    return rows._replace(gram=row_gram), cols._replace(gram=col_gram)


def _whitened(matrices: torch.Tensor, factor: Factor, eps: float, *, is_first: bool) -> torch.Tensor:
    """Return X with X X^T = M A^-1 M^T / cols; a factor that is empty is the identity."""
    num_cols = matrices.shape[-1]
    if factor.gram.numel():
        matrices = matrices if is_first else matrices @ factor.basis  # the first time there is none, nor a need
        matrices = matrices * factor.eigenvalues.clamp(min=eps).rsqrt()[..., None, :]
    return matrices / math.sqrt(num_cols)


def renewed(factor: Factor, *, is_first: bool) -> tuple[Factor, torch.Tensor | None]:
    """Return a factor with its next basis and the eigenvalues there, and how the columns were sorted for it."""
    basis, order = renewed_basis(factor.gram, factor.basis, is_first=is_first)
    return Factor(factor.gram, basis, spectrum(factor.gram, basis)), order


def divided_by_roots(matrices: torch.Tensor, rows: Factor, cols: Factor, eps: float) -> torch.Tensor:
    """Return Q_L [Q_L^T M Q_R / sqrt(max(lambda_L, eps) max(lambda_R, eps)^T)] Q_R^T = L^-1/2 M R^-1/2."""
    rotated = rotate(matrices, rows.basis, cols.basis)
    if rows.eigenvalues.numel():
        rotated = rotated * rows.eigenvalues.clamp(min=eps).rsqrt()[..., :, None]
    if cols.eigenvalues.numel():
        rotated = rotated * cols.eigenvalues.clamp(min=eps).rsqrt()[..., None, :]
    return rotate(rotated, rows.basis.mT, cols.basis.mT)


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
