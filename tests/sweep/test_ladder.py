import dataclasses
import math

import pytest

from logclock.models import EnokiConfig
from logclock.records import Ledger
from logclock.sweep import Axis, Ladder, LadderPlan, RunCost, adaptive, ladder_configs, plan_ladder, run_ladder
from logclock.train import open_dataset, run_id
from logclock.train.progress import QuietDisplay
from logclock.train.record import new_record

BEST_FACTOR = {"adamw": 1.0, "adana": 4.0}
"""Where the arms' minima lie, on the recipe's rule: the second recipe is off by the same factor at every size."""


@pytest.fixture
def ladder(tiny_run):
    def build(optimizer, size, seed, steps):
        model = EnokiConfig(heads=size, head_dim=8, num_layers=1, vocab_size=257)
        config = tiny_run(f"seed={seed}", optimizer=optimizer, steps=steps or 10)
        return dataclasses.replace(config, model=model)

    def make(**fields):
        return Ladder(**{"build": build, "optimizers": ("adamw", "adana"), "sizes": (1, 2, 3), **fields})

    return make


@pytest.fixture
def climb(monkeypatch, tiny_data_root, tmp_path):
    """Runs a ladder whose losses are parabolas in ln(lr)."""

    def run_jobs(jobs, *, out, data_root, **settings):
        ledger = Ledger(f"{out}/ledger.jsonl")
        known = {record.run_id: record for record in ledger.records()}
        records = []
        for job in jobs:
            record = known.get(run_id(job.config))
            if record is None or (record.label, record.tags) != (job.label, job.tags):
                dataset = open_dataset(job.config, root=data_root)
                loss = 3.0 + math.log(job.config.optimizer.lr / 5e-3 / BEST_FACTOR[job.label]) ** 2
                record = dataclasses.replace(
                    new_record(job.config, dataset, label=job.label, tags=job.tags),
                    status="finished",
                    metrics={"final_validation_loss": loss + 1e-3 * job.config.seed},
                )
                ledger.append(record)
            records.append(record)
        return records

    monkeypatch.setattr(adaptive, "run_jobs", run_jobs)

    def run(ladder):
        return run_ladder(ladder, tags={"study": "s"}, out=tmp_path, display=QuietDisplay(), data_root=tiny_data_root)

    return run


