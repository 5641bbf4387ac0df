import dataclasses
import math

import pytest

from logclock.analysis import gather
from logclock.records import Ledger
from logclock.sweep import Axis, adaptive, run_sweep
from logclock.train import open_dataset, run_id
from logclock.train.progress import QuietDisplay
from logclock.train.record import new_record

BEST_LR = {"adamw": 5e-3, "adana": 4.5e-2}
"""The arms' minima; both arms start at 5e-3, so only the second is at the edge of a grid around it."""


@pytest.fixture
def arms(tiny_run):
    def arm(name):
        return lambda seed, steps: tiny_run(f"seed={seed}", optimizer=name, steps=steps or 24)

    return {name: arm(name) for name in BEST_LR}


@pytest.fixture
def made(monkeypatch, tiny_data_root):
    """Replaces training: notes the jobs of every call, and writes records whose loss is a parabola in ln lr."""
    calls = []

    def loss(label, config):
        return 3.0 + math.log(config.optimizer.lr / BEST_LR[label]) ** 2 + 1e-3 * config.seed

    def run_jobs(jobs, *, out, data_root, **settings):
        ledger, calls_before = (
            Ledger(f"{out}/ledger.jsonl"),
            {r.run_id: r for r in Ledger(f"{out}/ledger.jsonl").records()},
        )
        calls.append(list(jobs))
        records = []
        for job in jobs:
            record = calls_before.get(run_id(job.config))
            if record is None or (record.label, record.tags) != (job.label, job.tags):
                record = new_record(
                    job.config, open_dataset(job.config, root=data_root), label=job.label, tags=job.tags
                )
                metrics = {"final_validation_loss": loss(job.label, job.config)}
                record = dataclasses.replace(record, status="finished", metrics=metrics)
                ledger.append(record)
            records.append(record)
        return records

    monkeypatch.setattr(adaptive, "run_jobs", run_jobs)
    return calls


@pytest.fixture
def sweep(arms, tiny_data_root, tmp_path):
    def run(**settings):
        return run_sweep(
            settings.pop("arms", arms), out=tmp_path, display=QuietDisplay(), data_root=tiny_data_root, **settings
        )

    return run


def test_every_arm_gets_as_many_runs_as_the_one_that_needs_most(sweep, made):
    outcome = sweep(seeds=(0, 1), tags={"study": "s"})

    assert {label: [trial.multiplier for trial in tried] for label, tried in outcome.losses.items()} == {
        "adamw": [0.5, 1.0, 2.0, 0.7071, 0.8409],  # finer, while
        "adana": [0.5, 1.0, 2.0, 4.0, 8.0],  # the grid of the other grows
    }
    assert {label: trial.multiplier for label, trial in outcome.winners.items()} == {"adamw": 1.0, "adana": 8.0}
    assert outcome.on_edge == ("adana",)
    assert not outcome.was_stopped
    assert [len(jobs) for jobs in made] == [6, 2, 2, 4]  # at last: two other seeds, two winners marked as such


def test_equal_losses_of_the_neighbours_do_not_depend_on_the_order(sweep, made):
    first = sweep(multipliers=(0.5, 1.0, 2.0)).losses["adamw"]

    assert list(first)[3].multiplier == 0.7071  # 0.5 and 2 are equally good; the smaller is taken


def test_the_winner_is_a_run_of_the_comparison_too(sweep, made, tmp_path):
    sweep(seeds=(0, 1), extensions=0, tags={"study": "s"})

    found = [
        (r.seed, r.tags["lr_multiplier"], r.tags["phase"], r.tags["track"])
        for r in Ledger(tmp_path / "ledger.jsonl").records()
        if r.label == "adana"
    ]
    assert found == [
        (0, "0.5", "sweep", "tuned"),
        (0, "1", "sweep", "tuned"),
        (0, "2", "main,sweep", "tuned"),
        (1, "2", "main", "tuned"),
    ]


