"""Which fraction of the peak learning rate does a falling loss allow? The mathematics of the adaptive warm-up."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from logclock.config import Registry
from logclock.schedules.base import Constant, Schedule, check
from logclock.schedules.lr import Cosine, Linear, WarmupStableDecay
from logclock.schedules.operating_point import optimal_ratio

__all__ = ["AdaptiveWarmupPlan", "warmup_factor"]

RATIOS = {"muon": 0.32, "lion": 0.05}
"""Delta* / Delta_0 of the study's runs at div = 100. Lion's is what the code took; the exact minimiser is 0.105."""

NORM_RATIOS = {5.0: 0.33, 2.0: 0.51}
"""The same for normalised SGD, by div: the study used these two."""

SHAPE_RATIO = RATIOS["muon"]
"""Where end_loss says when the warm-up ends, the ratio only bends the curve between; this one if none is given."""

PAPER: dict[str, Any] = {
    "delta_ratio": "lion",
    "ema_halflife": 0.0,
    "patience": 1,
    "ratchet": False,
    "max_warmup_frac": 1.0,
    "handover_ramp": 0,
}
"""Settings of the released code: the raw loss of one batch decides, for ever, whenever it comes."""


def warmup_factor(x: float, *, ratio: float, div: float) -> float:
    """Return the fraction of the peak for a loss that is `x` of the way from the end of the warm-up to its start.

    With x = (loss - end_loss) / (loss0 - end_loss) this is eta(Delta) / lr for eta = Delta / (K_0 + K_1 Delta +
    K_2 Delta^2), its three constants fixed by eta(Delta*) = lr, eta'(Delta*) = 0 and eta(Delta_0) = lr / div:
        g = 1 / (1 + (div - 1) x^2 / (r + (1 - r) x))
    It falls strictly from 1 at x = 0 through 1/div at x = 1.

    Args:
        x: At least 0; more than 1 for a loss above the first one.
        ratio: r = Delta* / Delta_0, in (0, 1).
        div: Peak over initial learning rate.
    """
    return 1 / (1 + (div - 1) * x * x / (ratio + (1 - ratio) * x))


Family = Literal["cosine", "linear", "wsd", "constant"]


@Schedule.family.register("adaptive_warmup")
@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptiveWarmupPlan:
    """Warm-up until the loss has come down to a level, then a decay: the settings of `AdaptiveWarmup`.

    No schedule, because it is no function of t: it stands where a run's `lr_schedule` stands and needs the losses too.

    With loss0 the mean of the first losses, Delta = loss - f_star and Delta* = end_loss - f_star, the warm-up runs from
    1/div of the peak at loss0 to the peak at end_loss, as `warmup_factor` says. What is not given follows from
    delta_ratio = r = Delta* / Delta_0 once loss0 is known:
        f_star and r given:    end_loss = f_star + r (loss0 - f_star)
        end_loss and r given:  f_star = (end_loss - r loss0) / (1 - r), so Delta* = r (loss0 - end_loss) / (1 - r)
    So end_loss alone says when the warm-up ends, and r only bends the curve on the way there.

    Args:
        end_loss: The training loss, in nats per token, at which the warm-up ends. This or `f_star`.
        f_star: Assumed lowest loss f*, from which `delta_ratio` then gives end_loss.
        delta_ratio: r in (0, 1), or a name for the study's operating points: `muon` 0.32, `lion` 0.05, `norm` 0.33 at
            div = 5 and 0.51 at div = 2; or `auto`, the minimiser of `optimal_ratio`. Needed with `f_star`; with
            `end_loss` 0.32 if None.
        div: Peak over initial learning rate, > 1.
        shape: `smoothness` is `warmup_factor`; `linear` a straight line in the loss from 1/div to 1, to compare with.
        dual_norm_ratio: For `auto`: the study's kappa, from the function of that name.
        sigma_f: For `auto`: scale of the loss noise sigma_F; the study never varied it.
        loss0: The initial loss; None takes the mean of the first `loss0_window` losses.
        loss0_window: Losses that make loss0.
        ema_halflife: Half-life, in updates, of the average of losses that decides; 0 decides by each loss as it comes.
        patience: Losses in a row with an average at or below end_loss that end the warm-up.
        ratchet: Whether the learning rate never falls during the warm-up.
        max_warmup_frac: Share of the run after which the warm-up ends in any case; 1 sets no limit.
        handover_ramp: Updates over which the factor rises from where it stands to the decay's curve when the warm-up
            ends; 0 jumps.
        decay: What follows: `cosine`, `linear`, `wsd` (linear cool-down) or `constant`.
        decay_frac: For `wsd`: the cool-down's share of the whole run, warm-up included.
        final: Fraction of the peak at the end of the run, T updates after the first.

    Deviations: the released code has the settings of `paper` and no others; see docs/adaptive-warmup.md.
    References: Riabinin et al. 2026, arXiv:2602.05813, released code.
    """

    family: ClassVar[Registry[Any]] = Schedule.family

    end_loss: float | None = None
    f_star: float | None = None
    delta_ratio: float | Literal["muon", "lion", "norm", "auto"] | None = None
    div: float = 100.0
    shape: Literal["smoothness", "linear"] = "smoothness"
    dual_norm_ratio: float | None = None
    sigma_f: float = 1e-3
    loss0: float | None = None
    loss0_window: int = 1
    ema_halflife: float = 30.0
    patience: int = 3
    ratchet: bool = True
    max_warmup_frac: float = 0.25
    handover_ramp: int = 30
    decay: Family = "cosine"
    decay_frac: float = 0.1
    final: float = 0.0

    def __post_init__(self) -> None:
        self._check_target()
        check(1 < self.div < math.inf, "div", "be > 1", self.div, advice="It is peak over initial learning rate.")
        check(self.shape in ("smoothness", "linear"), "shape", "be 'smoothness' or 'linear'", self.shape)
        check(self.loss0_window >= 1, "loss0_window", "be >= 1 loss", self.loss0_window)
        window_counts = self.loss0 is None or self.loss0_window == 1
        check(window_counts, "loss0_window", f"be 1 with loss0 = {self.loss0}", self.loss0_window)
        check(0 <= self.ema_halflife < math.inf, "ema_halflife", "be >= 0 updates", self.ema_halflife)
        check(self.patience >= 1, "patience", "be >= 1 loss", self.patience)
        check(0 < self.max_warmup_frac <= 1, "max_warmup_frac", "lie in (0, 1]", self.max_warmup_frac)
        check(self.handover_ramp >= 0, "handover_ramp", "be >= 0 updates", self.handover_ramp)
        check(self.decay in _DECAYS, "decay", f"be one of {', '.join(_DECAYS)}", self.decay)
        check(0 < self.decay_frac <= 1, "decay_frac", "lie in (0, 1]", self.decay_frac)
        check(0 <= self.final <= 1, "final", "lie in [0, 1]", self.final, advice="It is a fraction of the peak.")

    def _check_target(self) -> None:
        """Raise unless the loss at which the warm-up ends is well defined."""
        given = [name for name in ("end_loss", "f_star") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"give end_loss (the loss at which the warm-up ends) or f_star with delta_ratio, got "
                f"{' and '.join(given) or 'neither'}."
            )
        for name in ("end_loss", "f_star", "loss0"):
            value = getattr(self, name)
            check(value is None or math.isfinite(value), name, "be a finite loss", value)
        ratio = self.delta_ratio
        named = "0.32 fits Muon, 0.05 Lion."
        check(self.f_star is None or ratio is not None, "delta_ratio", "be given with f_star", ratio, advice=named)
        if isinstance(ratio, str):
            check(ratio in (*RATIOS, "norm", "auto"), "delta_ratio", "be muon, lion, norm, auto or a number", ratio)
        elif ratio is not None:
            check(0 < ratio < 1, "delta_ratio", "lie in (0, 1)", ratio)
        if ratio == "norm":
            known = " or ".join(f"{div:g}" for div in NORM_RATIOS)
            check(
                self.div in NORM_RATIOS, "div", f"be {known} for delta_ratio 'norm'", self.div, advice="Give a number."
            )
        is_auto = ratio == "auto"
        check(not is_auto or self.f_star is not None, "delta_ratio", "be a number or a name with end_loss", ratio)
        check(
            (self.dual_norm_ratio is not None) == is_auto,
            "dual_norm_ratio",
            "be given if delta_ratio is 'auto' and only then",
            self.dual_norm_ratio,
        )
        check(
            self.dual_norm_ratio is None or 0 < self.dual_norm_ratio < math.inf,
            "dual_norm_ratio",
            "be > 0",
            self.dual_norm_ratio,
        )
        check(0 < self.sigma_f < math.inf, "sigma_f", "be > 0", self.sigma_f)

    @classmethod
    def preset(cls, name: Literal["robust", "paper"] = "robust", **settings: Any) -> "AdaptiveWarmupPlan":
        """Return a plan with the settings of a preset where `settings` does not say otherwise.

        Args:
            name: `robust`, the defaults: the average of losses decides, with patience and a limit, and the learning
                rate neither falls nor jumps. `paper`: the released code's, including Lion's ratio.
            **settings: Fields.
        """
        check(name in ("robust", "paper"), "preset", "be 'robust' or 'paper'", name)
        return cls(**(PAPER if name == "paper" else {}) | settings)

    def target(self, loss0: float) -> tuple[float, float] | None:
        """Return end_loss and r for an initial loss, or None if that is too low for a warm-up."""
        floor = self.f_star if self.end_loss is None else self.end_loss
        assert floor is not None
        gap = loss0 - floor
        if gap <= 0:
            return None
        ratio = self._ratio(gap)
        return floor + (ratio * gap if self.end_loss is None else 0.0), ratio

    def _ratio(self, gap: float) -> float:
        """Return r as a number; with f_star, Delta_0 = gap."""
        if self.delta_ratio is None:
            return SHAPE_RATIO
        if self.delta_ratio == "auto":
            assert self.dual_norm_ratio is not None
            return optimal_ratio(div=self.div, sharpness=self.dual_norm_ratio * self.sigma_f * gap**2)
        if self.delta_ratio == "norm":
            return NORM_RATIOS[self.div]
        return RATIOS[self.delta_ratio] if isinstance(self.delta_ratio, str) else self.delta_ratio

    def factor(self, x: float, *, ratio: float) -> float:
        """Return the fraction of the peak in [1/div, 1] at x = (loss - end_loss) / (loss0 - end_loss) >= 0."""
        low = 1 / self.div
        value = warmup_factor(x, ratio=ratio, div=self.div) if self.shape == "smoothness" else 1 - (1 - low) * x
        return min(max(value, low), 1.0)

    def decay_factor(self, k: int, *, handover: int, total_steps: int) -> float:
        """Return the fraction of the peak after `k` updates of a run whose warm-up ended after `handover` of them.

        A function of integers and nothing else. From k = total_steps on it is the final value.
        """
        if k >= total_steps:
            return 1.0 if self.decay == "constant" else self.final
        return _DECAYS[self.decay](self, handover, total_steps)(k + 1)  # schedules count the first update as t = 1


def _wsd(plan: AdaptiveWarmupPlan, handover: int, total_steps: int) -> Schedule:
    """Cool down over a share of the whole run, so from the same update as a run with another warm-up."""
    decay_steps = min(max(round(plan.decay_frac * total_steps), 1), total_steps - handover)
    return WarmupStableDecay(total_steps=total_steps, warmup_steps=handover, decay_steps=decay_steps, final=plan.final)


_DECAYS: dict[str, Callable[[AdaptiveWarmupPlan, int, int], Schedule]] = {
    "cosine": lambda plan, h, total: Cosine(total_steps=total, warmup_steps=h, final=plan.final),
    "linear": lambda plan, h, total: Linear(total_steps=total, warmup_steps=h, final=plan.final),
    "wsd": _wsd,
    "constant": lambda plan, h, total: Constant(value=1.0),
}
"""The schedules that follow a warm-up of `h` updates."""
