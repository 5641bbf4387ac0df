import pytest
from ladders import Invented

from logclock.cli import main
from logclock.records import Ledger

QUICK = ["calibrate", "--repetitions", "4", "--optimizers", "2", "--sizes", "3"]


def test_the_table_has_a_row_for_every_kind_of_verdict(capsys):
    code = main(QUICK)

    shown = capsys.readouterr().out
    assert code == 0
    assert "noise of a run by size: 0.021 0.007 0.015 nats" in shown
    for kind in ("compare", "pooled", "any size", "any optimizer", "any cell", "trend in nats", "ablate"):
        assert f"\n{kind} " in shown
    assert "power at 0.03 nats" in shown


def test_noise_comes_from_a_ledger_if_one_is_given(capsys, tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for record in Invented(sizes=("2", "3", "4"), seeds=(0, 1, 2), curvature=0.06).records():
        ledger.append(record)

    assert main([*QUICK, "--ladder", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "0.021" not in shown
    assert "noise of a run by size: 0.00" in shown


def test_a_rate_beyond_what_is_stated_is_exit_code_1(capsys, monkeypatch):
    from logclock.analysis import calibration

    wrong = calibration.Rate(count=60, repetitions=100)
    found = calibration.Calibration(
        false_positives={"pooled": wrong}, power={"pooled": wrong}, effect=0.03, num_seeds=3, sampling_error=0.0
    )
    monkeypatch.setattr(calibration, "calibrate", lambda *_, **__: found)

    assert main(QUICK) == 1
    assert "wrong in more than 6%: pooled" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "9"], "sizes must lie between 1 and 5, the sizes whose noise is known, got 9."),
        (["--noise", "-1"], "noise and curvature must be >= 0, got -1 and 1. They are factors."),
        (["--seeds", "1"], "num_seeds >= 2"),
        (["--ladder", "nowhere"], "no ledger at nowhere/ledger.jsonl. Give the --out directory of a ladder."),
    ],
)
def test_a_wrong_request_is_refused(capsys, arguments, message):
    assert main(["calibrate", *arguments]) == 2
    assert message in capsys.readouterr().err
