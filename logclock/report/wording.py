"""What does a comparison say in plain words, and how far can it be trusted?"""

from logclock.analysis import Comparison, Difference, PooledDifference, Row
from logclock.analysis.compute import CONVENTION, STEPS, TOKENS
from logclock.analysis.efficiency import LIMITS
from logclock.report.tables import p_value

__all__ = ["corrected", "currency", "default_title", "headline", "imported_methods", "methods"]

SHOWN = 3

READ_OFF = (
    "where the optimizer's curve first crosses the baseline's final loss, or, if it never does, where the baseline's "
    "curve crosses the optimizer's (values below 1)"
)


def default_title(comparison: Comparison) -> str:
    """Return a title made of the labels, as long as they are few."""
    others = [row.label for row in comparison.rows[1:]]
    if not others:
        return comparison.baseline
    return f"{comparison.baseline} against {_listed(others) if len(others) <= SHOWN else f'{len(others)} others'}"


def headline(comparison: Comparison) -> str:
    """Return the verdict in one sentence, best challenger first."""
    baseline, *others = comparison.rows
    if not baseline.finished:
        return f"The baseline {baseline.label} has no finished run, so there is nothing to compare with."
    if not others:
        return f"Only {baseline.label} was trained, so there is nothing to compare it with."
    ranked = sorted(others, key=_rank)
    unit = currency(comparison)
    clauses = [_clause(row, baseline, unit, is_first=i == 0) for i, row in enumerate(ranked[:SHOWN])]
    if len(ranked) > SHOWN:
        clauses.append(f"{len(ranked) - SHOWN} more in the table")
    sentence = "; ".join(clauses)
    if comparison.is_imported and comparison.loss_name != "validation loss":
        sentence += f"; by {comparison.loss_name}"
    if any(row.difference and row.difference.num_seeds == 1 for row in others):
        sentence += "; with one seed the spread over seeds is unknown, so this is an observation, not a result"
    return sentence + "."


def methods(comparison: Comparison) -> tuple[str, ...]:
    """Return how the numbers were made and what they cannot show, one paragraph each."""
    if comparison.is_imported:
        return _methods_of_imported(comparison)
    return (
        (
            "Final loss is the cross-entropy on the second half of the validation set"
            if comparison.is_held_out
            else "Final loss is the cross-entropy on the fixed validation set"
        )
        + " after the last step, in nats per token, as a "
        "mean over the finished runs; sd is the sample standard deviation over seeds.",
        "Differences are taken seed by seed against the baseline, which shares initial weights and data order. "
        "Brackets hold 95 % intervals of their mean, each taken by itself, made of the spread over seeds (Student t, "
        "with the larger of the optimizer's own spread and the mean spread of all, so that no lucky one claims much), "
        + _search(comparison)
        + (
            f", and the finite validation set ({comparison.sampling_error:.4f} nats)"
            if comparison.sampling_error
            else ", without the finite validation set, whose size the records do not say"
        )
        + "; half-widths add up in squares. A difference is called better or worse only if p, adjusted by Holm for the "
        f"number of optimizers, is at most 0.05 and the mean is at least {comparison.minimum_effect:g} nats; otherwise "
        "it reads 'no difference', which means that none was shown.",
        "The compute multiplier is the baseline's compute at equal loss divided by the optimizer's: where the "
        "optimizer's validation curve first crosses the baseline's final loss, or, if it never does, where the "
        "baseline's curve crosses the optimizer's (values below 1). Between evaluations the loss is linear in "
        f"ln(compute); compute is counted by the convention {comparison.convention}. All runs have one model, so that "
        f"every convention gives the same multiplier, {CONVENTION} of the log-time study too.",
        LIMITS,
        _choice(comparison) + "Results at one model size and one number of steps need not carry over to others.",
    )


def currency(comparison: Comparison) -> str:
    """Return what a multiplier counts: compute, or what stands for it where imported runs say no more."""
    return comparison.convention if comparison.convention in (TOKENS, STEPS) else "compute"


def _methods_of_imported(comparison: Comparison) -> tuple[str, ...]:
    unit = currency(comparison)
    counted = {
        "compute": "Compute is 6 x parameters x tokens, with the parameters as they were given",
        TOKENS: "Parameters are unknown, so tokens stand for compute: their ratio is that of compute if all runs have "
        "one model",
        STEPS: "Tokens are unknown, so steps stand for compute: their ratio is that of compute if all runs have one "
        "model and one batch size",
    }[unit]
    return (
        *imported_methods(comparison.loss_name),
        "Differences are taken seed by seed against the baseline. Brackets hold 95 % intervals of their mean, each "
        "taken by itself, made of the spread over seeds (Student t, with the larger of the optimizer's own spread and "
        f"the mean spread of all), {_search(comparison)}; half-widths add up in squares. A difference is called "
        "better or worse only if p, adjusted by Holm for the number of optimizers, is at most 0.05 and the mean is at "
        f"least {comparison.minimum_effect:g} nats; otherwise it reads 'no difference': none was shown.",
        f"The multiplier is the baseline's {unit} at equal loss divided by the optimizer's: {READ_OFF}. Between points "
        f"the loss is linear in ln({unit}). {counted}.",
        LIMITS,
        "Results at one model size and one number of steps need not carry over to others.",
    )


