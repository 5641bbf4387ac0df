"""Does `logclock ablate` go from arms to a table, a page and figures, and again from the records alone?"""

import pytest

from logclock.cli import ablate, main
from logclock.cli.ablate import report_ablations
from logclock.recipes.ablation import Ablation
from logclock.records import Ledger
from logclock.train.progress import QuietDisplay


@pytest.fixture
def tiny_experiments(tiny_run, monkeypatch):
    """Two horizons of two optimizers on the tiny model."""

    def experiment(length):
        def arm(optimizer):
            return lambda seed, steps=None: tiny_run(f"seed={seed}", optimizer=optimizer, steps=steps or length)

        return Ablation(
            question="Who wins?",
            baseline="adamw",
            arms={name: arm(name) for name in ("adamw", "muon")},
            multipliers=(1.0,),
            extensions=0,
            seeds=(0,),
        )

    lengths = {"horizon-5": 10, "horizon-20": 15}
    monkeypatch.setattr(ablate, "get_ablation", lambda name: experiment(lengths[name]))
    return list(lengths)


def test_experiments_end_in_pages_and_figures_that_the_records_rebuild(
    tiny_experiments, tiny_data_root, tmp_path, capsys
):
    code = ablate.ablate(tiny_experiments, out=tmp_path, display=QuietDisplay, data_root=tiny_data_root, num_jobs=1)

    assert code == 0
    assert "horizon-5: Who wins? 2 arms" in capsys.readouterr().out
    for name in tiny_experiments:
        records = Ledger(tmp_path / name / "ledger.jsonl").records()
        assert [(r.label, set(r.tags["phase"].split(","))) for r in records] == [
            ("adamw", {"main", "sweep"}),
            ("muon", {"main", "sweep"}),
        ]
        assert {r.tags["study"] for r in records} == {name}
    files = [tmp_path / "horizon.svg", *(tmp_path / name / "arms.svg" for name in tiny_experiments)]
    before = [path.read_bytes() for path in files]
    for path in files:
        path.unlink()

    report_ablations(tiny_experiments, out=tmp_path)

    assert [path.read_bytes() for path in files] == before
    assert b"muon" in before[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ablate"], "name at least one experiment"),
        (["ablate", "weight-decy"], "unknown ablation 'weight-decy'. Did you mean 'weight-decay'?"),
        (["ablate", "weight-decay", "--report-only", "--out", "nowhere"], "no ledger at nowhere/weight-decay"),
    ],
)
def test_wrong_requests_are_answered(arguments, message, capsys):
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
