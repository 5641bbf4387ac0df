"""How do the diagnoses of several models become one page, a table for each question?"""

import os
import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from logclock.analysis.diagnosis import BITS, Diagnosis, kind_of
from logclock.analysis.spectra import width_exponent
from logclock.analysis.study import MISSING
from logclock.config.files import write_whole
from logclock.report.diagnosis_figures import spectrum_drawings
from logclock.report.drawing import Style, styles
from logclock.report.page import (
    escaped,
    render_facts,
    render_figures,
    render_header,
    render_key,
    render_page,
    render_section,
    render_table,
)
from logclock.report.tables import Table, fixed, number

__all__ = ["diagnosis_headline", "loss_table", "render_diagnosis", "write_diagnosis"]

FEW_ROWS = 24
"""A longer table is folded, below one with the medians over layers."""

FEW_TOKENS = 2
"""A covariance of D channels needs several times D tokens; below twice as many a warning says so."""

Value = float | str | None
Column = tuple[str, Callable[[Value], str]]


def write_diagnosis(diagnoses: Sequence[Diagnosis], path: str | os.PathLike[str]) -> Path:
    """Write the page as one self-contained HTML file and return its path; its directory is created."""
    page = render_diagnosis(diagnoses)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page.encode())
    return path


def render_diagnosis(diagnoses: Sequence[Diagnosis]) -> str:
    """Return the page as HTML; the same diagnoses give the same bytes."""
    looks = styles([one.label for one in diagnoses])
    title = f"Diagnosis of {', '.join(looks)}"
    sections = [
        render_header(
            title, verdict=diagnosis_headline(diagnoses), setting=_setting(diagnoses), warnings=_warnings(diagnoses)
        ),
        render_section("How many directions do the weights use?", _weights(diagnoses, looks)),
        render_section("How many do hidden states use, on frequent and on rare tokens?", _states(diagnoses, looks)),
        render_section("Do single weights stand out?", _outliers(diagnoses)),
        render_section("What does rounding the weights cost?", _rounding(diagnoses, looks)),
        render_section("How much of the optimizer's state is in use?", _optimizer(diagnoses)),
        render_section("How far does an update move a weight?", _updates(diagnoses)),
        render_section("Methods and limits", "".join(f"<p>{escaped(text)}</p>" for text in METHODS)),
        render_section(
            "Provenance", "".join(f"<h3>{escaped(one.label)}</h3>{render_facts(one.facts)}" for one in diagnoses)
        ),
    ]
    return render_page(title, "\n".join(sections))


METHODS = (
    "Soft rank: exp of the entropy of the eigenvalues' shares. Hard rank: square of their sum over the sum of their "
    "squares, never above the soft rank. Of hidden states the eigenvalues are those of the covariance, of a weight "
    "matrix the squares of its singular values, without centering.",
    "Classes of tokens: sorted by frequency in the training data, a token belongs to the head up to a third (0.33) of "
    "all occurrences, to the middle up to 0.67, else to the tail. A state belongs to the class of the token at its "
    "position, not of the one it predicts. A rank cannot exceed the number of tokens less one: compare classes at few "
    "tokens with care, and only models on the same data.",
    "Kurtosis: fourth central moment over the squared variance of all entries, 3 for a normal distribution. "
    "Max/median (MMR): of each row, the largest size over the median size; shown is the median over rows. Both say how "
    "much a shared scale wastes. Under optimizers of different kinds they do not tell which model bears rounding "
    "better: a study found both to be correlated with accuracy after rounding the wrong way round. The loss does tell.",
    "Rounding: of hidden matrices only (not embedding, head, norms), symmetric, to the nearest, one scale per row from "
    "its largest weight, nothing calibrated; activations stay in full precision. Weight error: squared norm of the "
    "change over that of the matrix. Output error: the same for what the last layer leaves in the residual stream, as "
    "a mean over tokens. Losses are those on the run's validation tokens, in float32.",
    "Optimizer state and updates come from a checkpoint. Tau of Dana-Star estimates how often a coordinate is active, "
    "tau about p / (1 + p). An update's ratio is norm(change) / norm(weight) of the step that follows, decay included, "
    "made as training makes it; it is one step, at the learning rate of that step.",
    "Medians over layers are medians of the layers' numbers. A median hides one bad layer: unfold the whole table.",
)


