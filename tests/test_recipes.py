import math

import pytest

from logclock.config import from_dict, to_dict
from logclock.recipes import RECIPES, VARIANTS, adana_paper, demo, get_recipe
from logclock.recipes.adana_paper import LR_RULES, peak_lr
from logclock.recipes.demo import PEAK_LR
from logclock.rules import AdamwSpec, AdanaSpec
from logclock.train import RunConfig

# Table 5.4 of the study's figures, three significant digits: peak learning rates at batches of 32 x 2048.
PRINTED_LR = {
    "adamw": [1.10e-2, 6.66e-3, 3.79e-3, 2.29e-3, 1.22e-3, 7.85e-4, 4.20e-4, 1.91e-4],
    "adamw-log-time-decay": [1.58e-2, 8.75e-3, 4.49e-3, 2.48e-3, 1.18e-3, 6.99e-4, 3.34e-4, 1.31e-4],
    "adana": [4.39e-3, 2.51e-3, 1.30e-3, 7.14e-4, 3.38e-4, 1.98e-4, 9.36e-5, 3.63e-5],
    "dana-mk4": [4.25e-3, 2.31e-3, 1.16e-3, 6.30e-4, 2.94e-4, 1.71e-4, 7.99e-5, 3.05e-5],
    "dana-star-mk4": [4.27e-3, 3.26e-3, 1.98e-3, 1.10e-3, 4.86e-4, 2.64e-4, 1.10e-4, 3.65e-5],
}
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


@pytest.mark.parametrize(
    ("optimizer", "total"), [("adamw", 2.20), ("adamw-log-time-decay", 6.84), ("adana", 6.84), ("dana-star-mk4", 6.84)]
)
def test_total_shrinkage_is_the_studys(optimizer, total):
    """The sum of s(t) lambda(t) over a run, as tabulated for omega = 4 and T = 13,950."""
    config = adana_paper(optimizer, heads=6)

    lr = [config.optimizer.lr * config.lr_schedule(t) for t in range(1, config.total_steps + 1)]
    shrinkage = sum(config.optimizer.scalars(t, lr=value)["decay"] for t, value in enumerate(lr, start=1))

    assert shrinkage == pytest.approx(total, abs=0.005)


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
    assert set(LR_RULES) >= {("adana", kappa) for kappa in (0.75, 0.80, 0.85, 0.90)}
    with pytest.raises(ValueError, match=r"no learning-rate rule for 'adana' at kappa 0.7\. Known: adamw, .*adana at"):
        peak_lr("adana", non_embedding_params=1, kappa=0.7)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("optimizer", VARIANTS)
def test_every_recipe_builds_every_optimizer(recipe, optimizer):
    config = get_recipe(recipe)(optimizer, heads=2, seed=5, total_steps=200)

    assert from_dict(RunConfig, to_dict(config)) == config
    assert (config.seed, config.total_steps, config.lr_schedule.total_steps) == (5, 200, 200)
    assert config.model.heads == 2
    assert config.lr_schedule.warmup_steps == 4


@pytest.mark.parametrize("recipe", RECIPES.values())
def test_an_unknown_optimizer_is_named(recipe):
    with pytest.raises(ValueError, match=r"unknown optimizer 'adanna'. Did you mean 'adana'"):
        recipe("adanna")


def test_the_demo_is_a_comparison_of_optimizers_alone():
    configs = {name: to_dict(demo(name)) for name in VARIANTS}

    for config in configs.values():
        del config["optimizer"]
    assert all(config == configs["adamw"] for config in configs.values())


def test_the_demo_has_enough_steps_for_memory_to_grow():
    config = demo("adana")

    assert config.total_steps >= 3000
    assert demo("adamw").optimizer.scalars(1)["decay"] == pytest.approx(4 / config.total_steps)
    assert config.optimizer.weight_decay(0) == pytest.approx(40 / config.total_steps)
    assert config.evaluation.interval * 20 == config.total_steps
    assert set(PEAK_LR) == set(VARIANTS)


def test_demo_learning_rates_fall_with_size():
    assert demo("adana").optimizer.lr == PEAK_LR["adana"]
    small, large = demo("adana", heads=4), demo("adana", heads=8)
    growth = large.model.size().non_embedding_params / small.model.size().non_embedding_params

    assert small.optimizer.lr / large.optimizer.lr == pytest.approx(math.exp(0.6 * math.log(growth)))
