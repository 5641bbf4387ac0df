"""Does the best learning rate of a narrow model fit a wide one, and what does it cost if it does not?"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from logclock.analysis.lr_rules import LrCurvature, LrTrial, lr_curvature

__all__ = ["Transfer", "lr_transfer"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer:
    """How a best learning rate moves with the width.

    With the widest model in place of an infinitely wide one, three numbers say whether tuning a narrow model and using
    its rate is worth it: `gap`, a_n, what a model of width n loses by being narrow; `shift`, b_n, how far its best rate
    lies from the widest model's, in ln lr; `cost`, c_n, what the widest model loses by using that rate. Transfer is
    fast where c_n is small against a_n.

    Args:
        optima: The parabola of each width, ascending.

    References: arXiv:2512.22768, which has the limit of infinite width in the place of the widest model.
    """

    optima: Mapping[int, LrCurvature]

    @property
    def spread(self) -> float:
        """The largest best learning rate over the smallest."""
        rates = [optimum.best_lr for optimum in self.optima.values()]
        return max(rates) / min(rates)

    @property
    def widest(self) -> LrCurvature:
        """The optimum of the widest model."""
        return self.optima[max(self.optima)]

    def gap(self, width: int) -> float:
        """Return a_n in nats."""
        return self.optima[width].best_loss - self.widest.best_loss

    def shift(self, width: int) -> float:
        """Return b_n in e-folds of the learning rate."""
        return abs(math.log(self.optima[width].best_lr / self.widest.best_lr))

    def cost(self, width: int) -> float:
        """Return c_n in nats, by the parabola of the widest model."""
        return self.widest.penalty(self.optima[width].best_lr / self.widest.best_lr)


def lr_transfer(trials: Mapping[int, Sequence[LrTrial]]) -> Transfer:
    """Return how the best learning rate moves with the width.

    Args:
        trials: The sweep of each width; its minimum must be bracketed.

    Raises:
        ValueError: There are fewer than two widths, or a sweep shows no minimum inside its rates.
    """
    if len(trials) < 2:
        raise ValueError(f"transfer needs sweeps of two widths or more, got {len(trials)}.")
    optima: dict[int, LrCurvature] = {}
    for width in sorted(trials):
        found = lr_curvature(trials[width])
        rates = sorted(trial.lr for trial in trials[width] if trial.loss is not None)
        if found is None or not rates[0] <= found.best_lr <= rates[-1]:
            raise ValueError(
                f"the sweep at width {width} shows no minimum between its learning rates. Add rates beyond the best "
                "one."
            )
        optima[width] = found
    return Transfer(optima=optima)