def test_a_sweep_that_is_called_again_makes_and_writes_nothing(sweep, made, tmp_path):
    settings = {"seeds": (0, 1), "tags": {"study": "s"}}
    first = sweep(**settings)
    before = (tmp_path / "ledger.jsonl").read_bytes()

    assert sweep(**settings) == first
    assert (tmp_path / "ledger.jsonl").read_bytes() == before


def test_a_short_search_is_not_part_of_the_comparison(sweep, made):
    outcome = sweep(seeds=(0, 1), sweep_steps=8, extensions=0)

    steps = {(r.tags["phase"], r.config["total_steps"]) for r in outcome.records}
    assert steps == {("sweep", 8), ("main", 24)}
    assert len(outcome.records) == 2 * (3 + 2)


def test_the_defaults_track_runs_the_recipe_as_it_is(sweep, made):
    outcome = sweep(seeds=(0, 1), tracks=("defaults",))

    assert [(r.label, r.seed, r.config["optimizer"]["lr"]) for r in outcome.records] == [
        ("adamw", 0, 5e-3),
        ("adamw", 1, 5e-3),
        ("adana", 0, 5e-3),
        ("adana", 1, 5e-3),
    ]
    assert outcome.winners == {}
    assert {r.tags["phase"] for r in outcome.records} == {"main"}


def test_a_run_of_both_tracks_is_made_once_and_says_both(sweep, made):
    outcome = sweep(seeds=(0, 1), tracks=("tuned", "defaults"), phase="ladder", extensions=0)

    adana = [(r.seed, r.tags["lr_multiplier"], r.tags["track"]) for r in outcome.records if r.label == "adana"]
    assert adana == [
        (0, "0.5", "tuned"),
        (0, "1", "defaults,tuned"),
        (0, "2", "tuned"),
        (1, "2", "tuned"),
        (1, "1", "defaults"),
    ]
    adamw = [(r.seed, r.tags["lr_multiplier"], r.tags["track"]) for r in outcome.records if r.label == "adamw"]
    assert adamw[-1] == (1, "1", "defaults,tuned")  # the default is the winner
    assert {r.tags["phase"] for r in outcome.records} == {"ladder"}


def test_the_grid_of_an_arm_may_have_another_centre(sweep, made):
    outcome = sweep(centres={"adana": 8.0})

    assert outcome.winners["adana"].multiplier == 8.0
    assert [trial.multiplier for trial in outcome.losses["adana"]] == [4.0, 8.0, 16.0]
    assert outcome.on_edge == ()


def test_arms_with_different_axes_get_the_same_number_of_runs(sweep, made):
    outcome = sweep(axes={"adana": [Axis.parse("optimizer.kappa=0.8,0.9")]}, extensions=0)

    assert {label: len(tried) for label, tried in outcome.losses.items()} == {"adamw": 5, "adana": 5}
    values = [dict(trial.settings).get("optimizer.kappa") for trial in outcome.losses["adana"]]
    assert values == [None, None, None, "0.8", "0.9"]
    settings = {r.tags["settings"]: r.config["optimizer"]["kappa"] for r in outcome.records if "settings" in r.tags}
    assert settings == {"optimizer.kappa=0.8": 0.8, "optimizer.kappa=0.9": 0.9}


def test_an_arm_that_always_diverges_has_no_winner_and_keeps_nobody_else_from_winning(sweep, made, monkeypatch):
    train = adaptive.run_jobs

    def diverge(jobs, **settings):
        return [dataclasses.replace(r, status="diverged") if r.label == "adana" else r for r in train(jobs, **settings)]

    monkeypatch.setattr(adaptive, "run_jobs", diverge)
    outcome = sweep(seeds=(0, 1))

    assert list(outcome.winners) == ["adamw"]
    assert set(outcome.losses["adana"].values()) == {math.inf}
    assert [r.seed for r in outcome.records if r.label == "adamw" and "main" in r.tags["phase"]] == [0, 1]


