"""Which functions may a rule use besides + - * /? The vocabulary, for tensors and for the backends' own operands."""

from typing import Any

import torch

__all__ = ["VOCABULARY", "absolute", "maximum", "minimum", "power", "sign", "sqrt"]


def sqrt(x: Any) -> Any:
    """Return the square root, elementwise."""
    return torch.sqrt(x) if isinstance(x, torch.Tensor) else x.apply("sqrt")


def absolute(x: Any) -> Any:
    """Return the absolute value, elementwise."""
    return torch.abs(x) if isinstance(x, torch.Tensor) else x.apply("absolute")


def sign(x: Any) -> Any:
    """Return -1, 0 or 1, elementwise."""
    return torch.sign(x) if isinstance(x, torch.Tensor) else x.apply("sign")


def maximum(x: Any, bound: Any) -> Any:
    """Return the larger of a tensor and a scalar, elementwise."""
    return torch.clamp(x, min=bound) if isinstance(x, torch.Tensor) else x.apply("maximum", bound)


def minimum(x: Any, bound: Any) -> Any:
    """Return the smaller of a tensor and a scalar, elementwise."""
    return torch.clamp(x, max=bound) if isinstance(x, torch.Tensor) else x.apply("minimum", bound)


def power(x: Any, exponent: Any) -> Any:
    """Return a positive tensor to a scalar power, elementwise, as exp(exponent ln x).

    On a CPU that takes a third of the time of pow, and for exponents below 1 it is a few units in the last place away.
    """
    if isinstance(x, torch.Tensor):
        return torch.exp(torch.log(x) * exponent)
    return (x.apply("log") * exponent).apply("exp")


VOCABULARY = {f.__name__: f for f in (absolute, maximum, minimum, power, sign, sqrt)}
