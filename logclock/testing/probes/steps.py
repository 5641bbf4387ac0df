"""What does a step read, write and leave alone?"""

import inspect
import random
import warnings
from typing import Any

import torch

from logclock.testing.probe import Broken, NotApplicable, probe
from logclock.testing.subject import Subject, copies, is_same, largest_difference, set_gradients, shift

__all__ = [
    "closure",
    "complex_parameters",
    "empty_tensors",
    "foreach",
    "global_state",
    "gradients",
    "hooks",
    "late_parameter",
    "maximize",
    "no_gradient",
    "rest_at_zero",
    "sparse_gradients",
    "state_precision",
    "step",
    "strides",
    "tiny_update",
]

ROUNDING = 1e-4
"""Of the movement of six float32 updates: what another order of operations may change."""


@probe(
    "step",
    purpose="Six steps move every parameter and leave it finite.",
    why="Every other probe stands on it: if it fails, they are not asked.",
)
def step(subject: Subject) -> str:
    """Take six steps."""
    start = subject.params()
    optimizer, params = subject.trained(6)
    for param, first in zip(params, start, strict=True):
        if not bool(param.isfinite().all()):
            raise Broken(f"After 6 steps a parameter of shape {tuple(param.shape)} is NaN or infinite.")
        if torch.equal(param, first):
            raise Broken(f"In 6 steps a parameter of shape {tuple(param.shape)} does not move.")
    if not isinstance(optimizer, torch.optim.Optimizer):
        raise Broken(f"{type(optimizer).__name__} is no torch.optim.Optimizer.")
    return "Six steps move every parameter."


@probe(
    "gradients",
    purpose="step() leaves gradients as they are.",
    why="Gradient norms that are logged after the step, accumulation and a second optimizer read them.",
    threads=("pytorch/pytorch#30257", "pytorch/pytorch#92706"),
)
def gradients(subject: Subject) -> str:
    """Compare every gradient before and after two steps."""
    for dtype in (torch.float32, torch.bfloat16):
        params = subject.params(dtype)
        optimizer = subject.optimizer(params)
        for number in range(2):
            set_gradients(params, number)
            _step_keeping_gradients(subject, optimizer, params, f"step {number + 1}, {dtype}")
    return "Gradients are the same after the step, in float32 and bfloat16."


def _step_keeping_gradients(subject: Subject, optimizer: Any, params: list[torch.nn.Parameter], where: str) -> None:
    before = [None if param.grad is None else param.grad.clone() for param in params]
    subject.step(optimizer)
    for param, grad in zip(params, before, strict=True):
        if param.grad is None:
            raise Broken(f"step() sets p.grad to None ({where}).")
        if grad is not None and not torch.equal(param.grad, grad):
            raise Broken(f"step() writes into p.grad ({where}).")


@probe(
    "maximize",
    purpose="maximize=True takes the steps of the negated gradients and does not write them.",
    why="A negated p.grad is wrong for whoever reads it next.",
    threads=("pytorch/pytorch#30257",),
)
def maximize(subject: Subject) -> str:
    """Ascend, and descend with the negated gradients."""
    ascending, descending = subject.params(), subject.params()
    climber = subject.optimizer_with(ascending, "maximize", True)
    walker = subject.optimizer(descending)
    start = copies(ascending)
    for number in range(4):
        set_gradients(ascending, number)
        _step_keeping_gradients(subject, climber, ascending, f"maximize, step {number + 1}")
        set_gradients(descending, number, scale=-1.0)
        subject.step(walker)
    off = shift(ascending, descending, start)
    if off > ROUNDING:
        raise Broken("maximize=True and negated gradients take different steps.", off)
    return "maximize=True takes the steps of the negated gradients."


