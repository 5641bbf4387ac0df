"""Does a run that is saved and resumed end where it would have ended?"""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import torch

from logclock.testing.probe import Broken, NotApplicable, probe
from logclock.testing.subject import Subject, copies, is_same, shift

__all__ = [
    "dcp_flat",
    "dcp_peek",
    "pickled",
    "resume",
    "resume_bfloat16",
    "resume_schedule",
    "state_dict_is_pure",
    "weights_only",
]

BEFORE, AFTER = 6, 6
"""Steps before and after saving."""


def _resumed(subject: Subject, dtype: torch.dtype) -> str:
    """Save and load with torch, and compare six more steps with those of the uninterrupted run."""
    optimizer, params = subject.trained(BEFORE, dtype)
    start = copies(params)
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    twins = [torch.nn.Parameter(param.detach().clone()) for param in params]
    loaded = subject.optimizer(twins)
    loaded.load_state_dict(torch.load(buffer, weights_only=False))
    subject.train(loaded)
    subject.run(optimizer, params, range(BEFORE, BEFORE + AFTER))
    subject.run(loaded, twins, range(BEFORE, BEFORE + AFTER))
    if is_same(twins, params):
        return "Six steps after loading are those of the run that went on, bit for bit."
    raise Broken("Six steps after loading are not those of the run that went on.", shift(twins, params, start))


@probe(
    "resume",
    purpose="A run that is saved and loaded goes on bit for bit.",
    why="A resumed run that is another run cannot be compared with anything.",
    threads=("facebookresearch/schedule_free#32", "kozistr/pytorch_optimizer#363"),
)
def resume(subject: Subject) -> str:
    """Resume in float32."""
    return _resumed(subject, torch.float32)


@probe(
    "resume-bfloat16",
    purpose="The same with bfloat16 parameters.",
    why="load_state_dict casts every floating-point state but `step` to the parameter's dtype: 1001 becomes 1000.",
    threads=("pytorch/pytorch#43706",),
)
def resume_bfloat16(subject: Subject) -> str:
    """Resume in bfloat16."""
    return _resumed(subject, torch.bfloat16)


@probe(
    "resume-schedule",
    purpose="The same with a scheduler, built before loading as trainers do.",
    why="What a step reads of the peak learning rate must come from the checkpoint, not from the constructor.",
    threads=("NVIDIA/Megatron-LM#7468", "NVIDIA-NeMo/Automodel#3882"),
)
def resume_schedule(subject: Subject) -> str:
    """Resume with a LambdaLR."""
    params = subject.params()
    optimizer = subject.optimizer(params)
    scheduler = _scheduler(optimizer)
    _scheduled(subject, optimizer, scheduler, params, range(BEFORE))
    start = copies(params)
    saved = copy.deepcopy(optimizer.state_dict()), scheduler.state_dict()
    twins = [torch.nn.Parameter(param.detach().clone()) for param in params]
    loaded = subject.optimizer(twins)
    other = _scheduler(loaded)
    loaded.load_state_dict(saved[0])
    other.load_state_dict(saved[1])
    subject.train(loaded)
    rest = range(BEFORE, BEFORE + AFTER)
    _scheduled(subject, optimizer, scheduler, params, rest)
    _scheduled(subject, loaded, other, twins, rest)
    if is_same(twins, params):
        return "With a scheduler too, six steps after loading are those of the run that went on."
    raise Broken("With a scheduler, six steps after loading are not those of the run.", shift(twins, params, start))


def _scheduler(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - 0.05 * step)


def _scheduled(subject: Subject, optimizer: Any, scheduler: Any, params: Any, steps: range) -> None:
    for number in steps:
        subject.run(optimizer, params, [number])
        scheduler.step()


@probe(
    "weights-only",
    purpose="A state dict loads with weights_only=True.",
    why="Loading anything else runs code from the file, and torch.load refuses it by default.",
)
def weights_only(subject: Subject) -> str:
    """Save and load the state dict."""
    optimizer, _ = subject.trained(2)
    buffer = io.BytesIO()
    torch.save(optimizer.state_dict(), buffer)
    buffer.seek(0)
    try:
        torch.load(buffer, weights_only=True)
    except pickle.UnpicklingError as error:
        kinds = sorted(
            {
                type(value).__name__
                for state in optimizer.state.values()
                for value in _values(state)
                if not isinstance(value, torch.Tensor | int | float | bool | str | None)
            }
        )
        raise Broken(f"torch.load refuses it{': it holds ' + ', '.join(kinds) if kinds else ''}.") from error
    return "torch.load takes it."


def _values(state: Any) -> list[Any]:
    if isinstance(state, dict):
        return [leaf for value in state.values() for leaf in _values(value)]
    return [state]