def diagnosis_headline(diagnoses: Sequence[Diagnosis]) -> str:
    """Say in one sentence what rounding costs, the one number that is comparable between all models."""
    bits = min(BITS)
    costs = [
        f"{one.label} {found.loss - one.loss:+.4f} nats"
        for one in diagnoses
        for found in one.quantized
        if found.bits == bits and one.loss is not None
    ]
    if costs:
        return f"Rounding the hidden matrices to {bits} bits changes the validation loss: {', '.join(costs)}."
    errors = [f"{one.label} {_typical_error(one, bits)}" for one in diagnoses]
    return f"Rounding to {bits} bits changes a typical matrix, in squared norm, by: {', '.join(errors)}."


def loss_table(diagnoses: Sequence[Diagnosis]) -> Table:
    """Return what rounding costs each model, a row each."""
    columns = ["model", "loss"]
    for bits in BITS:
        columns += [f"{bits} bits", f"output error, {bits} bits", f"typical weight error, {bits} bits"]
    rows = []
    for one in diagnoses:
        row = [one.label, fixed(one.loss, 4)]
        found = {each.bits: each for each in one.quantized}
        for bits in BITS:
            each = found.get(bits)
            loss = MISSING if each is None or one.loss is None else f"{each.loss:.4f} ({each.loss - one.loss:+.4f})"
            row += [loss, _short(each.output_error if each else None), _typical_error(one, bits)]
        rows.append(tuple(row))
    return Table(columns=tuple(columns), rows=tuple(rows), numeric=frozenset(range(1, len(columns))))


def _typical_error(one: Diagnosis, bits: int) -> str:
    errors = [error for matrix in one.matrices if (error := matrix.errors.get(bits)) is not None]
    return _short(statistics.median(errors) if errors else None)


def _weights(diagnoses: Sequence[Diagnosis], looks: Mapping[str, Style]) -> str:
    def ranks_of(one: Diagnosis) -> dict[str, tuple[Value, ...]]:
        return {
            matrix.name: (" x ".join(map(str, matrix.shape)), matrix.soft_rank, matrix.hard_rank)
            for matrix in one.matrices
        }

    def largest_of(one: Diagnosis) -> dict[str, tuple[Value, ...]]:
        return {matrix.name: tuple((*matrix.singular_values[:TOP], *[None] * TOP)[:TOP]) for matrix in one.matrices}

    columns: list[Column] = [("shape", _text), ("soft rank", _short), ("hard rank", _short)]
    drawings, note = spectrum_drawings(diagnoses)
    places = [(f"s{place}", _short) for place in range(1, TOP + 1)]
    return (
        _by_name(diagnoses, ranks_of, columns, first="matrix")
        + "<h3>Singular values</h3>"
        + (render_key(looks) if len(looks) > 1 else "")
        + render_figures(drawings, kind="small")
        + (f"<p>{escaped(note)}</p>" if note else "")
        + "<h3>The largest singular values</h3>"
        + _by_name(diagnoses, largest_of, places, first="matrix")
    )


TOP = 3
"""Singular values in the table; the figure has all."""


def _states(diagnoses: Sequence[Diagnosis], looks: Mapping[str, Style]) -> str:
    def ranks_of(one: Diagnosis) -> dict[str, tuple[Value, ...]]:
        return {
            f"{each.place}, {each.token_class}": (each.num_tokens, each.width, each.soft_rank, each.hard_rank)
            for each in one.states
        }

    columns: list[Column] = [
        ("tokens", _count),
        ("channels", _count),
        ("soft rank", _short),
        ("hard rank", _short),
    ]
    exponents = _exponent_table(diagnoses)
    growth = (
        f"<h3>Growth with the width of the feed-forward part</h3>{render_table(exponents, {})}" if exponents else ""
    )
    return _by_name(diagnoses, ranks_of, columns, first="layer, tokens") + growth + _absent(diagnoses, "data")