@probe(
    "late-parameter",
    purpose="A parameter that gets its first gradient at step 5 moves then as it would have at step 1.",
    why="Unfrozen layers and experts that are rarely chosen otherwise start with another bias correction.",
)
def late_parameter(subject: Subject) -> str:
    """Give the last parameter its first gradient at step 5, and compare with a run that begins with it."""
    first = 4
    params, twins, others = subject.params(), subject.params(), subject.params()
    late, twin = params[-1], twins[-1]
    start = copies([late])
    optimizer = subject.optimizer(params)
    for number in range(first + 1):
        set_gradients(params, number)
        if number < first:
            late.grad = None
        subject.step(optimizer)
    beside = subject.optimizer(others)
    subject.run(beside, others, range(first))  # where the late one trains too
    if not is_same(_without_last(params, subject, first), others[:-1]):
        raise NotApplicable(
            "The update of a parameter depends on the others' gradients: there is no single right step."
        )
    set_gradients(twins, first)
    for other in twins[:-1]:
        other.grad = None
    subject.step(subject.optimizer(twins))
    off = shift([late], [twin], start)
    if off > ROUNDING:
        raise Broken("The first update of a parameter at step 5 is another than at step 1.", off)
    return "The first update of a parameter is the same at step 5 as at step 1."


def _without_last(params: list[torch.nn.Parameter], subject: Subject, steps: int) -> list[torch.Tensor]:
    """Return all parameters but the last after steps in which the last has no gradient."""
    alone = subject.params()
    optimizer = subject.optimizer(alone)
    for number in range(steps):
        set_gradients(alone, number)
        alone[-1].grad = None
        subject.step(optimizer)
    return copies(alone[:-1])


@probe(
    "no-gradient",
    purpose="A parameter without a gradient stays as it is, also when no parameter has one.",
    why="Frozen layers and unused experts have no gradients, and weight decay must not act on them.",
)
def no_gradient(subject: Subject) -> str:
    """Step without any gradient, then with all but one, then again."""
    params = subject.params()
    optimizer = subject.optimizer(params)
    start = copies(params)
    subject.step(optimizer)
    if not is_same(params, start):
        raise Broken("A step without any gradient moves weights.")
    subject.run(optimizer, params, range(2))
    before = copies(params)
    for param in params:
        param.grad = None
    subject.step(optimizer)
    if not is_same(params, before):
        raise Broken("After 2 steps, one without any gradient moves weights.")
    set_gradients(params, 2)
    params[0].grad = None
    subject.step(optimizer)
    if not is_same(params[:1], before[:1]):
        raise Broken("A parameter without a gradient moves when others have one.")
    return "Parameters without gradients stay."


@probe(
    "rest-at-zero",
    purpose="The first step at learning rate 0 with gradients of zero moves nothing and makes no NaN.",
    why="torch's distributed checkpoints and torchtitan take exactly this step to create the state.",
    threads=("pytorch/pytorch#121186",),
)
def rest_at_zero(subject: Subject) -> str:
    """Take that step."""
    params = subject.params()
    optimizer = subject.optimizer(params)
    if any("lr" not in group for group in optimizer.param_groups):
        raise NotApplicable("Its groups have no lr.")
    before = copies(params)
    for group in optimizer.param_groups:
        group["lr"] = torch.zeros_like(group["lr"]) if isinstance(group["lr"], torch.Tensor) else 0.0
    subject.run(optimizer, params, range(1), scale=0.0)
    if not all(bool(param.isfinite().all()) for param in params):
        raise Broken("The step makes weights NaN or infinite.")
    if not is_same(params, before):
        raise Broken(f"The step moves weights by up to {largest_difference(params, before):.2g}.")
    states = [value for state in optimizer.state.values() for value in state.values()]
    if any(isinstance(v, torch.Tensor) and v.is_floating_point() and bool(v.isnan().any()) for v in states):
        raise Broken("The step makes a state NaN.")
    return "The step moves nothing."