def test_the_budget_of_a_size_is_in_tokens_per_total_parameter(ladder):
    one = ladder(tokens_per_param=20.0)

    # D = 12 d^2 L + 2 d V; a step has 4 x 32 tokens
    assert [one.steps(size) for size in one.sizes] == [20 * (12 * d * d + 2 * d * 257) // 128 for d in (8, 16, 24)]
    assert {config.total_steps for config in ladder_configs(ladder(sizes=(2,)))} == {one.steps(2)}


def test_the_grid_of_a_size_is_centred_on_the_winner_of_the_size_below(ladder, climb):
    outcome = climb(ladder(extensions=1))

    tried = {size: [t.multiplier for t in sweep.losses["adana"]] for size, sweep in outcome.sweeps.items()}
    assert tried[1] == [0.5, 1.0, 2.0, 4.0]
    assert tried[2] == [2.0, 4.0, 8.0]
    assert [t.multiplier for t in outcome.sweeps[2].losses["adamw"]][:3] == [0.5, 1.0, 2.0]
    assert outcome.sweeps[1].on_edge == ("adana",)
    assert outcome.sweeps[2].on_edge == ()
    assert len(outcome.records) == 2 * ((4 + 1) + (3 + 1) + (3 + 1))


def test_without_following_every_grid_is_on_the_recipes_rule(ladder, climb):
    outcome = climb(ladder(extensions=1, follows=False))

    assert {size: s.winners["adana"].multiplier for size, s in outcome.sweeps.items()} == {1: 4.0, 2: 4.0, 3: 4.0}
    assert {tuple(t.multiplier for t in s.losses["adana"]) for s in outcome.sweeps.values()} == {(0.5, 1.0, 2.0, 4.0)}


def test_every_record_says_where_on_the_ladder_it_stands(ladder, climb, tmp_path):
    outcome = climb(ladder(sizes=(2,), tracks=("tuned", "defaults"), extensions=0))

    assert Ledger(tmp_path / "ledger.jsonl").records() != []
    assert {r.tags["phase"] for r in outcome.records} == {"ladder"}
    assert {r.tags["size"] for r in outcome.records} == {"2"}
    assert {r.tags["study"] for r in outcome.records} == {"s"}
    defaults = [r for r in outcome.records if "defaults" in r.tags["track"].split(",")]
    assert sorted((r.label, r.seed, r.config["optimizer"]["lr"]) for r in defaults) == [
        ("adamw", 0, 5e-3),
        ("adamw", 1, 5e-3),
        ("adana", 0, 5e-3),
        ("adana", 1, 5e-3),
    ]


def test_a_ladder_that_was_climbed_is_not_climbed_again(ladder, climb, tmp_path):
    first = climb(ladder(tracks=("tuned", "defaults")))
    before = (tmp_path / "ledger.jsonl").read_bytes()

    assert climb(ladder(tracks=("tuned", "defaults"))) == first
    assert (tmp_path / "ledger.jsonl").read_bytes() == before


def cost(seconds, *, load=1.0):
    return RunCost(
        start_seconds=4.0,
        step_seconds=(seconds - 4.0 - 10.0) / 100,
        evaluation_seconds=1.0,
        num_steps=100,
        num_evaluations=10,
        load=load,
    )


@pytest.fixture
def plan(ladder):
    def make(*, done=None, num_jobs=2, seconds=(100.0, 200.0, 400.0), **fields):
        one = ladder(**fields)
        costs = {(name, size): cost(s) for size, s in zip(one.sizes, seconds, strict=False) for name in one.optimizers}
        return LadderPlan(ladder=one, costs=costs, done=done or {}, num_jobs=num_jobs)

    return make


def test_a_run_costs_its_start_its_steps_and_its_evaluations():
    one = RunCost(start_seconds=3, step_seconds=0.5, evaluation_seconds=2, num_steps=100, num_evaluations=5, load=1.0)

    assert one.seconds == 3 + 50 + 10


def test_a_plan_counts_grid_rounds_and_seeds_stage_by_stage(plan):
    one = plan()

    # two optimizers: a grid of 3 each, rounds of 1, one more seed each; on two workers, so half of the sum
    assert one.num_runs(num_rounds=0) == 3 * 2 * (3 + 1)
    assert one.seconds(num_rounds=0) == pytest.approx((100 + 200 + 400) * (3 + 1))
    assert one.seconds(num_rounds=2) == pytest.approx((100 + 200 + 400) * (3 + 2 + 1))
    assert plan(num_jobs=1).seconds(num_rounds=0) == pytest.approx(2 * (100 + 200 + 400) * (3 + 1))
    # 6 runs of the grid on 4 workers take two turns; the last seeds one
    assert plan(num_jobs=4).seconds(num_rounds=0) == pytest.approx((100 + 200 + 400) * (2 + 1))
    assert one.ladder.round_range == (0, 2)


def test_values_of_axes_are_always_tried_and_so_always_planned(plan):
    one = plan(axes={"adana": (Axis.parse("optimizer.kappa=0.8,0.9"),)})

    assert one.ladder.round_range == (2, 4)


def test_what_the_ledger_holds_costs_nothing(plan):
    one = plan(done={("adamw", 1): 4, ("adana", 1): 3})

    assert one.num_runs(num_rounds=0) == 24 - 7
    assert one.seconds(num_rounds=0) == pytest.approx(100 + (200 + 400) * 4)


def test_a_ladder_over_the_budget_says_what_fits(plan):
    one = plan()

    assert one.fits(700 * 6)
    assert not one.fits(700 * 6 - 1)
    assert one.alternatives(700 * 6 - 1) == [
        ("--extensions 1", pytest.approx(700 * 5)),
        ("--seeds 0", pytest.approx(700 * 5)),
        ("--sizes 1 2", pytest.approx(300 * 6)),
    ]
    assert one.alternatives(650) == [("--sizes 1", pytest.approx(600))]
    assert one.alternatives(10) == []


def test_the_ledger_is_counted_and_another_ladder_refused(ladder, climb, tmp_path):
    small = ladder(sizes=(1,), extensions=0)
    climb(small)
    records = Ledger(tmp_path / "ledger.jsonl").records()
    costs = [cost(100.0)] * 2

    assert plan_ladder(small, costs=costs, records=records, num_jobs=2).done == {("adamw", 1): 4, ("adana", 1): 4}
    with pytest.raises(ValueError, match="holds runs of another ladder: at size 1, 'adamw' was made with 762 steps"):
        plan_ladder(ladder(sizes=(1,), tokens_per_param=5), costs=costs, records=records, num_jobs=2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sizes": ()}, "sizes must be distinct and at least one, got none"),
        ({"sizes": (2, 1)}, r"sizes must ascend, got \(2, 1\)"),
        ({"optimizers": ("adamw", "adamw")}, "optimizers must be distinct"),
        ({"seeds": ()}, "seeds must be distinct"),
        ({"multipliers": (0.0,)}, "multipliers must be distinct, positive"),
        ({"axes": {"adamw": (Axis.parse("optimizer.kappa=0.9"),)}}, "unknown path 'optimizer.kappa'"),
        ({"axes": {"sgd": ()}}, "axes name 'sgd', which is no arm"),
        ({"tokens_per_param": 0.0}, "ratio must be positive and finite, got 0.0"),
    ],
)
def test_a_ladder_that_makes_no_sense_is_an_error(ladder, fields, message):
    with pytest.raises(ValueError, match=message):
        ladder(**fields)
