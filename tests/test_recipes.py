import dataclasses
import math

import pytest
import torch

from logclock.algorithms import AdamwSpec, AdanaSpec, AdemamixSpec
from logclock.config import from_dict, to_dict
from logclock.recipes import (
    RECIPES,
    VARIANTS,
    adana_paper,
    demo,
    get_recipe,
    get_variant,
    micro,
    qwen3_paper,
    warmup_paper,
)
from logclock.recipes.protocol import study_schedule
from logclock.recipes.warmup_paper import SETTINGS
from logclock.rules import Spec
from logclock.schedules import Constant, InverseTime
from logclock.train import RunConfig

# Table 5.4 of the study's figures, three significant digits: peak learning rates at batches of 32 x 2048.
PRINTED_LR = {
    "adamw": [1.10e-2, 6.66e-3, 3.79e-3, 2.29e-3, 1.22e-3, 7.85e-4, 4.20e-4, 1.91e-4],
    "adamw-log-time-decay": [1.58e-2, 8.75e-3, 4.49e-3, 2.48e-3, 1.18e-3, 6.99e-4, 3.34e-4, 1.31e-4],
    "adana": [4.39e-3, 2.51e-3, 1.30e-3, 7.14e-4, 3.38e-4, 1.98e-4, 9.36e-5, 3.63e-5],
    "dana-mk4": [4.25e-3, 2.31e-3, 1.16e-3, 6.30e-4, 2.94e-4, 1.71e-4, 7.99e-5, 3.05e-5],
    "dana-star-mk4": [4.27e-3, 3.26e-3, 1.98e-3, 1.10e-3, 4.86e-4, 2.64e-4, 1.10e-4, 3.65e-5],
    "ademamix": [4.58e-3, 2.81e-3, 1.62e-3, 9.87e-4, 5.35e-4, 3.47e-4, 1.88e-4, 8.70e-5],
    "ademamix-log-time-decay": [5.47e-3, 3.28e-3, 1.84e-3, 1.10e-3, 5.82e-4, 3.70e-4, 1.95e-4, 8.74e-5],
}


def hidden_of(name, *, lr, total_steps, kappa=None):
    """Return the optimizer of hidden matrices, or of everything."""
    return get_variant(name).build(total_steps, lr=lr, kappa=kappa).hidden


HEADS = [3, 4, 6, 8, 12, 16, 24, 40]

# Table 3.1: heads, layers, width, non-embedding parameters, all parameters, updates.
LADDER = [
    (2, 1, 128, 196_608, 13_074_432, 3_990),
    (6, 4, 384, 7_077_888, 45_711_360, 13_950),
    (12, 9, 768, 63_700_992, 140_967_936, 43_020),
    (24, 18, 1536, 509_607_936, 664_141_824, 202_680),
    (40, 30, 2560, 2_359_296_000, 2_616_852_480, 798_600),
]


@pytest.mark.parametrize("optimizer", PRINTED_LR)
@pytest.mark.parametrize(("heads", "row"), list(zip(HEADS, range(8), strict=True)))
def test_paper_learning_rates_are_the_printed_ones(optimizer, heads, row):
    lr = adana_paper(optimizer, heads=heads).optimizer.lr

    assert f"{lr:.2e}" == f"{PRINTED_LR[optimizer][row]:.2e}"


@pytest.mark.parametrize(("heads", "layers", "width", "p", "d", "steps"), LADDER)
def test_paper_runs_have_the_printed_sizes_and_lengths(heads, layers, width, p, d, steps):
    config = adana_paper("adana", heads=heads)

    assert (config.model.depth, config.model.width) == (layers, width)
    size = config.model.size()
    assert (size.non_embedding_params, size.total_params) == (p, d)
    assert config.total_steps == steps
    assert config.tokens_per_step == 65_536


def test_paper_schedules_follow_from_the_length():
    config = adana_paper("adana", heads=6)
    steps, warmup = 13_950, 279

    assert config.lr_schedule(1) == pytest.approx(0.01)
    assert config.lr_schedule(warmup + 1) == 1.0
    middle = 1 + warmup + (steps - warmup) / 2
    assert config.lr_schedule(middle) == pytest.approx(0.1 + 0.45)
    assert config.lr_schedule(steps + 1) == pytest.approx(0.1)
    assert config.optimizer.scalars(1)["ema1"] == pytest.approx(8 / 9)
    assert adana_paper("adana", heads=24).optimizer.scalars(202_680)["gain"] == pytest.approx(6.25, abs=0.005)
    assert config.optimizer.scalars(1)["decay"] == pytest.approx(4 / (1395 + 1))
    assert config.optimizer.scalars(steps)["decay"] == pytest.approx(4 / (1395 + steps))


