"""How do rules and schedules become a torch.optim.Optimizer that resumes, checkpoints and shards like torch's own?"""

import dataclasses
import inspect
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import torch
from torch._compile import _disable_dynamo
from torch.optim import Optimizer

from logclock import backends
from logclock.backends.operands import is_sharded, local
from logclock.config import from_dict, to_dict
from logclock.config.registry import suggestion
from logclock.rules import Spec

__all__ = ["ScheduledOptimizer", "from_spec", "group_of"]

STATE_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}

SETTINGS = {"backend": "auto", "maximize": False, "state_dtype": None}
"""Settings of a group that are not hyperparameters of its algorithm, with their defaults."""

MAX_STEP = 2**24
"""A float32 counter, torch's convention, cannot count further."""


class ScheduledOptimizer(Optimizer):
    """Any registered algorithm, its hyperparameters numbers or schedules, as a torch optimizer.

    `param_groups` hold every hyperparameter as plain data (a schedule is `{"kind": "inverse_time", ...}`), so a group
    may override any of them and checkpoints load with `weights_only=True`. A group may name another `algorithm`: Muon
    for matrices and ADANA for the rest are two groups of one optimizer.

    State per parameter: `step` (0-d float32 tensor on the CPU: the updates this parameter has seen) and the state
    tensors of its rule, in float32 for parameters of lower precision. Schedules follow the parameter's own clock, so a
    parameter whose first gradient comes late gets the right first update; `group["lr"]` may be moved from outside, and
    s(t) is `group["lr"] / group["peak_lr"]` times the group's `lr_schedule`.

    Args:
        params: Tensors, (name, tensor) pairs, or dicts of groups.
        algorithm: Name of a registered optimizer.
        lr: Current learning rate: a number, or a 0-d tensor that schedulers fill in place. The spec's default if None.
        peak_lr: Peak learning rate, by which independent weight decay is scaled; `lr` if None. Give it when the
            optimizer is built with a learning rate other than the peak.
        backend: `auto` (`loop` on a CPU, `foreach` elsewhere), `loop`, `foreach` or `compiled`.
        maximize: Whether to ascend; gradients are not written.
        state_dtype: Name of the dtype of the state; None: float32, or float64 for float64 parameters. Log-time averages
            stop following their target in bfloat16 after a few thousand updates.
        **hyperparameters: Fields of the algorithm's spec; unknown names raise.

    Raises:
        TypeError: Unknown hyperparameter, here or in a group; complex parameter.
        ValueError: Hyperparameter out of range; unknown algorithm or backend.
    """

    algorithm: ClassVar[str | None] = None

    def __init__(
        self,
        params: Iterable[Any],
        algorithm: str | None = None,
        *,
        lr: float | torch.Tensor | None = None,
        peak_lr: float | None = None,
        backend: str = "auto",
        maximize: bool = False,
        state_dtype: str | None = None,
        **hyperparameters: Any,
    ) -> None:
        name = algorithm or type(self).algorithm
        if name is None:
            raise TypeError(f"name an algorithm: one of {', '.join(Spec.family)}.")
        settings = {"backend": backend, "maximize": maximize, "state_dtype": state_dtype}
        given = {"algorithm": name, "peak_lr": peak_lr, **settings, **hyperparameters}
        if lr is not None:
            given["lr"] = lr
        defaults = _complete(given, type(self).__name__)
        self._specs: dict[int, tuple[dict[str, Any], Spec]] = {}
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; what it leaves out comes from the defaults, or from its own algorithm's if it names another."""
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, got {type(param_group).__name__}.")
        reserved = {"params", "param_names", "initial_lr"}
        given = {key: value for key, value in param_group.items() if key not in reserved}
        same = given.get("algorithm", self.defaults["algorithm"]) == self.defaults["algorithm"]
        inherited = dict(self.defaults) if same else {key: self.defaults[key] for key in SETTINGS}
        if "lr" in given and same:
            del inherited["peak_lr"]  # a group's own lr is its own peak
        group = _complete(inherited | given, type(self).__name__)
        super().add_param_group(group | {key: param_group[key] for key in reserved if key in param_group})
        added = self.param_groups[-1]
        for key in [key for key in added if key not in group and key not in reserved]:
            del added[key]  # torch filled in the defaults of another algorithm
        spec = self.spec(added)
        for param in added["params"]:
            for name in spec.rule.state_names:
                spec.state_shape(name, tuple(param.shape))  # raises for a parameter that the rule does not take
            if param.is_complex():
                raise TypeError(
                    f"{type(self).__name__} does not support complex parameters (got {param.dtype}). "
                    "Optimize torch.view_as_real(parameter) instead."
                )

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or deep-copied optimizer, or one saved before a setting existed."""
        super().__setstate__(state)
        self._specs = {}
        for group in self.param_groups:
            for key, value in SETTINGS.items():
                group.setdefault(key, value)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave, keeping the dtype of every state tensor as it was saved.

        Hyperparameters of the checkpoint win over those given to the constructor.
        """
        seen: dict[str, Any] = {}

        def remember(_: Optimizer, state_dict: dict[str, Any]) -> None:
            seen.update(state_dict)  # after every other hook has had its say

        handle = self.register_load_state_dict_pre_hook(remember)
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()
        self._restore_dtypes(seen)

    def _restore_dtypes(self, state_dict: dict[str, Any]) -> None:
        """Undo torch's cast of float32 state to the dtype of a low-precision parameter."""
        saved_ids = [index for group in state_dict["param_groups"] for index in group["params"]]
        params = [param for group in self.param_groups for param in group["params"]]
        for index, param in zip(saved_ids, params, strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, torch.Tensor) and self.state[param][name].dtype != value.dtype:
                    self.state[param][name] = value.to(device=self.state[param][name].device, copy=True)

    def spec(self, group: dict[str, Any]) -> Spec:
        """Return the spec that a group's plain data stands for; its `lr` is the peak."""
        data = {key: value for key, value in group.items() if key not in _NOT_IN_SPEC}
        data["lr"] = group["peak_lr"]
        known = self._specs.get(id(group))
        if known is None or known[0] != data:
            # the snapshot is deep: a schedule's dict may be edited in place
            known = (_copied(data), _spec_from(group["algorithm"], data, type(self).__name__))
            self._specs[id(group)] = known
        return known[1]

    def materialize_state(self) -> None:
        """Create the state of every parameter without an update, as a host that saves before the first step needs."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.requires_grad:
                    self._state_of(param, group)

    def _state_of(self, param: torch.Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state: dict[str, Any] = self.state[param]
        if "step" not in state:
            dtype = group["state_dtype"]
            dtype = torch.promote_types(param.dtype, torch.float32) if dtype is None else STATE_DTYPES[dtype]
            state["step"] = torch.zeros((), dtype=torch.float32)
            spec = self.spec(group)
            for name in spec.rule.state_names:
                shape = spec.state_shape(name, tuple(param.shape))
                if shape == tuple(param.shape):
                    state[name] = torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format)
                else:  # a matrix of its own, whole on every rank
                    state[name] = torch.zeros(shape, dtype=dtype, device=param.device)
        return state

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one update.

        Args:
            closure: Reevaluates the model and returns the loss; optional.

        Returns:
            The loss of the closure, or None.

        Raises:
            RuntimeError: A gradient is sparse, or a parameter has seen 2^24 updates.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._update()
        return loss

    @_disable_dynamo  # torch.compiler.disable would import the compiler, which takes seconds
    def _update(self) -> None:
        for group in self.param_groups:
            spec = self.spec(group)
            for t, params in self._advance(group).items():
                scalars = spec.scalars(t, _host_number(group["lr"]))
                for (device, _, _), members in _by_kind(params).items():
                    states = [[self.state[p][name] for p in members] for name in spec.rule.state_names]
                    run = backends.get(group["backend"], device, spec.rule)
                    grads = [p.grad for p in members]
                    run(spec.rule, members, grads, states, scalars, maximize=group["maximize"])

    def _advance(self, group: dict[str, Any]) -> dict[float, list[torch.Tensor]]:
        """Advance the clocks of the parameters that have a gradient and return them by their new t."""
        by_time: dict[float, list[torch.Tensor]] = {}
        for param in group["params"]:
            if param.grad is None:
                continue
            if param.grad.layout != torch.strided:
                raise RuntimeError(
                    f"{type(self).__name__} does not support sparse gradients. Use sparse=False in the embedding, or "
                    "torch.optim.SparseAdam for that parameter."
                )
            is_new = param not in self.state
            state = self._state_of(param, group)
            if is_new and group["lr"] == 0 and _is_zero(param.grad):
                continue  # a host that asks for the state before the first update makes exactly this step
            state["step"] += 1
            t = state["step"].item()
            if t >= MAX_STEP:
                raise RuntimeError(
                    f"{type(self).__name__}: a parameter has seen {MAX_STEP} updates, where its float32 step counter "
                    "stops counting and with it every schedule. Continue from a new optimizer."
                )
            by_time.setdefault(t, []).append(param)
        return by_time

    def current_scalars(self) -> list[dict[str, Any]]:
        """Return the rule's scalars of the latest update for each group, by their glossary names.

        A group whose parameters have different clocks reports its oldest one; before the first update t is 1.
        """
        report = []
        for group in self.param_groups:
            steps = [self.state[p]["step"].item() for p in group["params"] if "step" in self.state.get(p, {})]
            scalars = self.spec(group).scalars(max(steps, default=0) or 1, _host_number(group["lr"]))
            report.append({name: float(value) for name, value in scalars.items()})
        return report

    def state_bytes(self) -> int:
        """Return the bytes of the state tensors on this rank, step counters left out."""
        return sum(
            local(value).numel() * value.element_size()
            for state in self.state.values()
            for name, value in state.items()
            if name != "step"
        )


_NOT_IN_SPEC = {"params", "param_names", "initial_lr", "algorithm", "lr", "peak_lr", *SETTINGS}


def _complete(given: dict[str, Any], owner: str) -> dict[str, Any]:
    """Return a group's plain data with every hyperparameter present, checked; `lr` stays as it was given."""
    fields = {key: value for key, value in given.items() if key not in _NOT_IN_SPEC}
    default_lr = next(f.default for f in dataclasses.fields(Spec.family.get(given["algorithm"])) if f.name == "lr")
    lr = given.get("lr", default_lr)
    if isinstance(lr, torch.Tensor) and lr.numel() != 1:
        raise ValueError(f"lr must be a number or a tensor with one element, got shape {tuple(lr.shape)}.")
    peak = given.get("peak_lr")
    peak = float(lr if peak is None else peak)
    spec = _spec_from(given["algorithm"], {**to_dict(fields), "lr": peak}, owner)
    group = {"lr": lr, "algorithm": given["algorithm"], "peak_lr": peak}
    for key, value in SETTINGS.items():
        group[key] = given.get(key, value)
    backends.get(group["backend"], torch.device("cpu"), spec.rule)
    if group["state_dtype"] is not None and group["state_dtype"] not in STATE_DTYPES:
        raise ValueError(f"state_dtype must be None or one of {', '.join(STATE_DTYPES)}, got {group['state_dtype']!r}.")
    plain = to_dict(spec)
    return group | {key: value for key, value in plain.items() if key not in ("name", "lr")}


