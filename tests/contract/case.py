"""What must the contract suite know about an optimizer? Settings to try, an independent reference, and facts."""

import dataclasses
import math
from collections.abc import Callable

import torch
from contract.runs import SHAPES, make_params

import logclock.optim as optim
from logclock.rules import Spec

MATRICES = ((5, 3), (4, 4), (3, 6), (4, 4))


@dataclasses.dataclass(frozen=True)
class Case:
    """One optimizer under test.

    Args:
        name: As the optimizer is registered.
        settings: Hyperparameters to test with, beside lr and weight decay.
        reference: Float64 numpy run `(theta, grads, *, lr, decay) -> (theta, *states)` with lr, decay functions of t,
            and `position`, the number of the parameter, for a rule that draws random numbers.
        state_bytes: State per float32 parameter, or a function of the shape of a tensor.
        coupled: Whether lambda is multiplied by lr (else by lr / peak).
        determines: For which shapes the equations leave nothing open.
        jumps: Whether the update is the sign of an average, which two roundings of the same zero can set apart.
        drifts: States that gradients of zero do not leave at zero.
        decay_at_rest: Share of the decay that acts on a tensor of a shape whose gradient is zero.
        only_falls: Whether an update is the gradient times a rate that only falls, which in 2,500 updates does not
            come to the end of a curved valley.
        runs_away: Whether steps grow faster than gradients, so that no useful rate holds where walls are steep.
        free_signs: States of which the equations leave the signs of columns open, eigenvectors.
        is_joint: Whether numbers are shared by all tensors: the reference then takes lists of tensors and of gradients,
            and returns a tuple for each tensor.
        descent_lr: Peak learning rate at which it descends a parabola from a distance of about 3 in 1,200 updates.
        valley_lr: Peak learning rate in the valley of Rosenbrock, where steps of one length zigzag; that one if None.
    """

    name: str
    settings: dict
    reference: Callable
    state_bytes: int | Callable
    coupled: bool = False
    determines: Callable = lambda shape: True
    jumps: bool = False
    drifts: tuple[str, ...] = ()
    decay_at_rest: Callable = lambda shape: 1.0
    only_falls: bool = False
    runs_away: bool = False
    free_signs: tuple[str, ...] = ()
    is_joint: bool = False
    descent_lr: float = 2e-2
    valley_lr: float | None = None

    @property
    def build(self):
        """Its public class."""
        return getattr(optim, Spec.family.get(self.name).class_name)

    @property
    def is_elementwise(self):
        return Spec.family.get(self.name)().rule.is_elementwise

    @property
    def is_random(self):
        return Spec.family.get(self.name)().rule.is_random

    def placed(self, position):
        """What its reference must know of the parameter at a position."""
        return {"position": position} if self.is_random else {}

    @property
    def matrices_only(self):
        return Spec.family.get(self.name).matrices_only

    def params(self, shapes=None, dtype=torch.float32, *, seed=0, determined=False):
        """Parameters as `make_params` makes them, those that the optimizer takes (and determines)."""
        if shapes is None:
            shapes = MATRICES if self.matrices_only else SHAPES
        taken = [shape for shape in shapes if len(shape) == 2 or not self.matrices_only]
        return make_params([shape for shape in taken if self.determines(shape) or not determined], dtype, seed)

    def bytes_of(self, shape):
        """Bytes of the state of a float32 parameter."""
        return self.state_bytes(shape) if callable(self.state_bytes) else self.state_bytes * math.prod(shape)
