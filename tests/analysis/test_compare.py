import math
import subprocess
import sys

import pytest

from logclock.analysis import compare


def test_a_row_holds_means_spread_and_the_records_they_came_from(record):
    records = [
        record("adamw", seed=0, losses=(5.0, 4.6, 4.3, 4.10)),
        record("adamw", seed=1, losses=(5.0, 4.6, 4.3, 4.14)),
    ]

    row = compare(records).row("adamw")

    assert row.is_baseline
    assert row.final_validation_loss == pytest.approx(4.12)
    assert row.loss_sd == pytest.approx(0.02 * 2**0.5)
    assert row.bits_per_byte == pytest.approx(2.06)
    assert row.difference is None
    assert row.multiplier is None
    assert row.verdict == "baseline"
    assert row.status == "2 of 2 finished"
    assert row.record_hashes == tuple(run.record_hash for run in records)
    assert (row.step_seconds, row.tokens_per_second, row.optimizer_state_bytes) == (0.01, 1000.0, 1600.0)


def test_the_challenger_gets_difference_multiplier_and_verdict(record):
    baseline = [record("adamw", seed=seed, losses=(5.0, 4.6, 4.3, 4.1)) for seed in (0, 1)]
    optimizer = [
        record("adana", seed=0, losses=(5.0, 4.1, 4.0, 3.900)),
        record("adana", seed=1, losses=(5.0, 4.6, 4.1, 3.902)),
    ]

    row = compare([*baseline, *optimizer]).row("adana")

    assert row.difference.mean == pytest.approx(-0.199)
    assert row.verdict == "better"
    assert row.multiplier.mean == pytest.approx((2 + 4 / 3) / 2)
    assert [run.multiplier.value for run in row.runs] == pytest.approx([2, 4 / 3])


def test_one_seed_leaves_the_spread_unknown(record):
    row = compare([record("adamw"), record("adana", losses=(5.0, 4.1, 4.0, 3.0))]).row("adana")

    assert row.loss_sd is None
    assert row.difference.interval is None
    assert row.verdict == "one seed: spread unknown"


def test_a_diverged_run_stays_visible_with_its_step_and_reason(record, diverged):
    records = [record("adamw", seed=seed) for seed in (0, 1, 2)]
    records += [diverged("adana", seed=0), *(record("adana", seed=seed, losses=(5, 4, 3.9, 3.8)) for seed in (1, 2))]

    comparison = compare(records)
    row = comparison.row("adana")

    assert row.status == "2 of 3 finished, 1 diverged"
    assert row.verdict == "better"
    assert (row.runs[0].last_step, row.runs[0].reason) == (200, "step 200: loss is nan")
    assert row.runs[0].final_validation_loss is None
    assert row.difference.seeds == (1, 2)
    assert len(row.record_hashes) == 2
    assert "adana: 2 of 3 finished, 1 diverged." in comparison.warnings


def test_a_label_without_a_finished_run_keeps_its_row(record, diverged):
    row = compare([record("adamw"), diverged("adana")]).row("adana")

    assert row.final_validation_loss is None
    assert row.difference is None
    assert row.verdict == "no finished run"
    assert row.step_seconds == 0.01


def test_without_a_finished_baseline_nothing_is_compared(record, diverged):
    row = compare([diverged("adamw"), record("adana")]).row("adana")

    assert row.final_validation_loss == 4.1
    assert row.difference is None
    assert row.verdict == "no baseline to compare with"


def test_a_finished_run_without_a_finite_loss_is_not_a_number_in_the_table(record):
    row = compare([record("adamw", seed=0), record("adamw", seed=1, losses=(5, 4, 4, None))]).row("adamw")

    assert row.final_validation_loss == 4.1
    assert row.status == "1 of 2 finished, 1 without a finite loss"


