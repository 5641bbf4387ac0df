"""Does `logclock league` plan, train, time and write its page, and say what a wrong request lacks?"""

import pytest

from logclock.cli import league as module
from logclock.cli import main
from logclock.recipes import VARIANTS
from logclock.recipes.league import League, entries
from logclock.records import Ledger, StepCost, append_step_cost, read_step_costs
from logclock.rules import Spec
from logclock.sweep import RunCost
from logclock.sweep.step_cost import measure_step_costs
from logclock.train.progress import QuietDisplay

TINY = (
    "data.dataset=tiny-byte-257",
    "data.batch_size=2",
    "data.sequence_length=32",
    "model.vocab_size=257",
    "model.head_dim=8",
    "evaluation.batches=1",
    "evaluation.batch_size=4",
)
COST = StepCost(
    label="adamw",
    baseline="adamw",
    step_ratio=1.0,
    step_seconds=0.001,
    baseline_seconds=0.001,
    num_pairs=1,
    state_bytes=800,
    num_params=100,
    rule_hash="a",
    device="cpu",
    torch="2",
)


@pytest.fixture
def quick(monkeypatch):
    """Every run costs 100 seconds without being timed, and steps are timed once."""
    cost = RunCost(start_seconds=0, step_seconds=1, evaluation_seconds=0, num_steps=1, num_evaluations=0, load=1.0)
    monkeypatch.setattr(module, "measure_costs", lambda configs, **settings: [cost for _ in configs])
    monkeypatch.setattr(
        module,
        "measure_step_costs",
        lambda configs, *, reference, baseline, done: [
            done(StepCost(**(vars(COST) | {"label": name}))) for name in configs
        ],
    )


def test_a_league_goes_from_names_to_a_page_and_is_not_made_twice(quick, tiny_data_root, tmp_path):
    league = League(
        optimizers=("adamw",),
        steps=20,
        scouting=(1.0,),
        multipliers=(1.0,),
        extensions=0,
        seeds=(0,),
        rungs=(0.5,),
        rung_multipliers=(1.0,),
        rung_extensions=0,
        overrides=TINY,
    )
    told = []

    def go():
        return module.run(
            league, out=tmp_path, display=QuietDisplay, data_root=tiny_data_root, num_jobs=1, message=told.append
        )

    assert go() == 0

    page = (tmp_path / "league.md").read_text()
    assert "| 1 | adamw |" in page
    assert (tmp_path / "figures" / "league.svg").exists()
    assert "league of 1 optimizers: 20 updates a run" in told[1]
    (record,) = Ledger(tmp_path / "ledger.jsonl").records()
    assert (record.label, record.tags["phase"]) == ("adamw", "main,sweep")
    before = {path: path.read_bytes() for path in tmp_path.rglob("ledger.jsonl")}
    assert len(before) == 3

    told.clear()
    assert go() == 0

    assert {path: path.read_bytes() for path in tmp_path.rglob("ledger.jsonl")} == before
    assert "at most 0 s of one core" in told[0]


def test_a_dry_run_counts_the_runs_of_every_stage_and_starts_none(quick, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module, "run_sweep", lambda *args, **settings: pytest.fail("started"))
    monkeypatch.setattr(module, "ensure_named_dataset", lambda *args, **settings: None)
    command = ["league", "--only", "muon", "--steps", "800", "--out", str(tmp_path), "--jobs", "2", "--dry-run"]

    assert main(command) == 0

    plan = capsys.readouterr().out
    assert "scouting:        10 runs of 100 updates left" in plan
    assert "comparison:      14 runs of 800 updates left" in plan  # 4 + 1 + 2 for each of two
    assert "rungs/x4:         6 runs of 3,200 updates left" in plan
    # 10 x 100 + 14 x 800 + 6 x (200 + 400 + 1600 + 3200) s at 1 s an update
    assert "at most 12 h 23 min of one core, 6 h 12 min at 2 at a time" in plan
    with pytest.raises(SystemExit):
        main([*command, "--budget"])
    assert main([*command, "--budget", "1h"]) == 2
    assert "the league takes up to 6 h 12 min, the budget is 60 min" in capsys.readouterr().err


def test_the_league_has_every_algorithm_and_no_part_of_adana():
    found = entries()

    hidden = {variant.build(200, lr=1e-3).hidden.rule.name.split("+")[0] for variant in found.values()}
    own = {name for name in Spec.family.members if Spec.family.get(name).__module__.startswith("logclock.")}
    assert own <= hidden
    assert next(iter(found)) == "adamw"
    left_out = VARIANTS.keys() - found.keys()
    assert {"adana-undamped", "adana-frozen-gain", "log-adam"} <= left_out
    assert {VARIANTS[name].ablates for name in left_out} <= VARIANTS.keys()


def test_every_entry_has_the_same_run_but_for_its_optimizer():
    league = League(optimizers=tuple(entries()), steps=100)

    configs = [league.run(name, seed=1) for name in league.optimizers]

    first = configs[0]
    assert {(c.model, c.data, c.lr_schedule, c.total_steps, c.seed, c.grad_clip) for c in configs} == {
        (first.model, first.data, first.lr_schedule, 100, 1, first.grad_clip)
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--only", "adanna"], "unknown optimizer 'adanna'. Did you mean 'adana'"),
        (["--only", "adana-undamped"], "'adana-undamped' is no entry of the league: it takes 'adana' apart"),
        (["--leave-out", "adamw"], "'adamw' is what the league compares with and cannot be left out"),
        (["--report-only", "--out", "nowhere"], "no ledger at nowhere/ledger.jsonl"),
    ],
)
def test_wrong_requests_are_answered(arguments, message, capsys):
    assert main(["league", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_step_costs_are_ratios_to_the_reference_in_pairs(tiny_run):
    found = []

    measure_step_costs(
        {name: tiny_run(optimizer=name) for name in ("adamw", "soap", "sophia-g")},
        reference=tiny_run(optimizer="adamw"),
        baseline="adamw",
        num_pairs=1,
        done=found.append,
    )

    adamw, soap, _sophia = found
    assert adamw.step_ratio == pytest.approx(adamw.step_seconds / adamw.baseline_seconds)
    assert soap.step_ratio == pytest.approx(soap.step_seconds / soap.baseline_seconds)
    # two moments in float32, and a step counter of 4 bytes for each of few tensors
    assert adamw.state_bytes_per_param == pytest.approx(8, abs=0.1)
    assert soap.state_bytes > adamw.state_bytes


def test_a_line_of_step_costs_that_a_crash_cut_off_is_measured_again(tmp_path):
    path = tmp_path / "costs.jsonl"
    append_step_cost(path, COST)
    with open(path, "a") as file:
        file.write('{"label": "muon", "step_ra')

    assert read_step_costs(path) == {"adamw": COST}
