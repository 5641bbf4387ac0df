"""Does a batch grow by what its gradients say, and does a run with a growing batch end by tokens and resume bitwise?"""

import itertools
import json
import math
import os
import signal

import numpy as np
import pytest
import torch

from logclock.analysis import gather
from logclock.cli.suggest import suggest
from logclock.config import from_dict, override, to_dict
from logclock.report import render_report
from logclock.report.tables import noise_table
from logclock.schedules import AdaptiveWarmupPlan
from logclock.train import RunConfig, run_directory, run_id, train
from logclock.train.batch_plan import MeasuredBatch, StagedBatch
from logclock.train.config import identity
from logclock.train.controllers import BatchSize, NoiseLog, Progress
from logclock.train.noise import Noise
from logclock.train.progress import QuietDisplay

HAND = ([torch.tensor([3.0]), torch.tensor([[0.0]])], [torch.tensor([1.0]), torch.tensor([[0.0]])])
"""g1 = (3, 0), g2 = (1, 0) in two tensors: g = (2, 0)."""


def test_the_noise_of_two_halves_by_hand():
    noise = Noise.of(*HAND, batch_size=8)

    # b |g1 - g2|^2 / 4 = 8 * 4 / 4; b (9 - 1)^2 / 16 = 32; |g|^2 = 4; <g1, g2> = 3
    assert (noise.trace, noise.along, noise.square, noise.product) == (8.0, 32.0, 4.0, 3.0)
    assert noise.scale == pytest.approx(8 / 3)


@pytest.mark.parametrize(
    ("plan", "wanted"),
    [
        (MeasuredBatch(test="norm", eta=0.5), 8 / (0.25 * 4)),
        (MeasuredBatch(test="norm", eta=0.1), 8 / (0.01 * 4)),
        (MeasuredBatch(test="inner_product", theta=0.5), 32 / (0.25 * 16)),
        # nothing across g, so the larger is the inner product's
        (MeasuredBatch(test="augmented", theta=1.0, nu=0.1), 32 / 16),
        (MeasuredBatch(test="noise_scale", noise_share=0.5), 4 / 3),
    ],
)
def test_what_each_test_asks_for_by_hand(plan, wanted):
    assert Noise.of(*HAND, batch_size=8).wanted(plan) == pytest.approx(wanted)


def test_noise_across_the_gradient_is_what_the_orthogonality_test_sees():
    halves = ([torch.tensor([1.0, 1.0])], [torch.tensor([1.0, -1.0])])  # g = (1, 0), noise along the other axis

    noise = Noise.of(*halves, batch_size=4)

    assert (noise.trace, noise.along) == (4.0, 0.0)
    assert noise.wanted(MeasuredBatch(test="inner_product")) == 0.0
    assert noise.wanted(MeasuredBatch(test="augmented", nu=2.0)) == 4 / 4


def test_over_all_ways_to_halve_a_batch_the_trace_is_the_variance_of_single_samples():
    # least squares on six samples: the gradient of one is (x.w - y) x, written down without autograd
    generator = np.random.default_rng(0)
    x, y, w = generator.normal(size=(6, 3)), generator.normal(size=6), generator.normal(size=3)
    single = (x @ w - y)[:, None] * x
    expected = single.var(axis=0, ddof=1).sum()

    traces = []
    for chosen in itertools.combinations(range(6), 3):
        rest = [i for i in range(6) if i not in chosen]
        halves = ([torch.tensor(single[list(part)].mean(axis=0))] for part in (chosen, rest))
        traces.append(Noise.of(*halves, batch_size=6).trace)

    assert sum(traces) / len(traces) == pytest.approx(expected, rel=1e-12)


def test_a_batch_without_a_signal_asks_for_the_most():
    noise = Noise.of([torch.tensor([1.0])], [torch.tensor([-1.0])], batch_size=2)

    assert noise.scale == math.inf
    assert noise.wanted(MeasuredBatch(test="noise_scale")) == math.inf
    assert noise.wanted(MeasuredBatch(test="norm")) == math.inf


