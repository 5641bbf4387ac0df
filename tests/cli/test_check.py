import json

import pytest

from logclock.cli import main

FAST = ("--probes", "step", "unknown-argument", "dcp-peek")


def test_a_failure_is_in_the_table_and_in_the_exit_code(capsys):
    assert main(["check", "torch.optim.AdamW", "--set", "lr=1e-3", "betas=(0.9,0.95)", *FAST]) == 1

    out = capsys.readouterr().out
    assert out.startswith("torch.optim.AdamW(lr=0.001, betas=(0.9, 0.95)), torch ")
    assert "dcp-peek          FAIL  After asking for the state" in out
    assert out.endswith("2 passed, 1 failed, 0 not applicable\n")


def test_ours_are_known_by_name_and_pass(capsys):
    assert main(["check", "adana", *FAST]) == 0

    assert "3 passed, 0 failed" in capsys.readouterr().out


def test_a_class_or_factory_of_a_module_in_the_working_directory_is_found(tmp_path, monkeypatch):
    (tmp_path / "mine_to_check.py").write_text(
        "import torch\nclass Mine(torch.optim.SGD):\n    pass\ndef factory(params):\n    return Mine(params, lr=0.1)\n"
    )
    monkeypatch.chdir(tmp_path)

    assert main(["check", "mine_to_check:Mine", "--set", "momentum=0.9", *FAST]) == 0
    assert main(["check", "mine_to_check:factory", *FAST]) == 0


def test_the_table_comes_as_json_and_as_markdown(capsys):
    main(["check", "torch.optim.SGD", "--format", "json", *FAST])
    data = json.loads(capsys.readouterr().out)
    assert {entry["probe"]: entry["status"] for entry in data["results"]} == dict.fromkeys(FAST[1:], "pass")

    main(["check", "torch.optim.SGD", "--format", "markdown", *FAST])
    assert "| `dcp-peek` | ok | Six steps after it are those without it. |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["torch.optim.Adamw"], "torch.optim has no 'Adamw'. Did you mean 'AdamW'?"),
        (["nothing.here:X"], "no module 'nothing' for 'nothing.here:X'"),
        (["adanna"], "unknown optimizer 'adanna'. Did you mean 'adana'"),
        (["torch.optim:"], "named as module:Class"),
        ([":"], "named as module:Class"),
        (["torch.optim"], "torch.optim is a module; an optimizer class"),
        (["torch.optim.SGD", "--set", "lr"], "--set takes NAME=VALUE, got 'lr'"),
        (["torch.optim.SGD", "--set", "lr=1", "lr=2"], "--set has lr twice"),
        (["torch.optim.SGD", "--probes", "dcp-peak"], "Did you mean 'dcp-peek'"),
        (["torch.optim.SGD", "--ranks", "1"], "at least 2, got 1"),
        (["torch.optim.SGD", "--timeout", "0"], "positive number of seconds"),
    ],
)
def test_a_wrong_request_says_what_is_allowed(capsys, arguments, words):
    assert main(["check", *arguments]) == 2

    assert words in capsys.readouterr().err


def test_an_argument_that_the_optimizer_does_not_take_is_its_first_failure(capsys):
    assert main(["check", "torch.optim.AdamW", "--set", "lrr=3", *FAST]) == 1

    assert "unexpected keyword argument 'lrr'" in " ".join(capsys.readouterr().out.split())
