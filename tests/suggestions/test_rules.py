"""Do the declared rules give the published numbers, and do they say where they end?"""

import math
from pathlib import Path

import pytest

from logclock.analysis.ladder import ladder_lr_rules
from logclock.records import Ledger
from logclock.suggestions import MICRO_LADDER, RULES, Range, Rule, Situation, advise, count_text, parse_count

BY_NAME = {rule.name: rule for rule in RULES}

SIZE_6, SIZE_40 = 7_077_888, 2_359_296_000
"""Non-embedding parameters of Enoki at 6 and 40 heads."""


def said(name, **situation):
    (advice,) = advise([BY_NAME[name]], Situation(**situation), optimizer=BY_NAME[name].optimizers[0])
    return advice


def value(name, **situation):
    rule = BY_NAME[name]
    return rule.compute(Situation(**situation))


# Step Law: a point computed from the published formula. ADANA paper: the table of its fits at 6 and 40 heads.
@pytest.mark.parametrize(
    ("name", "situation", "expected"),
    [
        ("step-law-lr", {"params": 8.5e7, "tokens": 2.5e9}, 3.05e-3),
        ("step-law-batch", {"tokens": 2.5e9}, 1.35e5),
        ("adana-paper-adamw", {"params": SIZE_6}, 3.79e-3),
        ("adana-paper-adamw", {"params": SIZE_40}, 1.91e-4),
        ("adana-paper-adamw-log-time-decay", {"params": SIZE_6}, 4.49e-3),
        ("adana-paper-adana-kappa-0.85", {"params": SIZE_6}, 1.30e-3),
        ("adana-paper-adana-kappa-0.85", {"params": SIZE_40}, 3.63e-5),
        ("adana-paper-dana-mk4-kappa-0.85", {"params": SIZE_6}, 1.16e-3),
        ("adana-paper-dana-star-mk4-kappa-0.85", {"params": SIZE_40}, 3.65e-5),
        ("adana-paper-ademamix-kappa-0.75", {"params": SIZE_6}, 1.62e-3),
        ("adana-paper-ademamix-log-time-decay-kappa-0.75", {"params": SIZE_40}, 8.74e-5),
        ("adana-paper-muon", {"params": SIZE_6}, 3.04e-3),
        # At 16 heads, by kappa.
        ("adana-paper-adana-kappa-0.75", {"params": 150_994_944}, 1.0e-4),
        ("adana-paper-adana-kappa-0.8", {"params": 150_994_944}, 1.39e-4),
        ("adana-paper-adana-kappa-0.9", {"params": 150_994_944}, 2.41e-4),
    ],
)
def test_a_rule_gives_the_published_number(name, situation, expected):
    assert value(name, **situation) == pytest.approx(expected, rel=0.005)


# Worked out by hand from the formulas.
@pytest.mark.parametrize(
    ("name", "situation", "expected"),
    [
        ("square-root-batch", {"base_lr": 1e-3, "base_batch_tokens": 1e5, "batch_tokens": 4e5}, 2e-3),
        ("linear-batch", {"base_lr": 1e-3, "base_batch_tokens": 1e5, "batch_tokens": 4e5}, 4e-3),
        ("mup-matrix-lr", {"base_lr": 8e-3, "base_width": 256, "width": 2048}, 1e-3),
        ("robust-mup-decay", {"base_weight_decay": 0.1, "base_width": 256, "width": 1024}, 0.2),
        ("beta2-half-life", {"base_beta2": 0.95, "base_batch_tokens": 1e5, "batch_tokens": 2e5}, 0.9025),
        ("marin-beta2", {"batch_tokens": 131_072}, 0.999),
        ("marin-beta2", {"batch_tokens": 1e8}, 0.95),
        ("marin-beta2", {"batch_tokens": 1000}, 0.9999),
        ("marin-eps", {"batch_tokens": 131_072, "tokens": 5.6e9}, 2 * 9.676e-18),
        ("horizon-constant-decay", {"params": 1e8, "tokens": 8e9}, 16),
        ("horizon-log-time-decay", {"params": 1e8, "tokens": 8e9}, 4),
        ("adamw-memory-by-horizon", {"params": 1e8, "tokens": 2e9}, 20),
        ("adamw-memory-by-horizon", {"params": 1e8, "tokens": 256e9}, 1280),
        ("muon-memory-by-horizon", {"params": 1e8, "tokens": 256e9}, 640),
        ("soap-memory-by-horizon", {"params": 1e8, "tokens": 256e9}, 1280),
        ("power-lines-batch", {"base_batch_tokens": 1e5, "base_tokens": 1e9, "tokens": 1e10}, 1e5 * 10**0.383),
        ("marin-muonh-lr", {"tokens": 2**21, "width": 512, "batch_tokens": 2**21}, 0.05),
        ("omega-by-noise", {"batch_tokens": 1e5, "noise_tokens": 2e5}, 4),
        ("omega-by-noise", {"batch_tokens": 4e5, "noise_tokens": 2e5}, 1),
        ("class-rates", {"tokens": 400, "batch_tokens": 1}, 3),
        ("class-rates", {"tokens": 9, "batch_tokens": 1}, 10),
        ("short-memory", {"tokens": 220, "batch_tokens": 1}, 4.4),
        ("lora-alpha", {"lora_rank": 64, "base_lora_rank": 16, "base_lora_alpha": 16}, 32),
        ("nanochat-decay", dict.fromkeys(("base_weight_decay", "base_tokens", "tokens"), 1e5), 2e5),
    ],
)
def test_a_rule_is_its_formula(name, situation, expected):
    if name == "nanochat-decay":
        situation = {"base_weight_decay": 0.2, "base_batch_tokens": 1e5, "batch_tokens": 4e5}
        situation, expected = situation | {"base_tokens": 1e9, "tokens": 4e9}, 0.1

    assert value(name, **situation) == pytest.approx(expected, rel=1e-12)