# The sum of s(t) lambda(t) over a run, tabulated for omega = 4 and T = 13,950: lambda = omega / T, omega / (T / 10 + t)
# and omega / (1 + t). The strong decay is constant and must sum to what the log-time one does.
CONSTANT_DECAY, LOG_TIME_DECAY, EARLY_DECAY = 2.20, 6.84, 16.8
SHRINKAGE = {
    CONSTANT_DECAY: ["adamw", "nadamw", "laprop", "lion", "signum", "ademamix", "adana-constant-decay"],
    LOG_TIME_DECAY: [
        "adamw-log-time-decay",
        "adamw-strong-decay",
        "ademamix-log-time-decay",
        "log-adam",
        "log-adam-nesterov",
        "adana",
        "adana-frozen-gain",
        "adana-constant-ema2",
        "adana-undamped",
        "adana-plus-one",
        "dana-mk4",
        "dana-star",
        "dana-star-mk4",
    ],
    EARLY_DECAY: ["adamw-early-decay", "adana-early-decay"],
}


@pytest.mark.parametrize(("optimizer", "total"), [(name, total) for total in SHRINKAGE for name in SHRINKAGE[total]])
def test_total_shrinkage_is_the_studys(optimizer, total):
    steps = 13_950
    spec, schedule = hidden_of(optimizer, lr=0.01, total_steps=steps), study_schedule(steps)

    shrinkage = sum(spec.scalars(t, lr=0.01 * schedule(t))["decay"] for t in range(1, steps + 1))

    assert shrinkage == pytest.approx(total, abs=0.05 if total == EARLY_DECAY else 0.005)


@pytest.mark.parametrize("steps", [1000, 5000, 13_950])
def test_the_strong_decay_is_constant_and_about_three_times_adamws(steps):
    strong = hidden_of("adamw-strong-decay", lr=0.01, total_steps=steps).weight_decay

    assert isinstance(strong, Constant)
    assert strong.value / (4 / steps) == pytest.approx(6.84 / 2.20, rel=0.02)


# What each ablation changes in the study's ADANA or AdamW, at T = 2000 and kappa = 0.85.
ABLATIONS = [
    ("adana", "log-adam-nesterov", {"gain": 1.0}),
    ("adana", "adana-frozen-gain", {"gain": pytest.approx(2001**0.15)}),
    ("adana", "adana-undamped", {"kappa": 0.0}),
    ("adana", "adana-plus-one", {"gain_offset": 1.0}),
    ("adana", "adana-constant-decay", {"weight_decay": Constant(value=0.002)}),
    ("adana", "adana-early-decay", {"weight_decay": InverseTime(scale=4.0, offset=1)}),
    (
        "adamw",
        "adamw-log-time-decay",
        {"weight_decay": InverseTime(scale=4.0, offset=200), "decay_order": "after"},
    ),
    ("adamw", "adamw-early-decay", {"weight_decay": InverseTime(scale=4.0, offset=1), "decay_order": "after"}),
    ("ademamix", "ademamix-log-time-decay", {"weight_decay": InverseTime(scale=4.0, offset=200)}),
]


@pytest.mark.parametrize(("base", "name", "changes"), ABLATIONS)
def test_an_ablation_changes_what_it_says_and_nothing_else(base, name, changes):
    whole, ablation = (hidden_of(n, lr=0.01, total_steps=2000) for n in (base, name))

    fields = [f.name for f in dataclasses.fields(whole)]
    changed = {f: getattr(ablation, f) for f in fields if getattr(ablation, f) != getattr(whole, f)}
    assert type(ablation) is type(whole)
    assert changed == changes


def test_adana_with_a_constant_ema2_differs_from_adana_in_v_alone():
    adana, constant = (hidden_of(n, lr=0.01, total_steps=2000) for n in ("adana", "adana-constant-ema2"))

    for t in (1, 100, 2000):
        ours, whole = constant.scalars(t), adana.scalars(t)
        assert ours == whole | {"ema2": pytest.approx(0.001 / (1 - 0.999**t))}  # Adam's average with its bias corrected


