import copy
import io
import json
import math
import random

import pytest
import torch
from torch import nn

from logclock import ADANA, AdaptiveWarmup
from logclock.schedules import AdaptiveWarmupPlan, Cosine

RAW = {"ema_halflife": 0.0, "patience": 1, "ratchet": False, "max_warmup_frac": 1.0, "handover_ramp": 0}
"""The released code's behaviour: each loss decides at once."""


def sgd(lr=1.0, **settings):
    return torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=lr, **settings)


def lrs_of(warmup, losses):
    """Return the learning rate of the first update and of the one after each loss."""
    return [warmup.optimizer.param_groups[0]["lr"]] + [step(warmup, loss) for loss in losses]


def step(warmup, loss):
    warmup.optimizer.step()
    warmup.step(loss)
    return warmup.optimizer.param_groups[0]["lr"]


def g(loss, *, loss0, end_loss, ratio, div):
    """The equation of adaptive-warmup.md 2.2 in Delta, with f* from end_loss and r."""
    f_star = (end_loss - ratio * loss0) / (1 - ratio)
    delta, delta_0, delta_star = loss - f_star, loss0 - f_star, end_loss - f_star
    return 1 / (1 + (div - 1) * (delta_0 / delta) * ((delta - delta_star) / (delta_0 - delta_star)) ** 2)


def falling(num, start=10.0, end=3.0, seed=0, noise=0.3):
    """Return a loss curve with noise."""
    generator = random.Random(seed)
    return [end + (start - end) * math.exp(-4 * i / num) + generator.gauss(0, noise) for i in range(num)]


def test_it_is_a_scheduler_of_torch_and_starts_low_without_counting_a_loss():
    optimizer = sgd(lr=0.4)
    warmup = AdaptiveWarmup(optimizer, 100, end_loss=4.0, div=8.0)

    assert isinstance(warmup, torch.optim.lr_scheduler.LRScheduler)
    assert optimizer.param_groups[0]["lr"] == 0.4 / 8
    assert (warmup.last_epoch, warmup.observations, warmup.get_last_lr()) == (0, 0, [0.05])


def test_the_learning_rate_is_the_closed_form_of_each_loss():
    warmup = AdaptiveWarmup(sgd(), 100, end_loss=5.0, delta_ratio=0.25, div=20.0, **RAW)
    losses = [11.0, 9.0, 7.0, 9.5, 6.0, 5.1]

    lrs = lrs_of(warmup, losses)

    expected = [g(loss, loss0=11.0, end_loss=5.0, ratio=0.25, div=20.0) for loss in losses]
    assert lrs == pytest.approx([1 / 20, *expected], rel=1e-13)
    assert warmup.is_warming_up


def test_f_star_and_a_ratio_say_the_same_as_the_end_loss():
    by_end = AdaptiveWarmup(sgd(), 100, end_loss=5.0, delta_ratio=0.25, **RAW)
    by_f_star = AdaptiveWarmup(sgd(), 100, f_star=3.0, delta_ratio=0.25, **RAW)  # 3 + 0.25 (11 - 3)
    losses = [11.0, 9.0, 7.0, 5.2, 4.9, 4.0]

    assert lrs_of(by_f_star, losses) == pytest.approx(lrs_of(by_end, losses), rel=1e-13)
    assert by_f_star.end_loss == 5.0
    assert by_f_star.handover_step == by_end.handover_step == 5


def test_a_loss_above_the_first_one_does_not_go_below_the_start():
    warmup = AdaptiveWarmup(sgd(), 100, end_loss=5.0, **RAW)

    assert lrs_of(warmup, [10.0, 14.0, 100.0]) == [0.01] * 4


def test_the_first_losses_are_averaged_into_the_initial_one():
    warmup = AdaptiveWarmup(sgd(), 100, end_loss=5.0, loss0_window=3, **RAW)

    lrs = lrs_of(warmup, [12.0, 10.0, 8.0, 9.0])

    assert lrs[:3] == [0.01] * 3
    assert warmup.loss0 == 10.0
    assert lrs[4] == pytest.approx(g(9.0, loss0=10.0, end_loss=5.0, ratio=0.32, div=100))