@probe(
    "closure",
    purpose="step(closure) runs the closure with gradients enabled and returns its loss.",
    why="Lightning always passes a closure.",
)
def closure(subject: Subject) -> str:
    """Pass a closure that notes whether gradients are enabled and sets them."""
    params, usual = subject.params(), subject.params()
    optimizer = subject.optimizer(params)
    if "closure" not in inspect.signature(type(optimizer).step).parameters:
        raise NotApplicable("Its step takes no closure.")
    seen: list[bool] = []

    def evaluate() -> torch.Tensor:
        seen.append(torch.is_grad_enabled())
        set_gradients(params, 0)
        return torch.tensor(2.5)

    loss = optimizer.step(evaluate)
    if not seen:
        raise Broken("The closure is not called.")
    if not all(seen):
        raise Broken("The closure runs with gradients disabled: loss.backward() fails in it.")
    if loss is None or float(loss) != 2.5:
        raise Broken(f"The closure returns 2.5, step(closure) {loss!r}.")
    if len(seen) > 1:
        return f"The closure runs {len(seen)} times with gradients enabled, and its loss is returned."
    subject.run(subject.optimizer(usual), usual, range(1))
    if not is_same(params, usual):
        raise Broken("The step with a closure is another than the one with the same gradients set before.")
    return "The closure runs with gradients enabled, and its loss is returned."


@probe(
    "hooks",
    purpose="Hooks before and after the step and around the state dict are called.",
    why="Profilers, FSDP and trainers hang on them.",
)
def hooks(subject: Subject) -> str:
    """Register one of each kind."""
    params = subject.params()
    optimizer = subject.optimizer(params)
    called: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: called.append("before the step"))
    optimizer.register_step_post_hook(lambda *_: called.append("after the step"))
    optimizer.register_state_dict_pre_hook(lambda *_: called.append("before state_dict"))
    optimizer.register_state_dict_post_hook(lambda *_: called.append("after state_dict"))
    optimizer.register_load_state_dict_pre_hook(lambda *_: called.append("before load_state_dict"))
    optimizer.register_load_state_dict_post_hook(lambda *_: called.append("after load_state_dict"))
    subject.run(optimizer, params, range(1))
    optimizer.load_state_dict(optimizer.state_dict())
    wanted = [
        f"{when} {what}"
        for what in ("the step", "state_dict", "load_state_dict")
        for when in ("before", "after")
        if called.count(f"{when} {what}") != 1
    ]
    if wanted:
        counts = ", ".join(f"{name}: {called.count(name)} times" for name in wanted)
        raise Broken(f"Hooks must be called once: {counts}.")
    return "All six kinds of hooks are called once."


@probe(
    "foreach",
    purpose="foreach=True and foreach=False take the same steps.",
    why="torch chooses one of the two by the device.",
)
def foreach(subject: Subject) -> str:
    """Run both."""
    many, single = subject.params(), subject.params()
    start = copies(many)
    together = subject.optimizer_with(many, "foreach", True)
    alone = subject.optimizer_with(single, "foreach", False)
    subject.run(together, many, range(6))
    subject.run(alone, single, range(6))
    off = shift(many, single, start)
    if off > ROUNDING:
        raise Broken("foreach=True and foreach=False take different steps.", off)
    return "foreach=True and foreach=False take the same steps."