def test_hyperp_is_its_base_rate_at_its_base_point():
    assert value("hyperp-muonh-lr", batch_tokens=2**21, depth=8, tokens=10.4e9) == pytest.approx((0.010, 0.016))
    # four times as deep: half; 2^-0.32 for twice the tokens
    low, _ = value("hyperp-muonh-lr", batch_tokens=2**21, depth=32, tokens=20.8e9)
    assert low == pytest.approx(0.005 * 2**-0.32)


def test_marins_law_meets_hyperps_base_rate_if_t_is_in_tokens():
    assert value("marin-muonh-lr", batch_tokens=2**21, width=1024, tokens=10.4e9) == pytest.approx(0.016, rel=0.03)


def test_the_robust_decay_keeps_the_gain_of_a_layer():
    base = {"base_lr": 1e-2, "base_weight_decay": 0.1, "base_width": 256}
    for width in (256, 512, 2048):
        lr = value("mup-matrix-lr", width=width, **base)
        decay = value("robust-mup-decay", width=width, **base)
        # Top singular values grow as sqrt(lr / wd) d^0.75 (arXiv:2510.15262).
        assert math.sqrt(lr / decay) * width**0.75 == pytest.approx(math.sqrt(1e-2 / 0.1) * 256**0.75)


def test_power_lines_hold_tau_along_its_law():
    base = {"base_lr": 1e-3, "base_weight_decay": 0.1, "base_batch_tokens": 1e5, "base_tokens": 2e9, "base_params": 1e8}
    run = {"params": 1e8, "tokens": 8e9, "batch_tokens": 2e5}

    decay = value("power-lines-decay", **base, **run, lr=5e-4)

    tau0, tau = 1e5 / (1e-3 * 0.1 * 2e9), 2e5 / (5e-4 * decay * 8e9)
    assert tau / tau0 == pytest.approx(4**-0.5)
    assert value("power-lines-decay", **base, **run) == pytest.approx(decay / 2)  # at the rate of the known run


def test_the_fits_of_the_micro_ladder_are_those_of_its_ledger():
    ledger = Path(__file__).parents[2] / "experiments" / "2026-11-24-ladder" / "ledger.jsonl"
    fits, _ = ladder_lr_rules(Ledger(ledger).records())

    assert set(fits) == set(MICRO_LADDER)
    for label, rule in MICRO_LADDER.items():
        for params in (6912, 62_208, 248_832):
            assert rule(params) == pytest.approx(fits[label].rule(params), rel=1e-4)


def test_a_warning_says_how_far_outside_a_run_lies():
    inside = said("step-law-lr", params=1e8, tokens=2e9)
    small = said("step-law-lr", params=5.9e6, tokens=2e9)
    long = said("step-law-lr", params=1e8, tokens=1e12)
    batch = said("adana-paper-adamw", params=1e8, batch_tokens=2 * 65_536)

    assert inside.warnings == ()
    assert small.warnings == ("P = 5.9 M is 10 times below where it was measured (59 M <= P <= 1 B)",)
    assert small.value is not None
    assert long.warnings == ("tokens = 1 T is 10 times above where it was measured (tokens <= 100 B)",)
    assert batch.warnings == ("batch = 131 k is 2 times above where it was measured (batch = 65.5 k)",)


