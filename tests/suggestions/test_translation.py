"""Does the code that AdamW's settings become run, and are its numbers those of the text?"""

import math

import pytest
import torch
from torch import nn

import logclock
from logclock.optim import ScheduledOptimizer
from logclock.recipes import protocol
from logclock.schedules import Constant, HalfLifeRamp, InverseTime, LinearRamp
from logclock.suggestions import TARGETS, translation

EXAMPLE = {"lr": 6e-4, "betas": (0.9, 0.95), "weight_decay": 0.1, "total_steps": 100_000}


def small_model():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Embedding(11, 8), nn.Linear(8, 8, bias=False), nn.LayerNorm(8), nn.Linear(8, 11, bias=False)
    )


def pasted(code):
    """Run the code as a user would, for a model, and make a step."""
    model = small_model()
    names = {"model": model}
    exec(code, names)
    optimizer = names["optimizer"]
    model(torch.arange(11)).logsumexp(-1).sum().backward()
    optimizer.step()
    return optimizer


def decayed(optimizer, algorithm):
    """The group of an algorithm that is decayed, as a spec."""
    found = [optimizer.spec(group) for group in optimizer.param_groups if group["algorithm"] == algorithm]
    return next(spec for spec in found if spec.weight_decay != 0.0)


@pytest.mark.parametrize("to", TARGETS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weight_decay": 0.0},
        {"eps": 1e-10, "betas": (0.95, 0.999)},
        {"params": 124e6, "batch_tokens": 65_536},
        {"is_tuned": False, "total_steps": 9},
        {"lr": 0.123456789, "total_steps": 1_000_000},
    ],
)
def test_the_code_runs_and_has_the_learning_rate_of_the_text(to, changes):
    found = logclock.translate_adamw(to=to, **EXAMPLE | changes)

    optimizer = pasted(found.code)

    assert isinstance(optimizer, ScheduledOptimizer)
    assert optimizer.param_groups[0]["peak_lr"] == found.lr
    if "eps" in changes:
        rest = [group for group in optimizer.param_groups if group["algorithm"] != "muon"]
        assert {group["eps"] for group in rest} == {1e-10}


def test_adana_gets_a_quarter_of_the_rate_and_the_papers_decay():
    found = logclock.translate_adamw(**EXAMPLE)

    spec = decayed(pasted(found.code), "adana")

    assert (spec.lr, spec.kappa, spec.delta) == (1.5e-4, 0.85, 8.0)
    assert spec.weight_decay == InverseTime(scale=4.0, offset=10_000)
    assert spec.decay_coupling == "independent"
    # delta / (delta + t) and (1 + t)^0.15 at t = 1000
    scalars = spec.scalars(1000)
    assert scalars["ema1"] == scalars["ema2"] == pytest.approx(8 / 1008)
    assert scalars["gain"] == pytest.approx(1001**0.15)


def test_dana_star_mk4_gets_the_launchers_clip():
    spec = decayed(pasted(logclock.translate_adamw(to="dana-star-mk4", **EXAMPLE).code), "dana-star-mk4")

    assert (spec.lr, spec.clip_snr, spec.kappa) == (2e-4, 2.0, 0.85)
    assert spec.weight_decay == InverseTime(scale=4.0, offset=10_000)


def test_muon_keeps_the_rate_and_the_coupled_decay_of_adamw():
    optimizer = pasted(logclock.translate_adamw(to="muon-adana", **EXAMPLE).code)

    muon, adana = decayed(optimizer, "muon"), decayed(optimizer, "adana")
    assert (muon.lr, muon.weight_decay, muon.decay_coupling, muon.scale_rule) == (
        6e-4,
        0.1,
        "coupled",
        "match_rms_adamw",
    )
    assert (adana.lr, adana.weight_decay) == (1.5e-4, InverseTime(scale=4.0, offset=10_000))
    names = {name: group["algorithm"] for group in optimizer.param_groups for name in group["param_names"]}
    assert names == {
        "0.weight": "adana",
        "1.weight": "muon",
        "2.weight": "adana",
        "2.bias": "adana",
        "3.weight": "adana",
    }


def test_ademamix_keeps_the_betas_and_adds_a_slow_average():
    spec = decayed(pasted(logclock.translate_adamw(to="ademamix", **EXAMPLE).code), "ademamix")

    assert (spec.lr, spec.ema1, spec.ema2) == (3e-4, 0.1, 0.05)
    assert spec.ema_slow == HalfLifeRamp(start=0.1, end=8e-5, steps=100_000)
    assert spec.gain == LinearRamp(start=0.0, end=100_000**0.25, steps=100_000)
    assert (spec.weight_decay, spec.decay_coupling) == (InverseTime(scale=4.0, offset=10_000), "independent")


