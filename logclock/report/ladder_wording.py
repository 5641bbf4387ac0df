"""What does a ladder say in plain words, and how far can it be trusted?"""

from logclock.analysis import CONVENTIONS, LadderResult, LadderSize
from logclock.analysis.lr_rules import EXPONENTS as LR_EXPONENTS
from logclock.analysis.scaling import EXPONENTS
from logclock.report.ladder_tables import growth
from logclock.report.wording import corrected, imported_methods

__all__ = ["ladder_headline", "ladder_methods", "ladder_setting", "ladder_title"]

SHOWN = 4


def ladder_title(result: LadderResult) -> str:
    """Return a title made of the baseline and the range of sizes."""
    smallest, largest = result.sizes[0], result.sizes[-1]
    ends = dict.fromkeys(_short(size.total_params) for size in (smallest, largest))
    sizes = f"{' to '.join(ends)} parameters"
    if len(result.labels) == 1:
        return f"{result.baseline}, {sizes}"
    others = f"{len(result.labels) - 1} optimizers" if len(result.labels) > 2 else result.labels[1]
    return f"{others} against {result.baseline}, {sizes}"


def ladder_headline(result: LadderResult) -> str:
    """Return the verdicts in one sentence, the largest mean advantage first."""
    if len(result.labels) == 1:
        return f"Only {result.baseline} was trained, so there is nothing to compare it with."
    ranked = sorted(
        result.differences, key=lambda label: (result.differences[label].mean is None, _mean(result, label))
    )
    clauses = [_clause(result, label, is_first=i == 0) for i, label in enumerate(ranked[:SHOWN])]
    if len(ranked) > SHOWN:
        clauses.append(f"{len(ranked) - SHOWN} more in the table")
    return "; ".join(clauses) + "."


def ladder_setting(result: LadderResult) -> str:
    """Say in one line what was trained."""
    smallest, largest = result.sizes[0], result.sizes[-1]
    seeds = sorted({record.seed for record in result.records})
    return (
        f"{len(result.sizes)} sizes from {smallest.non_embedding_params:,} to {largest.non_embedding_params:,} "
        f"{'' if result.is_imported else 'non-embedding '}parameters, {smallest.compute:.2g} to {largest.compute:.2g} "
        f"FLOP, {_per_parameter(result, smallest)} tokens per parameter at size {smallest.name} and "
        f"{_per_parameter(result, largest)} at {largest.name}; {len(result.records)} runs, "
        f"{'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
        + ("." if result.is_imported else f"; {result.track} track. ")
        + ("" if result.is_imported else "Tokens are counted per total parameter, vocabulary tables included.")
    )


def _per_parameter(result: LadderResult, size: LadderSize) -> str:
    return f"{size.tokens / size.total_params:{'.3g' if result.is_imported else '.0f'}}"


def ladder_methods(result: LadderResult) -> tuple[str, ...]:
    """Return how the numbers were made and what they cannot show, one paragraph each."""
    convention = CONVENTIONS.get(result.convention)
    counted = f"{convention.formula} per token. {convention.trap}" if convention else f"{result.convention}."
    confidence = f"{100 * result.confidence:g} %"
    beside = CONVENTIONS.get(result.convention_beside or "")
    if result.is_imported:
        return (*imported_methods(result.loss_name), *_methods_of_imported(confidence, result))
    return (
        "At every size each optimizer is shown at its best setting: the lowest final validation loss of the search, "
        "which uses one seed. That setting is then run with the other seeds, and its loss is the mean over all of "
        "them. The seed of the search was part of the choice, so its loss is flattered a little, for every optimizer "
        "alike as long as the searches are equally large.",
        "Differences are paired by seed against the baseline; that of an optimizer is the mean over these sizes. "
        "Brackets hold 95 % intervals, each taken by itself, made of three errors: the spread over seeds (Student t; "
        "each size with its own spread in a mean or a slope, by Welch; at a single size the larger of its own and the "
        "mean spread of the optimizer's sizes), what the choice of both learning rates may have cost, which all "
        "seeds share (how far the chosen rate ends above the optimum of its parabola), and the finite validation set"
        + (f" ({result.sampling_error:.4f} nats)." if result.sampling_error else ", whose size the records do not say.")
        + " Their half-widths add up in squares. Better or worse is said if p, adjusted by Holm, is at most 0.05 and "
        f"the mean is at least {result.minimum_effect:g} nats; otherwise it reads 'no difference', which means that "
        "none was shown. Means are adjusted for the number of optimizers, single sizes for all optimizers and sizes "
        "together. `logclock calibrate` shows how often such verdicts are wrong.",
        "Whether a gain grows with size is tested by the slope over ln P of the gain in nats, and of ln multiplier "
        "without the sizes where the baseline's line had to be extended; p adjusted by Holm for the number of "
        "optimizers, in each measure. Both are shown because a gain that is constant in nats is a growing multiplier "
        "wherever the baseline's curve flattens. Other things change with the size: the share of the vocabulary "
        "tables, the number of steps, tokens per non-embedding parameter (see the sizes).",
        "A multiplier between finished runs is the compute at which the baseline reaches the optimizer's loss, over "
        "the optimizer's compute; the baseline's runs are joined by straight lines in the logarithms of compute and "
        "loss, and extended beyond the last two (marked *). 1.2 means that the baseline needs 20 % more. Its interval "
        f"({confidence}) is that of the difference in nats, read along the baseline's line.",
        f"Laws are fitted to ln L by the summed Huber loss with delta {_delta(result)}, from many starts, with one "
        "floor for all optimizers. Intervals redraw the residuals of all runs and fit again, and are widened for few "
        "runs. They take the law for granted: the residuals and the held-out size show whether it may be, and a law "
        "that misses the sizes by more than the seeds explain is named above. The floor "
        "and the exponents are strongly correlated; trust the curve between the runs, and exponents only with their "
        f"intervals. An exponent at {EXPONENTS[0]:g} is at its bound: that term is a constant, a floor of the "
        "optimizer's own.",
        f"Compute is counted as {counted} "
        + (
            f"Beside it stand multipliers by {beside.formula} per token, as the log-time study counts. {beside.trap} "
            if beside
            else ""
        )
        + "The optimizer's own work is not counted; the cost table has it as time.",
        "Learning-rate rules weight the five best learning rates of a size by rank squared times P. The grid of a "
        "search has a centre, and a rule fitted to few trials leans towards it, which its interval does not know; the "
        f"parabolas do not lean. An exponent d at {LR_EXPONENTS[0]:g} is at its bound, with a large b: such a rule "
        "bends downwards between the sizes and says nothing beyond them. "
        + (
            "Settings were chosen on one half of the validation set; losses are those on the other."
            if result.is_held_out
            else "Learning rates were chosen on the validation set that is reported here."
        ),
    )