def test_a_rule_of_five_tiny_sizes_says_nothing_of_large_ones():
    assert said("micro-ladder-adana", params=62_208).value == pytest.approx(4.8e-3, rel=0.01)
    assert said("micro-ladder-adana", params=62_208, batch_tokens=4096).value is not None
    assert said("micro-ladder-adana", params=1e8).value is None


def test_what_a_rule_needs_and_was_not_given_is_named():
    assert said("adamw-memory-by-length", params=1e8).missing == ("tokens", "batch_tokens")
    assert said("adana-from-adamw", params=1e8).missing == ("base_lr",)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_declaration_lists_what_its_formula_reads(rule):
    counts = {"params": 1e8, "total_params": 2e8, "tokens": 4e9, "batch_tokens": 1e5, "width": 1024, "depth": 16}
    base = {"base_params": 1e7, "base_tokens": 2e8, "base_batch_tokens": 1e4, "base_width": 256, "base_lr": 1e-3}
    others = {"base_weight_decay": 0.1, "base_beta2": 0.95, "lora_rank": 8, "base_lora_rank": 4, "base_lora_alpha": 4}
    everything = counts | base | others | {"noise_tokens": 1e6}
    derived = {"total_steps": ("tokens", "batch_tokens"), "overtraining": ("params", "tokens")}
    declared = {field for name in rule.inputs for field in derived.get(name, (name,))}

    found = rule.compute(Situation(**{name: everything[name] for name in declared}))

    numbers = found if isinstance(found, tuple) else () if isinstance(found, str) else (found,)
    assert all(math.isfinite(number) and number > 0 for number in numbers)
    assert rule.source
    assert rule.formula


def test_names_are_unique():
    assert len(BY_NAME) == len(RULES)


def test_only_the_rules_of_an_optimizer_and_those_for_any_are_asked():
    names = {advice.rule.name for advice in advise(RULES, Situation(params=1e8), optimizer="adana")}

    assert {"adana-paper-adana-kappa-0.75", "adana-paper-large-batch-adana-kappa-0.85", "lr-shape"} <= names
    assert "step-law-lr" not in names
    with pytest.raises(ValueError, match=r"no published rule is for 'adanna'\. Did you mean 'adana'"):
        advise(RULES, Situation(params=1e8), optimizer="adanna")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("124M", 1.24e8),
        ("2.6B", 2.6e9),
        ("0.5e6", 5e5),
        ("65_536", 65536),
        ("65,536", 65536),
        (".5M", 5e5),
        ("2.B", 2e9),
        ("10k", 1e4),
        ("1.5T", 1.5e12),
    ],
)
def test_counts_are_read_as_people_write_them(text, expected):
    assert parse_count(text, name="tokens") == expected


@pytest.mark.parametrize(
    "text", ["", "M", "-3M", "0", "nan", "inf", "12X", "1e999", "1 2", "1e3e3", "_", ".", "1.024,5", "65,53"]
)
def test_what_is_no_positive_number_is_refused(text):
    with pytest.raises(ValueError, match=r"tokens must be a positive number such as 124M, 2\.6B or 0\.5e6, got "):
        parse_count(text, name="tokens")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(124e6, "124 M"), (999_600, "1 M"), (65_536, "65.5 k"), (4096, "4,096"), (0.25, "0.25"), (2.62e9, "2.62 B")],
)
def test_counts_are_written_with_three_digits(value, expected):
    assert count_text(value) == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"params": -1}, "params must be positive and finite, got -1"),
        ({"tokens": math.inf}, "tokens must be positive and finite"),
        ({"base_beta2": 1.0}, r"base_beta2 must lie in \[0, 1\), got 1.0"),
        ({"tokens": 100, "batch_tokens": 200}, "batch_tokens must be at most the tokens of the run"),
        ({"params": 10, "total_params": 5}, "total_params must be at least params"),
    ],
)
def test_an_impossible_run_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Situation(**settings)


def test_a_rule_that_needs_what_no_run_has_is_refused():
    with pytest.raises(ValueError, match="rule 'x' needs 'heat'"):
        Rule(name="x", sets="lr", formula="heat", inputs=("heat",), compute=lambda run: 1.0, source="nobody")


def test_a_range_open_at_an_end_is_written_so():
    assert str(Range(what="tokens", high=1e9)) == "tokens <= 1 B"
    assert str(Range(what="width", low=256)) == "256 <= width"
