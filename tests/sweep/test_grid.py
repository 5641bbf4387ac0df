import dataclasses

import pytest

from logclock.records import RunRecord
from logclock.sweep import best_multipliers, main_jobs, sweep_jobs, with_lr_multiplier

NAMES = ["adamw", "adana"]


@pytest.fixture
def build(tiny_run):
    def make(optimizer, seed, steps):
        return tiny_run(f"seed={seed}", optimizer=optimizer, steps=steps or 24)

    return make


def test_every_optimizer_gets_the_same_budget(build):
    jobs = sweep_jobs(build, NAMES, multipliers=(0.5, 1.0, 2.0), steps=8, seed=3, tags={"study": "s"})

    assert [(job.label, job.config.optimizer.lr) for job in jobs] == [
        ("adamw", 2.5e-3),
        ("adamw", 5e-3),
        ("adamw", 1e-2),
        ("adana", 2.5e-3),
        ("adana", 5e-3),
        ("adana", 1e-2),
    ]
    assert {(job.config.total_steps, job.config.lr_schedule.total_steps, job.config.seed) for job in jobs} == {
        (8, 8, 3)
    }
    assert jobs[0].tags == {"study": "s", "phase": "sweep", "lr_multiplier": "0.5"}
    assert jobs[0].name == "adamw lr x0.5"


def test_main_runs_are_optimizers_times_seeds_at_their_own_multipliers(build):
    jobs = main_jobs(build, NAMES, seeds=(0, 1), multipliers={"adana": 2.0}, tags={})

    assert [(job.label, job.config.seed, job.config.optimizer.lr) for job in jobs] == [
        ("adamw", 0, 5e-3),
        ("adana", 0, 1e-2),
        ("adamw", 1, 5e-3),
        ("adana", 1, 1e-2),
    ]
    assert {job.tags["phase"] for job in jobs} == {"main"}


def test_a_multiplier_changes_the_learning_rate_and_nothing_else(build):
    config = build("adana", 0, None)

    changed = with_lr_multiplier(config, 3.0)

    assert changed.optimizer.lr == pytest.approx(0.015)
    assert dataclasses.replace(changed, optimizer=config.optimizer) == config
    with pytest.raises(ValueError, match="multiplier must be > 0, got 0"):
        with_lr_multiplier(config, 0)


def record(label, multiplier, loss, status="finished"):
    return RunRecord(
        config={},
        seed=0,
        label=label,
        tags={"lr_multiplier": f"{multiplier:g}"},
        status=status,
        reason=None,
        model={},
        data={},
        provenance={},
        train={},
        validation={},
        schedules={},
        metrics={"final_validation_loss": loss},
        cost={},
    )


def test_the_best_multiplier_ended_lowest_and_did_not_diverge():
    records = [
        record("adamw", 0.5, 3.0),
        record("adamw", 1.0, 2.5),
        record("adamw", 2.0, 2.0, status="diverged"),
        record("adana", 0.5, 2.4),
        record("adana", 1.0, 2.6),
        record("adana", 2.0, None),
    ]

    assert best_multipliers(NAMES, records) == {"adamw": 1.0, "adana": 0.5}


def test_a_sweep_in_which_nothing_finished_is_an_error():
    with pytest.raises(RuntimeError, match="no run of the learning-rate sweep of 'adamw' finished"):
        best_multipliers(["adamw"], [record("adamw", 1.0, None, status="diverged")])
