"""One optimizer that keeps every rule, and for each probe one that breaks a single rule."""

import os
import random
import signal
import sys
import time
import warnings

import torch
from torch.optim import Optimizer


class Momentum(Optimizer):
    """Momentum SGD that keeps every rule."""

    def __init__(self, params, lr=1e-2, *, momentum=0.9, weight_decay=0.1, maximize=False, foreach=None):
        if not isinstance(lr, torch.Tensor) and lr < 0:
            raise ValueError(f"lr must not be negative, got {lr}.")
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(params, {**defaults, "maximize": maximize, "foreach": foreach})

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self.move(param, group)
        return loss

    def move(self, param, group):
        if param.grad.is_sparse:
            raise RuntimeError("Momentum does not take sparse gradients.")
        grad = self.gradient(param, group)
        average = self.average(param)
        average.mul_(group["momentum"]).add_(grad)
        update = average.to(param.dtype) + group["weight_decay"] * param
        before = param.clone() if param.dtype == torch.bfloat16 else None
        param.sub_(group["lr"] * update)
        if before is not None and torch.equal(param, before):
            self.say("updates are lost")

    def say(self, text):
        warnings.warn(text, UserWarning, stacklevel=2)

    def gradient(self, param, group):
        grad = param.grad.to(self.state_dtype(param))
        return -grad if group["maximize"] else grad

    def state_dtype(self, param):
        return param.dtype if param.is_complex() else torch.float32

    def average(self, param):
        state = self.state[param]
        if "average" not in state:
            state["average"] = torch.zeros_like(param, dtype=self.state_dtype(param))
        return state["average"]

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        for own, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            for param, index in zip(own["params"], saved["params"], strict=True):
                for name, value in state_dict["state"].get(index, {}).items():
                    if isinstance(value, torch.Tensor):
                        self.state[param][name] = value.clone()


class StaysAtRest(Momentum):
    def move(self, param, group):
        pass


class BecomesNaN(Momentum):
    def move(self, param, group):
        param.fill_(float("nan"))


class SwallowsArguments(Momentum):
    def __init__(self, params, lr=1e-2, **others):
        super().__init__(params, lr)


class ClimbsWithoutAWord(Optimizer):
    def __init__(self, params, lr=1e-2):
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for param in group["params"]:
                param.sub_(group["lr"] * param.grad)


class ForgetsNames(Momentum):
    def __init__(self, params, lr=1e-2):
        super().__init__([param[1] if isinstance(param, tuple) else param for param in params], lr)


class CountsItsParameters(Momentum):
    """Keeps a list by position, which a new group does not enter."""

    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr)
        self.known = {id(param) for group in self.param_groups for param in group["params"]}

    def move(self, param, group):
        if id(param) in self.known:
            super().move(param, group)


class RemembersParameters(Momentum):
    """Keeps the parameters that it was built with."""

    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr)
        self.first = [param for group in self.param_groups for param in group["params"]]

    @torch.no_grad()
    def step(self, closure=None):
        for param in self.first:
            if param.grad is not None:
                self.move(param, self.param_groups[0])


class ScalesGradients(Momentum):
    def move(self, param, group):
        param.grad.mul_(0.5)
        super().move(param, group)


class ClearsGradients(Momentum):
    def move(self, param, group):
        super().move(param, group)
        param.grad = None


class NegatesTheGradientItself(Momentum):
    def gradient(self, param, group):
        return param.grad.neg_() if group["maximize"] else param.grad.to(torch.float32)


class MaximizesNothing(Momentum):
    def gradient(self, param, group):
        return param.grad.to(torch.float32)


class MovesTwiceTogether(Momentum):
    def move(self, param, group):
        super().move(param, group)
        if group["foreach"]:
            super().move(param, group)


class DisablesGradientsInTheClosure(Momentum):
    @torch.no_grad()
    def step(self, closure=None):
        loss = closure() if closure is not None else None
        super().step()
        return loss


class LosesTheLoss(Momentum):
    def step(self, closure=None):
        super().step(closure)


class LoadsOnItsOwn(Momentum):
    """Calls no hooks when it loads."""

    def load_state_dict(self, state_dict):
        for param, state in zip(self.param_groups[0]["params"], state_dict["state"].values(), strict=True):
            self.state[param] = dict(state)


class DecaysWithoutGradients(Momentum):
    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for param in group["params"]:
                param.mul_(0.999)
        return super().step(closure)


class CountsInTheGroup(Momentum):
    """Corrects a bias by the steps of the group."""

    def step(self, closure=None):
        for group in self.param_groups:
            group["count"] = group.get("count", 0) + 1
        return super().step(closure)

    def gradient(self, param, group):
        return super().gradient(param, group) / (1 - 0.5 ** group["count"])


class CountsInTensors(Momentum):
    """Corrects a bias by the steps of the parameter, also those at learning rate 0."""

    def gradient(self, param, group):
        state = self.state[param]
        state["step"] = state.get("step", torch.zeros(())) + 1
        return super().gradient(param, group) / (1 - 0.5 ** state["step"])


class DecaysWithoutLearningRate(Momentum):
    def move(self, param, group):
        super().move(param, group)
        param.mul_(0.99)


class DividesByTheLearningRate(Momentum):
    def move(self, param, group):
        super().move(param, group)
        param.add_(1e-12 * group["lr"] / group["lr"] if group["lr"] != 0 else float("nan"))


