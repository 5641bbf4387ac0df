import subprocess
import sys

import pytest

import logclock.cli.entry as entry
from logclock.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "--optimizer", "adanna"], "unknown optimizer 'adanna'. Did you mean 'adana'"),
        (["show", "--recipe", "dmeo"], "unknown recipe 'dmeo'. Did you mean 'demo'? Known: adana_paper, demo, "),
        (["show", "--set", "optimizer.kapa=1"], "unknown path 'optimizer.kapa'. Did you mean 'kappa'?"),
        (["show", "--set", "seed"], "cannot read 'seed'. Write PATH=VALUE"),
        (["show", "--set", "seed=zero"], "seed must be a whole number, got 'zero'."),
        (["show", "--set", "optimizer.kappa=1.5"], "kappa must lie in [0, 1], got 1.5."),
        (["show", "--set", "total_steps=7"], "lr_schedule.total_steps must equal total_steps = 7"),
        (["show", "--config", "nowhere.json"], "no file nowhere.json. `logclock show --json` writes one."),
        (["train", "--config", "x.json", "--steps", "5", "--seed", "1"], "--steps and --seed a recipe's"),
        (["compare"], "optimizers must be distinct and at least one, got none."),
        (["compare", "adamw", "adamw"], "optimizers must be distinct and at least one, got adamw, adamw."),
        (["compare", "adamw", "--sweep-steps", "5"], "have no effect without --lr-sweep"),
        (["compare", "adamw", "--set", "adana:seed=1"], "'adana' is not compared. Did you mean 'adamw'? Here: adamw."),
        (
            ["report", "nowhere"],
            "no ledger at nowhere/ledger.jsonl. Give the --out directory of a comparison or a ladder.",
        ),
        (["plrf", "risk", "--algorithms", "sdg"], "unknown algorithm 'sdg'. Did you mean 'sgd'"),
        (["plrf", "risk", "--alpha", "0.2", "--beta", "0.2"], "2 (alpha + beta) must exceed 1, got 0.8."),
        (["plrf", "experiment", "slope"], "unknown experiment 'slope'. Did you mean 'slopes'?"),
        (["data", "get", "essential"], "unknown corpus 'essential'. Did you mean 'essentials'?"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_code_2(capsys, arguments, message):
    code = main(arguments)

    captured = capsys.readouterr()
    assert code == 2
    assert captured.err.startswith("logclock: error: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize(
    "arguments", [["compar"], ["compare", "--sed", "1"], ["show", "--seed", "x"], ["data", "x"], []]
)
def test_what_cannot_be_parsed_is_exit_code_2(capsys, arguments):
    with pytest.raises(SystemExit) as error:
        main(arguments)

    assert error.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "texts"),
    [
        (["--help"], ["compare", "train", "report", "show", "list", "data", "plrf"]),
        (["compare", "--help"], ["--lr-sweep", "--seeds", "--out", "--jobs", "The first one is the baseline."]),
        (["train", "--help"], ["--optimizer", "--resume", "--set PATH=VALUE", "130 stopped by a signal"]),
        (["data", "--help"], ["get", "prepare", "list"]),
        (["data", "prepare", "--help"], ["SOURCE", "--tokenizer", "--vocab-size"]),
        (["plrf", "--help"], ["risk", "phase-diagram", "exponents", "experiment"]),
        (["plrf", "risk", "--help"], ["--alpha", "--algorithms ALGORITHM ...", "--seed", "--out"]),
        (["report", "--help"], ["OUT"]),
        (["show", "--help"], ["--json"]),
    ],
)
def test_help_names_what_there_is(capsys, arguments, texts):
    with pytest.raises(SystemExit) as error:
        main(arguments)

    shown = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert error.value.code == 0
    for text in texts:
        assert text in shown
    assert "None" not in shown


def raising(error):
    def run(arguments):
        raise error

    return run


def accident(arguments):
    return len(None)  # a TypeError, but not one that we raised for the user


@pytest.mark.parametrize(
    "accident", [accident, lambda arguments: int("many"), raising(KeyError("x")), raising(Exception)]
)
def test_a_bug_of_ours_says_so_and_has_an_exit_code_of_its_own(monkeypatch, capsys, accident):
    monkeypatch.setattr(entry, "_run", accident)

    assert main([]) == 70
    shown = capsys.readouterr().err
    assert shown.startswith("logclock: error: ")
    assert "This is a bug in logclock, not in your request. --debug shows the traceback" in shown
    assert "Traceback" not in shown


@pytest.mark.parametrize("arguments", [["--debug", "show", "--seed", "-3"], ["show", "--seed", "-3", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(capsys, arguments):
    assert main(arguments) == 2

    shown = capsys.readouterr().err
    assert shown.startswith("Traceback (most recent call last):")
    assert shown.splitlines()[-1].startswith("logclock: error: seed must be >= 0")


def test_ctrl_c_is_exit_code_130(monkeypatch):
    def interrupted(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(entry, "_run", interrupted)

    assert main([]) == 130


def test_without_tyro_the_error_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tyro", None)

    assert main(["list"]) == 2
    assert "pip install 'logclock[bench]'" in capsys.readouterr().err


def test_python_dash_m_is_the_same_command_and_help_needs_no_torch():
    code = "import runpy, sys; sys.argv[1:] = ['--help']; runpy.run_module('logclock', run_name='__main__')"
    script = f"""
import sys
try:
    {code.replace("; ", chr(10) + "    ")}
except SystemExit as end:
    assert end.code == 0
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: logclock" in done.stdout
