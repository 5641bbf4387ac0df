"""Muon^2: Adam's division before Muon's orthogonalization."""

from typing import Literal

from logclock.algorithms.muon import orthogonalized
from logclock.rules.ops import sqrt
from logclock.rules.orthogonal import MuonFamilySpec
from logclock.rules.slots import Ema, NonNegative, PeakLr
from logclock.rules.spec import algorithm
from logclock.rules.stage import elementwise
from logclock.rules.state import State
from logclock.schedules import check


@elementwise
def whitened(grad, momentum_buffer, exp_avg_sq, *, ema1, ema2, look_ahead, eps):
    """Equation of B, M and V in Muon2Spec."""
    momentum_buffer = momentum_buffer + ema1 * (grad - momentum_buffer)
    exp_avg_sq = exp_avg_sq + ema2 * (grad * grad - exp_avg_sq)
    direction = momentum_buffer + look_ahead * (grad - momentum_buffer)
    return direction / (sqrt(exp_avg_sq) + eps), momentum_buffer, exp_avg_sq


@algorithm("muon2", class_name="Muon2", paper="arXiv:2604.09967")
class Muon2Spec(MuonFamilySpec):
    """Muon^2, for the hidden matrices of a model: an orthogonalized Adam direction.

    With M as in MuonSpec, V starting at 0, and the scale of MuonSpec:
        V <- V + ema2 (G^2 - V)
        W <- W - lr(t) scale NewtonSchulz(M / (sqrt(V) + eps)) - decay W
    V needs no bias correction, because the normalization of the iteration takes out a common factor. State:
    momentum_buffer and exp_avg_sq (V), shaped like the parameter. Takes matrices and stacks of them, see
    `logclock.matrix_param_groups`.

    Examples:
        >>> Muon2Spec().rule.state_names
        ('momentum_buffer', 'exp_avg_sq')

    Deviations: this is the public speed run's form. The paper is said to have eps within the root and the factor
        sqrt(r / c), not clamped at 1.
    References: arXiv:2604.09967.
    """

    direction = (whitened, orthogonalized)
    states = {"momentum_buffer": State(weight="ema1"), "exp_avg_sq": State(weight="ema2")}

    lr: PeakLr = 0.02

    ema2: Ema = 0.05
    """1 - beta2, the weight of the new squares in V."""

    eps: NonNegative = 1e-10
    """Added to the root."""

    scale_rule: Literal["original", "match_rms_adamw"] = "original"
    """How an update grows with the shape."""

    def validate(self) -> None:
        """Raise a ValueError for an unknown scale rule, and as the family does."""
        super().validate()
        rules = ("original", "match_rms_adamw")
        check(self.scale_rule in rules, "scale_rule", f"be one of {', '.join(rules)}", self.scale_rule)
