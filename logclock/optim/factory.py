"""How does a trainer that knows the model build its optimizer, with groups that are right for the model?"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from logclock.optim import classes
from logclock.optim.groups import matrix_param_groups, param_groups
from logclock.optim.optimizer import ScheduledOptimizer
from logclock.rules import Spec

__all__ = ["OptimizerFactory"]


class OptimizerFactory:
    """Builds an optimizer from a model: what Hugging Face's Trainer takes in place of an optimizer class.

    An optimizer class is given groups that the Trainer made, with `TrainingArguments.weight_decay` in them; a factory
    is given the model. Nothing is decayed that `param_groups` does not decay, a schedule of the decay stays one, and
    hidden matrices may have an algorithm of their own.

    Examples:
        >>> from logclock import log_time_decay
        >>> chosen = {"algorithm": "adana", "lr": 1e-3, "weight_decay": log_time_decay(4.0, total_steps=10_000)}
        >>> optimizer = OptimizerFactory()(nn.Linear(3, 2), **chosen)  # as the Trainer does with
        >>> # Trainer(..., optimizer_cls_and_kwargs=(OptimizerFactory, chosen))
        >>> type(optimizer).__name__, [group["weight_decay"] for group in optimizer.param_groups]
        ('ADANA', [{'kind': 'inverse_time', 'scale': 4.0, 'offset': 1000.0}, 0.0])
    """

    def __call__(
        self,
        model: nn.Module,
        *,
        lr: float | torch.Tensor,
        algorithm: str | type[ScheduledOptimizer] = "adana",
        weight_decay: Any = None,
        matrices: Mapping[str, Any] | None = None,
        overrides: Mapping[str, Any] | None = None,
        row_blocks: Mapping[str, int | Sequence[int]] | None = None,
        **settings: Any,
    ) -> ScheduledOptimizer:
        """Return the optimizer of a model.

        Args:
            model: The model.
            lr: Peak learning rate. A trainer's own argument for it does not come here.
            algorithm: Name of a registered optimizer, or a class of this package.
            weight_decay: Number or schedule, of what is decayed; the algorithm's default if None.
            matrices: Keys of the hidden matrices' groups, as `matrix_param_groups` takes them, e.g. `{"algorithm":
                "muon", "lr": 0.02}`; None treats them as everything else.
            overrides: As `param_groups` takes them.
            row_blocks: As `matrix_param_groups` takes them.
            **settings: Of the optimizer: further hyperparameters, `clip_norm`, `backend`, ...

        Raises:
            TypeError: An unknown setting; `row_blocks` without `matrices`.
            ValueError: As from `param_groups`, `matrix_param_groups` and the optimizer.
        """
        decay = {} if weight_decay is None else {"weight_decay": weight_decay}
        if matrices is None:
            if row_blocks is not None:
                raise TypeError(
                    "row_blocks cut hidden matrices, and matrices=None gives those no algorithm. Give both."
                )
            groups = param_groups(model, overrides=overrides, **decay)
        else:
            groups = matrix_param_groups(
                model, matrices=matrices, rest=decay, overrides=overrides, row_blocks=row_blocks
            )
        chosen = _class_of(algorithm) if isinstance(algorithm, str) else algorithm
        return chosen(groups, lr=lr, **settings)


def _class_of(algorithm: str) -> Any:
    return getattr(classes, Spec.family.get(algorithm).class_name)
