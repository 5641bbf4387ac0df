"""Does a run follow its own losses, remember where it stood, and say when the warm-up ended?"""

import json
import os
import signal

import pytest
import torch

from logclock.cli.compare import resolve
from logclock.config import from_dict, override, to_dict
from logclock.records import Ledger
from logclock.schedules import AdaptiveWarmupPlan, Cosine, Warmup
from logclock.train import RunConfig, identity, loop, run_directory, run_id, train
from logclock.train.progress import QuietDisplay

PEAK = 5e-3
RAW = AdaptiveWarmupPlan.preset("paper", end_loss=5.4, div=10.0, final=0.1)
SMOOTH = AdaptiveWarmupPlan(end_loss=5.7, div=10.0, ema_halflife=3.0, patience=2, handover_ramp=6, max_warmup_frac=1.0)
EVERY_STEP = ("log_interval=1", "evaluation.interval=500")


class StopAt(QuietDisplay):
    """Sends this process a signal when a run has reached a step."""

    def __init__(self, step):
        self.step = step

    def show(self, name, reading):
        if reading.step >= self.step:
            self.step = 10**9
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def make_run(tiny_data_root, tmp_path):
    """Return a function that trains a config in a directory of its own."""

    def make(config, *, out="out", **settings):
        return train(config, out=tmp_path / out, data_root=tiny_data_root, **settings)

    return make


def g(loss, loss0, plan):
    """Return the factor from the gap as adaptive-warmup.md 2.2 writes it."""
    ratio = 0.05
    f_star = (plan.end_loss - ratio * loss0) / (1 - ratio)
    delta, delta_0, delta_star = loss - f_star, loss0 - f_star, plan.end_loss - f_star
    factor = 1 / (1 + (plan.div - 1) * (delta_0 / delta) * ((delta - delta_star) / (delta_0 - delta_star)) ** 2)
    return min(max(factor, 1 / plan.div), 1.0)


def test_each_learning_rate_follows_from_the_losses_before_it(make_run, tiny_run):
    record = make_run(tiny_run(*EVERY_STEP, optimizer="adamw", lr_schedule=RAW))

    losses, lrs = record.train["loss"], record.train["lr"]
    h = next(i for i, loss in enumerate(losses) if loss <= 5.4) + 1
    assert 5 < h < 20
    assert lrs[0] == pytest.approx(PEAK / 10, rel=1e-12)
    assert lrs[1:h] == pytest.approx([PEAK * g(loss, losses[0], RAW) for loss in losses[: h - 1]], rel=1e-9)
    decay = Cosine(total_steps=24, warmup_steps=h, final=0.1)
    assert lrs[h:] == pytest.approx([PEAK * decay(t) for t in range(h + 1, 25)], rel=1e-12)
    used = [lrs[t - 1] for t in record.schedules["step"]]
    assert record.schedules["lr"] == pytest.approx(used, rel=1e-5)  # what the rule used, to six digits


def test_the_record_says_when_and_why_the_warm_up_ended(make_run, tiny_run, tmp_path):
    by_loss = make_run(tiny_run(*EVERY_STEP, optimizer="adamw", lr_schedule=RAW))
    by_limit = make_run(tiny_run("lr_schedule.end_loss=0.1", "lr_schedule.max_warmup_frac=0.5", lr_schedule=RAW))
    never = make_run(tiny_run("lr_schedule.end_loss=0.1", lr_schedule=RAW))
    manual = make_run(tiny_run())

    step = by_loss.metrics["handover_step"]
    assert by_loss.metrics["handover_loss"] == pytest.approx(by_loss.train["loss"][step - 1], rel=1e-6)
    assert by_loss.provenance["handover_reason"] == "loss"
    assert (by_limit.metrics["handover_step"], by_limit.provenance["handover_reason"]) == (12, "limit")
    assert never.metrics["handover_step"] is never.metrics["handover_loss"] is None
    assert never.provenance["handover_reason"] is None
    assert not {"handover_step", "handover_loss"} & set(manual.metrics)
    assert "handover_reason" not in manual.provenance
    assert Ledger(tmp_path / "out" / "ledger.jsonl").records() == [by_loss, by_limit, never, manual]