def test_a_given_initial_loss_counts_from_the_first_update():
    warmup = AdaptiveWarmup(sgd(), 100, end_loss=5.0, loss0=10.0, **RAW)

    assert step(warmup, 7.0) == pytest.approx(g(7.0, loss0=10.0, end_loss=5.0, ratio=0.32, div=100))


def test_the_average_has_its_half_life_and_no_bias():
    warmup = AdaptiveWarmup(sgd(), 1000, end_loss=1.0, ema_halflife=5.0)
    losses = falling(40)
    keep = 0.5 ** (1 / 5)

    for i, loss in enumerate(losses):
        step(warmup, loss)
        weights = [keep ** (i - j) for j in range(i + 1)]
        expected = sum(w * x for w, x in zip(weights, losses, strict=False)) / sum(weights)
        assert warmup.average_loss == pytest.approx(expected, rel=1e-12)


def test_a_ratchet_never_lowers_the_learning_rate():
    losses = falling(200)
    free = lrs_of(AdaptiveWarmup(sgd(), 1000, end_loss=2.0, ema_halflife=2.0, ratchet=False), losses)
    held = lrs_of(AdaptiveWarmup(sgd(), 1000, end_loss=2.0, ema_halflife=2.0, ratchet=True), losses)

    assert held == sorted(held)
    assert free != sorted(free)
    assert max(held) == max(free)


def test_patience_waits_for_losses_in_a_row_and_holds_meanwhile():
    warmup = AdaptiveWarmup(sgd(), 100, end_loss=5.0, **RAW | {"patience": 3})

    lrs = lrs_of(warmup, [10.0, 6.0, 4.0, 4.0, 6.0, 4.0, 4.0, 4.0])

    assert warmup.handover_step == 8
    assert lrs[2] == lrs[3] == lrs[4] < 0.5  # low losses that are not believed yet
    assert lrs[8] == 1.0


def test_a_limit_ends_the_warm_up_whatever_the_loss():
    warmup = AdaptiveWarmup(sgd(), 40, end_loss=5.0, **RAW | {"max_warmup_frac": 0.25})

    lrs = lrs_of(warmup, [10.0] * 10)

    assert (warmup.handover_step, warmup.handover_reason) == (10, "limit")
    assert lrs[9] == 0.01
    assert lrs[10] == 1.0


def test_without_a_limit_the_formula_rules_to_the_end():
    warmup = AdaptiveWarmup(sgd(), 20, end_loss=5.0, final=0.3, **RAW)

    lrs = lrs_of(warmup, [10.0] * 25)

    assert lrs[:20] == [0.01] * 20
    assert lrs[20:] == [0.3] * 6
    assert (warmup.handover_step, warmup.handover_reason) == (None, None)


def test_a_hand_over_ramp_rises_from_where_it_stood():
    warmup = AdaptiveWarmup(sgd(), 100, end_loss=5.0, decay="constant", **RAW | {"handover_ramp": 4})

    lrs = lrs_of(warmup, [10.0, 8.0, 4.0, None, None, None, None, None])

    start = g(8.0, loss0=10.0, end_loss=5.0, ratio=0.32, div=100)
    expected = [start + (1 - start) * i / 4 for i in (0, 1, 2, 3, 4, 4)]
    assert lrs[3:] == pytest.approx(expected, rel=1e-13)


def test_a_model_that_is_trained_already_gets_no_warm_up_and_one_warning():
    warmup = AdaptiveWarmup(sgd(), 100, end_loss=5.0, **RAW)

    with pytest.warns(UserWarning, match=r"the initial loss 3\.5 is not above end_loss = 5: no warm-up") as caught:
        lrs = lrs_of(warmup, [3.5, 3.4, 3.3])

    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert (warmup.handover_step, warmup.handover_reason) == (1, "start")
    assert lrs[1] == 0.01  # one more update: a ramp of at least one step
    assert lrs[2] == pytest.approx(Cosine(total_steps=100, warmup_steps=1)(3))


