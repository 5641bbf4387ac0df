"""Does an optimizer of this grammar keep the package's promises? The checks of its contract."""

import io
import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from logclock.optim import LowPrecisionWarning, ScheduledOptimizer
from logclock.optim.completion import completed, group_keys, spec_of
from logclock.rules import Spec, State
from logclock.schedules import Cosine, log_time_decay, value_at

__all__ = [
    "CHECKS",
    "assert_copes_with_empty_and_scalar_tensors",
    "assert_equals_reference",
    "assert_foreach_equals_loop",
    "assert_keeps_the_declared_state",
    "assert_late_parameters_start_at_their_own_first_update",
    "assert_leaves_gradients_alone",
    "assert_maximize_descends_the_negative",
    "assert_rests_at_learning_rate_zero",
    "assert_rests_without_gradients",
    "assert_resumes_bitwise",
]

Settings = Mapping[str, Any] | None
Shapes = Sequence[tuple[int, ...]] | None
Reference = Callable[..., Sequence[Any]]

LR = 1e-2
"""Learning rate of the checks: six updates move parameters near 1 visibly and keep them near 1."""

SHAPES = ((5, 3), (4,), (2, 3, 2), ())
ODD_SHAPES = ((300,), (7, 11), (), (0,), (1,), (33, 1, 2), (6, 6), (6, 6), (400, 350))
"""Beside the unusual: one tensor that backends cut into pieces, and two of one shape, which they stack."""

MATRICES = ((5, 3), (4, 4), (3, 6), (4, 4))

STACK_TOLERANCE = {torch.float32: 2e-4, torch.float64: 1e-10, torch.bfloat16: 2e-2}
"""Six updates of 1e-2 near 1 by matrix stages, whose products of a stack may be summed in another order."""


def assert_foreach_equals_loop(build: type[Any], settings: Settings = None, *, shapes: Shapes = None) -> None:
    """Both interpreting backends take the same steps: bit for bit, or to rounding if a stage works on matrices.

    Args:
        build: The optimizer class.
        settings: Hyperparameters to test with.
        shapes: Of the parameters; give them if the equations leave a matrix of some shape undetermined.
    """
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        results, spec = [], None
        for backend in ("loop", "foreach"):
            params = _params(build, settings, shapes or ODD_SHAPES, dtype=dtype)
            optimizer = _built(build, params, settings, backend=backend)
            spec = _spec(optimizer)
            _run(optimizer, params, range(6))
            results.append([*params, *_states(optimizer, params)])
        assert spec is not None
        for loop, foreach in zip(*results, strict=True):
            what = f"foreach and loop, {dtype}, a tensor of shape {tuple(loop.shape)}"
            if spec.rule.is_elementwise:
                _assert_same(foreach, loop, what)
            else:
                tolerance = STACK_TOLERANCE[dtype]
                _assert_close(foreach, loop, what, relative=tolerance, absolute=tolerance)


def assert_resumes_bitwise(build: type[Any], settings: Settings = None, *, shapes: Shapes = None) -> None:
    """A run that is saved after six of twelve updates and loaded with `weights_only=True` ends where it would have."""
    for dtype in (torch.float32, torch.bfloat16):
        whole = _params(build, settings, shapes, dtype=dtype)
        _run(_built(build, whole, settings), whole, range(12))

        first = _params(build, settings, shapes, dtype=dtype)
        optimizer = _built(build, first, settings)
        _run(optimizer, first, range(6))
        buffer = io.BytesIO()
        torch.save({"params": first, "optimizer": optimizer.state_dict()}, buffer)
        buffer.seek(0)
        saved = torch.load(buffer, weights_only=True)
        second = [torch.nn.Parameter(param.detach().clone()) for param in saved["params"]]
        resumed = _built(build, second, settings)
        resumed.load_state_dict(saved["optimizer"])
        _run(resumed, second, range(6, 12))

        for ours, expected in zip(second, whole, strict=True):
            _assert_same(ours, expected, f"the resumed and the uninterrupted run, {dtype}")