def test_the_note_on_decay_has_omega_and_what_each_form_removes():
    (note,) = [note for note in logclock.translate_adamw(**EXAMPLE).notes if note.setting == "weight_decay"]

    # omega = 6e-4 * 0.1 * 1e5; under a cosine to 10 % the mean of s is 0.549, and the study's form removes 6.8.
    for text in ("omega = lr wd T = 6 ", "3.29 nepers", "6.8 nepers", "log_time_decay(1.93, ", "5,491 nepers"):
        assert text in note.why, text


def test_the_equal_strength_removes_as_much_as_adamw():
    schedule = protocol.study_schedule(10_000)
    theirs = math.fsum(schedule(t) * 3e-3 * 0.2 for t in range(1, 10_001))
    (note,) = [
        note
        for note in logclock.translate_adamw(lr=3e-3, weight_decay=0.2, total_steps=10_000).notes
        if note.setting == "weight_decay"
    ]
    equal = float(note.why.partition("log_time_decay(")[2].partition(",")[0])
    decay = logclock.log_time_decay(equal, total_steps=10_000)

    assert math.fsum(schedule(t) * decay(t) for t in range(1, 10_001)) == pytest.approx(theirs, rel=0.005)


@pytest.mark.parametrize(("omega", "is_far"), [(0.01, True), (0.5, False), (6.0, False), (39.0, False), (60.0, True)])
def test_a_decay_far_from_the_papers_comes_with_the_advice_to_keep_its_strength(omega, is_far):
    found = logclock.translate_adamw(lr=1e-3, weight_decay=omega / 10, total_steps=10_000)

    assert any("Yours is far from 4" in note.why for note in found.notes) is is_far


def test_the_rate_follows_the_papers_fits_where_the_size_is_known():
    # The table of the fits: ADANA 1.30e-3 and AdamW 3.79e-3 at 6 heads.
    found = logclock.translate_adamw(params=7_077_888, **EXAMPLE)

    assert found.lr == pytest.approx(6e-4 * 1.30 / 3.79, rel=0.01)
    assert not any("extrapolation" in note.why for note in found.notes)
    assert any("extrapolation" in note.why for note in logclock.translate_adamw(params=7e9, **EXAMPLE).notes)


def test_an_untuned_rate_stays():
    assert logclock.translate_adamw(is_tuned=False, **EXAMPLE).lr == 6e-4


def test_three_short_runs_span_from_a_quarter_to_the_same():
    found = logclock.translate_adamw(**EXAMPLE)

    assert found.trials == (1.5e-4, 3e-4, 6e-4)
    assert found.trial_steps == 10_000
    assert "10,000 updates" in found.advice
    # Too short, and the memory has not grown: 2,000 at least, and never longer than the run.
    steps = (5000, 1000)
    assert [logclock.translate_adamw(lr=1e-3, total_steps=t).trial_steps for t in steps] == [2000, 1000]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "The batch was not given"),
        ({"batch_tokens": 2**20, "total_steps": 1000}, "1,000 updates of 1,048,576 tokens is where ADANA loses"),
        ({"batch_tokens": 2**20}, "at 1,048,576 it was not measured"),
        ({"total_steps": 500}, "500 updates are few"),
    ],
)
def test_what_is_unknown_is_said(changes, text):
    assert any(text in line for line in logclock.translate_adamw(**EXAMPLE | changes).unknown)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0}, "lr must be positive and finite, got 0"),
        ({"lr": math.nan}, "lr must be positive and finite, got nan"),
        ({"betas": (0.9, 1.0)}, r"beta2 must lie in \[0, 1\), got 1.0"),
        ({"betas": (0.9,)}, "betas must be two numbers"),
        ({"weight_decay": -0.1}, "weight_decay must be at least 0 and finite, got -0.1"),
        ({"lr": 1.0, "weight_decay": 1.0}, r"lr \* weight_decay must be below 1, got 1.0"),
        ({"total_steps": 0}, "total_steps must be a whole number >= 1, got 0"),
        ({"total_steps": 10.5}, "total_steps must be a whole number >= 1, got 10.5"),
        ({"params": -1}, "params must be positive and finite, got -1"),
        ({"to": "adanna"}, "unknown target 'adanna'. Did you mean 'adana'"),
        ({"to": "ademamix", "total_steps": 8}, "total_steps must exceed delta = 8 for log-time AdEMAMix, got 8"),
        ({"to": "ademamix", "betas": (0.0, 0.95)}, "beta1 must be positive for log-time AdEMAMix, got 0.0"),
    ],
)
def test_numbers_that_adamw_does_not_take_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        logclock.translate_adamw(**EXAMPLE | changes)


def test_the_papers_settings_are_those_of_the_recipes():
    ours = (translation.OMEGA, translation.KAPPA, translation.DELTA, translation.KAPPA_ADEMAMIX)

    assert ours == (protocol.OMEGA, protocol.KAPPA, protocol.DELTA, protocol.KAPPA_ADEMAMIX)
    assert Constant(value=4 / 100) == protocol.plain_decay(100)