def test_a_loop_that_forgets_the_loss_is_told():
    warmup = AdaptiveWarmup(sgd(), 100, end_loss=5.0)

    with pytest.warns(UserWarning, match=r"got no loss in 10 steps and stays at 1/div\. Call step\(loss\)"):
        lrs = lrs_of(warmup, [None] * 20)

    assert set(lrs) == {0.01}


def test_losses_may_be_numbers_tensors_and_metrics():
    graph = (nn.Parameter(torch.tensor(9.0)) * 1.0).reshape(1)
    kinds = [9.0, 9, torch.tensor(9.0), torch.tensor([9.0]), graph, torch.tensor(9.0, dtype=torch.bfloat16)]
    results = set()
    for value in kinds:
        for name in ("loss", "metrics"):
            warmup = AdaptiveWarmup(sgd(), 100, end_loss=5.0, loss0=11.0, **RAW)
            warmup.optimizer.step()
            warmup.step(**{name: value})
            results.add(warmup.get_last_lr()[0])

    assert len(results) == 1
    assert results.pop() == pytest.approx(g(9.0, loss0=11.0, end_loss=5.0, ratio=0.32, div=100))


def test_none_keeps_the_learning_rate_and_moves_the_clock():
    warmup = AdaptiveWarmup(sgd(), 100, end_loss=5.0, **RAW)

    lrs = lrs_of(warmup, [10.0, 7.0, None])

    assert lrs[3] == lrs[2]
    assert (warmup.last_epoch, warmup.observations) == (3, 2)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, torch.tensor(math.nan)])
def test_losses_that_are_not_finite_are_counted_and_change_nothing(bad):
    plain = AdaptiveWarmup(sgd(), 100, end_loss=5.0, ema_halflife=3.0)
    hit = AdaptiveWarmup(sgd(), 100, end_loss=5.0, ema_halflife=3.0)
    lrs_of(plain, [10.0, 7.0])

    lrs = lrs_of(hit, [bad, 10.0, bad, 7.0, bad])

    assert hit.skipped == 3
    assert lrs[1] == lrs[0] == 0.01
    assert lrs[5] == lrs[4] == plain.get_last_lr()[0]
    assert hit.average_loss == plain.average_loss
    assert hit.is_warming_up