class TakesSparseGradientsWrongly(Momentum):
    def move(self, param, group):
        if param.grad.is_sparse:
            param.sub_(2 * group["lr"] * param.grad.to_dense())
        else:
            super().move(param, group)


class SquaresComplexNumbers(Momentum):
    def gradient(self, param, group):
        grad = super().gradient(param, group)
        return grad * grad.abs()


class DividesByTheSize(Momentum):
    def move(self, param, group):
        assert 1 / param.numel() > 0
        super().move(param, group)


class ReadsMemoryInOrder(Momentum):
    def move(self, param, group):
        flat = torch.as_strided(param, (param.numel(),), (1,))
        flat.sub_(group["lr"] * param.grad.flatten())


class DrawsFromEverybodysGenerator(Momentum):
    def move(self, param, group):
        torch.rand(())
        super().move(param, group)


class SetsTheDefaultDtype(Momentum):
    def move(self, param, group):
        torch.set_default_dtype(torch.float64)
        super().move(param, group)


class KeepsStateInLowPrecision(Momentum):
    def state_dtype(self, param):
        return param.dtype


class LosesUpdatesInSilence(Momentum):
    def say(self, text):
        pass


class KeepsThePeakByReference(Momentum):
    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr)
        self.peak = self.param_groups[0]["lr"]

    def move(self, param, group):
        super().move(param, group)
        param.sub_(0.1 * group["lr"] / self.peak * param)


class StepsBeforeItUnscales(Momentum):
    """Says that it unscales gradients itself, and does not."""

    _step_supports_amp_scaling = True


class CountsInPython(CountsInTheGroup):
    """Unrolls a loop as often as it has stepped: another graph for every count."""

    def gradient(self, param, group):
        grad = param.grad.to(torch.float32)
        for _ in range(group["count"]):
            grad = 0.9 * grad
        return grad


class CountsInTheObject(Momentum):
    """Keeps a number that no checkpoint knows."""

    calls = 0

    def step(self, closure=None):
        self.calls += 1
        self.param_groups[0]["momentum"] = 0.9 / self.calls
        return super().step(closure)


class LoadsAsTorchDoes(Momentum):
    """Lets a float32 average become bfloat16."""

    def load_state_dict(self, state_dict):
        Optimizer.load_state_dict(self, state_dict)


class KeepsThePeakOfTheConstructor(Momentum):
    """Takes what the learning rate is at its first step for the peak."""

    peak = None

    def move(self, param, group):
        self.peak = self.peak or float(group["lr"])
        super().move(param, {**group, "weight_decay": group["lr"] / self.peak})


class HalvesWhenAsked(Momentum):
    def state_dict(self):
        for state in self.state.values():
            state["average"].mul_(0.5)
        return super().state_dict()


class Note:
    """Something that weights_only refuses."""


class KeepsObjects(Momentum):
    def move(self, param, group):
        super().move(param, group)
        self.state[param]["note"] = Note()


class KeepsSettingsOnItself(Momentum):
    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr)
        self.scale = 0.5

    def gradient(self, param, group):
        return self.scale * super().gradient(param, group)


class KeepsNone(Momentum):
    def average(self, param):
        self.state[param]["extra"] = None
        return super().average(param)


class TouchesStateEarly(Momentum):
    """Makes an empty state in the constructor, which distributed checkpoints take for the whole."""

    def __init__(self, params, lr=1e-2):
        super().__init__(params, lr)
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param] = {}


class NormalizesShards(Momentum):
    """Divides by the norm of what this rank holds."""

    def gradient(self, param, group):
        grad = super().gradient(param, group)
        local = grad.to_local() if hasattr(grad, "to_local") else grad
        return grad / (local.norm() + 1e-3)


class RefusesDistributedTensors(Momentum):
    def move(self, param, group):
        if hasattr(param, "to_local"):
            raise NotImplementedError("no sharding strategy")
        super().move(param, group)


class FailsOnOneRank(Momentum):
    def move(self, param, group):
        import torch.distributed as dist

        if dist.is_available() and dist.is_initialized() and dist.get_rank() == 1:
            os._exit(3)
        super().move(param, group)


class LosesShardedState(TouchesStateEarly):
    pass


class ExitsOnTheSecondStep(Momentum):
    how = "sys.exit"
    steps = 0

    def step(self, closure=None):
        self.steps += 1
        if self.steps > 6:  # after the six steps of the first probe
            if self.how == "sys.exit":
                sys.exit(5)
            if self.how == "os._exit":
                os._exit(5)
            if self.how == "killed":
                os.kill(os.getpid(), signal.SIGSEGV)
            time.sleep(600)
        return super().step(closure)


class ExitsAtOnce(ExitsOnTheSecondStep):
    how = "os._exit"


class IsKilled(ExitsOnTheSecondStep):
    how = "killed"


class Hangs(ExitsOnTheSecondStep):
    how = "hang"


class IsLoud(Momentum):
    def step(self, closure=None):
        print("printed")
        os.write(2, b"written")
        warnings.warn("warned", UserWarning, stacklevel=2)
        torch.set_default_dtype(torch.float64)
        torch.manual_seed(7)
        random.seed(7)
        return super().step(closure)
