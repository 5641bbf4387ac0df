"""What do the matrices of a model look like, whoever made it?"""

import dataclasses
import fnmatch
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from logclock.analysis.diagnosis import BITS, MatrixFacts
from logclock.analysis.spectra import hard_rank, kurtosis, max_to_median, soft_rank
from logclock.train.quantization import rounded_rows

__all__ = ["FileWeights", "TensorWeights", "Weights", "matrix_facts"]

SMALLEST_SIDE = 8
"""Of the matrices of a stack; a tensor with a smaller one is a kernel, whose later dimensions belong together."""


class Weights(Protocol):
    """Named tensors, one in memory at a time."""

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""

    def load(self, name: str) -> Tensor:
        """Return a tensor."""


@dataclasses.dataclass(frozen=True)
class TensorWeights:
    """The weights of a model in memory."""

    tensors: Mapping[str, Tensor]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self.tensors)

    def load(self, name: str) -> Tensor:
        """Return a tensor."""
        return self.tensors[name]


class FileWeights:
    """The tensors of a safetensors file.

    Raises:
        ValueError: It is none, or damaged.
    """

    def __init__(self, path: Path) -> None:
        from safetensors import safe_open

        self.path = path
        try:
            self._file: Any = safe_open(path, framework="pt")  # its methods have no types
        except Exception as error:  # the library has an exception of its own, beside those of the system
            raise ValueError(
                f"{path} is no safetensors file, or damaged ({_first_line(error)}). Write or copy it again; weights "
                "in another format can be converted with safetensors.torch.save_file."
            ) from error

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, as they stand in the file's header."""
        return iter(self._file.keys())

    def load(self, name: str) -> Tensor:
        """Return a tensor."""
        try:
            tensor: Tensor = self._file.get_tensor(name)
        except Exception as error:
            raise ValueError(f"{self.path}: tensor {name!r} cannot be read ({_first_line(error)}).") from error
        return tensor


def matrix_facts(
    weights: Weights, *, source: str, pattern: str = "*"
) -> tuple[list[MatrixFacts], dict[str, str], tuple[str, ...]]:
    """Return the facts of every matrix, what was left out by reason, and warnings.

    A tensor of three dimensions is a stack of matrices, such as experts, if both sides of them have at least 8 entries;
    otherwise, like one of four and more, it is a kernel and one matrix: its first dimension by all others.

    Args:
        weights: By name.
        source: What the messages call them.
        pattern: Of the names to look at, as in a shell.

    Raises:
        ValueError: There is no matrix, or none that fits the pattern.
    """
    found: list[MatrixFacts] = []
    left_out: dict[str, list[str]] = {"vectors and numbers": [], "not of a floating type": [], "empty": []}
    not_finite, names = [], list(weights)
    for name in (name for name in names if fnmatch.fnmatchcase(name, pattern)):
        tensor = weights.load(name).detach()
        if tensor.dim() < 2:
            left_out["vectors and numbers"].append(name)
        elif not tensor.is_floating_point():
            left_out["not of a floating type"].append(name)
        elif not tensor.numel():
            left_out["empty"].append(name)
        else:
            for one, matrix in _matrices(name, tensor):
                facts = _facts(one, matrix.double())
                found.append(facts)
                not_finite += [] if facts.singular_values else [one]
    if not found:
        chosen = "" if pattern == "*" else f" whose name fits {pattern!r}"
        raise ValueError(
            f"{source} has no weight matrix{chosen}; its {len(names)} tensors are {_listed(names)}. Diagnostics need "
            "floating-point tensors of two or more dimensions" + (f"; change --matrices {pattern}." if chosen else ".")
        )
    passed = {f"left out, {why}": f"{len(few)}: {_listed(few)}" for why, few in left_out.items() if few}
    damaged = f"{len(not_finite)} matrices with entries that are not finite, without numbers: {_listed(not_finite)}"
    return found, passed, (damaged,) if not_finite else ()


def _matrices(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if tensor.dim() == 3 and min(tensor.shape[1:]) >= SMALLEST_SIDE:
        yield from ((f"{name}[{number}]", matrix) for number, matrix in enumerate(tensor))
    else:
        yield name, tensor.flatten(1)


def _facts(name: str, matrix: Tensor) -> MatrixFacts:
    """Return the facts of one matrix, given in float64."""
    shape = (matrix.shape[0], matrix.shape[1])
    if not matrix.isfinite().all():
        nothing: dict[int, float | None] = dict.fromkeys(BITS)
        return MatrixFacts(
            name=name,
            shape=shape,
            singular_values=(),
            soft_rank=None,
            hard_rank=None,
            kurtosis=None,
            max_to_median=None,
            errors=nothing,
        )
    values = torch.linalg.svdvals(matrix).numpy()
    entries = matrix.numpy()
    return MatrixFacts(
        name=name,
        shape=shape,
        singular_values=tuple(values.tolist()),
        soft_rank=soft_rank((values / (values.max() or 1.0)) ** 2),
        hard_rank=hard_rank((values / (values.max() or 1.0)) ** 2),
        kurtosis=kurtosis(entries),
        max_to_median=max_to_median(entries),
        errors={bits: _error(matrix, bits) for bits in BITS},
    )


def _error(matrix: Tensor, bits: int) -> float | None:
    norm = float(matrix.norm())
    return (float((rounded_rows(matrix, bits) - matrix).norm()) / norm) ** 2 if norm else None


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "") if names else "none"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
