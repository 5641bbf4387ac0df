"""What a ladder says: sizes, trials, cells and what follows from them."""

import dataclasses
import statistics
from collections.abc import Mapping

from logclock.analysis.lr_rules import LrCurvature, LrRuleFit
from logclock.analysis.scaling import Form, HoldOut, LawFit
from logclock.analysis.significance import PooledDifference
from logclock.analysis.trends import Trend
from logclock.analysis.uncertainty import Uncertainty
from logclock.records import RunRecord

__all__ = [
    "LadderCell",
    "LadderCost",
    "LadderMultiplier",
    "LadderResult",
    "LadderSize",
    "LadderTrends",
    "LadderTrial",
]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderSize:
    """One rung.

    Args:
        name: What `tags["size"]` calls it, e.g. the number of heads.
        non_embedding_params: P.
        total_params: D.
        total_steps: Planned updates.
        tokens: That a whole run trains on.
        compute: FLOP of a whole run by the ladder's convention.
    """

    name: str
    non_embedding_params: int
    total_params: int
    total_steps: int
    tokens: float
    compute: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderTrial:
    """One setting of an optimizer at one size, run with the seed of the search.

    Args:
        peak_lr: Learning rate; None for an imported run that does not say it.
        lr_multiplier: Its factor on the ladder's centre, as the tag says; None without the tag.
        settings: What else differs from the recipe, as the tag says; empty without it.
        loss: Final validation loss with the seed of the search; None unless that run finished.
        status: `finished`, or how the run ended with its reason.
        record_hash: The record.
    """

    peak_lr: float | None
    lr_multiplier: str | None
    settings: str
    loss: float | None
    status: str
    record_hash: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderMultiplier:
    """A compute multiplier over the baseline at one size, from the ends of runs.

    Args:
        value: From the mean losses; 1.2 means that the baseline needs 20 % more compute for the same loss.
        interval: That of the difference in nats, read along the baseline's line; None without a spread over seeds.
        by_seed: From the runs of each shared seed alone.
        is_extended: Whether the loss lies beyond the baseline's runs, so that its line had to be extended.
        uncertainty: Of ln value, from the spread of this size alone; None without one.
    """

    value: float
    interval: tuple[float, float] | None
    by_seed: Mapping[int, float]
    is_extended: bool = False
    uncertainty: Uncertainty | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderTrends:
    """Whether an optimizer's gain changes with the size, per unit of ln P.

    Both are shown, because a gain that is constant in nats is a growing multiplier wherever the baseline's curve
    flattens.

    Args:
        nats: Of baseline's loss minus the optimizer's; None below three sizes.
        multiplier: Of ln multiplier, without extended ones; None below three sizes that are left.
    """

    nats: Trend | None
    multiplier: Trend | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderCost:
    """What runs took.

    Args:
        num_runs: How many there are, the search included.
        hours: Their wall time together; None if a run does not say.
        tokens_per_second: Median over the runs; the other costs likewise.
        step_seconds: Of a whole training step.
        optimizer_step_seconds: The optimizer's part of it.
        optimizer_state_bytes: Size of the optimizer's state.
        peak_memory_bytes: The largest of the runs.
    """

    num_runs: int
    hours: float | None
    tokens_per_second: float | None
    step_seconds: float | None
    optimizer_step_seconds: float | None
    optimizer_state_bytes: float | None
    peak_memory_bytes: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderCell:
    """All runs of one optimizer at one size.

    Args:
        label: The optimizer.
        size: Name of the size.
        trials: Every setting tried, ascending in the learning rate.
        best: The one with the lowest loss at the seed of the search; None if no run finished.
        is_best_on_edge: Whether the best has the smallest or largest of several learning rates tried.
        losses: Final losses of the best setting by seed, finished runs only.
        curvature: Parabola through the learning rates near the best; None if they show no minimum.
        search_cost: By how much the best setting's learning rate ends above the optimum of its parabola, in nats, see
            `choice_costs`; None if unknown.
        multiplier: Over the baseline; None for the baseline and where it cannot be read off.
        multiplier_beside: The same with compute counted by the ladder's other convention.
        cost: Of all its runs.
        record_hashes: The records of the best setting.
    """

    label: str
    size: str
    trials: tuple[LadderTrial, ...]
    best: LadderTrial | None
    is_best_on_edge: bool
    losses: Mapping[int, float]
    curvature: LrCurvature | None
    search_cost: float | None
    multiplier: LadderMultiplier | None
    multiplier_beside: LadderMultiplier | None
    cost: LadderCost
    record_hashes: tuple[str, ...]

    @property
    def loss(self) -> float | None:
        """Mean over the seeds of the best setting."""
        return statistics.fmean(self.losses.values()) if self.losses else None

    @property
    def loss_sd(self) -> float | None:
        """Sample standard deviation over the seeds; None below two."""
        return statistics.stdev(self.losses.values()) if len(self.losses) > 1 else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class LadderResult:
    """What a ladder says; every number is traceable to record hashes.

    Args:
        baseline: The label that the others are compared with.
        labels: The baseline first.
        sizes: Ascending.
        track: `tuned` (the best setting of a search) or `defaults` (the recipe's settings).
        convention: Key of `RunRecord.model` by which compute is counted.
        convention_beside: A second one, by which multipliers are shown too; None if the records have none.
        cells: By label and name of the size; a label may lack a size.
        form: The law that curves are drawn with; None if the runs determine none.
        fits: The laws that the runs determine, by form.
        hold_outs: The prediction of the largest size from the others, by form and label.
        lr_rules: Learning-rate rules of the labels that have two sizes or more.
        differences: To the baseline in nats, by label, the baseline itself left out. Verdicts of means are adjusted
            (Holm) for all labels, those at single sizes for all labels and sizes.
        trends: Whether the gain over the baseline grows with size, by label, adjusted for all labels.
        sampling_error: Standard error of a difference from the finite validation set, in nats; 0 if its size is
            unknown.
        is_held_out: Whether losses are on tokens that had no part in the choice of settings.
        minimum_effect: Smallest loss difference that is called one, in nats.
        confidence: Coverage of the intervals of fits and multipliers; that of differences is their own.
        cost: Of each label, all sizes together.
        warnings: What makes the ladder less fair or less certain than it looks, in sentences.
        records: The runs of the track.
        loss_name: Which loss is compared.
        is_imported: Whether the runs are those of other programs.
    """

    baseline: str
    labels: tuple[str, ...]
    sizes: tuple[LadderSize, ...]
    track: str
    convention: str
    convention_beside: str | None
    cells: Mapping[tuple[str, str], LadderCell]
    form: Form | None
    fits: Mapping[Form, LawFit]
    hold_outs: Mapping[Form, Mapping[str, HoldOut]]
    lr_rules: Mapping[str, LrRuleFit]
    differences: Mapping[str, PooledDifference]
    trends: Mapping[str, LadderTrends]
    sampling_error: float
    is_held_out: bool
    minimum_effect: float
    confidence: float
    cost: Mapping[str, LadderCost]
    warnings: tuple[str, ...]
    records: tuple[RunRecord, ...]
    loss_name: str = "validation loss"
    is_imported: bool = False

    @property
    def fit(self) -> LawFit | None:
        """The laws that curves are drawn with."""
        return None if self.form is None else self.fits[self.form]

    def cells_of(self, label: str) -> tuple[LadderCell, ...]:
        """Return the cells of a label, ascending in size."""
        return tuple(self.cells[label, size.name] for size in self.sizes if (label, size.name) in self.cells)

    def size(self, name: str) -> LadderSize:
        """Return a size by name.

        Raises:
            ValueError: There is none.
        """
        for size in self.sizes:
            if size.name == name:
                return size
        raise ValueError(f"unknown size {name!r}. Known: {', '.join(size.name for size in self.sizes)}.")
