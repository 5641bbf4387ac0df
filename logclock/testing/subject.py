"""How is any optimizer built, given gradients and stepped, knowing of it no more than torch's interface?"""

import dataclasses
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from logclock.testing.probe import Broken, NotApplicable

__all__ = ["MATRICES", "SHAPES", "Subject", "copies", "is_same", "largest_difference", "shift"]

SHAPES = ((6, 4), (4, 4), (5,))
MATRICES = ((6, 4), (4, 4), (4, 6))
"""For optimizers that take matrices only."""

LR = 1e-2
"""Learning rate of the probes: six updates move weights near 1 visibly and keep them near 1."""

Params = list[torch.nn.Parameter]


@dataclasses.dataclass(frozen=True)
class Subject:
    """An optimizer under test.

    Args:
        build: A class or factory, called with parameters and the settings.
        settings: Keywords for it; a learning rate is added if it takes one.
        shapes: Of the parameters.
    """

    build: Callable[..., Any]
    settings: Mapping[str, Any]
    shapes: Sequence[tuple[int, ...]] = SHAPES

    def params(self, dtype: torch.dtype = torch.float32, shapes: Sequence[tuple[int, ...]] | None = None) -> Params:
        """Return parameters near 1, the same at every call."""
        generator = torch.Generator().manual_seed(0)
        wanted = self.shapes if shapes is None else shapes
        return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in wanted]

    @property
    def takes_matrices_only(self) -> bool:
        """Whether all of its parameters have two dimensions."""
        return all(len(shape) == 2 for shape in self.shapes)

    @property
    def keywords(self) -> dict[str, inspect.Parameter] | None:
        """The parameters of the constructor after the first; None if they cannot be read."""
        try:
            return dict(list(inspect.signature(self.build).parameters.items())[1:])
        except (TypeError, ValueError):
            return None

    def may_take(self, name: str) -> bool:
        """Return whether the constructor names a keyword, or takes any."""
        keywords = self.keywords
        if keywords is None:
            return True
        return name in keywords or any(kind.kind is inspect.Parameter.VAR_KEYWORD for kind in keywords.values())

    @property
    def lr(self) -> float:
        """The learning rate that it is tested with."""
        return float(self.settings.get("lr", LR))

    def optimizer(self, params: Iterable[Any], **more: Any) -> Any:
        """Return the optimizer of parameters, ready to train."""
        given = {**self.settings, **more}
        if "lr" not in given and self.may_take("lr"):
            given["lr"] = LR
        optimizer = self.build(params, **given)
        self.train(optimizer)
        return optimizer

    def train(self, optimizer: Any) -> None:
        """Switch on the training mode of an optimizer that has one."""
        if callable(getattr(optimizer, "train", None)):
            optimizer.train()

    def optimizer_with(self, params: Iterable[Any], option: str, value: Any) -> Any:
        """Return the optimizer with an option of torch's.

        Raises:
            NotApplicable: It does not have the option.
        """
        if not self.may_take(option):
            raise NotApplicable(f"It has no argument {option}.")
        try:
            optimizer = self.optimizer(params, **{option: value})
        except TypeError as error:
            if self.keywords is not None and option in self.keywords:
                raise
            raise NotApplicable(f"It has no argument {option}: {error}") from error
        if (self.keywords is None or option not in self.keywords) and option not in optimizer.param_groups[0]:
            raise NotApplicable(f"It has no argument {option}: what takes any keyword keeps none of that name.")
        return optimizer

    def step(self, optimizer: Any) -> None:
        """Take a step with the gradients that the parameters have."""
        closure = inspect.signature(type(optimizer).step).parameters.get("closure")
        if closure is not None and closure.default is inspect.Parameter.empty:  # one that evaluates the loss itself
            optimizer.step(lambda: torch.tensor(1.0))
        else:
            optimizer.step()

    def run(self, optimizer: Any, params: Params, steps: Iterable[int], *, scale: float = 1.0) -> None:
        """Take the numbered steps, each with the gradients of its number."""
        for number in steps:
            set_gradients(params, number, scale=scale)
            self.step(optimizer)

    def trained(self, num_steps: int, dtype: torch.dtype = torch.float32) -> tuple[Any, Params]:
        """Return an optimizer and its parameters after some steps."""
        params = self.params(dtype)
        optimizer = self.optimizer(params)
        self.run(optimizer, params, range(num_steps))
        return optimizer, params


def set_gradients(params: Iterable[torch.Tensor], number: int, *, scale: float = 1.0) -> None:
    """Give every parameter a gradient that depends on its place, its shape and the number alone."""
    generator = torch.Generator().manual_seed(1000 + number)
    for param in params:
        grad = scale * torch.randn(param.shape, generator=generator)
        param.grad = grad.to(param.dtype)


def copies(params: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """Return what parameters hold now."""
    return [param.detach().clone() for param in params]


def is_same(ours: Iterable[torch.Tensor], others: Iterable[torch.Tensor]) -> bool:
    """Return whether tensors are equal bit for bit; a NaN equals nothing."""
    return all(torch.equal(one.detach(), other.detach()) for one, other in zip(ours, others, strict=True))


def largest_difference(ours: Iterable[torch.Tensor], others: Iterable[torch.Tensor]) -> float:
    """Return the largest difference of an element."""
    pairs = zip(ours, others, strict=True)
    differences = [(a.detach().double() - b.detach().double()).abs().max().item() for a, b in pairs if a.numel()]
    return max(differences, default=0.0)


def shift(ours: Sequence[torch.Tensor], others: Sequence[torch.Tensor], start: Sequence[torch.Tensor]) -> float:
    """Return how far `ours` ended from `others`, as a fraction of the way that `others` went.

    Raises:
        Broken: Something is not finite.
        NotApplicable: The others did not move.
    """
    if not all(bool(tensor.isfinite().all()) for tensor in ours):
        raise Broken("Weights become NaN or infinite.", float("nan"))
    way = _distance(others, start)
    if way == 0:
        raise NotApplicable("Its first updates move nothing.")
    return _distance(ours, others) / way


def _distance(ours: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> float:
    squares = [
        (a.detach().double() - b.detach().double()).square().sum().item() for a, b in zip(ours, others, strict=True)
    ]
    return float(sum(squares) ** 0.5)