def _exponent_table(diagnoses: Sequence[Diagnosis]) -> Table | None:
    """Return how ranks grow with the width, for runs that share a label and have several widths."""
    found: dict[tuple[str, str], tuple[dict[int, list[float]], dict[int, list[float]]]] = defaultdict(
        lambda: (defaultdict(list), defaultdict(list))
    )
    for one in diagnoses:
        for each in one.states:
            if each.kind == "feed-forward" and each.soft_rank is not None and each.hard_rank is not None:
                soft, hard = found[one.group, each.token_class]
                soft[each.width].append(each.soft_rank)
                hard[each.width].append(each.hard_rank)
    rows = []
    for (group, token_class), (soft, hard) in found.items():
        slopes = width_exponent(soft), width_exponent(hard)
        if slopes[0] is not None and slopes[1] is not None:
            shown = (f"{slopes[0]:.2f}", f"{slopes[1]:.2f}", f"{slopes[0] - slopes[1]:.2f}")
            rows.append((group, token_class, ", ".join(map(str, sorted(soft))), *shown))
    if not rows:
        return None
    columns = ("runs", "tokens", "widths", "exponent of the soft rank", "of the hard rank", "difference")
    return Table(columns=columns, rows=tuple(rows), numeric=frozenset({3, 4, 5}))


def _outliers(diagnoses: Sequence[Diagnosis]) -> str:
    def outliers_of(one: Diagnosis) -> dict[str, tuple[Value, ...]]:
        return {matrix.name: (matrix.kurtosis, matrix.max_to_median) for matrix in one.matrices}

    return _by_name(diagnoses, outliers_of, [("kurtosis", _short), ("max/median", _short)], first="matrix")


def _rounding(diagnoses: Sequence[Diagnosis], looks: Mapping[str, Style]) -> str:
    def errors_of(one: Diagnosis) -> dict[str, tuple[Value, ...]]:
        return {matrix.name: tuple(matrix.errors[bits] for bits in BITS) for matrix in one.matrices}

    columns: list[Column] = [(f"{bits} bits", _short) for bits in BITS]
    return (
        render_table(loss_table(diagnoses), looks, kind="cards sides")
        + _absent(diagnoses, "quantized")
        + "<h3>Weight error of each matrix</h3>"
        + _by_name(diagnoses, errors_of, columns, first="matrix")
    )


def _optimizer(diagnoses: Sequence[Diagnosis]) -> str:
    names = list(dict.fromkeys(each.state for one in diagnoses for each in one.optimizer_state))

    def zeros_of(one: Diagnosis) -> dict[str, tuple[Value, ...]]:
        found: dict[str, dict[str, float]] = defaultdict(dict)
        for each in one.optimizer_state:
            found[each.parameter][each.state] = each.zeros
        return {parameter: tuple(map(zeros.get, names)) for parameter, zeros in found.items()}

    def tau_of(one: Diagnosis) -> dict[str, tuple[Value, ...]]:
        return {each.parameter: (each.mean, *each.quantiles) for each in one.optimizer_state if each.state == "tau"}

    content = _by_name(diagnoses, zeros_of, [(name, _percent) for name in names], first="parameter")
    if content:
        content = f"<h3>Entries that are exactly 0</h3>{content}"
    tau: list[Column] = [("mean", _short), ("10 %", _short), ("median", _short), ("90 %", _short)]
    taus = _by_name(diagnoses, tau_of, tau, first="parameter")
    return (
        content + (f"<h3>Tau, the activity of coordinates</h3>{taus}" if taus else "") + _absent(diagnoses, "optimizer")
    )


def _updates(diagnoses: Sequence[Diagnosis]) -> str:
    def ratios_of(one: Diagnosis) -> dict[str, tuple[Value, ...]]:
        return {each.parameter: (each.ratio, each.weight_norm) for each in one.updates}

    steps = [f"{one.label} {one.updates_at:,}" for one in diagnoses if one.updates_at is not None]
    at = f"<p>{escaped('The update is that of step: ' + ', '.join(steps))}.</p>" if steps else ""
    columns: list[Column] = [("change / weight", _short), ("norm of the weight", _short)]
    return at + _by_name(diagnoses, ratios_of, columns, first="parameter") + _absent(diagnoses, "updates")