def test_a_wider_sweep_in_the_same_directory_retires_the_former_winner(sweep, made, tmp_path):
    sweep(multipliers=(0.25, 0.5), extensions=0, seeds=(0, 1))

    outcome = sweep(multipliers=(0.5, 1, 2), extensions=0, seeds=(0, 1))

    assert outcome.winners["adamw"].multiplier == 1
    records = Ledger(tmp_path / "ledger.jsonl").records()
    found = {
        (record.tags["lr_multiplier"], record.seed): record.tags["phase"]
        for record in records
        if record.label == "adamw"
    }
    assert found == {
        ("0.25", 0): "sweep",
        ("0.5", 0): "sweep",
        ("0.5", 1): "former",
        ("1", 0): "main,sweep",
        ("1", 1): "main",
        ("2", 0): "sweep",
    }
    assert [run.seed for run in gather(records).main["adamw"]] == [0, 1]
    before = (tmp_path / "ledger.jsonl").read_bytes()
    sweep(multipliers=(0.5, 1, 2), extensions=0, seeds=(0, 1))
    assert (tmp_path / "ledger.jsonl").read_bytes() == before


def test_a_failed_run_is_an_error_because_the_budgets_would_differ(sweep, made, monkeypatch):
    train = adaptive.run_jobs

    def fail(jobs, **settings):
        return [dataclasses.replace(r, status="failed", reason="no memory") for r in train(jobs, **settings)]

    monkeypatch.setattr(adaptive, "run_jobs", fail)

    with pytest.raises(RuntimeError, match=r"6 of 6 runs failed, the first of them 'adamw' \(no memory\)"):
        sweep()


def test_a_stopped_sweep_says_so(sweep, made, monkeypatch):
    train = adaptive.run_jobs

    def stop(jobs, **settings):
        return [dataclasses.replace(r, status="running") for r in train(jobs, **settings)]

    monkeypatch.setattr(adaptive, "run_jobs", stop)
    outcome = sweep()

    assert outcome.was_stopped
    assert len(made) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"arms": {}}, "at least one arm, got none"),
        ({"seeds": ()}, "seeds must be distinct and at least one, got none"),
        ({"seeds": (1, 1)}, "seeds must be distinct and at least one, got 1, 1"),
        ({"tracks": ("tuned", "defaults")}, "both tracks need a phase of their own"),
        ({"centres": {"adan": 2.0}}, "centres name 'adan', which is no arm. Did you mean 'adana'"),
        ({"axes": {"sgd": []}}, "axes name 'sgd', which is no arm"),
        ({"multipliers": (1.0,), "axes": {"adana": [Axis.parse("optimizer.kappa=0.9")]}}, "Give two multipliers"),
        ({"axes": {"adana": [Axis.parse("optimizer.kappa=7")]}}, r"kappa must lie in \[0, 1\], got 7"),
    ],
)
def test_a_sweep_that_cannot_be_fair_does_not_start(sweep, made, settings, message):
    with pytest.raises(ValueError, match=message):
        sweep(**settings)

    assert made == []


def test_a_sweep_trains_for_real_and_goes_on_where_it_was_stopped(arms, tiny_data_root, tmp_path):
    settings = {"multipliers": (1.0, 4.0), "extensions": 0, "seeds": (0, 1), "num_jobs": 2, "steps": 10}
    places = {"out": tmp_path, "display": QuietDisplay(), "data_root": tiny_data_root}

    outcome = run_sweep({"adana": arms["adana"]}, **settings, **places)

    (winner,) = outcome.winners.values()
    lowest = min((r.metrics["final_validation_loss"], float(r.tags["lr_multiplier"])) for r in outcome.records[:2])
    assert winner.multiplier == lowest[1]
    assert [(r.seed, r.status) for r in outcome.records] == [(0, "finished"), (0, "finished"), (1, "finished")]
    before = (tmp_path / "ledger.jsonl").read_bytes()
    assert run_sweep({"adana": arms["adana"]}, **settings, **places).records == outcome.records
    assert (tmp_path / "ledger.jsonl").read_bytes() == before
