"""Do the public checks of the contract notice what they are for? Each is given an optimizer that breaks a promise."""

import numpy as np
import pytest
import torch

from logclock import testing
from logclock.optim import SGD, AdamW, Muon


class ScalesForeach(AdamW):
    """Takes other steps on one backend."""

    def step(self, closure=None):
        super().step(closure)
        if self.param_groups[0]["backend"] == "foreach":
            with torch.no_grad():
                self.param_groups[0]["params"][0].mul_(1 + 1e-6)


class CountsInTheObject(AdamW):
    """Keeps a number that no checkpoint knows."""

    calls = 0

    def step(self, closure=None):
        self.calls += 1
        with torch.no_grad():
            self.param_groups[0]["params"][0].sub_(0.125 * self.calls)
        super().step(closure)


class KeepsMore(AdamW):
    """Keeps a state that its rule does not declare."""

    def step(self, closure=None):
        super().step(closure)
        for state in self.state.values():
            state["extra"] = torch.zeros(())


class StartsElsewhere(AdamW):
    """Starts an average at something else than is declared."""

    def materialize_state(self):
        super().materialize_state()
        for state in self.state.values():
            state["exp_avg"].fill_(0.5)


class NegatesGradients(AdamW):
    """Writes the gradient to ascend."""

    def step(self, closure=None):
        for param in self.param_groups[0]["params"]:
            if param.grad is not None:
                param.grad.mul_(-1)
        super().step(closure)


class AscendsHalf(AdamW):
    """Takes half of the step when it ascends."""

    def step(self, closure=None):
        lr = self.param_groups[0]["lr"]
        self.param_groups[0]["lr"] = lr / 2 if self.param_groups[0]["maximize"] else lr
        super().step(closure)
        self.param_groups[0]["lr"] = lr


class OneClock(AdamW):
    """Gives all parameters the clock of the oldest."""

    def step(self, closure=None):
        self.materialize_state()
        params = self.param_groups[0]["params"]
        oldest = max(self.state[param]["step"].item() for param in params)
        for param in params:
            self.state[param]["step"].fill_(oldest)
        super().step(closure)


class Drifts(AdamW):
    """Moves by itself."""

    def step(self, closure=None):
        super().step(closure)
        with torch.no_grad():
            for param in self.param_groups[0]["params"]:
                param.add_(1e-3)


class NeedsElements(AdamW):
    """Divides by the number of elements less one."""

    def step(self, closure=None):
        super().step(closure)
        with torch.no_grad():
            for param in self.param_groups[0]["params"]:
                param.add_(torch.zeros(()) / (param.numel() - 1))


BROKEN = [
    (
        testing.assert_foreach_equals_loop,
        ScalesForeach,
        "foreach and loop, torch.float32, .* must be equal bit for bit",
    ),
    (testing.assert_resumes_bitwise, CountsInTheObject, "the resumed and the uninterrupted run"),
    (testing.assert_keeps_the_declared_state, KeepsMore, "step, exp_avg, exp_avg_sq, extra, declared are"),
    (testing.assert_keeps_the_declared_state, StartsElsewhere, "exp_avg does not start at 'zeros'"),
    (testing.assert_maximize_descends_the_negative, AscendsHalf, "maximize and the negated gradients"),
    (testing.assert_late_parameters_start_at_their_own_first_update, OneClock, "a late parameter and one that starts"),
    (testing.assert_rests_without_gradients, Drifts, "after gradients of zero, .* differ by up to 0.004"),
    (testing.assert_rests_at_learning_rate_zero, Drifts, "after updates at learning rate 0"),
    (testing.assert_copes_with_empty_and_scalar_tensors, NeedsElements, r"shape \(1,\): a weight is not finite"),
    (testing.assert_leaves_gradients_alone, NegatesGradients, "a gradient and itself before the step"),
]


def test_every_check_is_tried_on_something_broken():
    assert {check for check, _, _ in BROKEN} == set(testing.CHECKS)


@pytest.mark.parametrize(("check", "broken", "message"), BROKEN, ids=[broken.__name__ for _, broken, _ in BROKEN])
def test_a_broken_promise_is_noticed_and_named(check, broken, message):
    with pytest.raises(AssertionError, match=message):
        check(broken)


@pytest.mark.parametrize("check", testing.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    ("build", "settings"),
    [
        (AdamW, {}),
        (SGD, {"momentum": 0.9, "apply": "hyperball", "wrappers": ["ema_nesterov"]}),
        (AdamW, {"ema1": 1.0, "wrappers": ["cautious", "schedule_free"]}),
        (Muon, {"iteration_dtype": "float32", "apply": "magnitude_direction"}),
    ],
    ids=["bare", "on a sphere, ahead", "schedule-free", "matrices"],
)
def test_what_keeps_its_promises_passes(check, build, settings):
    check(build, settings)


def heavy_ball(theta, grads, *, lr, decay):
    b = np.zeros_like(theta)
    for t, g in enumerate(grads, start=1):
        b = 0.9 * b + g
        theta = (1 - decay(t)) * theta - lr(t) * b
    return theta, b


def test_a_reference_that_is_the_equation_passes_and_another_does_not():
    settings = {"momentum": 0.9}
    testing.assert_equals_reference(SGD, heavy_ball, settings)

    with pytest.raises(AssertionError, match=r"the parameter of shape \(5, 3\) and the reference after 40 updates"):
        testing.assert_equals_reference(SGD, heavy_ball, {"momentum": 0.9, "nesterov": True})
    with pytest.raises(AssertionError, match="returns 1 arrays, must return 2: the parameter, momentum_buffer"):
        testing.assert_equals_reference(SGD, lambda *args, **run: heavy_ball(*args, **run)[:1], settings)