def test_different_seeds_are_named_and_only_the_shared_ones_compared(record):
    comparison = compare([record("adamw", seed=0), record("adamw", seed=1), record("adana", seed=1)])

    assert comparison.row("adana").difference.seeds == (1,)
    assert any("different seeds (adamw 0, 1; adana 1)" in warning for warning in comparison.warnings)


def test_no_shared_seed_is_a_verdict_of_its_own(record):
    assert compare([record("adamw", seed=0), record("adana", seed=1)]).row("adana").verdict == "no shared seed"


def test_a_difference_outside_the_optimizer_is_named(record):
    config = {"total_steps": 400, "seed": 0, "model": {"width": 16}, "optimizer": {"lr": 1e-3}}

    warnings = compare([record("adamw"), record("adana", config=config)]).warnings

    assert any("more than the optimizer and the seed: model.width." in warning for warning in warnings)


def test_a_different_machine_is_named(record):
    provenance = {"rule_hash": "rule-adana", "torch": "2.13.0", "device": "cuda"}

    warnings = compare([record("adamw"), record("adana", provenance=provenance)]).warnings

    assert "The main runs differ in device; step times may not be comparable." in warnings


def test_a_final_loss_that_is_not_on_the_curve_is_named(record):
    metrics = {"final_validation_loss": 4.2, "final_bits_per_byte": 2.0, "final_step": 400}

    warnings = compare([record("adamw"), record("adana", metrics=metrics)]).warnings

    assert any("not the last point of the validation curve (adana seed 0)" in warning for warning in warnings)


def _sweep(record, label, losses):
    tags = {"phase": "sweep"}
    return [record(label, lr=lr, losses=(5.0, 4.6, 4.3, loss), tags=tags) for lr, loss in losses.items()]


def test_a_sweep_is_sorted_by_learning_rate_and_finds_the_best(record):
    records = [record("adamw", lr=2e-3), *_sweep(record, "adamw", {4e-3: 4.3, 1e-3: 4.2, 2e-3: 4.1})]

    comparison = compare(records)
    (sweep,) = comparison.sweeps

    assert [(point.peak_lr, point.final_validation_loss) for point in sweep.points] == [
        (1e-3, 4.2),
        (2e-3, 4.1),
        (4e-3, 4.3),
    ]
    assert sweep.best_lr == 2e-3
    assert not sweep.is_best_on_edge
    assert sweep.num_runs == 3
    assert comparison.warnings == ()


@pytest.mark.parametrize("losses", [{1e-3: 4.0, 2e-3: 4.1, 4e-3: 4.3}, {1e-3: 4.3, 2e-3: 4.1, 4e-3: 4.0}])
def test_a_best_learning_rate_on_the_edge_is_named(record, losses):
    best = min(losses, key=losses.get)

    comparison = compare([record("adamw", lr=best), *_sweep(record, "adamw", losses)])

    assert comparison.sweeps[0].is_best_on_edge
    assert any(f"the best learning rate, {best:g}, is at the edge" in warning for warning in comparison.warnings)


def test_a_diverged_learning_rate_bounds_the_grid_and_shows_its_reason(record, diverged):
    records = [record("adamw", lr=2e-3), *_sweep(record, "adamw", {1e-3: 4.2, 2e-3: 4.1})]
    records.append(diverged("adamw", lr=4e-3, tags={"phase": "sweep"}))

    (sweep,) = compare(records).sweeps

    assert sweep.points[-1].final_validation_loss is None
    assert sweep.points[-1].status == "step 200: loss is nan"
    assert sweep.best_lr == 2e-3
    assert not sweep.is_best_on_edge


def test_seeds_of_one_learning_rate_are_averaged(record):
    tags = {"phase": "sweep"}
    records = [record("adamw", seed=s, losses=(5, 4, 4, loss), tags=tags) for s, loss in ((0, 4.0), (1, 3.0))]

    (sweep,) = compare([record("adamw", seed=2), *records]).sweeps

    assert sweep.points[0].final_validation_loss == 3.5
    assert sweep.num_runs == 2


