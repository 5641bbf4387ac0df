"""What must a model family offer so that recipes, the training loop and the size formulas can use it?"""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import nn

from logclock.config.registry import Registry
from logclock.models.sizes import ModelSize

__all__ = ["ModelConfig"]


class ModelConfig(ABC):
    """The plain-data description of one model.

    Members are frozen keyword-only dataclasses that join with `@ModelConfig.family.register(name)`.
    """

    family: ClassVar[Registry["ModelConfig"]] = Registry("model", tag="kind")

    @abstractmethod
    def build(self, *, seed: int) -> nn.Module:
        """Return the model with initial weights that depend on `seed` alone.

        The model maps `tokens_BL` to `logits_BLV`. The global random state is neither read nor changed. The model
        stands on the current default device; on `meta` it has shapes only.
        """

    @property
    def matrix_lr_factor(self) -> float:
        """What the peak learning rate of weights whose inputs grow with the width is multiplied by; 1 but under muP."""
        return 1.0

    @abstractmethod
    def size(self) -> ModelSize:
        """Return the counts that budgets, learning-rate rules and compute measures are computed from."""
