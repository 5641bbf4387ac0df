"""When is a run lost?"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

__all__ = ["DivergenceMonitor"]

MARGIN_NATS = 1.0
PATIENCE_STEPS = 100


@dataclasses.dataclass
class DivergenceMonitor:
    """Declares a run lost at a loss or gradient that is not finite, or at a loss that stays far above its start.

    The rule: the loss of a step or the norm of its gradient is NaN or infinite, or the loss has exceeded that of the
    first step, of the untrained model, by more than 1 nat on each of the last 100 steps. Shorter excursions are spikes,
    from which runs recover. A gradient counts because the loss need not show it: one NaN freezes a coordinate of Lion
    and of Signum for ever.

    Args:
        first_loss: Loss of step 1; None before it.
        steps_above: For how many steps in a row the loss has been above the bound.
    """

    first_loss: float | None = None
    steps_above: int = 0

    def check(self, step: int, loss: float) -> str | None:
        """Return why the run is lost at `step`, or None if it is not; steps must come in order.

        Args:
            step: Update count.
            loss: Training loss of this step, nats per token.
        """
        if not math.isfinite(loss):
            return f"the training loss was {loss} at step {step}"
        if self.first_loss is None:
            self.first_loss = loss
        self.steps_above = self.steps_above + 1 if loss > self.first_loss + MARGIN_NATS else 0
        if self.steps_above >= PATIENCE_STEPS:
            return (
                f"the training loss stayed more than {MARGIN_NATS:g} nat above its first value "
                f"{self.first_loss:.4g} for {PATIENCE_STEPS} steps, until step {step}"
            )
        return None

    def check_all(self, first_step: int, losses: Sequence[float], grad_norms: Sequence[float] = ()) -> str | None:
        """Check consecutive steps and return the first reason, if there is one."""
        for step, (loss, norm) in enumerate(itertools.zip_longest(losses, grad_norms, fillvalue=0.0), start=first_step):
            reason = self.check(step, loss)
            if reason is None and not math.isfinite(norm):
                reason = f"the norm of the gradient was {norm} at step {step}"
            if reason:
                return reason
        return None