def test_a_loss_that_is_not_finite_does_not_end_the_warm_up_at_its_limit():
    warmup = AdaptiveWarmup(sgd(), 40, end_loss=5.0, **RAW | {"max_warmup_frac": 0.25})

    lrs = lrs_of(warmup, [*[10.0] * 9, math.nan, math.nan, 10.0])

    assert lrs[:12] == [0.01] * 12
    assert warmup.handover_step == 12


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"loss": torch.ones(2)}, ValueError, r"one element, got shape \(2,\)\. Average it"),
        ({"loss": 9.0, "metrics": 9.0}, TypeError, "two names for the same thing"),
    ],
)
def test_a_loss_that_cannot_be_one_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        AdaptiveWarmup(sgd(), 100, end_loss=5.0).step(**arguments)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"end_los": 4.0}, TypeError, r"unknown argument 'end_los'\. Did you mean 'end_loss'"),
        ({"end_loss": 4.0, "preset": "wild"}, ValueError, "preset must be 'robust' or 'paper', got 'wild'"),
        ({"end_loss": 4.0, "sync": "max"}, ValueError, "sync must be 'mean' or 'none', got 'max'"),
        ({"plan": AdaptiveWarmupPlan(end_loss=4.0), "div": 5.0}, TypeError, "plan holds every setting, got div"),
        ({"plan": AdaptiveWarmupPlan(end_loss=4.0), "preset": "paper"}, TypeError, "every setting, got preset beside"),
        ({}, ValueError, "give end_loss"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        AdaptiveWarmup(sgd(), 100, **settings)


def test_a_run_without_steps_is_refused():
    with pytest.raises(ValueError, match="total_steps must be >= 1 update, got 0"):
        AdaptiveWarmup(sgd(), 0, end_loss=4.0)


def test_the_signature_shows_every_setting():
    import inspect

    parameters = inspect.signature(AdaptiveWarmup).parameters

    assert {"optimizer", "total_steps", "preset", "end_loss", "div", "decay", "process_group"} <= set(parameters)
    assert parameters["patience"].default == AdaptiveWarmupPlan(end_loss=1.0).patience


def test_ratios_between_groups_are_kept():
    params = [nn.Parameter(torch.zeros(2)) for _ in range(2)]
    optimizer = torch.optim.AdamW([{"params": params[:1], "lr": 1e-2}, {"params": params[1:]}], lr=1e-3)
    warmup = AdaptiveWarmup(optimizer, 50, end_loss=5.0, **RAW)

    for loss in [10.0, 8.0, 6.0, 4.0, None, None]:
        optimizer.step()
        warmup.step(loss)
        first, second = warmup.get_last_lr()
        assert first == pytest.approx(10 * second, rel=1e-15)
        assert [group["lr"] for group in optimizer.param_groups] == [first, second]


def test_the_peak_of_our_optimizers_is_their_peak_lr():
    params = [nn.Parameter(torch.ones(2)) for _ in range(2)]
    optimizer = ADANA([{"params": params[:1], "lr": 2e-3}, {"params": params[1:]}], lr=1e-5, peak_lr=1e-2)

    warmup = AdaptiveWarmup(optimizer, 50, end_loss=5.0, div=10.0)

    assert warmup.base_lrs == [2e-3, 1e-2]
    assert [group["lr"] for group in optimizer.param_groups] == [2e-4, 1e-3]


def test_a_tensor_learning_rate_is_filled_in_place():
    lr = torch.tensor(0.5, dtype=torch.float64)
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(2))], lr=lr, capturable=False, foreach=False)
    warmup = AdaptiveWarmup(optimizer, 50, end_loss=5.0, div=10.0, **RAW)
    held = optimizer.param_groups[0]["lr"]

    seen = []
    for loss in (10.0, 7.0, 4.0, None):
        optimizer.step()
        warmup.step(loss)
        seen.append(held.item())

    assert optimizer.param_groups[0]["lr"] is held
    assert seen[0] == 0.05
    assert seen[2] == 0.5
    assert seen == [
        pytest.approx(lr)
        for lr in lrs_of(AdaptiveWarmup(sgd(0.5), 50, end_loss=5.0, div=10.0, **RAW), [10.0, 7.0, 4.0, None])[1:]
    ]


def test_a_group_that_joins_later_is_refused_in_plain_words():
    optimizer = sgd()
    warmup = AdaptiveWarmup(optimizer, 50, end_loss=5.0)
    optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})

    with pytest.raises(RuntimeError, match=r"2 parameter groups, AdaptiveWarmup knows 1\. Build the scheduler after"):
        warmup.step(9.0)


@pytest.mark.parametrize("kind", ["Muon", "AdamW", "SGD", "RMSprop"])
def test_it_drives_any_optimizer_of_torch_through_a_whole_run(kind):
    torch.manual_seed(0)
    model = nn.Linear(4, 4, bias=False)
    optimizer = getattr(torch.optim, kind)(model.parameters(), lr=1e-2)
    warmup = AdaptiveWarmup(optimizer, 60, end_loss=0.9, preset="paper", max_warmup_frac=0.5)
    inputs = torch.randn(32, 4)

    for _ in range(60):
        optimizer.zero_grad()
        loss = (model(inputs) - inputs).square().mean()
        loss.backward()
        optimizer.step()
        warmup.step(loss)

    assert 1 <= warmup.handover_step <= 30
    assert optimizer.param_groups[0]["lr"] == 0.0