def _methods_of_imported(confidence: str, result: LadderResult) -> tuple[str, ...]:
    return (
        "At every size each optimizer is shown at its best learning rate among those that were imported; the seed that "
        "it was found with flatters it a little. Differences are paired by seed against the baseline; that of an "
        "optimizer is the mean over these sizes. Brackets hold 95 % intervals made of the spread over seeds (Student "
        "t), and what the choice of both learning rates may have cost where several were run. "
        f"Better or worse is said if p, adjusted by Holm, is at most 0.05 and the mean is at least "
        f"{result.minimum_effect:g} nats; otherwise it reads 'no difference', which means that none was shown.",
        "A multiplier between finished runs is the compute at which the baseline reaches the optimizer's loss, over "
        "the optimizer's compute; the baseline's runs are joined by straight lines in the logarithms of compute and "
        f"loss, and extended beyond the last two (marked *). Its interval ({confidence}) is that of the difference in "
        "nats, read along the baseline's line. Compute is 6 x parameters x tokens, with parameters as given.",
        f"Laws are fitted to ln L by the summed Huber loss with delta {_delta(result)}, from many starts, with one "
        "floor for all optimizers. Intervals redraw the residuals of all runs and fit again, and take the law for "
        "granted: the residuals and the held-out size show whether it may be.",
    )


def _clause(result: LadderResult, label: str, *, is_first: bool) -> str:
    """Say how one optimizer fared; what holds for all clauses is said in the first."""
    difference = result.differences[label]
    if difference.mean is None:
        return f"{label} shares no seed with {result.baseline} at any size"
    sizes = len(difference.by_size)
    size = f"{abs(difference.mean):.4f} nats {'below' if difference.mean < 0 else 'above'}"
    where = (f" on average over {sizes} sizes" if sizes > 1 else " at one size") if is_first else ""
    if difference.interval is None:
        unknown = "with one seed, so the spread is unknown"
        return f"{label} ended {size} {result.baseline}{where}, {unknown}{_growth(result, label)}"
    low, high = difference.interval
    if difference.verdict == "better":
        low, high = -high, -low  # the margin of the winner, as the sentence states it
    bounds = f"{low:.4f} to {high:.4f}" if low > 0 else f"{low:+.4f} to {high:+.4f}"
    evidence = (f"{100 * difference.confidence:g} % interval " if is_first else "") + bounds
    if difference.verdict == "no difference":
        return f"{label} shows no difference to {result.baseline}{where} ({size}, {evidence}{corrected(difference)})"
    verb = "beats" if difference.verdict == "better" else "loses to"
    margin = f"{abs(difference.mean):.4f} nats{where} ({evidence})"
    return f"{label} {verb} {result.baseline} by {margin}{_growth(result, label)}"


def _growth(result: LadderResult, label: str) -> str:
    """Say the multipliers at the smallest and at the largest size, and whether they are shown to differ."""
    found = [(cell.size, cell.multiplier) for cell in result.cells_of(label) if cell.multiplier is not None]
    if len(found) < 2:
        return ""
    (first, low), (last, high) = found[0], found[-1]
    text = f", a compute multiplier of {low.value:.2f} at size {first} and {high.value:.2f} at size {last}"
    trends = result.trends[label]
    if trends.nats is None and trends.multiplier is None:
        return text
    shown = growth(result, label)
    return f"{text} ({'growth is not shown' if shown == 'not shown' else f'the gain {shown}'})"


def _mean(result: LadderResult, label: str) -> float:
    return result.differences[label].mean or 0.0


def _delta(result: LadderResult) -> str:
    return ", ".join(sorted({f"{fit.delta:g}" for fit in result.fits.values()})) or "none"


def _short(count: float) -> str:
    for unit, scale in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:g}"