def grown(plan, gradients, *, updates, batch_size=2):
    """Return the factor after some updates whose halves have these gradients."""
    param = torch.nn.Parameter(torch.zeros(1))
    batch = BatchSize(plan, batch_size=batch_size, params=[param])
    for step in range(1, updates + 1):
        param.grad = torch.tensor([gradients[0] / 2])  # parts add up to the mean
        batch.after_part(1, 2)
        param.grad = param.grad + gradients[1] / 2
        batch.after_part(2, 2)
        batch.after_step(Progress(step, step, 1000), loss=torch.tensor(1.0))
    return batch


def test_a_batch_grows_after_each_interval_within_its_bounds_and_never_shrinks():
    # trace 2 (4)^2 / 4 = 8 at b = 2, |g|^2 = 1: the norm test at eta 0.5 asks for 32 sequences, 16 base batches
    plan = MeasuredBatch(interval=5, growth=2.0, max_factor=6)

    factors = [grown(plan, (3.0, -1.0), updates=n).factor for n in (4, 5, 10, 15, 40)]

    assert factors == [1, 2, 4, 6, 6]
    assert grown(MeasuredBatch(interval=1, growth=math.inf, max_factor=99), (3.0, -1.0), updates=1).factor == 16
    batch = grown(plan, (3.0, -1.0), updates=10)
    batch.factor = 5
    batch.after_step(Progress(11, 11, 1000), loss=torch.tensor(1.0))
    assert batch.factor == 5


def test_gradients_that_are_not_finite_leave_the_batch_as_it_is():
    assert grown(MeasuredBatch(interval=1), (math.nan, 1.0), updates=3).factor == 1


@pytest.mark.parametrize(("rule", "expected"), [("none", 1.0), ("sqrt", 2.0), ("linear", 4.0)])
def test_the_learning_rate_follows_the_batch_by_its_rule(rule, expected):
    assert StagedBatch(lr_rule=rule).lr_factor(4) == expected


def test_a_staged_run_ends_with_its_token_budget_and_has_the_rates_of_its_rule(tiny_run, tiny_data_root, tmp_path):
    plan = StagedBatch(factors=(1, 2, 4), shares=(0.25, 0.5), lr_rule="sqrt")
    config = tiny_run("log_interval=1", steps=24, batch_plan=plan)

    record = train(config, out=tmp_path, data_root=tiny_data_root)

    # base batches seen: 6 updates of 1 to a quarter of 24, 3 of 2 to half, then 3 of 4
    seen = [1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24]
    factors = [1] * 6 + [2] * 3 + [4] * 3
    assert record.status == "finished"
    assert record.train["tokens"] == [128 * n for n in seen]
    assert record.metrics["final_step"] == 12
    peak = config.optimizer.lr
    assert record.train["lr"] == pytest.approx(
        [peak * config.lr_schedule(n) * math.sqrt(f) for n, f in zip(seen, factors, strict=True)]
    )
    assert record.train["batch_size"][-1] == record.metrics["final_batch_size"] == 16


def test_the_last_update_of_a_run_takes_what_is_left(tiny_run, tiny_data_root, tmp_path):
    config = tiny_run("log_interval=1", steps=10, batch_plan=StagedBatch(factors=(4,), shares=()))

    record = train(config, out=tmp_path, data_root=tiny_data_root)

    assert record.train["tokens"] == [128 * n for n in (4, 8, 10)]