@pytest.mark.parametrize("decay", ["cosine", "linear", "wsd", "constant"])
def test_after_the_hand_over_the_rate_is_a_function_of_integers(decay):
    """Whatever is passed, it is not looked at, and past the end of the run the last value stays."""
    warmup = AdaptiveWarmup(sgd(0.3), 60, end_loss=5.0, decay=decay, final=0.2, **RAW)
    lrs_of(warmup, [10.0, 8.0, 4.0])

    lrs = lrs_of(warmup, [1e9, None, math.nan, *[7.0] * 60])

    plan = warmup.plan
    assert lrs == [0.3 * plan.decay_factor(k, handover=3, total_steps=60) for k in range(3, 67)]
    assert lrs[-1] == (0.3 if decay == "constant" else 0.3 * 0.2)
    assert (warmup.handover_step, warmup.skipped, warmup.observations) == (3, 0, 3)


class Unreadable(torch.Tensor):
    """A tensor that notices when the host asks for its value."""

    reads = 0

    def item(self):
        Unreadable.reads += 1
        return super().item()

    def __float__(self):
        Unreadable.reads += 1
        return super().__float__()

    def tolist(self):
        Unreadable.reads += 1
        return super().tolist()


def test_the_loss_is_read_once_a_step_while_warming_up_and_never_after(monkeypatch):
    monkeypatch.setattr(Unreadable, "reads", 0)
    warmup = AdaptiveWarmup(sgd(), 60, end_loss=5.0, **RAW)

    for value in (10.0, 8.0, 4.0):
        warmup.optimizer.step()
        warmup.step(torch.tensor(value).as_subclass(Unreadable))
    assert Unreadable.reads == 3
    for _ in range(10):
        warmup.optimizer.step()
        warmup.step(torch.tensor(4.0).as_subclass(Unreadable))
        warmup.step(torch.empty((), device="meta"))  # has no value at all

    assert Unreadable.reads == 3


STATES = {
    "before the first loss": 0,
    "in the window of the initial loss": 1,
    "warming up": 12,
    "in the ramp": 26,
    "decaying": 50,
    "at the end": 80,
    "past the end": 83,
}
LOSSES = [10.2, 9.9, *falling(78, start=10.0, end=2.0, noise=0.05), 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]


def make(decay="cosine", lr=0.7, total_steps=80, **settings):
    fields = {"end_loss": 5.5, "loss0_window": 2, "ema_halflife": 3.0, "patience": 2, "handover_ramp": 8}
    fields |= {"max_warmup_frac": 1.0, "decay": decay, "final": 0.1, "decay_frac": 0.3}
    return AdaptiveWarmup(sgd(lr, momentum=0.9), total_steps, **fields | settings)


def test_the_run_that_the_tests_of_resuming_use_passes_through_every_phase():
    warmup = make()
    phases = []
    for i, loss in enumerate(LOSSES):
        step(warmup, loss)
        if i + 1 in STATES.values():
            ramp_ends = None if warmup.is_warming_up else warmup.handover_step + 8
            phases.append((warmup.loss0 is not None, warmup.is_warming_up, bool(ramp_ends) and i + 1 < ramp_ends))

    assert phases == [(False, True, False), (True, True, False), (True, False, True), *[(True, False, False)] * 3]


@pytest.mark.parametrize("decay", ["cosine", "linear", "wsd", "constant"])
@pytest.mark.parametrize("steps", STATES.values(), ids=STATES)
@pytest.mark.parametrize("way", ["weights_only", "json"])
def test_resuming_is_bitwise_in_every_phase(decay, steps, way):
    whole = lrs_of(make(decay), LOSSES)
    first = make(decay)
    lrs_of(first, LOSSES[:steps])

    resumed = make(decay)
    resumed.load_state_dict(through(first.state_dict(), way))
    tail = lrs_of(resumed, LOSSES[steps:])

    assert tail == whole[steps:]
    assert resumed.state_dict() == after(make(decay), LOSSES).state_dict()


def test_resuming_is_bitwise_after_any_step():
    """Also while patience counts, one step before the hand-over."""
    whole = after(make(), LOSSES)
    expected = lrs_of(make(), LOSSES)
    handover = whole.handover_step
    assert 12 < handover < 26

    for steps in range(handover - 3, handover + 3):
        resumed = make()
        resumed.load_state_dict(after(make(), LOSSES[:steps]).state_dict())
        assert lrs_of(resumed, LOSSES[steps:]) == expected[steps:], steps


