import io

import pytest

from logclock.analysis import compare
from logclock.report.tables import (
    Table,
    comparison_table,
    cost_table,
    number,
    plain_text,
    result_table,
    rich_table,
    run_table,
    seconds,
    size,
    sweep_point_table,
    sweep_table,
)


@pytest.fixture(scope="module")
def comparison(study):
    return compare(study)


def _row(table, label):
    return dict(zip(table.columns, next(row for row in table.rows if row[0] == label), strict=True))


def test_the_result_table_shows_the_numbers_of_the_comparison(comparison):
    row = comparison.row("adana")

    shown = _row(result_table(comparison), "adana")

    low, high = row.difference.interval
    assert shown["peak lr"] == "3e-3"
    assert shown["final loss (sd)"] == f"{row.final_validation_loss:.4f} ({row.loss_sd:.4f})"
    assert shown["bits/byte"] == f"{row.bits_per_byte:.4f}"
    assert shown["difference [95 % interval]"] == f"{row.difference.mean:+.4f} [{low:+.4f}, {high:+.4f}]"
    assert shown["verdict"] == row.verdict == "better"
    assert shown["compute multiplier"] == (
        f"{row.multiplier.mean:.2f}x ({row.multiplier.low:.2f} to {row.multiplier.high:.2f})"
    )
    assert shown["finished"] == "2 of 2"


def test_the_baseline_is_compared_with_nothing(comparison):
    shown = _row(result_table(comparison), "adamw")

    assert (shown["difference [95 % interval]"], shown["compute multiplier"]) == ("-", "-")
    assert shown["verdict"] == "baseline"


def test_a_lost_run_shows_in_the_result_and_its_reason_in_the_run_table(comparison):
    runs = run_table(comparison)

    assert _row(result_table(comparison), "dana-star-mk4")["finished"] == "2 of 3, 1 diverged"
    (lost,) = [row for row in runs.rows if row[1] == "main" and row[7] != "finished"]
    assert lost[7] == "diverged: step 2300: training loss is nan"
    assert lost[6] == "2,300"
    assert lost[4] == "-"


def test_the_run_table_cites_every_record_once(study, comparison):
    cited = [row[-1] for row in run_table(comparison).rows]

    assert sorted(cited) == sorted(record.record_hash for record in study)


def test_one_seed_has_neither_interval_nor_spread(one_seed):
    shown = _row(result_table(compare(one_seed)), "adana")

    assert "[" not in shown["difference [95 % interval]"]
    assert "(" not in shown["final loss (sd)"]
    assert shown["verdict"] == "one seed: spread unknown"


def test_the_cost_table_shows_medians_and_bytes(comparison):
    shown = _row(cost_table(comparison), "dana-star-mk4")

    assert shown["step"] == "87.2 ms"
    assert shown["tokens/s"] == "11,743"  # 1024 / 0.0872
    assert shown["optimizer state"] == "4.33 MB"  # 12 bytes of 98,304 + 2 * 2048 * 64 parameters


def test_costs_that_were_not_measured_are_dashes(run):
    record = run("adamw")
    record.cost.clear()

    assert _row(cost_table(compare([record])), "adamw")["step"] == "-"


def test_the_sweep_tables_name_the_best_and_show_the_lost(comparison):
    assert _row(sweep_table(comparison.sweeps), "adamw")["best lr"] == "6e-3"
    assert _row(sweep_table(comparison.sweeps), "adamw")["tried"] == "1.5e-3 to 0.024"
    points = sweep_point_table(comparison.sweeps).rows
    assert ("dana-star-mk4", "8e-3", "-", "step 1400: training loss is nan", "") in points
    assert [row[1] for row in points if row[4] == "best"] == ["6e-3", "3e-3", "2e-3"]


def test_a_best_learning_rate_on_the_edge_is_marked(run):
    records = [run("adamw"), *(run("adamw", lr=lr, phase="sweep", seed=9) for lr in (6e-3, 12e-3))]

    assert _row(sweep_table(compare(records).sweeps), "adamw")["best lr"] == "6e-3 (edge)"


def test_plain_text_is_aligned_by_hand():
    table = Table(columns=("name", "loss"), rows=(("a", "1.25"), ("longer", "10.5")), numeric=frozenset({1}))

    assert plain_text(table) == "name    loss\n------  ----\na       1.25\nlonger  10.5"


def test_the_terminal_table_holds_results_costs_sweep_and_warnings(comparison):
    text = comparison_table(comparison)

    for row in (*result_table(comparison).rows, *cost_table(comparison).rows, *sweep_table(comparison.sweeps).rows):
        assert all(cell in text for cell in row)
    assert all(f"note: {warning}" in text for warning in comparison.warnings)
    assert comparison.warnings
    assert not any(line.endswith(" ") for line in text.splitlines())
    assert text.isascii()


def test_the_rich_table_holds_the_same_cells(comparison):
    from rich.console import Console

    table = result_table(comparison)
    console = Console(file=io.StringIO(), width=300)

    console.print(rich_table(table, title="Result"))

    printed = console.file.getvalue()
    assert all(cell in printed for row in (table.columns, *table.rows) for cell in row)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (3e-3, "3e-3"), (1.5e-5, "1.5e-5"), (0.1, "0.1"), (6000, "6000"), (-2.5e-4, "-2.5e-4"), (2e7, "2e7")],
)
def test_numbers_are_short_and_exact(value, text):
    assert number(value) == text
    assert float(text) == value


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.0801, "80.1 ms"), (2.5, "2.5 s"), (1e-5, "0.01 ms")])
def test_durations_carry_their_unit(value, text):
    assert seconds(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (12, "12 B"), (786_432, "786 kB"), (4.2e9, "4.2 GB")])
def test_sizes_carry_their_unit(value, text):
    assert size(value) == text