def _spec_from(algorithm: str, data: dict[str, Any], owner: str) -> Spec:
    cls = Spec.family.get(algorithm)
    names = [f.name for f in dataclasses.fields(cls)]
    for key in data:
        if key not in names:
            hint = suggestion(key, [*names, *SETTINGS, "peak_lr"])
            if key in ("foreach", "fused", "capturable", "differentiable"):
                hint = " Choose an implementation with backend='loop', 'foreach' or 'compiled'."
            known = ", ".join([*names, "peak_lr", *SETTINGS])
            raise TypeError(f"{owner} ({algorithm}) got an unknown argument {key!r}.{hint} Known: {known}.")
    spec: Spec = from_dict(Spec, {"name": algorithm, **data})
    return spec


def _copied(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _copied(value) for key, value in data.items()}
    return [_copied(value) for value in data] if isinstance(data, list) else data


def _host_number(lr: Any) -> Any:
    """Return a learning rate as a number, except for a tensor on an accelerator: reading that would wait for it."""
    return float(lr) if not isinstance(lr, torch.Tensor) or lr.device.type == "cpu" else lr


def _is_zero(grad: torch.Tensor) -> bool:
    """Return whether a gradient is zero on every rank (so that all ranks agree)."""
    norm: Any = torch.linalg.vector_norm(grad)
    return bool((norm.full_tensor() if is_sharded(norm) else norm).item() == 0)