def after(warmup, losses):
    lrs_of(warmup, losses)
    return warmup


def through(state, way):
    if way == "json":
        return json.loads(json.dumps(state))
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("order", ["scheduler first", "optimizer first"])
@pytest.mark.parametrize("steps", [12, 26, 50])
def test_resuming_works_before_and_after_the_optimizer_s(order, steps):
    first = make()
    lrs_of(first, LOSSES[:steps])
    states = copy.deepcopy((first.state_dict(), first.optimizer.state_dict()))

    resumed = make(lr=123.0)  # the peak of the checkpoint wins, as torch's hyperparameters do
    if order == "scheduler first":
        resumed.load_state_dict(states[0])
        resumed.optimizer.load_state_dict(states[1])
    else:
        resumed.optimizer.load_state_dict(states[1])
        resumed.load_state_dict(states[0])

    assert resumed.optimizer.param_groups[0]["lr"] == first.get_last_lr()[0]
    assert lrs_of(resumed, LOSSES[steps:]) == lrs_of(first, LOSSES[steps:])


def test_loading_leaves_the_given_state_as_it_was():
    first = make()
    lrs_of(first, LOSSES[:12])
    state = first.state_dict()
    before = copy.deepcopy(state)

    resumed = make()
    resumed.load_state_dict(state)
    lrs_of(resumed, LOSSES[12:])
    resumed.base_lrs[0] = -1.0
    first.base_lrs[0] = -2.0

    assert state == before


def test_the_state_is_plain_data():
    def plain(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(item) for key, item in value.items())
        if isinstance(value, list):
            return all(map(plain, value))
        return type(value) in (int, float, bool, str, type(None))

    for steps in STATES.values():
        assert plain(after(make(), LOSSES[:steps]).state_dict())


def test_another_horizon_is_allowed_with_a_warning():
    first = after(make(), LOSSES[:50])
    longer = make(total_steps=120)

    with pytest.warns(UserWarning, match=r"total_steps = 80; going on to 120\.") as caught:
        longer.load_state_dict(first.state_dict())

    assert caught[0].filename == __file__
    expected = longer.plan.decay_factor(50, handover=first.handover_step, total_steps=120)
    assert longer.factor == expected
    assert longer.optimizer.param_groups[0]["lr"] == 0.7 * expected


def test_a_longer_horizon_goes_on_warming_up_where_the_short_run_ended():
    short = make(end_loss=0.1, total_steps=20)
    lrs_of(short, LOSSES[:20])
    longer = make(end_loss=0.1, total_steps=80)

    with pytest.warns(UserWarning, match="going on to 80"):
        longer.load_state_dict(short.state_dict())

    # the last loss before the end was not looked at, since nothing followed it
    assert lrs_of(longer, [])[0] == lrs_of(make(end_loss=0.1), LOSSES[:19])[-1]


def without(state, key):
    return {name: value for name, value in state.items() if name != key}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"version": 99}, "not a state of AdaptiveWarmup of version 1"),
        (lambda s: without(s, "average"), "not a state of AdaptiveWarmup"),
        (lambda s: s | {"extra": 1}, "not a state of AdaptiveWarmup.*extra"),
        (
            lambda s: s | {"plan": s["plan"] | {"div": 7.0}},
            r"made with div 7\.0, here 100\.0\. Build the scheduler with",
        ),
        (lambda s: s | {"base_lrs": [1.0, 2.0]}, "the state is for 2 parameter groups, the optimizer has 1"),
        (lambda s: {"last_epoch": 3, "base_lrs": [1.0]}, "not a state of AdaptiveWarmup"),
    ],
)
def test_a_state_of_something_else_is_refused_and_changes_nothing(change, message):
    state = change(after(make(), LOSSES[:12]).state_dict())
    fresh = make()
    before = fresh.state_dict()

    with pytest.raises(ValueError, match=message):
        fresh.load_state_dict(state)

    assert fresh.state_dict() == before