@pytest.mark.parametrize("decay", ["cosine", "linear", "wsd", "constant"])
@pytest.mark.parametrize("stop_at", [4, 14, 20], ids=["warming up", "in the ramp", "decaying"])
def test_resume_is_bitwise(make_run, tiny_run, tmp_path, decay, stop_at):
    config = tiny_run(*EVERY_STEP, f"lr_schedule.decay={decay}", optimizer="adamw", lr_schedule=SMOOTH, steps=30)
    whole = make_run(config, out="whole")

    stopped = make_run(config, out="parts", display=StopAt(stop_at))
    resumed = make_run(config, out="parts")

    handover = whole.metrics["handover_step"]
    assert {4: stop_at < handover, 14: handover < stop_at < handover + 6, 20: stop_at >= handover + 6}[stop_at]
    assert (stopped.status, resumed.status) == ("running", "finished")
    assert (resumed.train, resumed.validation, resumed.schedules) == (whole.train, whole.validation, whole.schedules)
    assert resumed.metrics == whole.metrics
    first, second = (
        (run_directory(tmp_path / out, config) / "final.safetensors").read_bytes() for out in ("whole", "parts")
    )
    assert first == second


def test_a_checkpoint_holds_the_warm_up_as_plain_data(make_run, tiny_run, tmp_path):
    config = tiny_run(*EVERY_STEP, optimizer="adamw", lr_schedule=SMOOTH)
    make_run(config, display=StopAt(4))

    state = loop.checkpoint.load_latest(run_directory(tmp_path / "out", config) / "checkpoints", message=pytest.fail)

    warmup = state["controllers"]["warmup"]
    assert json.loads(json.dumps(warmup)) == warmup
    assert (warmup["last_epoch"], warmup["observations"], warmup["handover_step"]) == (4, 4, None)
    assert warmup["plan"] == to_dict(SMOOTH)


def test_a_checkpoint_of_a_run_without_it_is_as_good_as_before(make_run, tiny_run, tmp_path):
    """Checkpoints written before there were controllers have no entry for them."""
    config = tiny_run(*EVERY_STEP)
    whole = make_run(config, out="whole")
    make_run(config, display=StopAt(4))
    (path,) = (run_directory(tmp_path / "out", config) / "checkpoints").glob("*.pt")
    state = torch.load(path, weights_only=True)
    del state["controllers"]
    torch.save(state, path)

    assert make_run(config).train == whole.train


def test_a_checkpoint_that_has_the_warm_up_by_itself_is_gone_on_from(make_run, tiny_run, tmp_path):
    """As those were that had a warm-up and no controllers yet."""
    config = tiny_run(*EVERY_STEP, optimizer="adamw", lr_schedule=SMOOTH)
    whole = make_run(config, out="whole")
    make_run(config, display=StopAt(4))
    (path,) = (run_directory(tmp_path / "out", config) / "checkpoints").glob("*.pt")
    state = torch.load(path, weights_only=True)
    state["warmup"] = state.pop("controllers")["warmup"]
    torch.save(state, path)

    assert make_run(config).train == whole.train


def test_a_kind_set_by_hand_keeps_the_floor_and_drops_what_it_has_no_use_for(tiny_run):
    """From the study's cosine (warm-up 2 %, final 0.1); T comes from the run."""
    config = override(tiny_run(), ["lr_schedule.kind=adaptive_warmup", "lr_schedule.end_loss=4.5"])

    assert config.lr_schedule == AdaptiveWarmupPlan(end_loss=4.5, final=0.1)


@pytest.mark.parametrize(
    "schedule",
    ["warmup", "constant", "wsd", "inverse_sqrt", "power_law", "linear"],
)
def test_any_kind_can_become_adaptive(tiny_run, schedule):
    required = {"constant": {"value": 1.0}, "wsd": {"total_steps": 24}, "linear": {"total_steps": 24}}
    required |= {"inverse_sqrt": {"warmup_steps": 5}, "power_law": {"time_scale": 9}}
    data = to_dict(tiny_run()) | {"lr_schedule": {"kind": schedule, **required.get(schedule, {})}}

    config = override(
        from_dict(RunConfig, data),
        ["lr_schedule.kind=adaptive_warmup", "lr_schedule.f_star=3", "lr_schedule.delta_ratio=lion"],
    )

    assert config.lr_schedule == AdaptiveWarmupPlan(f_star=3.0, delta_ratio="lion")