def test_log_adam_is_adana_without_the_gradient_term():
    adana, log_adam = (hidden_of(n, lr=0.01, total_steps=2000) for n in ("adana", "log-adam"))

    for t in (1, 100, 2000):
        ours, whole = log_adam.scalars(t), adana.scalars(t)
        assert (ours["correction1"], ours["correction2"]) == (1.0, 1.0)
        assert {k: ours[k] for k in ("lr", "ema1", "ema2", "eps", "decay")} == {
            k: whole[k] for k in ("lr", "ema1", "ema2", "eps", "decay")
        }


def test_log_time_ademamix_ends_at_the_studys_values():
    steps = 13_950
    spec = hidden_of("ademamix", lr=0.01, total_steps=steps)

    assert isinstance(spec, AdemamixSpec)
    assert spec.scalars(steps)["ema_slow"] == pytest.approx(8 / steps)
    assert spec.scalars(steps)["gain"] == pytest.approx(steps**0.25)
    assert spec.scalars(steps // 2)["gain"] == pytest.approx(steps**0.25 / 2)
    # adana.md 1.8: the slow average is log-time, 1 - beta3(t) near 8 / (t + 76)
    for t in (100, 1000, 10_000):
        assert spec.scalars(t)["ema_slow"] == pytest.approx(8 / (t + 76), rel=0.03)


def test_ademamix_has_the_kappa_of_its_own_runs_unless_told():
    def gain(kappa=None):
        return hidden_of("ademamix", lr=0.01, total_steps=100, kappa=kappa).scalars(100)["gain"]

    assert (gain(), gain(kappa=0.5)) == pytest.approx((100**0.25, 10.0))
    with pytest.raises(ValueError, match=r"'ademamix' at kappa 0\.85"):
        adana_paper("ademamix", kappa=0.85)


def test_ademamix_needs_more_updates_than_delta():
    with pytest.raises(ValueError, match="total_steps must exceed delta = 8 for AdEMAMix, got 8"):
        hidden_of("ademamix", lr=0.01, total_steps=8)


def test_lion_and_signum_have_the_settings_of_language_model_benchmarks():
    lion, signum = (hidden_of(n, lr=1e-3, total_steps=2000) for n in ("lion", "signum"))

    assert (lion.ema1, lion.ema2) == (0.1, 0.01)
    assert (signum.ema1, signum.nesterov) == (0.05, True)


def test_paper_protocol():
    config = adana_paper("adamw", heads=6)

    assert (config.grad_clip, config.z_loss, config.model.vocab_size) == (0.5, 0.0, 50304)
    assert isinstance(config.optimizer, AdamwSpec)
    assert (config.optimizer.ema1, config.optimizer.ema2, config.optimizer.eps) == (0.1, 0.001, 1e-8)
    assert config.optimizer.decay_coupling == "independent"
    ours = adana_paper("adana", heads=6).optimizer
    assert isinstance(ours, AdanaSpec)
    assert (ours.kappa, ours.delta, ours.gain_offset, ours.decay_order) == (0.85, 8.0, 0.0, "before")
    released = adana_paper("dana-mk4", heads=6).optimizer
    assert (released.clip_snr, released.gain_offset, released.decay_order) == (2.0, 1.0, "after")


def test_a_learning_rate_that_was_never_fitted_is_an_error():
    adana = get_variant("adana")
    assert set(adana.lr_rules["adana_paper"]) == {0.75, 0.80, 0.85, 0.90}
    with pytest.raises(ValueError, match=r"no learning-rate rule for 'adana' at kappa 0.7\. Known: adamw, .*adana at"):
        adana.fitted_rate("adana_paper", non_embedding_params=1, kappa=0.7)


def fitted(recipe):
    return {name for name, variant in VARIANTS.items() if recipe in variant.lr_rules}


FITTED = fitted("adana_paper")

# The optimizers of each recipe, where it does not have those of VARIANTS.
OPTIMIZERS = {
    "adana_paper": sorted(FITTED),
    "qwen3_paper": sorted(fitted("qwen3_paper")),
    "warmup_paper": [name for name in SETTINGS if name in Spec.family],
}


@pytest.mark.parametrize("optimizer", sorted(set(VARIANTS) - FITTED))
def test_the_paper_recipe_refuses_optimizers_without_a_fitted_rate(optimizer):
    with pytest.raises(ValueError, match=f"no learning-rate rule for '{optimizer}'.*Known: adamw, .*get_variant"):
        adana_paper(optimizer, heads=6)


@pytest.mark.parametrize(
    ("recipe", "optimizer"),
    [(recipe, name) for recipe in RECIPES for name in OPTIMIZERS.get(recipe, VARIANTS)],
)
def test_every_recipe_builds_every_optimizer(recipe, optimizer):
    config = get_recipe(recipe)(optimizer, heads=2, seed=5, total_steps=200)

    assert from_dict(RunConfig, to_dict(config)) == config
    assert (config.seed, config.total_steps, config.lr_schedule.total_steps) == (5, 200, 200)
    assert config.model.heads == 2
    assert config.lr_schedule.warmup_steps == (
        SETTINGS[optimizer].warmup_steps // 320 if recipe == "warmup_paper" else 4
    )


@pytest.mark.parametrize("recipe", RECIPES)
def test_an_unknown_optimizer_is_named(recipe):
    with pytest.raises(ValueError, match=r"unknown optimizer 'adamww'. Did you mean 'adamw'"):
        get_recipe(recipe)("adamww")


def test_the_demo_is_a_comparison_of_optimizers_alone():
    configs = {name: to_dict(demo(name)) for name in VARIANTS}

    for config in configs.values():
        del config["optimizer"], config["rest_optimizer"]
    assert all(config == configs["adamw"] for config in configs.values())


def test_the_demo_has_enough_steps_for_memory_to_grow():
    config = demo("adana")

    assert config.total_steps >= 3000
    assert demo("adamw").optimizer.scalars(1)["decay"] == pytest.approx(4 / config.total_steps)
    assert config.optimizer.weight_decay(0) == pytest.approx(40 / config.total_steps)
    assert config.evaluation.interval * 20 == config.total_steps
    assert all("demo" in variant.peak_lr for variant in VARIANTS.values())


def test_demo_learning_rates_fall_with_size():
    assert demo("adana").optimizer.lr == 2.5e-3
    small, large = demo("adana", heads=4), demo("adana", heads=8)
    growth = large.model.size().non_embedding_params / small.model.size().non_embedding_params

    assert small.optimizer.lr / large.optimizer.lr == pytest.approx(math.exp(0.6 * math.log(growth)))


def test_micro_is_the_demo_at_another_size():
    ours, demos = (to_dict(recipe("adana", total_steps=1000)) for recipe in (micro, demo))

    changed = {key for key in demos if ours[key] != demos[key]}
    assert changed == {"model", "data", "optimizer", "evaluation"}
    assert {key for key in demos["model"] if ours["model"][key] != demos["model"][key]} == {
        "heads",
        "num_layers",
        "vocab_size",
    }
    assert {key for key in demos["data"] if ours["data"][key] != demos["data"][key]} == {"dataset"}
    assert {key for key in demos["optimizer"] if ours["optimizer"][key] != demos["optimizer"][key]} == {"lr"}


def test_micro_has_one_size_and_every_horizon():
    # 12 * 32^2 in the one layer, two tables of 512 x 32; 512 tokens an update.
    config = micro("adamw")

    assert config.model.size().total_params == 12_288 + 32_768
    assert config.total_steps == 20 * 45_056 // 512 == 1760
    assert [micro("adamw", tokens_per_param=ratio).total_steps for ratio in (5, 80, 160)] == [440, 7040, 14_080]
    assert config.data.dataset == "essentials-bpe-512"
    assert micro("adamw", vocab_size=1024, num_layers=2).model.size().total_params == 24_576 + 65_536


def test_dials_of_micro_set_what_they_say():
    config = micro("adana", lr=0.01, kappa=0.7, batch_size=4, sequence_length=32, heads=3)

    assert (config.optimizer.lr, config.optimizer.kappa) == (0.01, 0.7)
    assert (config.data.batch_size, config.data.sequence_length, config.model.width) == (4, 32, 48)
    assert config.total_steps == 20 * (12 * 48**2 + 2 * 48 * 512) // 128


def test_micro_learning_rates_are_the_demos_scaled():
    # P is an eighth of the demo's: 12 * 64^2 * 2.
    assert micro("adamw").optimizer.lr == pytest.approx(8e-3 * 8**0.6)


# specs/adana.md 3.2: heads, all parameters, updates. The learning rates follow from 5.3 by hand at h = 4:
# P = 29,370,880.
@pytest.mark.parametrize(
    ("heads", "d", "steps"), [(2, 29_428_992, 8_981), (4, 80_882_176, 24_683), (12, 947_338_752, 289_104)]
)
def test_qwen3_runs_have_the_printed_sizes_and_lengths(heads, d, steps):
    config = qwen3_paper("adana", heads=heads)

    assert config.model.size().total_params == d
    assert config.total_steps == steps
    assert config.tokens_per_step == 65_536


@pytest.mark.parametrize(
    ("optimizer", "lr"),
    [
        ("adamw", 2.16e4 * 29_442_880**-0.873),
        ("adana", 3.17 * 29_410_780**-0.553),
        ("dana-mk4", 1.20 * 29_405_280**-0.501),
        ("dana-star-mk4", 93.9 * 29_387_980**-0.701),
    ],
)
def test_qwen3_learning_rates_count_14_d_squared(optimizer, lr):
    assert qwen3_paper(optimizer, heads=4).optimizer.lr == pytest.approx(lr, rel=1e-12)


def test_qwen3_runs_follow_the_protocol_of_enokis():
    ours, theirs = (to_dict(recipe("adamw", total_steps=1000)) for recipe in (qwen3_paper, adana_paper))

    assert {key for key in theirs if ours[key] != theirs[key]} == {"model", "optimizer"}
    assert {key for key in theirs["optimizer"] if ours["optimizer"][key] != theirs["optimizer"][key]} == {"lr"}


def test_adana_on_qwen3_has_the_code_form_that_its_learning_rate_belongs_to():
    # specs/adana.md 1.2: these curves were runs of dana-mk4 with a clip of 1000.
    spec = qwen3_paper("adana", heads=4).optimizer
    theirs = qwen3_paper("dana-mk4", heads=4).optimizer

    assert (spec.gain_offset, spec.decay_order) == (theirs.gain_offset, theirs.decay_order) == (1.0, "after")
    assert (spec.kappa, spec.delta, spec.weight_decay) == (theirs.kappa, theirs.delta, theirs.weight_decay)


@pytest.mark.parametrize("optimizer", ["adamw-log-time-decay", "dana-star"])
def test_qwen3_has_no_learning_rate_where_the_study_has_none(optimizer):
    with pytest.raises(ValueError, match=f"no learning-rate rule for {optimizer!r}.*Known: adamw, adana at kappa 0.85"):
        qwen3_paper(optimizer)


def test_warmup_runs_follow_the_protocol():
    config = warmup_paper("adamw")

    assert config.model.size().total_params == 123_587_328
    assert warmup_paper("adamw", num_layers=24).model.size().total_params == 208_540_416
    assert (config.total_steps, config.tokens_per_step, config.data.sequence_length) == (64_000, 16_384, 512)
    assert config.total_steps * config.tokens_per_step == pytest.approx(1.05e9, rel=2e-3)
    assert config.grad_clip == 0.5
    assert config.optimizer.weight_decay == 0.1
    assert config.optimizer.decay_coupling == "coupled"


def test_the_manual_warmup_is_torchs_one_cycle_moved_by_an_update():
    steps, warmup = 60, 16
    config = warmup_paper("adamw", total_steps=steps, warmup_steps=warmup)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    # Its peak is at update pct_start * total_steps - 1 and its end at total_steps - 1, counted from 0.
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=1e-3,
        total_steps=steps + 1,
        pct_start=(warmup + 1) / (steps + 1),
        div_factor=100,
        final_div_factor=1e4,
        cycle_momentum=False,
    )

    for t in range(1, steps + 1):
        assert config.optimizer.lr * config.lr_schedule(t) == pytest.approx(theirs.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        theirs.step()


def test_the_manual_warmup_keeps_its_share_of_a_shorter_run():
    assert warmup_paper("adamw").lr_schedule.warmup_steps == 2000
    assert warmup_paper("adamw", total_steps=6400).lr_schedule.warmup_steps == 200
    assert warmup_paper("adamw", total_steps=6400, warmup_steps=7).lr_schedule.warmup_steps == 7