def _by_name(
    diagnoses: Sequence[Diagnosis],
    values_of: Callable[[Diagnosis], dict[str, tuple[Value, ...]]],
    columns: Sequence[Column],
    *,
    first: str,
) -> str:
    """Return a table with a row for each name and, side by side, columns for each model that has values.

    A long one, or one of models with other names, is folded, below one of medians over all names that differ in the
    number of a layer only.
    """
    values = {one.label: found for one in diagnoses if (found := values_of(one))}
    if not values:
        return ""
    is_whole = len(values) == len(diagnoses)
    names = list(dict.fromkeys(name for found in values.values() for name in found))
    whole = render_table(_table(names, values, columns, first, is_whole=is_whole), {}, kind="cards sides")
    if len(names) <= FEW_ROWS and all(len(found) == len(names) for found in values.values()):
        return whole
    kinds = list(dict.fromkeys(map(kind_of, names)))
    medians = {label: _medians(found) for label, found in values.items()}
    short = _table(kinds, medians, columns, f"{first} (median over layers)", is_whole=is_whole)
    return (
        render_table(short, {}, kind="cards sides")
        + f"<details><summary>All {len(names)}, one by one</summary>{whole}</details>"
    )


def _table(
    names: Sequence[str],
    values: Mapping[str, Mapping[str, tuple[Value, ...]]],
    columns: Sequence[Column],
    first: str,
    *,
    is_whole: bool,
) -> Table:
    """Return the table; a column that is the same for all models, such as shapes, stands once and without a label.

    Where some models have no values (`is_whole` is false), every column says whose it is.
    """
    cells = {
        (label, title): [write(found[name][i] if name in found else None) for name in names]
        for label, found in values.items()
        for i, (title, write) in enumerate(columns)
    }
    labels = list(values)
    shared = [
        title
        for title, _ in columns
        if is_whole and all(cells[label, title] == cells[labels[0], title] for label in labels)
    ]
    chosen = [(title, cells[labels[0], title]) for title in shared]
    chosen += [(f"{label}: {title}", own) for (label, title), own in cells.items() if title not in shared]
    rows = tuple(zip(names, *(own for _, own in chosen), strict=True))
    headings = (first, *(title for title, _ in chosen))
    return Table(columns=headings, rows=rows, numeric=frozenset(range(1, len(headings))))


def _medians(found: Mapping[str, tuple[Value, ...]]) -> dict[str, tuple[Value, ...]]:
    members: dict[str, list[tuple[Value, ...]]] = defaultdict(list)
    for name, values in found.items():
        members[kind_of(name)].append(values)
    return {kind: tuple(map(_median, zip(*rows, strict=True))) for kind, rows in members.items()}


def _median(values: tuple[Value, ...]) -> Value:
    texts = sorted({value for value in values if isinstance(value, str)})
    if texts:
        return texts[0] if len(texts) == 1 else f"{len(texts)} shapes"
    numbers = [value for value in values if isinstance(value, int | float)]
    return statistics.median_low(numbers) if numbers else None


def _absent(diagnoses: Sequence[Diagnosis], question: str) -> str:
    """Say for which models there is no answer, and why."""
    reasons = [f"{one.label}: {one.missing[question]}." for one in diagnoses if question in one.missing]
    return "".join(f'<p class="setting">{escaped(reason)}</p>' for reason in reasons)


def _setting(diagnoses: Sequence[Diagnosis]) -> str:
    counts = [f"{one.label} {len(one.matrices):,} matrices" for one in diagnoses]
    return f"{'; '.join(counts)}."


def _warnings(diagnoses: Sequence[Diagnosis]) -> list[str]:
    found = [warning for one in diagnoses for warning in one.warnings]
    for one in diagnoses:
        few = [each for each in one.states if each.num_tokens < FEW_TOKENS * each.width]
        if few:
            worst = min(few, key=lambda each: each.num_tokens / each.width)
            found.append(
                f"{one.label}: {len(few)} of {len(one.states)} ranks of hidden states come from fewer than "
                f"{FEW_TOKENS} tokens a channel ({worst.place}, {worst.token_class}: {worst.num_tokens:,} tokens, "
                f"{worst.width:,} channels); they are too low. Give --tokens more, or more validation data."
            )
    return found


def _short(value: Value) -> str:
    """Write a number with three digits."""
    if not isinstance(value, int | float):
        return MISSING
    return "infinite" if value == float("inf") else number(float(f"{value:.3g}"))


def _percent(value: Value) -> str:
    return f"{100 * value:.3g} %" if isinstance(value, int | float) else MISSING


def _count(value: Value) -> str:
    return f"{value:,}" if isinstance(value, int | float) else MISSING


def _text(value: Value) -> str:
    return value if isinstance(value, str) else MISSING