@probe(
    "pickle",
    purpose="A pickled or deep-copied optimizer takes the same next steps.",
    why="torch's pickling keeps groups, defaults and state: hyperparameters in other attributes are lost.",
    threads=("kozistr/pytorch_optimizer#306",),
)
def pickled(subject: Subject) -> str:
    """Copy both ways, and step."""
    ways: dict[str, Callable[[Any], Any]] = {
        "deep-copied": copy.deepcopy,
        "pickled": lambda value: pickle.loads(pickle.dumps(value)),
    }
    optimizer, params = subject.trained(3)
    start = copies(params)
    made = {}
    for way, copied in ways.items():
        try:
            made[way] = copied((optimizer, params))
        except pickle.PicklingError:
            if "<locals>" in getattr(type(optimizer), "__qualname__", ""):
                continue  # of a class that is not importable, pickle can keep nothing
            raise
        except AttributeError as error:
            if way == "pickled" and "local object" in str(error):
                continue
            raise
    subject.run(optimizer, params, range(3, 6))
    for way, (twin, twins) in made.items():
        try:
            subject.run(twin, twins, range(3, 6))
        except Exception as error:
            raise Broken(f"The {way} optimizer cannot step: {type(error).__name__}: {error}") from error
        if not is_same(twins, params):
            raise Broken(f"The {way} optimizer takes other steps.", shift(twins, params, start))
    return f"The {' and the '.join(made)} optimizer takes the same steps."


@probe(
    "state-dict-is-pure",
    purpose="Asking for the state dict, and loading the own one, change no later step.",
    why="Trainers save in the middle of a run that goes on.",
    threads=("pytorch/pytorch#125708",),
)
def state_dict_is_pure(subject: Subject) -> str:
    """Ask between steps, and load what came."""
    asked, usual = subject.params(), subject.params()
    start = copies(asked)
    optimizer, other = subject.optimizer(asked), subject.optimizer(usual)
    for number in range(4):
        subject.run(optimizer, asked, [number])
        saved = optimizer.state_dict()
        if set(saved) < {"state", "param_groups"}:
            raise Broken(f"The state dict has {', '.join(map(str, saved))}, not state and param_groups.")
        optimizer.load_state_dict(state_dict=copy.deepcopy(saved))
        subject.run(other, usual, [number])
    if not is_same(asked, usual):
        off = shift(asked, usual, start)
        raise Broken("A run that asks for its state dict after every step, and loads it, takes other steps.", off)
    return "A run that asks for its state dict after every step, and loads it, takes the same steps."


def _model(subject: Subject) -> torch.nn.Module:
    return torch.nn.ParameterList(subject.params())


def _in_checkpoint(subject: Subject, model: torch.nn.Module) -> Any:
    return subject.optimizer(list(model.parameters()))


@probe(
    "dcp-peek",
    purpose="Asking torch's distributed checkpoints for the state before the first step changes no later step.",
    why="torchtitan creates the state so; torch takes a step at learning rate 0, which must not count.",
    threads=("pytorch/pytorch#121186", "pytorch/pytorch#164929"),
)
def dcp_peek(subject: Subject) -> str:
    """Compare six steps with and without."""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    usual, params = subject.trained(6)
    model = _model(subject)
    weights = list(model.parameters())
    start = copies(weights)
    optimizer = _in_checkpoint(subject, model)
    if any("lr" not in group for group in optimizer.param_groups):
        raise NotApplicable("Its groups have no lr.")
    get_optimizer_state_dict(model, optimizer)
    subject.run(optimizer, weights, range(6))
    del usual
    off = shift(weights, params, start)
    if off > 0:
        raise Broken("After asking for the state before the first step, the next six steps are others.", off)
    return "Six steps after it are those without it."


@probe(
    "dcp-flat",
    purpose="The state goes through torch's distributed checkpoints, nested and flat, and the run goes on.",
    why="Values that are None, a custom class or a dict of dicts are refused or, worse, silently left out.",
    threads=("facebookresearch/schedule_free#32", "meta-pytorch/torchtune#2803"),
)
def dcp_flat(subject: Subject) -> str:
    """Get the state, set it in a fresh optimizer, and compare three more steps."""
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_optimizer_state_dict,
        set_optimizer_state_dict,
    )

    for is_flat in (False, True):
        kind = "flat" if is_flat else "nested"
        options = StateDictOptions(flatten_optimizer_state_dict=is_flat)
        model, twin = _model(subject), _model(subject)
        weights, twins = list(model.parameters()), list(twin.parameters())
        optimizer = _in_checkpoint(subject, model)
        subject.run(optimizer, weights, range(4))
        try:
            saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=options))
        except Exception as error:
            raise Broken(f"Getting the {kind} state raises {type(error).__name__}: {error}") from error
        for weight, value in zip(twins, copies(weights), strict=True):
            weight.data.copy_(value)
        loaded = _in_checkpoint(subject, twin)
        try:
            set_optimizer_state_dict(twin, loaded, saved, options=options)
        except Exception as error:
            raise Broken(f"Setting the {kind} state raises {type(error).__name__}: {error}") from error
        for weight, value in zip(twins, copies(weights), strict=True):
            weight.data.copy_(value)  # creating a state may have moved them: that is the question of rest-at-zero
        subject.train(loaded)
        start = copies(weights)
        subject.run(optimizer, weights, range(4, 7))
        subject.run(loaded, twins, range(4, 7))
        if not is_same(twins, weights):
            off = shift(twins, weights, start)
            raise Broken(f"After a {kind} state was loaded without an error, the next three steps are others.", off)
    return "Nested and flat, three steps after loading are those of the run that went on."
