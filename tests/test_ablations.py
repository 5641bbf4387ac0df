"""Do the experiments vary what they say, and nothing else?"""

import dataclasses
import math

import pytest

from logclock.config import to_dict
from logclock.recipes.ablations import ABLATIONS, get_ablation
from logclock.schedules import AdaptiveWarmupPlan
from logclock.train import run_id

VARIED = {"optimizer", "rest_optimizer"}


@pytest.mark.parametrize("name", ABLATIONS)
def test_arms_differ_in_their_optimizers_alone(name):
    experiment = get_ablation(name)
    varied = VARIED | ({"lr_schedule"} if name.startswith("warmup") else set())
    configs = {label: to_dict(arm(0, None)) for label, arm in experiment.arms.items()}

    rest = {label: {k: v for k, v in config.items() if k not in varied} for label, config in configs.items()}
    assert all(config == rest[experiment.baseline] for config in rest.values())
    assert len({run_id(arm(0, None)) for arm in experiment.arms.values()}) == len(experiment.arms)


@pytest.mark.parametrize("name", ABLATIONS)
def test_another_length_sets_every_schedule(name):
    experiment = get_ablation(name)

    for arm in experiment.arms.values():
        config = arm(1, 50)
        assert (config.total_steps, config.seed) == (50, 1)
        assert isinstance(config.lr_schedule, AdaptiveWarmupPlan) or config.lr_schedule.total_steps == 50


@pytest.mark.parametrize("name", ABLATIONS)
def test_the_learning_rate_is_swept_equally(name):
    experiment = get_ablation(name)

    assert len(experiment.multipliers) >= 3
    assert sorted(experiment.multipliers) == list(experiment.multipliers)
    assert len(experiment.seeds) == (5 if name.startswith(("decay-shape", "memory")) else 3)


def total_decay(config):
    s = config.lr_schedule
    return math.fsum(s(t) * config.optimizer.weight_decay(t) for t in range(1, config.total_steps + 1))


@pytest.mark.parametrize("optimizer", ["adamw", "adana"])
def test_the_decays_are_as_strong_as_stated(optimizer):
    arms = get_ablation("weight-decay").arms
    totals = {
        name: total_decay(arms[f"{optimizer} {name}"](0, None)) for name in ("constant", "strong", "log-time", "early")
    }

    # specs/adana.md 2.3, omega 4
    assert totals["constant"] == pytest.approx(2.20, abs=0.01)
    assert totals["log-time"] == pytest.approx(6.84, abs=0.02)
    assert totals["strong"] == pytest.approx(totals["log-time"], rel=1e-12)
    assert totals["early"] == pytest.approx(16.5, abs=0.5)


def test_one_component_is_added_at_a_time():
    arms = get_ablation("components").arms
    scalars = {name: arm(0, None).optimizer.scalars(1000) for name, arm in arms.items()}
    log_time = 8 / 1008

    assert scalars["log-time ema1"]["ema1"] == pytest.approx(log_time)
    assert scalars["log-time ema1"]["ema2"] == pytest.approx(0.001 / (1 - 0.999**1000))
    assert scalars["log-time ema1 and ema2"]["ema2"] == pytest.approx(log_time)
    assert scalars["+ gradient"]["gain"] == 1.0
    assert scalars["+ gain"]["gain"] == pytest.approx(1001**0.15)
    assert scalars["+ gain"]["decay"] == scalars["adamw"]["decay"]
    assert scalars["adana"] == scalars["+ gain"] | {"decay": scalars["adana"]["decay"]}
    assert scalars["adana +1"]["gain"] == pytest.approx(1 + 1001**0.15)
    assert scalars["adana frozen gain"]["gain"] == pytest.approx(6401**0.15)


def test_undamped_log_time_nesterov_is_adana_without_damping_or_clip():
    arm = get_ablation("stability").arms["kappa 0"](0, None).optimizer

    assert (arm.kappa, arm.clip_snr, arm.gain_offset) == (0.0, None, 0.0)
    assert arm.scalars(999)["gain"] == 1000.0


@pytest.mark.parametrize("optimizer", ["muon", "lion", "normsgd"])
def test_every_warm_up_has_the_same_start_and_floor(optimizer):
    experiment = get_ablation(f"warmup-{optimizer}")

    for label, arm in experiment.arms.items():
        schedule = arm(0, None).lr_schedule
        start = 1 / schedule.div if isinstance(schedule, AdaptiveWarmupPlan) else schedule.warmup_start
        assert (start, schedule.final) == (0.1 if label.endswith("from 1/10") else 0.01, 0.1), label
    ends = sorted({float(label.split()[1]) for label in experiment.arms if label.startswith("adaptive")})
    assert len(ends) >= 4


@pytest.mark.parametrize("ratio", [5, 20, 80, 160])
def test_horizons_are_in_tokens_per_parameter(ratio):
    config = get_ablation(f"horizon-{ratio}").arms["adamw"](0, None)

    size = config.model.size()
    assert config.total_steps * config.tokens_per_step == pytest.approx(ratio * size.total_params, rel=2e-3)
    assert dataclasses.asdict(size)["total_params"] == 45_056


def test_an_unknown_experiment_is_answered_with_the_closest():
    with pytest.raises(ValueError, match=r"unknown ablation 'weight-decy'\. Did you mean 'weight-decay'\? Known: stab"):
        get_ablation("weight-decy")
