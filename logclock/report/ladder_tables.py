"""How are the numbers of a ladder written, in a terminal as on a page?"""

from collections.abc import Callable, Sequence

from logclock.analysis import (
    CONVENTIONS,
    Difference,
    LadderCell,
    LadderCost,
    LadderMultiplier,
    LadderResult,
    Law,
    Trend,
)
from logclock.analysis.study import MISSING, known_lr
from logclock.report.tables import (
    Table,
    fixed,
    number,
    p_value,
    plain_text,
    seconds,
    size,
    without_empty_columns,
)

__all__ = [
    "fit_table",
    "hold_out_table",
    "ladder_cost_table",
    "ladder_run_table",
    "ladder_table",
    "lr_rule_table",
    "lr_table",
    "rung_table",
    "size_table",
    "summary_table",
    "trend_table",
]


def ladder_table(result: LadderResult) -> str:
    """Return summary, trends, sizes and costs as aligned plain text, with the warnings below."""
    tables = [summary_table(result), rung_table(result)]
    if not result.is_imported:
        tables.append(ladder_cost_table(result))
    if any(trends.nats for trends in result.trends.values()):
        tables.insert(1, trend_table(result))
    parts = [plain_text(table) for table in tables]
    if result.warnings:
        parts.append("\n".join(f"note: {warning}" for warning in result.warnings))
    return "\n\n".join(parts)


def summary_table(result: LadderResult) -> Table:
    """Return one row per optimizer: difference over all sizes, verdict, multipliers at both ends, budget."""
    largest = result.sizes[-1]
    ends = list(dict.fromkeys((result.sizes[0].name, largest.name)))
    columns = (
        "optimizer",
        "difference [95 % interval]",
        "p (Holm)",
        "verdict",
        *(f"multiplier at {name}" for name in ends),
        f"by the fitted laws at {largest.name}",
        "runs",
    )
    rows = []
    for label in result.labels:
        cells = {cell.size: cell for cell in result.cells_of(label)}
        difference = result.differences.get(label)
        rows.append(
            (
                label,
                MISSING if difference is None else _mean(difference.mean, difference.interval),
                p_value(None if difference is None else difference.adjusted_p),
                "baseline" if difference is None else difference.verdict,
                *(_multiplier(cells[name].multiplier) if name in cells else MISSING for name in ends),
                _fitted_multiplier(result, label, largest.compute),
                str(result.cost[label].num_runs),
            )
        )
    table = Table(columns=columns, rows=tuple(rows), numeric=frozenset({1, 2, *range(4, len(columns))}))
    return without_empty_columns(table) if result.is_imported else table


def trend_table(result: LadderResult) -> Table:
    """Return whether each gain grows with size: slopes per ln P in nats and of ln multiplier, tested."""
    columns = (
        "optimizer",
        "nats per ln P [95 %]",
        "p",
        "sizes",
        "ln multiplier per ln P [95 %]",
        "p ",
        "sizes ",
        "grows with size",
    )
    rows = tuple(
        (label, *_trend(trends.nats), *_trend(trends.multiplier), growth(result, label))
        for label, trends in result.trends.items()
    )
    return Table(columns=columns, rows=rows, numeric=frozenset(range(1, 7)))


def growth(result: LadderResult, label: str) -> str:
    """Say in a few words in which measure a gain is shown to grow or to fall."""
    trends = result.trends[label]
    measures = {"in nats": trends.nats, "as a multiplier": trends.multiplier}
    if all(trend is None for trend in measures.values()):
        return "too few sizes"
    ways: dict[str, list[str]] = {}
    for measure, trend in measures.items():
        if trend is not None and trend.is_shown:
            ways.setdefault("grows" if trend.slope > 0 else "falls", []).append(measure)
    return "; ".join(f"{way} {' and '.join(names)}" for way, names in ways.items()) or "not shown"


def rung_table(result: LadderResult) -> Table:
    """Return one row per optimizer and size: best learning rate, loss, difference, multipliers."""
    columns = (
        "optimizer",
        "size",
        "best lr",
        "final loss (sd)",
        "difference [95 % interval]",
        "p (Holm)",
        "verdict",
        f"multiplier ({'6 x parameters' if result.is_imported else _formula(result.convention)})",
        *([f"by {_formula(result.convention_beside)}"] if result.convention_beside else []),
        "seeds",
        "tried",
    )
    rows = []
    for label in result.labels:
        by_size = result.differences[label].by_size if label in result.differences else {}
        for cell in result.cells_of(label):
            difference = by_size.get(cell.size)
            rows.append(
                (
                    label,
                    cell.size,
                    _best(cell),
                    _loss(cell),
                    MISSING if difference is None else _mean(difference.mean, difference.interval),
                    p_value(None if difference is None else difference.adjusted_p),
                    _verdict(result, cell, difference),
                    _marked(cell.multiplier),
                    *([_marked(cell.multiplier_beside)] if result.convention_beside else []),
                    str(len(cell.losses)),
                    str(len(cell.trials)),
                )
            )
    table = Table(columns=columns, rows=tuple(rows), numeric=frozenset({1, 2, 3, 4, 5, *range(7, len(columns))}))
    return without_empty_columns(table) if result.is_imported else table


