import json

import pytest
from ladders import Invented

from logclock.cli import main
from logclock.records import Ledger

RUN = ("--params", "124M", "--tokens", "2.5B", "--batch-tokens", "0.5e6")
ADAMW = ("--from", "adamw", "--lr", "6e-4", "--betas", "0.9", "0.95", "--weight-decay", "0.1", "--steps", "100000")


def printed(capsys, *arguments):
    assert main(["suggest", *arguments]) == 0
    return capsys.readouterr().out


def test_rules_stand_side_by_side_with_source_range_and_warning(capsys):
    out = printed(capsys, *RUN, "--width", "768", "--depth", "12")

    # 1.79 * 1.24e8^-0.713 * 2.5e9^0.307
    assert "2.33e-3           adamw, Step Law: 1.79 P^-0.713 tokens^0.307\n" in out
    assert "59 M <= P <= 1 B, tokens <= 100 B; Li et al. 2025, arXiv:2503.04715" in out
    assert "! batch = 500 k is 7.63 times above where it was measured (batch = 65.5 k)" in out
    assert "With --base-lr there is more: adana-from-adamw, lion-from-adamw" in out
    assert "T = 5,000" in out


@pytest.mark.parametrize("arguments", [RUN, (*RUN, "--optimizer", "adana"), (*RUN, "--optimizer", "muonh"), ADAMW])
def test_no_line_is_longer_than_a_terminal(capsys, arguments):
    assert max(map(len, printed(capsys, *arguments).splitlines())) <= 80


def test_json_has_every_rule_with_what_it_lacks(capsys):
    data = json.loads(printed(capsys, *RUN, "--json"))
    found = {entry["name"]: entry for entry in data["suggestions"]}

    assert data["situation"]["total_steps"] == 5000
    assert found["step-law-batch"]["value"] == pytest.approx(0.58 * 2.5e9**0.571)
    assert found["square-root-batch"]["value"] is None
    assert found["square-root-batch"]["missing"] == ["base_lr", "base_batch_tokens"]
    assert found["adana-paper-adamw"]["warnings"] == [
        "batch = 500 k is 7.63 times above where it was measured (batch = 65.5 k)"
    ]
    assert found["step-law-lr"]["range"][0] == {"what": "params", "low": 59e6, "high": 1e9, "is_limit": False}


def test_what_the_papers_leave_open_is_said_with_the_choice(capsys):
    out = " ".join(printed(capsys, "--lora-rank", "64", "--base-lora-rank", "16", "--base-lora-alpha", "16").split())

    assert "C was not found" in out
    assert "32 any, alpha of a low-rank adapter: alpha0 sqrt(r / r0)" in out


def test_an_optimizers_rules_are_shown_at_every_kappa(capsys):
    out = printed(capsys, *RUN, "--optimizer", "adana")

    for kappa in ("0.75", "0.8", "0.85", "0.9"):
        assert f"adana, Enoki, kappa {kappa}: " in out
    assert "Step Law" not in out


def test_a_ladder_of_ones_own_gives_rules_too(capsys, tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for record in Invented(optimizers=("adamw", "adana"), sizes=("2", "4", "8"), noise=0.0).records():
        ledger.append(record)
    arguments = ("--params", "147456", "--optimizer", "adana", "--ladder", str(tmp_path), "--json")

    found = {entry["name"]: entry for entry in json.loads(printed(capsys, *arguments))["suggestions"]}

    # Invented's best rate at the middle size, 3e-3 (P / 1e5)^-0.6; its grid of factors of 2 misses it by 1.15.
    assert found["ladder-adana"]["value"] == pytest.approx(3e-3 * 1.47456**-0.6, rel=0.25)
    assert found["ladder-adana"]["range"] == [{"what": "params", "low": 24_576, "high": 1_179_648, "is_limit": False}]
    assert "ladder-adamw" not in found


def test_adamw_becomes_code_to_paste(capsys):
    out = printed(capsys, *ADAMW)

    assert out.count("T = 100_000\n") == 4
    assert out.count("optimizer = ") == 4
    assert out.count("omega = lr wd T = 6") == 1  # what is true of all is said once
    assert "# What is unknown" in out
    assert "Three short runs of 10,000 updates" in out


def test_one_target_can_be_asked_for(capsys):
    data = json.loads(printed(capsys, *ADAMW, "--to", "adana", "--json"))

    assert [entry["to"] for entry in data["translations"]] == ["adana"]
    assert data["translations"][0]["trials"] == [1.5e-4, 3e-4, 6e-4]


def test_a_target_that_cannot_follow_does_not_hide_the_others(capsys):
    out = printed(capsys, "--from", "adamw", "--lr", "1e-3", "--betas", "0", "0.95", "--steps", "1k")

    assert out.count("optimizer = ") == 3
    assert "ademamix: not possible here. beta1 must be positive" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "a rule needs numbers of the run. Give --params, --tokens and --batch-tokens"),
        (("--params", "12X"), "params must be a positive number such as 124M, 2.6B or 0.5e6, got '12X'."),
        (("--params", "1M", "--optimizer", "adanna"), "no published rule is for 'adanna'. Did you mean 'adana'"),
        (("--params", "1M", "--steps", "5"), "--steps describe torch's AdamW, which is translated. Add --from adamw."),
        (("--from", "adamw", "--lr", "1e-3"), "--from adamw needs --steps."),
        (("--from", "adamw", "--steps", "1k"), "--from adamw needs --lr."),
        ((*ADAMW, "--width", "5"), "--width have no effect with --from adamw"),
        ((*ADAMW, "--optimizer", "adana"), "--optimizer have no effect with --from adamw"),
        ((*ADAMW, "--to", "adanna"), "unknown target 'adanna'. Did you mean 'adana'"),
        (("--params", "1M", "--ladder", "nowhere"), "no ledger at nowhere/ledger.jsonl."),
    ],
)
def test_a_wrong_request_says_what_to_do(capsys, arguments, message):
    assert main(["suggest", *arguments]) == 2
    assert message in capsys.readouterr().err
