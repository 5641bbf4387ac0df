"""Does `logclock compare --protocol fantastic` tune every hyperparameter with one budget, beside a defaults track?"""

import pytest

from logclock.cli import fantastic, main
from logclock.cli.compare import Request
from logclock.cli.fantastic import compare_fantastic, descent_text
from logclock.records import Ledger
from logclock.sweep import Descent, SweepOutcome, Trial
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


def test_both_tracks_end_in_a_report_and_budgets_are_equal(tiny_data_root, tmp_path, capsys):
    request = Request(optimizers=("adamw", "sgd"), recipe="micro", seeds=(0,), heads=1, steps=12, overrides=TINY)

    code = compare_fantastic(
        request,
        budget=2,
        threshold=3e-3,
        out=tmp_path,
        display=QuietDisplay,
        data_root=tiny_data_root,
        num_jobs=1,
    )

    assert code == 0
    told = capsys.readouterr().out
    assert "adamw: 2 trials over the learning rate, optimizer.weight_decay (x0.5, x2)" in told
    assert "the budget is spent" in told
    tuned = Ledger(tmp_path / "ledger.jsonl").records()
    assert [sum(r.label == label and "sweep" in r.tags["phase"] for r in tuned) for label in ("adamw", "sgd")] == [2, 2]
    plain = Ledger(tmp_path / "defaults" / "ledger.jsonl").records()
    assert {(r.label, r.tags["track"], r.tags["lr_multiplier"]) for r in plain} == {
        ("adamw", "defaults", "1"),
        ("sgd", "defaults", "1"),
    }
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "defaults" / "report.html").exists()


def test_a_stub_of_runs_is_tuned_to_its_known_optimum(monkeypatch, tmp_path, tiny_run):
    """The loss of a run is a bowl over its learning rate and decay; nothing is trained."""
    seen = []

    def sweep(arms, *, rules=None, tracks=("tuned",), **settings):
        seen.append((tracks, settings["seeds"]))
        losses = {}
        for label, rule in (rules or {}).items():
            tried = {trial: bowl(trial) for trial in rule.grid()}
            while rule.needs_another(tried):
                trial = rule.next_trial(tried)
                tried[trial] = bowl(trial)
            losses[label] = tried
        winners = {label: rules[label].winner(tried) for label, tried in losses.items()}
        return SweepOutcome(records=[], winners=winners, losses=losses, on_edge=(), was_stopped=False)

    def bowl(trial):
        decay = {"x0.5": 1.0, "x2": -0.5}.get(dict(trial.settings).get("optimizer.weight_decay"), 0.0)
        return 3.0 + (trial.multiplier - 0.5) ** 2 + 0.1 * (decay + 0.5) ** 2

    monkeypatch.setattr(fantastic, "run_sweep", sweep)
    monkeypatch.setattr(fantastic, "rebuild_report", lambda out: None)
    monkeypatch.setattr(fantastic, "ensure_named_dataset", lambda *args, **settings: None)
    told = []

    code = compare_fantastic(
        Request(optimizers=("adamw",), recipe="micro", seeds=(0, 1), steps=100),
        budget=40,
        threshold=3e-3,
        out=tmp_path,
        display=QuietDisplay,
        message=told.append,
    )

    assert code == 0
    assert seen == [(("tuned",), (0, 1)), (("defaults",), (0, 1))]
    assert "adamw: learning rate x0.5 optimizer.weight_decay=x2, 0.2750 nats below the recipe's settings" in told[-1]
    assert "nothing left that gains enough" in told[-1]


def test_a_descent_without_a_finished_run_says_so():
    trials = {Trial(multiplier=1.0): float("inf")}
    outcome = SweepOutcome(records=[], winners={}, losses={"sgd": trials}, on_edge=(), was_stopped=False)

    assert descent_text(outcome, {"sgd": Descent(budget=1)}) == "sgd: all 1 trials diverged"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trials", "5"], "--trials and --threshold have no effect without --protocol fantastic"),
        (["--protocol", "fantastic", "--lr-sweep"], "searches the learning rate itself. Leave out --lr-sweep"),
        (["--protocol", "fantastic", "--trials", "0"], "budget must be at least 1 trial, got 0"),
    ],
)
def test_wrong_requests_are_answered(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(fantastic, "ensure_named_dataset", lambda *args, **settings: None)

    assert main(["compare", "adamw", "sgd", *arguments]) == 2
    assert message in capsys.readouterr().err