def assert_keeps_the_declared_state(build: type[Any], settings: Settings = None, *, shapes: Shapes = None) -> None:
    """The state is that of the rule's declaration: names, shapes, first values, dtypes, bytes, and nothing else."""
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        params = _params(build, settings, shapes, dtype=dtype)
        optimizer = _built(build, params, settings)
        spec = _spec(optimizer)
        optimizer.materialize_state()
        start = {param: {name: value.clone() for name, value in optimizer.state[param].items()} for param in params}
        weights = {param: param.detach().clone() for param in params}
        _run(optimizer, params, range(3))
        for param in params:
            state = optimizer.state[param]
            wanted = ["step", *spec.rule.state_names]
            assert list(state) == wanted, f"the state of a parameter has {', '.join(state)}, declared are {wanted}."
            assert state["step"].item() == 3, f"after 3 updates the clock shows {state['step'].item()}."
            for name, declared in spec.rule.states.items():
                shape = () if declared.is_number else spec.state_shape(name, tuple(param.shape))
                found = tuple(state[name].shape)
                assert found == shape, (
                    f"{name} of a parameter of shape {tuple(param.shape)} has shape {found}, declared is {shape}."
                )
                first = _first_value(declared, weights[param], shape).to(state[name].dtype)
                assert bool((start[param][name] == first).all()), f"{name} does not start at {declared.init!r}."
                kept = torch.promote_types(dtype, torch.float32)
                if declared.is_number:
                    exact = state[name].dtype in (torch.float32, torch.float64)
                    assert exact, f"{name}, a number, is {state[name].dtype}, not float32 or float64."
                elif not (settings or {}).get("state_dtype"):
                    assert state[name].dtype == kept, (
                        f"{name} of a {dtype} parameter is {state[name].dtype}, not {kept}."
                    )
        tensors = _states(optimizer, params)
        size = sum(value.numel() * value.element_size() for value in tensors)
        assert optimizer.state_bytes() == size, (
            f"state_bytes() is {optimizer.state_bytes()}, the state has {size} bytes."
        )


def assert_maximize_descends_the_negative(
    build: type[Any], settings: Settings = None, *, shapes: Shapes = None
) -> None:
    """`maximize=True` takes the steps of the negated gradients, bit for bit."""
    for backend in ("loop", "foreach"):
        ascending, descending = (_params(build, settings, shapes) for _ in range(2))
        _run(_built(build, ascending, settings, backend=backend, maximize=True), ascending, range(4))
        _run(_built(build, descending, settings, backend=backend), descending, range(4), scale=-1.0)
        for ours, expected in zip(ascending, descending, strict=True):
            _assert_same(ours, expected, f"maximize and the negated gradients, {backend}")


def assert_late_parameters_start_at_their_own_first_update(
    build: type[Any], settings: Settings = None, *, shapes: Shapes = None
) -> None:
    """A parameter whose first gradient comes later than the others' takes the steps of a run that begins with it."""
    params, twins = (_params(build, settings, shapes) for _ in range(2))
    optimizer, fresh = _built(build, params, settings), _built(build, twins, settings)
    late, late_twin = params[-1], twins[-1]
    for step in range(6):
        _set_gradients(params, step)
        if step < 3:
            late.grad = None
        _step(optimizer)
    for step in range(3, 6):
        _set_gradients(twins, step)
        for twin in twins[:-1]:
            twin.grad = None
        _step(fresh)

    if not _spec(optimizer).rule.shared_states:  # such a number has moved on without the late parameter
        _assert_same(late, late_twin, "a late parameter and one that starts with its first gradient")
    seen = optimizer.state[late]["step"].item()
    assert seen == 3, f"a parameter with 3 gradients has seen {seen} updates."


def assert_rests_without_gradients(build: type[Any], settings: Settings = None, *, shapes: Shapes = None) -> None:
    """Gradients of zero move nothing when there is no weight decay, and make no NaN."""
    params = _params(build, settings, shapes)
    before = [param.detach().clone() for param in params]
    optimizer = _built(build, params, {**(settings or {}), "weight_decay": 0.0})
    _run(optimizer, params, range(4), scale=0.0)

    for param, first in zip(params, before, strict=True):
        _assert_close(param, first, "after gradients of zero, without decay, a parameter and its start")


def assert_rests_at_learning_rate_zero(build: type[Any], settings: Settings = None, *, shapes: Shapes = None) -> None:
    """An update at learning rate 0 counts, fills the averages and moves no weight.

    The step that a host makes only to create the state, at learning rate 0 with gradients of zero, does not count. A
    rule that trains at another point than it evaluates may go on moving towards that point.
    """
    params = _params(build, settings, shapes)
    before = [param.detach().clone() for param in params]
    optimizer = _built(build, params, settings)
    optimizer.param_groups[0]["lr"] = 0.0
    _run(optimizer, params, range(1), scale=0.0)
    for param in params:
        created = optimizer.state[param]
        assert "step" in created, "a step at learning rate 0 without gradients creates no state."
        assert created["step"].item() == 0, "the step that only creates the state advances the clock."
    _run(optimizer, params, range(3))

    for param, first in zip(params, before, strict=True):
        seen = optimizer.state[param]["step"].item()
        assert seen == 3, f"3 updates at learning rate 0 count as {seen}."
        if _spec(optimizer).evaluation(1) is None:
            _assert_close(param, first, "after updates at learning rate 0, a parameter and its start")
        assert bool(param.isfinite().all()), "updates at learning rate 0 make a weight that is not finite."


