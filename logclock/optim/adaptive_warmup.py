"""How does a learning rate follow the training loss up to its peak, in any training loop and on any number of ranks?"""

import dataclasses
import inspect
import math
import warnings
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from logclock.config import to_dict
from logclock.config.registry import suggestion
from logclock.schedules import AdaptiveWarmupPlan, check

__all__ = ["AdaptiveWarmup"]

STATE_VERSION = 1

BLIND_STEPS = 10
"""Steps without any loss after which a loop is told that it forgot to pass one."""

STATE = (
    "last_epoch",
    "base_lrs",
    "loss0",
    "loss0_sum",
    "end_loss",
    "ratio",
    "observations",
    "skipped",
    "average",
    "average_weight",
    "hits",
    "reached",
    "handover_step",
    "handover_reason",
    "ramp_steps",
)
"""Attributes that one step leaves to the next, all of them numbers, strings and None (and one list)."""


class AdaptiveWarmup(LRScheduler):
    """A warm-up that ends when the training loss has come down to a level, then a decay; both as factors on the peak.

    Call `step(loss)` after `optimizer.step()`, with the mean cross-entropy of that update, over all its micro-batches,
    without auxiliary terms or loss scaling. With x = (average loss - end_loss) / (loss0 - end_loss) the next update
    runs at peak times
        g(x) = 1 / (1 + (div - 1) x^2 / (r + (1 - r) x)),  held within [1/div, 1],
    until the average stays at or below end_loss; then h, the hand-over step, is fixed for ever and the factor is a
    function of the integers (k, h, T) alone. Before the first loss it is 1/div. Losses that are not finite are counted
    in `skipped` and change nothing; a first loss at or below end_loss means no warm-up (with a warning).

    The peak of a group is its `peak_lr` (logclock's optimizers), otherwise its `initial_lr`, which is the learning rate
    the optimizer was built with; ratios between groups stay.

    While it warms up, every call of step reads the loss (on an accelerator the host waits for it) and, where
    torch.distributed runs, averages it over the ranks, weighted by tokens: all ranks must call step, a rank without a
    loss with None. After the hand-over there is neither.

    Args:
        optimizer: Any torch optimizer. Its step functions never see this scheduler.
        total_steps: Planned updates T, warm-up included.
        preset: `robust` (also if None) or `paper`: the settings where the keywords do not say otherwise.
        plan: All settings in one object, instead of preset and keywords.
        process_group: The ranks that share the data; the default group if None.
        sync: `mean` averages the losses over the group where there is one, `none` takes each rank's own.
        **settings: Fields of `AdaptiveWarmupPlan`: `end_loss`, or `f_star` and `delta_ratio`; `div`, ...

    Raises:
        TypeError: Unknown setting.
        ValueError: A setting is out of range.

    Examples:
        >>> model = torch.nn.Linear(2, 2)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> warmup = AdaptiveWarmup(optimizer, 100, end_loss=4.0, preset="paper")
        >>> for loss in (8.0, 6.0, 3.9):
        ...     optimizer.step()
        ...     warmup.step(loss)
        ...     print(f"{optimizer.param_groups[0]['lr']:.4f}")
        0.0010
        0.0021
        0.1000
        >>> warmup.handover_step, warmup.handover_reason
        (3, 'loss')

    References: Riabinin et al. 2026, arXiv:2602.05813; what is different here: docs/adaptive-warmup.md.
    """

    base_lrs: list[float]  # type: ignore[assignment]
    """Peak learning rates by group, as numbers of the host's."""

    handover_step: int | None
    """Updates made when the warm-up ended; None while it lasts."""

    handover_reason: Literal["loss", "limit", "start"] | None
    """`loss` reached end_loss, `limit` max_warmup_frac, or there was nothing to warm up from the `start`."""

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        *,
        preset: Literal["robust", "paper"] | None = None,
        plan: AdaptiveWarmupPlan | None = None,
        process_group: "dist.ProcessGroup | None" = None,  # a build of torch may lack the class
        sync: Literal["mean", "none"] = "mean",
        **settings: Any,
    ) -> None:
        check(total_steps >= 1, "total_steps", "be >= 1 update", total_steps)
        check(sync in ("mean", "none"), "sync", "be 'mean' or 'none'", sync)
        beside = [*(["preset"] if preset is not None else []), *settings]
        if plan is not None and beside:
            raise TypeError(f"plan holds every setting, got {', '.join(beside)} beside it. Give one or the other.")
        self.plan = _plan_from(preset or "robust", settings) if plan is None else plan
        self.total_steps = int(total_steps)
        self._group, self._sync = process_group, sync
        self._dtype = torch.float64  # of the reduction, until a backend refuses it
        self.loss0: float | None = None
        self.loss0_sum = 0.0
        self.end_loss: float | None = None
        self.ratio: float | None = None
        self.observations = self.skipped = self.hits = 0
        self.average = self.average_weight = 0.0
        self.reached = 1 / self.plan.div  # the warm-up's factor
        self.handover_step = self.handover_reason = None
        self.ramp_steps = 0
        super().__init__(optimizer)  # calls step() once, without a loss

    def step(self, loss: Any = None, *, tokens: Any = None, metrics: Any = None) -> None:
        """Set the learning rate of the next update.

        Args:
            loss: Mean loss of the update that was just made, a number or a tensor with one element. None keeps the
                factor while warming up; after the hand-over it is not looked at.
            tokens: Tokens that this rank's loss is a mean over, the weight of the rank; equal weights if None.
            metrics: Another name for `loss`, under which some hosts pass it.

        Raises:
            TypeError: Both `loss` and `metrics` were given.
            ValueError: The loss is a tensor with more than one element.
        """
        if self.last_epoch < 0:
            self.base_lrs = [_peak(group) for group in self.optimizer.param_groups]
            self.last_epoch = 0
            self._write()
            return
        if loss is not None and metrics is not None:
            raise TypeError("step() got loss and metrics, two names for the same thing. Give one.")
        if self.handover_step is None and self.last_epoch + 1 < self.total_steps:
            value = self._mean_over_ranks(metrics if loss is None else loss, tokens)
            self.last_epoch += 1
            self._observe(value)
        else:
            self.last_epoch += 1
        self._write()

    @property
    def is_warming_up(self) -> bool:
        """Whether the loss still decides."""
        return self.handover_step is None

    def get_lr(self) -> list[float | Tensor]:
        """Return the learning rates of the next update, one a group."""
        factor = self.factor
        return [peak * factor for peak in self.base_lrs]

    def _observe(self, loss: float | None) -> None:
        """Take in the loss of an update: the average moves, and the factor or the phase with it."""
        if loss is None:
            if self.observations == 0 and self.last_epoch == BLIND_STEPS:
                message = f"AdaptiveWarmup got no loss in {BLIND_STEPS} steps and stays at 1/div. Call step(loss)."
                warnings.warn(message, UserWarning, stacklevel=3)
        elif not math.isfinite(loss):
            self.skipped += 1
            return
        else:
            self._follow(loss)
        if self.is_warming_up and self.last_epoch >= self.plan.max_warmup_frac * self.total_steps:
            self._hand_over("limit")

    def _follow(self, loss: float) -> None:
        plan = self.plan
        self.observations += 1
        weight = 1.0 if plan.ema_halflife == 0 else -math.expm1(-math.log(2) / plan.ema_halflife)
        self.average = (1 - weight) * self.average + weight * loss
        self.average_weight = (1 - weight) * self.average_weight + weight
        if self.loss0 is None and not self._has_start(loss):
            return
        assert self.loss0 is not None
        assert self.end_loss is not None
        assert self.ratio is not None
        x = (self.average_loss - self.end_loss) / (self.loss0 - self.end_loss)
        if x > 0:
            self.hits = 0
            factor = plan.factor(x, ratio=self.ratio)
            self.reached = max(self.reached, factor) if plan.ratchet else factor
            return
        self.hits += 1  # the factor stays where it was until the average has been low for long enough
        if self.hits >= plan.patience:
            self._hand_over("loss")

    @property
    def average_loss(self) -> float:
        """The average of the losses so far, without the bias of its start at 0; nan before the first."""
        return self.average / self.average_weight if self.average_weight else math.nan

    def _has_start(self, loss: float) -> bool:
        """Return whether loss0 is known, after noting it; without room for a warm-up that ends here."""
        self.loss0_sum += loss
        if self.plan.loss0 is None and self.observations < self.plan.loss0_window:
            return False
        self.loss0 = self.loss0_sum / self.observations if self.plan.loss0 is None else self.plan.loss0
        target = self.plan.target(self.loss0)
        if target is not None:
            self.end_loss, self.ratio = target
            return True
        level = "end_loss" if self.plan.f_star is None else "f_star"
        warnings.warn(
            f"the initial loss {self.loss0:.4g} is not above {level} = {getattr(self.plan, level):g}: no warm-up. "
            f"For a model that is trained already, give a lower {level} or a schedule without warm-up.",
            UserWarning,
            stacklevel=5,  # the caller of step
        )
        self._hand_over("start")
        return False

    def _hand_over(self, reason: Literal["loss", "limit", "start"]) -> None:
        self.handover_step, self.handover_reason = self.last_epoch, reason
        self.ramp_steps = max(self.plan.handover_ramp, 1) if reason == "start" else self.plan.handover_ramp

    @property
    def factor(self) -> float:
        """The fraction of the peak at which the next update runs."""
        k, total = self.last_epoch, self.total_steps
        if k >= total:
            return self.plan.decay_factor(k, handover=0, total_steps=total)
        if self.handover_step is None:
            return self.reached
        since = k - self.handover_step
        progress = since / self.ramp_steps if since < self.ramp_steps else 1.0
        ramp = self.reached + (1 - self.reached) * progress
        return ramp * self.plan.decay_factor(k, handover=self.handover_step, total_steps=total)

    def _write(self) -> None:
        """Give every group its learning rate: a tensor is filled in place, as compiled and captured steps need."""
        groups = self.optimizer.param_groups
        if len(groups) != len(self.base_lrs):
            raise RuntimeError(
                f"the optimizer has {len(groups)} parameter groups, AdaptiveWarmup knows {len(self.base_lrs)}. "
                "Build the scheduler after the last add_param_group."
            )
        self._last_lr = self.get_lr()
        for group, lr in zip(groups, self._last_lr, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr

    def _mean_over_ranks(self, loss: Any, tokens: Any) -> float | None:
        """Return the mean loss over the tokens of all ranks, None if no rank has one; one transfer to the host."""
        if isinstance(loss, Tensor):
            if loss.numel() != 1:
                shape = tuple(loss.shape)
                raise ValueError(f"loss must be a number or a tensor with one element, got shape {shape}. Average it.")
            loss = loss.detach().reshape(())
        if self._sync == "none" or not dist.is_available() or not dist.is_initialized():
            return None if loss is None else float(loss)
        first = next(param for group in self.optimizer.param_groups for param in group["params"])
        device = loss.device if isinstance(loss, Tensor) else first.device
        if loss is None:
            loss, tokens = 0.0, 0.0
        pair = loss, 1.0 if tokens is None else tokens
        try:
            weighted, weights = self._reduced(*pair, device)
        except (TypeError, RuntimeError):
            if self._dtype == torch.float32:
                raise
            self._dtype = torch.float32  # the device or the backend has no float64; every rank finds out alike
            weighted, weights = self._reduced(*pair, device)
        return weighted / weights if weights else None

    def _reduced(self, loss: Any, tokens: Any, device: torch.device) -> list[float]:
        weight = torch.as_tensor(tokens, dtype=self._dtype, device=device).reshape(())
        value = torch.as_tensor(loss, dtype=self._dtype, device=device)
        # a rank without tokens may well have a loss of 0 / 0
        pair = torch.stack([torch.where(weight > 0, value * weight, 0.0), weight])
        dist.all_reduce(pair, group=self._group)
        return pair.tolist()

    def state_dict(self) -> dict[str, Any]:
        """Return the state as plain data: it survives JSON and loads with `weights_only=True`."""
        state = {name: getattr(self, name) for name in STATE}
        state["base_lrs"] = list(self.base_lrs)
        return {"version": STATE_VERSION, "plan": to_dict(self.plan), "total_steps": self.total_steps, **state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state, before or after the optimizer goes on from its own; the argument stays as it is.

        Raises:
            ValueError: The state was made with other settings, for other groups, or by another version. Another
                `total_steps` is allowed: the decay then runs to the new end, with a warning.
        """
        expected = {"version", "plan", "total_steps", *STATE}
        if state_dict.get("version") != STATE_VERSION or set(state_dict) != expected:
            raise ValueError(
                f"not a state of AdaptiveWarmup of version {STATE_VERSION}: got the keys {', '.join(state_dict)}."
            )
        ours = to_dict(self.plan)
        theirs = state_dict["plan"]
        differing = [f"{key} {theirs.get(key)!r}, here {ours[key]!r}" for key in ours if theirs.get(key) != ours[key]]
        if differing:
            raise ValueError(
                f"the state was made with {'; '.join(differing)}. Build the scheduler with the settings of the run."
            )
        if len(state_dict["base_lrs"]) != len(self.optimizer.param_groups):
            raise ValueError(
                f"the state is for {len(state_dict['base_lrs'])} parameter groups, the optimizer has "
                f"{len(self.optimizer.param_groups)}. Build the optimizer as it was."
            )
        if state_dict["total_steps"] != self.total_steps:
            warnings.warn(
                f"the state was made for total_steps = {state_dict['total_steps']}; going on to {self.total_steps}.",
                UserWarning,
                stacklevel=2,
            )
        for name in STATE:
            setattr(self, name, state_dict[name])
        self.base_lrs = list(state_dict["base_lrs"])
        self._write()


def _peak(group: dict[str, Any]) -> float:
    """Return a group's peak learning rate as a number of the host's."""
    return float(group["peak_lr"] if "peak_lr" in group else group["initial_lr"])


def _plan_from(preset: Literal["robust", "paper"], settings: dict[str, Any]) -> AdaptiveWarmupPlan:
    known = [f.name for f in dataclasses.fields(AdaptiveWarmupPlan)]
    for name in settings:
        if name not in known:
            raise TypeError(
                f"AdaptiveWarmup got an unknown argument {name!r}.{suggestion(name, known)} Known: {', '.join(known)}."
            )
    return AdaptiveWarmupPlan.preset(preset, **settings)


def _signature() -> inspect.Signature:
    """Return the constructor's signature with the plan's fields in it, so that editors and pages show them."""
    own = list(inspect.signature(AdaptiveWarmup.__init__).parameters.values())[1:-1]
    kind = inspect.Parameter.KEYWORD_ONLY
    fields = [
        inspect.Parameter(f.name, kind, default=f.default, annotation=f.type)
        for f in dataclasses.fields(AdaptiveWarmupPlan)
    ]
    return inspect.Signature([*own[:2], *fields, *own[2:]])


AdaptiveWarmup.__signature__ = _signature()  # type: ignore[attr-defined]
