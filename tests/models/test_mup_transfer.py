"""Does a best learning rate stay when the model gets wider? The committed runs, and the runs again."""

from pathlib import Path

import pytest

from logclock.analysis.lr_rules import LrTrial
from logclock.analysis.transfer import lr_transfer
from logclock.config import from_dict
from logclock.models import ModelConfig
from logclock.recipes.mup_transfer import BASE_WIDTH, transfer_runs
from logclock.records import Ledger
from logclock.train.config import run_id

LEDGER = Path(__file__).parents[2] / "experiments" / "2026-11-28-mup-transfer" / "ledger.jsonl"


def transfers(records):
    """Return the transfer of both parametrizations; the base width is the same model in both."""
    found = {}
    for parametrization in ("standard", "mup"):
        trials: dict[int, list[LrTrial]] = {}
        for record in records:
            model = from_dict(ModelConfig, record.config["model"])
            width, is_mup = model.width, model.mup_base_width is not None
            if is_mup == (parametrization == "mup") or width == BASE_WIDTH:
                lr = record.config["optimizer"]["lr"]
                trials.setdefault(width, []).append(LrTrial(lr=lr, loss=record.metrics["final_validation_loss"]))
        found[parametrization] = lr_transfer(trials)
    return found


def check(found):
    mup, standard = found["mup"], found["standard"]
    assert (list(mup.optima), list(standard.optima)) == ([16, 32, 64, 128], [16, 32, 128])
    assert mup.spread < 1.4
    assert standard.spread > 1.4
    # What the widest model pays for the narrowest one's rate.
    assert mup.cost(16) < 0.25 * standard.cost(16)


def test_the_committed_runs_are_those_of_the_recipe_and_show_transfer():
    records = [record for record in Ledger(LEDGER).records() if record.status == "finished"]

    assert {record.run_id for record in records} == {run_id(run.config) for run in transfer_runs()}
    check(transfers(records))


@pytest.mark.slow
def test_the_best_learning_rate_stays_over_four_widths_with_mup_and_moves_without(tmp_path):
    from logclock.cli.compare import ensure_named_dataset
    from logclock.train import train

    records = []
    for run in transfer_runs():
        ensure_named_dataset(run.config, root=None, message=print)
        records.append(train(run.config, out=tmp_path, label=f"adamw-{run.parametrization}", tags=run.tags))

    check(transfers(records))