def assert_copes_with_empty_and_scalar_tensors(build: type[Any], settings: Settings = None) -> None:
    """Tensors without elements, with one, and without dimensions are parameters like others."""
    for backend in ("loop", "foreach"):
        params = _params(build, settings, ((0,), (0, 0), (0, 3), (1,), (1, 1), ()))
        before = [param.detach().clone() for param in params]
        optimizer = _built(build, params, settings, backend=backend)
        _run(optimizer, params, range(3))
        for param, first in zip(params, before, strict=True):
            where = f"{backend}, shape {tuple(param.shape)}"
            assert bool(param.isfinite().all()), f"{where}: a weight is not finite after 3 updates."
            keeps_norm = _spec(optimizer).apply.needs_norm  # of a single number the sign alone can change
            assert keeps_norm or not param.numel() or not torch.equal(param, first), f"{where}: nothing moved."


def assert_leaves_gradients_alone(build: type[Any], settings: Settings = None, *, shapes: Shapes = None) -> None:
    """Gradients are read and never written, also under `maximize` and in another dtype than the arithmetic's."""
    for dtype in (torch.float32, torch.bfloat16):
        for backend in ("loop", "foreach"):
            for maximize in (False, True):
                params = _params(build, settings, shapes, dtype=dtype)
                optimizer = _built(build, params, settings, backend=backend, maximize=maximize)
                _set_gradients(params, 0)
                before = [_gradient(param).clone() for param in params]
                _step(optimizer)
                for param, grad in zip(params, before, strict=True):
                    _assert_same(_gradient(param), grad, f"a gradient and itself before the step, {backend}")


CHECKS: tuple[Callable[..., None], ...] = (
    assert_foreach_equals_loop,
    assert_resumes_bitwise,
    assert_keeps_the_declared_state,
    assert_maximize_descends_the_negative,
    assert_late_parameters_start_at_their_own_first_update,
    assert_rests_without_gradients,
    assert_rests_at_learning_rate_zero,
    assert_copes_with_empty_and_scalar_tensors,
    assert_leaves_gradients_alone,
)
"""The checks that need nothing but the class and its hyperparameters."""


def assert_equals_reference(
    build: type[Any],
    reference: Reference,
    settings: Settings = None,
    *,
    shapes: Shapes = None,
    total_steps: int = 40,
    relative: float = 1e-12,
    absolute: float = 1e-13,
) -> None:
    """Under a running learning rate and weight decay, weights and states follow a transcription of the equations.

    Args:
        build: The optimizer class.
        reference: `(theta, gradients, *, lr, decay) -> (theta, *states)` on float64 arrays: the start, the gradients of
            all updates, and functions of t that return the learning rate and the fraction that decay removes. It gets
            `position`, the number of the parameter, too if a stage draws random numbers.
        settings: Hyperparameters to test with; the reference must know them.
        shapes: Of the parameters.
        total_steps: Number of updates.
        relative: Tolerance; the default allows for the float64 rounding of 40 updates in another order of operations.
        absolute: The same near 0.
    """
    params = _params(build, settings, shapes, dtype=torch.float64)
    start = [param.detach().clone() for param in params]
    schedule = Cosine(total_steps=total_steps, warmup_steps=5, warmup_start=0.01, final=0.1)
    optimizer = _built(build, params, settings)
    spec = _spec(optimizer)
    gradients: list[list[Any]] = [[] for _ in params]
    for step in range(1, total_steps + 1):
        _set_gradients(params, step, scale=0.1 + 1 / step)
        for history, param in zip(gradients, params, strict=True):
            history.append(_gradient(param).clone().numpy())
        optimizer.param_groups[0]["lr"] = spec.lr * schedule(step)
        optimizer.step()

    def lr(t: int) -> float:
        return spec.lr * schedule(t)

    def decay(t: int) -> float:
        factor = lr(t) if spec.decay_coupling == "coupled" else schedule(t)
        return float(factor * value_at(spec.weight_decay, t))

    for position, (param, first, history) in enumerate(zip(params, start, gradients, strict=True)):
        placed = {"position": position} if spec.rule.is_random else {}
        expected = list(reference(first.numpy(), history, lr=lr, decay=decay, **placed))
        ours = [param.detach(), *_states(optimizer, [param])]
        names = ["the parameter", *spec.rule.state_names]
        assert len(expected) == len(ours), (
            f"the reference returns {len(expected)} arrays, must return {len(ours)}: {', '.join(names)}."
        )
        for name, mine, theirs in zip(names, ours, expected, strict=True):
            what = f"{name} of shape {tuple(mine.shape)} and the reference after {total_steps} updates"
            _assert_close(mine, torch.as_tensor(theirs), what, relative=relative, absolute=absolute)