def size_table(result: LadderResult) -> Table:
    """Return the sizes, how long each trains and what else changes along them."""
    if result.is_imported:
        return _imported_size_table(result)
    columns = (
        "size",
        "non-embedding parameters",
        "total parameters",
        "vocabulary's share",
        "steps",
        "tokens",
        "tokens per total parameter",
        "per non-embedding one",
        "FLOP",
    )
    rows = tuple(
        (
            size.name,
            f"{size.non_embedding_params:,}",
            f"{size.total_params:,}",
            f"{100 * (1 - size.non_embedding_params / size.total_params):.0f} %",
            f"{size.total_steps:,}",
            f"{size.tokens:,.0f}",
            f"{size.tokens / size.total_params:.0f}",
            f"{size.tokens / size.non_embedding_params:.0f}",
            f"{size.compute:.3g}",
        )
        for size in result.sizes
    )
    return Table(columns=columns, rows=rows, numeric=frozenset(range(1, 9)))


def _imported_size_table(result: LadderResult) -> Table:
    """Return the sizes of imported models, of which one number of parameters is known."""
    columns = ("size", "parameters", "steps", "tokens", "tokens per parameter", "FLOP")
    rows = tuple(
        (
            size.name,
            f"{size.total_params:,}",
            f"{size.total_steps:,}",
            f"{size.tokens:,.0f}",
            f"{size.tokens / size.total_params:.3g}",
            f"{size.compute:.3g}",
        )
        for size in result.sizes
    )
    return Table(columns=columns, rows=rows, numeric=frozenset(range(1, 6)))


def fit_table(result: LadderResult) -> Table:
    """Return every fitted law with its intervals and residuals; the law of the curves first."""
    columns = ("optimizer", "law", "floor a", "coefficients", "exponents", "1000 rms of ln L")
    rows = []
    for form in sorted(result.fits, key=lambda form: form != result.form):
        fit = result.fits[form]
        for label, law in fit.laws.items():
            floor = fit.interval(label, _floor, confidence=result.confidence)
            given = " (given)" if fit.is_floor_given else ""
            exponents = [
                _bounded(exponent, fit.interval(label, _exponent(i), confidence=result.confidence), 4)
                for i, (_, exponent) in enumerate(law.terms)
            ]
            rows.append(
                (
                    label,
                    form,
                    MISSING if form == "power" else _bounded(law.floor, None if given else floor, 3) + given,
                    ", ".join(f"{b:.4g}" for b, _ in law.terms),
                    ", ".join(exponents),
                    fixed(1000 * fit.rms(label), 2),
                )
            )
    return Table(columns=columns, rows=tuple(rows), numeric=frozenset({2, 3, 4, 5}))


def hold_out_table(result: LadderResult) -> Table:
    """Return what fits to the smaller sizes say about the largest, and what was observed."""
    columns = ("optimizer", "law", "predicted", "observed", "error", "inside")
    rows = []
    for form in sorted(result.hold_outs, key=lambda form: form != result.form):
        for label, found in result.hold_outs[form].items():
            inside = {True: "yes", False: "no", None: MISSING}[found.is_inside]
            predicted = _bounded(found.predicted, found.interval, 4)
            rows.append((label, form, predicted, fixed(found.observed, 4), f"{found.error:+.4f}", inside))
    return Table(columns=columns, rows=tuple(rows), numeric=frozenset({2, 3, 4}))


def lr_rule_table(result: LadderResult) -> Table:
    """Return the learning-rate rules a (b + P)^d."""
    largest = result.sizes[-1]
    columns = ("optimizer", "a", "b", "d", f"learning rate at {largest.name}", "rms of ln lr", "sizes")
    rows = []
    for label, fit in result.lr_rules.items():
        exponent = fit.interval(lambda rule: rule.d, confidence=result.confidence)
        at = fit.interval(lambda rule: rule(largest.non_embedding_params), confidence=result.confidence)
        value = number(float(f"{fit.rule(largest.non_embedding_params):.3g}"))
        if at is not None:
            value += f" [{', '.join(number(float(f'{bound:.3g}')) for bound in at)}]"
        rows.append(
            (
                label,
                f"{fit.rule.a:.3g}",
                f"{fit.rule.b:.3g}",
                _bounded(fit.rule.d, exponent, 3),
                value,
                f"{fit.rms:.2g}",
                str(fit.num_sizes),
            )
        )
    return Table(columns=columns, rows=tuple(rows), numeric=frozenset(range(1, 7)))