@probe(
    "sparse-gradients",
    purpose="A sparse gradient is handled as its dense form, or refused.",
    why="Embeddings with sparse=True have them.",
)
def sparse_gradients(subject: Subject) -> str:
    """Step with one, and with its dense form."""
    shape = next((shape for shape in subject.shapes if len(shape) == 2), None)
    if shape is None:
        raise NotApplicable("It is tested without matrices.")
    sparse, dense = subject.params(shapes=(shape,)), subject.params(shapes=(shape,))
    start = copies(dense)
    set_gradients(dense, 0)
    grad = dense[0].grad
    assert grad is not None
    grad[1:] = 0.0
    sparse[0].grad = torch.sparse_coo_tensor(torch.tensor([[0]]), grad[:1].clone(), shape, check_invariants=False)
    try:
        subject.step(subject.optimizer(sparse))
    except Exception as error:
        if not is_same(sparse, start):
            raise Broken(f"A sparse gradient raises {type(error).__name__}, after weights have moved.") from error
        return f"A sparse gradient raises {type(error).__name__}."
    subject.step(subject.optimizer(dense))
    rows = [tensor[:1] for tensor in (sparse[0], dense[0], start[0])]
    off = shift(rows[:1], rows[1:2], rows[2:])
    if off > ROUNDING:
        raise Broken("A sparse gradient moves its rows otherwise than the same gradient as a dense tensor.", off)
    return "A sparse gradient moves its rows as the same gradient in dense form."


@probe(
    "complex-parameters",
    purpose="A complex parameter moves as the pairs of its real and imaginary parts, or is refused.",
    why="A square of a complex number is no second moment.",
)
def complex_parameters(subject: Subject) -> str:
    """Step with one, and with its real view."""
    if subject.takes_matrices_only:
        real_shape: tuple[int, ...] = (4, 2)
    else:
        real_shape = (3, 4, 2)
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(real_shape, generator=generator)
    grads = [torch.randn(real_shape, generator=generator) for _ in range(3)]
    whole = torch.nn.Parameter(torch.view_as_complex(parts.clone()))
    start = copies([whole])
    try:
        optimizer = subject.optimizer([whole])
        for grad in grads:
            whole.grad = torch.view_as_complex(grad.clone())
            subject.step(optimizer)
    except Exception as error:
        if not is_same([whole], start):
            raise Broken(f"A complex parameter raises {type(error).__name__}, after it has moved.") from error
        return f"A complex parameter raises {type(error).__name__}."
    pairs = torch.nn.Parameter(parts.clone())
    try:
        optimizer = subject.optimizer([pairs])
        for grad in grads:
            pairs.grad = grad.clone()
            subject.step(optimizer)
    except Exception as error:
        raise NotApplicable(
            f"It takes a complex parameter and refuses its real view ({_first_line(error)})."
        ) from error
    off = shift([torch.view_as_real(whole.detach())], [pairs], [torch.view_as_real(start[0])])
    if off > ROUNDING:
        raise Broken("A complex parameter moves otherwise than its real and imaginary parts, without a word.", off)
    return "A complex parameter moves as its real and imaginary parts."


@probe(
    "empty-tensors",
    purpose="Tensors without elements and without dimensions are parameters like others.",
    why="A rank's shard may be empty, and gains may be single numbers.",
    threads=("databricks/flashoptim#6",),
)
def empty_tensors(subject: Subject) -> str:
    """Step with each of them beside an ordinary one."""
    ordinary = subject.shapes[0]
    unusual = [(0, 3), (1, 3)] if subject.takes_matrices_only else [(0,), (0, 3), (), (1,)]
    for shape in unusual:
        params = subject.params(shapes=(ordinary, shape))
        optimizer = subject.optimizer(params)
        try:
            subject.run(optimizer, params, range(3))
        except Exception as error:
            raise Broken(f"A parameter of shape {shape} raises {type(error).__name__}: {_first_line(error)}") from error
        if not all(bool(param.isfinite().all()) for param in params):
            raise Broken(f"Beside a parameter of shape {shape}, or in it, weights become NaN or infinite.")
    return f"Parameters of shapes {', '.join(map(str, unusual))} train."