def test_and_back_again(tiny_run):
    config = tiny_run(lr_schedule=RAW)

    cosine = override(config, ["lr_schedule.kind=cosine", "lr_schedule.total_steps=24"])

    assert cosine.lr_schedule == Cosine(total_steps=24, final=0.1)


def test_a_configuration_with_a_plan_survives_json_and_has_an_id_of_its_own(tiny_run):
    config = tiny_run(lr_schedule=RAW)

    assert from_dict(RunConfig, json.loads(json.dumps(to_dict(config)))) == config
    assert run_id(from_dict(RunConfig, identity(config))) == run_id(config)
    assert len({run_id(tiny_run(lr_schedule=plan)) for plan in (RAW, SMOOTH)} | {run_id(tiny_run())}) == 3


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("lr_schedule.end_los=4", r"unknown path 'lr_schedule.end_los'\. Did you mean 'end_loss'"),
        ("lr_schedule.delta_ratio=2", r"delta_ratio must lie in \(0, 1\), got 2\.0"),
        ("lr_schedule.f_star=3", "give end_loss .* got end_loss and f_star"),
        ("lr_schedule.patience=many", r"lr_schedule\.patience must be a whole number, got 'many'"),
        ("lr_schedule.kind=adaptive", r"unknown schedule 'adaptive'\. Did you mean 'adaptive_warmup'"),
    ],
)
def test_mistakes_are_answered_in_the_words_of_the_user(tiny_run, assignment, message):
    config = tiny_run(lr_schedule=RAW)

    with pytest.raises((TypeError, ValueError), match=message):
        override(config, [assignment])


def test_an_optimizer_s_own_slot_takes_no_plan(tiny_run):
    with pytest.raises((TypeError, ValueError), match=r"optimizer\.gain"):
        override(tiny_run(), ['optimizer.gain={"kind":"adaptive_warmup","end_loss":4}'])


def test_the_arms_of_a_comparison_of_warm_ups_can_be_said(tiny_run):
    """Linear, cosine, the untuned rule of 2 / (1 - beta2) updates, and adaptive: one start, one floor, one decay."""
    start, floor, beta2 = 1 / 100, 1e-4, 0.999
    arms = {
        "linear": Cosine(total_steps=24_000, warmup_steps=500, warmup_start=start, final=floor),
        "cosine": Cosine(total_steps=24_000, warmup_steps=500, warmup_start=start, warmup_shape="cosine", final=floor),
        "untuned": Cosine(total_steps=24_000, warmup_steps=2 / (1 - beta2), warmup_start=start, final=floor),
        "adaptive": AdaptiveWarmupPlan(end_loss=5.7, div=1 / start, final=floor),
    }

    configs = {name: tiny_run(steps=24_000, lr_schedule=schedule) for name, schedule in arms.items()}

    assert len({run_id(config) for config in configs.values()}) == 4
    for name in ("linear", "cosine", "untuned"):
        assert arms[name](1) == start
        assert arms[name](24_001) == floor
    assert arms["untuned"](2001) == pytest.approx(1.0)
    assert arms["adaptive"].factor(1.0, ratio=0.32) == pytest.approx(start)
    assert arms["adaptive"].decay_factor(24_000, handover=500, total_steps=24_000) == floor
    assert Warmup(warmup_steps=10)(11) == 1.0


def test_a_recipe_takes_it_from_the_command_line():
    config = resolve(
        "demo", "adamw", steps=300, overrides=["lr_schedule.kind=adaptive_warmup", "lr_schedule.end_loss=5"]
    )

    assert config.lr_schedule == AdaptiveWarmupPlan(end_loss=5.0, final=0.1)
    assert config.total_steps == 300