def lr_table(result: LadderResult) -> Table:
    """Return where the loss is lowest in the learning rate, and what a wrong one costs."""
    columns = (
        "optimizer",
        "size",
        "best tried",
        "optimum of the parabola",
        "curvature",
        "50 % too high costs",
        "the choice cost",
        "trials",
    )
    rows = []
    for label in result.labels:
        for cell in result.cells_of(label):
            found = cell.curvature
            optimum = MISSING
            if found is not None:
                optimum = number(float(f"{found.best_lr:.3g}"))
                if found.lr_interval is not None:
                    optimum += f" [{', '.join(number(float(f'{bound:.3g}')) for bound in found.lr_interval)}]"
            rows.append(
                (
                    label,
                    cell.size,
                    _best(cell),
                    optimum,
                    fixed(None if found is None else found.curvature, 4),
                    fixed(None if found is None else found.penalty(1.5), 4),
                    fixed(cell.search_cost, 4),
                    MISSING if found is None else str(found.num_trials),
                )
            )
    return Table(columns=columns, rows=tuple(rows), numeric=frozenset(range(1, 8)))


def ladder_cost_table(result: LadderResult) -> Table:
    """Return what the runs took, size by size and in all; no ratios of times, see `cost_table`."""
    columns = (
        "optimizer",
        "size",
        "runs",
        "hours",
        "step",
        "optimizer part",
        "tokens/s",
        "optimizer state",
        "peak memory",
    )
    rows = []
    for label in result.labels:
        rows += [(label, cell.size, *_cost_cells(cell.cost)) for cell in result.cells_of(label)]
        whole = result.cost[label]
        rows.append((label, "all", str(whole.num_runs), fixed(whole.hours, 2), *[""] * 5))
    return Table(columns=columns, rows=tuple(rows), numeric=frozenset(range(1, 9)))


def ladder_run_table(result: LadderResult) -> Table:
    """Return every setting tried and every seed at the best ones, with the records."""
    columns = ("optimizer", "size", "seed", "peak lr", "settings", "final loss", "status", "record")
    rows = tuple(
        (
            record.label,
            record.tags["size"],
            str(record.seed),
            MISSING if (lr := known_lr(record)) is None else number(lr),
            record.tags.get("settings", ""),
            fixed(record.metrics.get("final_validation_loss"), 4),
            record.status if record.reason is None else f"{record.status}: {record.reason}",
            record.record_hash,
        )
        for record in result.records
    )
    table = Table(columns=columns, rows=rows, numeric=frozenset({1, 2, 3, 5}))
    return without_empty_columns(table) if result.is_imported else table


def _floor(law: Law) -> float:
    return law.floor


def _exponent(term: int) -> Callable[[Law], float]:
    return lambda law: law.terms[term][1]


def _cost_cells(cost: LadderCost) -> Sequence[str]:
    return (
        str(cost.num_runs),
        fixed(cost.hours, 2),
        seconds(cost.step_seconds),
        seconds(cost.optimizer_step_seconds),
        MISSING if cost.tokens_per_second is None else f"{cost.tokens_per_second:,.0f}",
        size(cost.optimizer_state_bytes),
        size(cost.peak_memory_bytes),
    )


def _verdict(result: LadderResult, cell: LadderCell, difference: Difference | None) -> str:
    if cell.label == result.baseline:
        return "baseline"
    return difference.verdict if difference is not None else "no finished run to compare"


def _best(cell: LadderCell) -> str:
    if cell.best is None or cell.best.peak_lr is None:
        return MISSING
    shown = number(float(f"{cell.best.peak_lr:.3g}"))
    settings = f" {cell.best.settings}" if cell.best.settings else ""
    return shown + settings + (" (edge)" if cell.is_best_on_edge else "")


def _loss(cell: LadderCell) -> str:
    return fixed(cell.loss, 4) + ("" if cell.loss_sd is None else f" ({cell.loss_sd:.4f})")


def _mean(mean: float | None, interval: tuple[float, float] | None) -> str:
    if mean is None:
        return MISSING
    return f"{mean:+.4f}" + ("" if interval is None else f" [{interval[0]:+.4f}, {interval[1]:+.4f}]")


def _multiplier(found: LadderMultiplier | None) -> str:
    if found is None:
        return MISSING
    spread = "" if found.interval is None else f" ({found.interval[0]:.2f} to {found.interval[1]:.2f})"
    return f"{found.value:.2f}x{spread}"


def _marked(found: LadderMultiplier | None) -> str:
    """Write a multiplier, with an asterisk if it rests on the baseline's line beyond its runs."""
    return _multiplier(found) + ("*" if found is not None and found.is_extended else "")


def _trend(trend: Trend | None) -> tuple[str, str, str]:
    if trend is None:
        return MISSING, MISSING, MISSING
    low, high = trend.interval
    return f"{trend.slope:+.4f} [{low:+.4f}, {high:+.4f}]", p_value(trend.adjusted_p), str(trend.num_sizes)


def _formula(convention: str) -> str:
    known = CONVENTIONS.get(convention)
    return known.formula if known else convention


def _fitted_multiplier(result: LadderResult, label: str, compute: float) -> str:
    fit = result.fit
    if label == result.baseline or fit is None or not {label, result.baseline} <= fit.laws.keys():
        return MISSING
    interval = fit.multiplier_interval(label, result.baseline, compute, confidence=result.confidence)
    spread = "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"
    return f"{fit.multiplier(label, result.baseline, compute):.2f}x{spread}"


def _bounded(value: float, interval: tuple[float, float] | None, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text if interval is None else f"{text} [{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"