@probe(
    "strides",
    purpose="A parameter whose memory is not in the order of its dimensions takes the same steps.",
    why="Transposed and channels-last weights are common.",
)
def strides(subject: Subject) -> str:
    """Train a transposed matrix, and the same values in order."""
    shape = next((shape for shape in subject.shapes if len(shape) == 2), (4, 3))
    usual = subject.params(shapes=(shape,))
    values = usual[0].detach()
    strided = [torch.nn.Parameter(values.t().contiguous().t())]
    assert strided[0].stride() != usual[0].stride() or 1 in shape
    start = copies(usual)
    subject.run(subject.optimizer(strided), strided, range(6))
    subject.run(subject.optimizer(usual), usual, range(6))
    off = shift(strided, usual, start)
    if off > ROUNDING:
        raise Broken("A transposed parameter takes other steps than the same values in order.", off)
    return "A transposed parameter takes the same steps."


@probe(
    "state-precision",
    purpose="The state of bfloat16 weights is kept in float32, or in a format made for it.",
    why="A slow average in bfloat16 stops following its target: the root of a log-time v grows 2.5 times too large.",
    threads=("pytorch/pytorch#120376", "areal-project/AReaL#1292"),
)
def state_precision(subject: Subject) -> str:
    """Look at the dtypes of the state of bfloat16 parameters."""
    optimizer, params = subject.trained(2, torch.bfloat16)
    states = [value for param in params for value in optimizer.state.get(param, {}).values()]
    if any(isinstance(value, torch.Tensor) and value.dtype in (torch.int8, torch.uint8) for value in states):
        return "The states are 8-bit numbers, in a format made for them."
    kept = {
        f"{name} ({str(value.dtype).removeprefix('torch.')})"
        for param in params
        for name, value in optimizer.state.get(param, {}).items()
        if isinstance(value, torch.Tensor) and value.dtype in (torch.bfloat16, torch.float16)
    }
    if kept:
        raise Broken(f"Plain 16-bit states: {', '.join(sorted(kept))}.")
    return "No state of a bfloat16 parameter is plain bfloat16."


@probe(
    "tiny-update",
    purpose="An update that is too small for bfloat16 weights is not lost in silence.",
    why="A run in plain bfloat16 stops learning when its updates fall below half a unit in the last place.",
    threads=("Nerogar/OneTrainer#996", "pytorch/pytorch#120376"),
)
def tiny_update(subject: Subject) -> str:
    """Take 60 steps of 1e-4 from weights of 1, where bfloat16 has steps of 0.0039 and 0.0078."""
    if not subject.may_take("lr"):
        raise NotApplicable("It has no argument lr.")
    params = [torch.nn.Parameter(torch.ones(shape, dtype=torch.bfloat16)) for shape in subject.shapes]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        optimizer = subject.optimizer(params, lr=1e-4)
        for _ in range(60):
            for param in params:
                param.grad = torch.ones_like(param)
            subject.step(optimizer)
    if any(not bool((param == 1).all()) for param in params):
        return "The weights move."
    said = [str(warning.message) for warning in caught if issubclass(warning.category, UserWarning)]
    if said:
        return "The weights do not move, and a warning says so."
    raise Broken("60 updates of 1e-4 leave weights of 1 in bfloat16 exactly where they were, without a warning.")


@probe(
    "global-state",
    purpose="A step leaves torch's settings, its modes and the random numbers of everyone else alone.",
    why="Numbers drawn from the global generator make a resumed run another run, and settings change the model's.",
)
def global_state(subject: Subject) -> str:
    """Compare them before and after."""
    params = subject.params(torch.bfloat16)
    before = _global_state()
    subject.run(subject.optimizer(params), params, range(3))
    changed = [name for name, value in _global_state().items() if value != before[name]]
    if changed:
        raise Broken(f"Building it and 3 steps change {', '.join(changed)}.")
    return "Settings, modes and random generators are untouched."


def _global_state() -> dict[str, Any]:
    return {
        "torch's default generator": torch.get_rng_state().tolist(),
        "Python's random generator": random.getstate(),
        "the default dtype": torch.get_default_dtype(),
        "whether gradients are enabled": torch.is_grad_enabled(),
        "the number of threads": torch.get_num_threads(),
        "the precision of matrix products": torch.get_float32_matmul_precision(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
    }


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]
