"""What is a run called? By a pattern of its path, by its own name, and by nothing that a program gave it."""

from pathlib import Path

import pytest

from logclock.curves.naming import Facts, amount, by_name, facts_of, matched, name_of_path, pattern_of

PATTERN = "runs/{optimizer}-s{seed}-{size}"


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        (PATTERN, "/data/runs/adamw-s3-124M.csv", {"optimizer": "adamw", "seed": "3", "size": "124M"}),
        (PATTERN, "runs/dana-star-s12-1.5b/metrics.csv", {"optimizer": "dana-star", "seed": "12", "size": "1.5b"}),
        ("{label}_lr{lr}_{_}", "a/muon_lr0.001_x9", {"label": "muon", "lr": "0.001"}),
        ("{label}-{lr}", "adamw-3e-4.csv", {"label": "adamw", "lr": "3e-4"}),
        ("{optimizer}/{_}/seed{seed}", "x/soap/2026/seed0/log.txt", {"optimizer": "soap", "seed": "0"}),
        ("(a+b) {label}", "(a+b) c.csv", {"label": "c"}),
    ],
)
def test_a_pattern_matches_whole_parts_of_a_path(pattern, path, expected):
    assert matched(pattern_of(pattern), pattern, path) == expected


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{optimiser}", r"unknown field \{optimiser\}\. Did you mean 'optimizer'"),
        ("{seed}-{seed}", r"\{seed\} stands twice\. Write \{_\}"),
        ("{seed:d}", r"unknown field \{seed\}"),
        ("runs/{seed", r"--label 'runs/\{seed': .*Fields stand in braces"),
    ],
)
def test_a_pattern_that_cannot_be_is_refused(pattern, message):
    with pytest.raises(ValueError, match=message):
        pattern_of(pattern)


def test_a_path_that_a_pattern_does_not_match_is_an_error_that_shows_both():
    with pytest.raises(ValueError, match=r"--label 'runs/.*' matches neither of 'runs/adamw\.csv'"):
        matched(pattern_of(PATTERN), PATTERN, "runs/adamw.csv")


@pytest.mark.parametrize(
    ("name", "label", "seed"),
    [
        ("adamw-s1", "adamw", 1),
        ("adana_seed_12", "adana", 12),
        ("seed3-muon", "muon", 3),
        ("muon", "muon", None),
        ("s7", "s7", None),
        ("signs1", "signs1", None),
        ("soap-seed=2-long", "soap-long", 2),
    ],
)
def test_a_name_with_a_seed_is_a_label_and_a_seed(name, label, seed):
    found = by_name(name)

    assert (found.label.replace("--", "-"), found.seed) == (label, seed)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/adamw-s0.csv", "adamw-s0"),
        ("lightning_logs/adamw/version_0/metrics.csv", "adamw"),
        ("out/adana/checkpoint-500/trainer_state.json", "adana"),
        ("metrics.csv", "metrics"),
        ("log124M/main.log", "log124M"),
    ],
)
def test_a_run_is_called_by_the_last_name_that_a_person_gave(path, name):
    assert name_of_path(Path(path)) == name


@pytest.mark.parametrize(("text", "value"), [("124M", 124e6), ("1.5b", 1.5e9), ("491520", 491520.0), (3e-4, 3e-4)])
def test_amounts_may_have_a_unit(text, value):
    assert amount(text, what="params") == value


@pytest.mark.parametrize("text", ["", "many", "-1", "0", "1.2.3", "inf", "nan", "1e999", "12X"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ValueError, match=r"--lr must be a number above 0, such as .*Correct it\."):
        amount(text, what="--lr")


def test_facts_say_what_is_wrong_with_them():
    assert facts_of({"seed": "0", "lr": "1e-3", "size": "S"}, where="x") == Facts(seed=0, lr=1e-3, size="S")
    with pytest.raises(ValueError, match=r"x: seed must be a whole number of at least 0, got '1\.5'"):
        facts_of({"seed": "1.5"}, where="x")
    with pytest.raises(ValueError, match=r"x: total_steps must be a number above 0"):
        facts_of({"total_steps": "0"}, where="x")