class StopAt(QuietDisplay):
    """Sends this process a signal when a run has reached a step."""

    def __init__(self, step):
        self.step = step

    def show(self, name, reading):
        if reading.step >= self.step:
            self.step = 10**9
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize(
    "plan",
    [
        MeasuredBatch(interval=3, eta=0.3, max_factor=4, lr_rule="sqrt"),
        StagedBatch(factors=(1, 3), shares=(0.4,)),
    ],
)
def test_a_run_with_a_growing_batch_resumes_bitwise(plan, tiny_run, tiny_data_root, tmp_path):
    config = tiny_run("log_interval=1", steps=40, batch_plan=plan)
    whole = train(config, out=tmp_path / "whole", data_root=tiny_data_root)

    stopped = train(config, out=tmp_path / "parts", data_root=tiny_data_root, display=StopAt(7))
    again = train(config, out=tmp_path / "parts", data_root=tiny_data_root)

    assert stopped.status == "running"
    assert stopped.train["step"] == list(range(1, 8))
    assert (again.train, again.validation) == (whole.train, whole.validation)
    assert len(set(whole.train["batch_size"])) > 1
    files = [run_directory(tmp_path / part, config) / "final.safetensors" for part in ("whole", "parts")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_the_noise_scale_is_in_the_training_series(tiny_run, tiny_data_root, tmp_path):
    config = tiny_run("log_interval=5", steps=20, batch_plan=MeasuredBatch(interval=5, max_factor=1))

    record = train(config, out=tmp_path, data_root=tiny_data_root)

    scales = record.train["noise_scale"]
    assert scales[0] is None  # the first test comes after the point of its own update
    assert all(scale is None or scale > 0 for scale in scales)
    assert any(scale is not None for scale in scales)
    assert record.metrics["final_batch_size"] == 4


def test_measuring_halves_changes_a_run_by_rounding_only(tiny_run, tiny_data_root, tmp_path):
    plain, measured = (
        train(tiny_run(steps=20, batch_plan=plan), out=tmp_path, data_root=tiny_data_root)
        for plan in (None, MeasuredBatch(max_factor=1))
    )

    assert measured.train["loss"] == pytest.approx(plain.train["loss"], rel=1e-5)


def test_a_plan_is_plain_data_and_its_absence_leaves_the_run_its_name(tiny_run):
    config = tiny_run(batch_plan=MeasuredBatch(test="augmented"))

    assert to_dict(config)["batch_plan"]["kind"] == "measured"
    assert from_dict(RunConfig, to_dict(config)) == config
    assert run_id(config) != run_id(tiny_run())
    without = to_dict(tiny_run())
    del without["batch_plan"]
    assert run_id(from_dict(RunConfig, without)) == run_id(tiny_run())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StagedBatch(factors=(2, 1)), r"factors must be whole numbers from 1 on that ascend, got \(2, 1\)"),
        (lambda: StagedBatch(factors=(1, 2), shares=(0.1, 0.2)), "shares must be one less than the 2 factors"),
        (lambda: StagedBatch(shares=(0.5, 0.2)), "shares must ascend between 0 and 1"),
        (lambda: MeasuredBatch(eta=0.0), "eta must be > 0 and finite, got 0.0"),
        (lambda: MeasuredBatch(growth=1.0), r"growth must be > 1, got 1.0"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_plans_that_a_run_cannot_carry_out_are_refused(tiny_run):
    with pytest.raises(ValueError, match="batch_plan must be None beside an adaptive warm-up, which counts updates"):
        tiny_run(lr_schedule=AdaptiveWarmupPlan(end_loss=5.0), batch_plan=StagedBatch())
    with pytest.raises(ValueError, match="batch_size must be a multiple of 2, so that both halves"):
        tiny_run("data.batch_size=3", batch_plan=MeasuredBatch())


def test_a_plan_is_put_into_a_run_that_has_none_by_its_kind(tiny_run):
    config = override(tiny_run(), ["batch_plan.kind=measured", "batch_plan.eta=0.2"])

    assert config.batch_plan == MeasuredBatch(eta=0.2)
    with pytest.raises(ValueError, match=r"unknown batch plan 'mesured'\. Did you mean 'measured'"):
        override(tiny_run(), ["batch_plan.kind=mesured"])
    with pytest.raises(ValueError, match="nothing below 'batch_plan' has fields"):
        override(tiny_run(), ["batch_plan.eta=0.2"])


def test_an_optimizer_of_the_rest_is_put_into_a_run_that_has_none_by_its_name(tiny_run):
    config = override(tiny_run(optimizer="adamw"), ["rest_optimizer.name=sgd", "rest_optimizer.lr=0.1"])

    assert (config.rest_optimizer.rule.name, config.rest_optimizer.lr) == ("sgd", 0.1)


@pytest.fixture
def measured_run(tiny_run, tiny_data_root, tmp_path):
    """A run that measures its noise, and its record."""
    config = tiny_run("log_interval=5", steps=20, measures_noise=True)
    return config, train(config, out=tmp_path / "measured", data_root=tiny_data_root)


def test_any_run_can_log_its_noise_scale_and_changes_by_rounding_only(measured_run, tiny_run, tiny_data_root, tmp_path):
    _, measured = measured_run
    plain = train(tiny_run("log_interval=5", steps=20), out=tmp_path, data_root=tiny_data_root)

    assert measured.train["loss"] == pytest.approx(plain.train["loss"], rel=1e-5)
    assert len(measured.train["noise_scale"]) == 4
    assert all(scale is None or scale > 0 for scale in measured.train["noise_scale"])
    assert any(scale is not None for scale in measured.train["noise_scale"])
    assert measured.metrics["noise_tokens"] > 0
    assert "noise_scale" not in plain.train
    assert "noise_tokens" not in plain.metrics


def test_a_logged_scale_is_the_ratio_of_means_since_the_last_point_and_a_metric_that_of_half_the_run():
    log = NoiseLog(sequence_length=10, log_interval=2)
    seen = [(8.0, 2.0), (4.0, 1.0), (6.0, 3.0), (2.0, -1.0)]  # trace and product of four updates

    readings = []
    for step, (trace, product) in enumerate(seen, 1):
        log.take(Noise(trace=trace, along=0.0, square=1.0, product=product))
        readings.append(log.readings()["noise_scale"])
        log.after_step(Progress(step, step, 4), loss=torch.tensor(1.0))

    assert readings == [4.0, 12 / 3, 2.0, 8 / 2]
    assert log.metrics() == {"noise_tokens_first_half": 10 * 12 / 3, "noise_tokens": 10 * 8 / 2}


def test_a_scale_without_a_signal_is_not_there():
    log = NoiseLog(sequence_length=10, log_interval=2)

    assert log.metrics() == {"noise_tokens_first_half": None, "noise_tokens": None}
    log.take(Noise(trace=1.0, along=0.0, square=1.0, product=-1.0))
    log.after_step(Progress(1, 1, 1), loss=torch.tensor(1.0))
    assert log.metrics()["noise_tokens"] is None


def test_a_run_that_measures_resumes_bitwise_and_accumulates(tiny_run, tiny_data_root, tmp_path):
    config = tiny_run("log_interval=5", "accumulation_steps=4", steps=20, measures_noise=True)
    whole = train(config, out=tmp_path / "whole", data_root=tiny_data_root)

    train(config, out=tmp_path / "parts", data_root=tiny_data_root, display=StopAt(8))
    again = train(config, out=tmp_path / "parts", data_root=tiny_data_root)

    assert again.train == whole.train
    assert [again.metrics[name] for name in ("noise_tokens", "noise_tokens_first_half")] == [
        whole.metrics[name] for name in ("noise_tokens", "noise_tokens_first_half")
    ]


def test_measuring_is_part_of_a_run_that_asks_for_it_only(tiny_run):
    assert "measures_noise" not in identity(tiny_run())
    assert run_id(tiny_run(measures_noise=True)) != run_id(tiny_run())


def test_a_batch_that_has_no_halves_is_refused(tiny_run):
    with pytest.raises(ValueError, match=r"data\.batch_size must be a multiple of 2, so that both halves .* got 3"):
        tiny_run("data.batch_size=3", measures_noise=True)


def test_the_report_and_suggest_say_the_critical_batch(measured_run, tmp_path, capsys):
    config, record = measured_run
    tokens = record.metrics["noise_tokens"]

    table = noise_table(gather([record]))

    assert table.rows[0][:2] == ("adana", "128")
    assert table.rows[0][3] == f"{tokens:,.0f}"
    assert table.rows[0][4] == f"{config.tokens_per_step / tokens:.2g}"
    assert "Critical batch" in render_report([record])

    suggest(noise_from=tmp_path / "measured", as_json=True)

    said = {one["name"]: one["value"] for one in json.loads(capsys.readouterr().out)["suggestions"]}
    assert said["critical-batch"] == tokens


def test_suggest_refuses_two_noise_scales_and_a_study_without_one(tiny_run, tiny_data_root, tmp_path):
    train(tiny_run(steps=4), out=tmp_path, data_root=tiny_data_root)

    with pytest.raises(ValueError, match="Give one of them"):
        suggest(noise_from=tmp_path, noise_tokens="1k")
    with pytest.raises(ValueError, match=r"none of the 1 finished runs .* measures_noise=true"):
        suggest(noise_from=tmp_path)
    with pytest.raises(FileNotFoundError, match="no ledger at"):
        suggest(noise_from=tmp_path / "nothing")


def test_a_report_without_a_measurement_has_no_table(tiny_run, tiny_data_root, tmp_path):
    record = train(tiny_run(steps=4), out=tmp_path, data_root=tiny_data_root)

    assert noise_table(gather([record])) is None