def _by_kind(params: list[torch.Tensor]) -> dict[tuple[torch.device, torch.dtype, torch.dtype], list[torch.Tensor]]:
    """Group parameters by what one call of a backend can take: a device and the dtypes of parameter and gradient."""
    groups: dict[tuple[torch.device, torch.dtype, torch.dtype], list[torch.Tensor]] = {}
    for param in params:
        assert param.grad is not None
        groups.setdefault((param.device, param.dtype, param.grad.dtype), []).append(param)
    return groups


def from_spec(spec: Spec, params: Iterable[Any], **settings: Any) -> ScheduledOptimizer:
    """Build an optimizer from a spec; `settings` are those of `ScheduledOptimizer` (backend, maximize, ...)."""
    return ScheduledOptimizer(params, **group_of(spec), **settings)


def group_of(spec: Spec) -> dict[str, Any]:
    """Return the keys by which a parameter group names an algorithm and its hyperparameters."""
    data = to_dict(spec)
    return {"algorithm": data.pop("name"), **data}


def signature_of(spec: type[Any], own: Iterable[inspect.Parameter]) -> inspect.Signature:
    """Return the signature of a spec's class: params, lr, then the spec's, the class's own and the settings."""
    kinds = inspect.Parameter
    parameters = [kinds("params", kinds.POSITIONAL_OR_KEYWORD)]
    for f in dataclasses.fields(spec):
        kind = kinds.POSITIONAL_OR_KEYWORD if f.name == "lr" else kinds.KEYWORD_ONLY
        parameters.append(kinds(f.name, kind, default=f.default, annotation=f.type))
    parameters += [parameter for parameter in own if parameter.kind is kinds.KEYWORD_ONLY]
    settings = {"peak_lr": None, **SETTINGS}
    parameters += [kinds(name, kinds.KEYWORD_ONLY, default=default) for name, default in settings.items()]
    return inspect.Signature(parameters)