def test_unequal_sweep_budgets_are_named_a_label_without_a_sweep_included(record):
    records = [record("adamw"), record("adana"), *_sweep(record, "adamw", {1e-3: 4.1, 2e-3: 4.2})]

    warnings = compare(records).warnings

    assert any("Unequal sweep budgets: adamw 2, adana 0 runs." in warning for warning in warnings)


def test_main_runs_that_ignore_the_best_learning_rate_are_named(record):
    records = [record("adamw", lr=1e-3), *_sweep(record, "adamw", {1e-3: 4.2, 2e-3: 4.1, 4e-3: 4.3})]

    warnings = compare(records).warnings

    assert "adamw: the main runs used learning rate 0.001, the sweep's best is 0.002." in warnings


def test_a_sweep_shorter_than_the_main_runs_is_named(record):
    short = {"total_steps": 80, "seed": 0, "optimizer": {"name": "adamw", "lr": 1e-3}}

    comparison = compare([record("adamw"), record("adamw", config=short, tags={"phase": "sweep"})])

    assert comparison.sweeps[0].total_steps == 80
    assert any("swept over 80 steps, the main runs took 400" in warning for warning in comparison.warnings)


def test_a_run_that_has_not_made_a_step_is_shown_as_running(record):
    fresh = record("adana", status="running", train={}, validation={}, schedules={}, metrics={}, cost={})

    row = compare([record("adamw"), fresh]).row("adana")

    assert row.status == "0 of 1 finished, 1 running"
    assert row.runs[0].last_step is None
    assert row.step_seconds is None


def test_an_unknown_row_lists_the_known_ones(record):
    with pytest.raises(ValueError, match=r"unknown label 'sgd'. Known: adamw"):
        compare([record("adamw")]).row("sgd")


def test_importing_the_room_loads_neither_torch_nor_matplotlib():
    code = "import sys, logclock.analysis; print(sorted({'torch', 'matplotlib'} & sys.modules.keys()))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def seeds_of(record, label, losses, **changes):
    return [record(label, seed=seed, losses=(5.0, 4.6, 4.3, loss), **changes) for seed, loss in enumerate(losses)]


def test_what_the_search_cost_widens_the_interval(record):
    """Two rates beside the chosen one of adana, on a parabola whose optimum lies a factor 1.2 above it."""
    main = [*seeds_of(record, "adamw", (4.10, 4.11, 4.12)), *seeds_of(record, "adana", (4.00, 4.02, 4.01))]
    trials = [
        record(
            "adana",
            lr=lr,
            losses=(5.0, 4.6, 4.3, 4.0 + 0.1 * math.log(lr / 1.2e-3) ** 2),
            tags={"study": "compare", "phase": "sweep"},
        )
        for lr in (5e-4, 1e-3, 2e-3)
    ]
    cost = 0.1 * math.log(1.2) ** 2

    given, searched = (compare(records).row("adana") for records in (main, [*main, *trials]))

    assert given.search_cost == 0.0
    assert searched.search_cost == pytest.approx(cost)
    assert searched.difference.uncertainty.search == pytest.approx(cost**2)
    assert searched.difference.interval[1] > given.difference.interval[1]


def test_verdicts_of_several_optimizers_are_adjusted_together(record):
    # adana's pairs -0.03, -0.05, -0.04: p = 0.02 by themselves
    main = [*seeds_of(record, "adamw", (4.0, 4.0, 4.0)), *seeds_of(record, "adana", (3.97, 3.95, 3.96))]
    others = [run for name in "abcdefgh" for run in seeds_of(record, name, (4.01, 3.99, 4.0))]

    alone, among = compare(main).row("adana"), compare([*main, *others]).row("adana")

    assert alone.verdict == "better"
    assert among.difference.adjusted_p == pytest.approx(9 * among.difference.p_value)