def imported_methods(loss_name: str) -> tuple[str, ...]:
    """Return what holds of any report on runs of other programs."""
    compared = (
        "Final loss is the last validation loss in the log"
        if loss_name == "validation loss"
        else "Final loss is the mean of the training losses in the last window of a run, and curves have a mean for "
        "each window before (while the loss falls, a mean lies above the loss at its end, for every run alike)"
    )
    return (
        "These runs were made by other programs. Their numbers are as the logs have them; logclock has not trained "
        "them, and what their logs do not say is listed above. Provenance names every source with its digest.",
        f"{compared}. It is in nats per token if the program logs those, and a mean over the finished runs; sd is the "
        "sample standard deviation over seeds. Where a run was resumed, what came later counts. A run whose log ends "
        "without a finite loss has diverged, one whose log ends before the planned steps has failed.",
    )


def _choice(comparison: Comparison) -> str:
    """Say on which tokens learning rates were chosen."""
    if not comparison.sweeps:
        return ""
    if comparison.is_held_out:
        return "Learning rates were chosen on the first half of the validation set. "
    return "Learning rates were chosen on the validation set that is reported here. "


def _search(comparison: Comparison) -> str:
    """Say whether the choice of learning rates is in the intervals."""
    costs = [row.search_cost for row in comparison.rows]
    if any(cost is None for cost in costs):
        return "without what the choice of learning rates cost, which two trials do not show"
    if not any(costs):
        return "with learning rates taken as given, whatever choosing them cost"
    return "what the choice of both learning rates may have cost (the height of each over the optimum of its parabola)"


def corrected(difference: Difference | PooledDifference) -> str:
    """Say p where the interval alone would give a verdict and p, corrected for what was judged with it, does not."""
    interval, p = difference.interval, difference.adjusted_p
    if interval is None or p is None or interval[0] <= 0 <= interval[1] or p <= 1 - difference.confidence:
        return ""
    return f", p = {p_value(p)} among all judged together"


def _rank(row: Row) -> tuple[bool, float, str]:
    mean = row.difference.mean if row.difference else None
    return (mean is None, mean or 0.0, row.label)


def _clause(row: Row, baseline: Row, unit: str, *, is_first: bool) -> str:
    if not row.finished:
        return f"{row.label} has no finished run"
    difference = row.difference
    if difference is None or difference.mean is None:
        return f"{row.label} shares no seed with {baseline.label}"
    size = f"{abs(difference.mean):.4f} nats {'below' if difference.mean < 0 else 'above'}"
    if difference.interval:
        low, high = difference.interval
        if difference.verdict == "better":
            low, high = -high, -low  # the margin of the winner, as the sentence states it
        bounds = f"{low:.4f} to {high:.4f}" if low > 0 else f"{low:+.4f} to {high:+.4f}"
        evidence = f"95 % interval {bounds}, {difference.num_seeds} seeds"
    else:
        evidence = f"{row.final_validation_loss:.4f} against {baseline.final_validation_loss:.4f}"
    lost = len(row.runs) - len(row.finished)
    gone = f", though {lost} of its {len(row.runs)} runs did not finish" if lost else ""
    if difference.verdict == "better":
        verb = "beats"
    elif difference.verdict == "worse":
        verb = "loses to"
    elif difference.verdict == "no difference":
        return f"{row.label} shows no difference to {baseline.label} ({size}, {evidence}{corrected(difference)}){gone}"
    else:
        compared = f"ended {size} {baseline.label} ({evidence})"
        return f"{row.label} {compared}{_compute(row, unit, is_first)}{gone}"
    return f"{row.label} {verb} {baseline.label} by {abs(difference.mean):.4f} nats ({evidence})" + (
        f"{_compute(row, unit, is_first)}{gone}"
    )


def _compute(row: Row, unit: str, is_first: bool) -> str:
    """Say the multiplier as a share of the baseline's compute, for the best challenger only."""
    value = row.multiplier.mean if row.multiplier else None
    if not is_first or value is None or value <= 1:
        return ""
    return f" and reaches its final loss after {100 / value:.0f} % of the {unit}"


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