def _built(build: type[Any], params: Iterable[Any], settings: Settings, **others: Any) -> ScheduledOptimizer:
    """Return an optimizer with a running weight decay where decay has an effect."""
    given = dict(settings or {})
    if "weight_decay" not in given:
        given["weight_decay"] = log_time_decay(0.5, offset=4.0) if _spec_of(build, given).apply.decays else 0.0
    optimizer: ScheduledOptimizer = build(params, **{"lr": LR, **given, **others})
    return optimizer


def _spec_of(build: type[Any], settings: Mapping[str, Any]) -> Spec:
    """Return the spec of a class with these hyperparameters."""
    given = {"algorithm": build.algorithm, "lr": LR, "weight_decay": 0.0, **settings}
    others = ("skip_nonfinite", "capturable", "clip_norm")  # of the optimizer, not of a group
    group = completed({key: value for key, value in given.items() if key not in others}, build.__name__)
    return spec_of(build.algorithm, {key: group[key] for key in group_keys(build.algorithm)} | {"lr": group["peak_lr"]})


def _spec(optimizer: ScheduledOptimizer) -> Spec:
    return optimizer.spec(optimizer.param_groups[0])


def _params(
    build: type[Any], settings: Settings, shapes: Shapes, *, dtype: torch.dtype = torch.float32
) -> list[torch.nn.Parameter]:
    """Return parameters of those of the shapes that the optimizer takes, the same at every call."""
    spec = _spec_of(build, dict(settings or {}))
    matrices_only = spec.matrices_only or any(option.matrices_only for option in (spec.apply, *spec.wrappers))
    shapes = shapes or (MATRICES if matrices_only else SHAPES)
    taken = [shape for shape in shapes if len(shape) == 2 or not matrices_only]
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in taken]


def _set_gradients(params: Iterable[torch.nn.Parameter], step: int, scale: float = 1.0) -> None:
    """Give every parameter a gradient that depends on the step alone; scale 0 makes gradients of exactly zero."""
    generator = torch.Generator().manual_seed(1000 + step)
    for param in params:
        param.grad = (scale * torch.randn(param.shape, generator=generator)).to(param.dtype)


def _run(
    optimizer: ScheduledOptimizer, params: Sequence[torch.nn.Parameter], steps: Iterable[int], scale: float = 1.0
) -> None:
    for step in steps:
        _set_gradients(params, step, scale)
        _step(optimizer)


def _step(optimizer: ScheduledOptimizer) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", LowPrecisionWarning)  # 16-bit weights, on purpose
        optimizer.step()


def _first_value(declared: State, param: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """Return what a state of a shape starts at."""
    if declared.init == "param":
        return param
    if declared.init == "identity":
        return torch.eye(*shape, dtype=torch.float64)
    return torch.tensor(0.0 if declared.init == "zeros" else declared.init, dtype=torch.float64)


def _states(optimizer: ScheduledOptimizer, params: Iterable[torch.nn.Parameter]) -> list[torch.Tensor]:
    return [value for param in params for name, value in optimizer.state[param].items() if name != "step"]


def _gradient(param: torch.nn.Parameter) -> torch.Tensor:
    assert param.grad is not None
    return param.grad


def _assert_same(ours: torch.Tensor, expected: torch.Tensor, what: str) -> None:
    assert ours.dtype == expected.dtype, f"{what}: {ours.dtype} and {expected.dtype} must be one dtype."
    both_nan = ours.isnan() & expected.isnan()
    same = (ours == expected) | both_nan
    assert bool(same.all()), f"{what} must be equal bit for bit, and differ by up to {_distance(ours, expected):.3g}."


def _assert_close(
    ours: torch.Tensor, expected: torch.Tensor, what: str, *, relative: float = 1e-5, absolute: float = 1e-6
) -> None:
    """Compare; the default tolerances are a few roundings of float32 near 1."""
    assert ours.shape == expected.shape, f"{what}: shapes {tuple(ours.shape)} and {tuple(expected.shape)} differ."
    near = torch.isclose(ours.double(), expected.double(), rtol=relative, atol=absolute)
    assert bool(near.all()), (
        f"{what} must agree to {relative:g} of their size or {absolute:g}, and differ by up to "
        f"{_distance(ours, expected):.3g}."
    )


def _distance(ours: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest difference, NaN for a NaN on one side."""
    return (ours.detach().double() - expected.detach().double()).abs().max().item() if ours.numel() else math.nan
