"""How do rules and schedules become a torch.optim.Optimizer that resumes, checkpoints and shards like torch's own?"""

import contextlib
import dataclasses
import itertools
import sys
import warnings
from collections.abc import Callable, Container, Iterable, Iterator
from typing import Any, ClassVar

import torch
from torch._compile import _disable_dynamo
from torch.optim import Optimizer

from logclock import backends
from logclock.backends import gpu
from logclock.backends.operands import is_sharded, local
from logclock.backends.storage import FORMATS, Rounding
from logclock.config import to_dict
from logclock.optim import second_gradients, torch_state
from logclock.optim.clipping import CLIP_SCALE, check_clip_norm, clip_scale, clipped, total_norm
from logclock.optim.completion import (
    BOOKKEEPING,
    SETTINGS,
    THIRD_BETAS,
    LiveGroup,
    completed,
    group_keys,
    plain,
    spec_of,
    state_formats,
)
from logclock.optim.replays import Replays, reason_against
from logclock.optim.shadowing import refuse_lost_schedules
from logclock.optim.strong_decay import is_strong, refuse_strong_decay
from logclock.rules import Rule, Spec
from logclock.schedules import Constant, Schedule, value_at

__all__ = ["MAX_STEP", "LowPrecisionWarning", "ScheduledOptimizer", "from_spec", "group_of"]

MAX_STEP = 2**24
"""A float32 counter, torch's convention, cannot count further."""

NONFINITE = ("propagate", "skip", "raise")
"""What a step does with a gradient that holds NaN or infinity."""


class LowPrecisionWarning(UserWarning):
    """Weights in a 16-bit format lose updates that are small beside them."""


class ScheduledOptimizer(Optimizer):
    """Any registered algorithm, its hyperparameters numbers or schedules, as a torch optimizer.

    `param_groups` hold every hyperparameter as plain data (a schedule is `{"kind": "inverse_time", ...}`), so a group
    may override any of them and checkpoints load with `weights_only=True`. A group may name another `algorithm`: Muon
    for matrices and ADANA for the rest are two groups of one optimizer.

    State per parameter: `step` (0-d float32 tensor on the CPU: the updates this parameter has seen) and the states of
    its rule, in float32 for parameters of lower precision. Schedules follow the parameter's own clock, so a parameter
    whose first gradient comes late gets the right first update; `group["lr"]` may be moved from outside, and s(t) is
    `group["lr"] / group["peak_lr"]` times the group's `lr_schedule`. A step that raises leaves weights, states and
    clocks as they were.

    Args:
        params: Tensors, (name, tensor) pairs, or dicts of groups.
        algorithm: Name of a registered optimizer.
        lr: Current learning rate: a number, or a 0-d tensor that schedulers fill in place. The spec's default if None.
        peak_lr: Peak learning rate, by which independent weight decay is scaled; `lr` if None. Give it when the
            optimizer is built with a learning rate other than the peak.
        backend: `auto` (the fastest: `fused` on a CPU, or without a C++ compiler `loop`, and `foreach` for matrices;
            `foreach` elsewhere), `loop`, `foreach`, or `fused`, which builds each program once, with the machine's
            compiler or, for CUDA, with Triton, and rounds otherwise than the others. It belongs to the process and not
            to the run: a checkpoint does not change it.
        maximize: Whether to ascend; gradients are not written.
        state_dtype: Storage format of the states, or a dict of formats by state; None: float32, or float64 for float64
            parameters. An average refuses a format that could not follow its target; `bfloat16_stochastic` rounds up
            or down at random and can.
        rounding_seed: Seed of stochastic rounding and of whatever else an algorithm draws; the bits depend on it, the
            parameter, its clock and the element.
        skip_nonfinite: What to do with a gradient that is not finite, of any parameter: `propagate` it as torch does,
            `skip` the whole step, or `raise`. Skipped steps are counted in `skipped_steps` of every group.
        capturable: Whether steps run on a CUDA device without the host, so that a CUDA graph can repeat them: counters
            of updates are on the device then, and so are the scalars of as many updates as `prepare_replays` was told.
            Elementwise rules only, with backend `fused`. It belongs to the process, as the backend.
        clip_norm: Bound on the 2-norm of the gradients of all parameters together, as `clip_grad_norm_` sets it, but
            within the update: one pass less over the gradients, which are not written. The norm that was found is
            `grad_norm`. None does not clip.
        **hyperparameters: Fields of the algorithm's spec, or `betas` and `beta3` for 1 - ema1, 1 - ema2, 1 - ema_slow;
            unknown names raise.

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
        state_dtype: str | dict[str, str] | None = None,
        rounding_seed: int = 0,
        skip_nonfinite: str = "propagate",
        capturable: bool = False,
        clip_norm: float | None = None,
        **hyperparameters: Any,
    ) -> None:
        name = algorithm or type(self).algorithm
        if name is None:
            raise TypeError(f"name an algorithm: one of {', '.join(Spec.family)}.")
        if skip_nonfinite not in NONFINITE:
            raise ValueError(
                f"skip_nonfinite must be one of {', '.join(map(repr, NONFINITE))}, got {skip_nonfinite!r}."
            )
        check_clip_norm(clip_norm)
        if not isinstance(capturable, bool):
            raise TypeError(f"capturable must be True or False, got {capturable!r}.")
        if capturable and skip_nonfinite == "raise":
            raise ValueError(
                "skip_nonfinite='raise' reads every gradient on the host, which capturable=True avoids. Use 'skip', "
                "which decides on the device, or 'propagate'."
            )
        settings = {
            "backend": backend,
            "maximize": maximize,
            "state_dtype": state_dtype,
            "rounding_seed": rounding_seed,
        }
        given = {"algorithm": name, "peak_lr": peak_lr, **settings, **hyperparameters}
        if lr is not None:
            given["lr"] = lr
        defaults = completed(given, type(self).__name__)
        params = refuse_lost_schedules(params, hyperparameters, type(self).__name__)
        self._forget()
        whole = {"skip_nonfinite": skip_nonfinite, "capturable": capturable, "clip_norm": clip_norm}
        super().__init__(params, {**defaults, **whole})

    def _forget(self) -> None:
        """Start without what is derived from groups and states."""
        self._specs: dict[int, tuple[dict[str, Any], Spec]] = {}
        self._trained_weights: dict[torch.Tensor, torch.Tensor] | None = None
        self._has_warned = False
        self._replays = Replays()
        self._grad_norm: torch.Tensor | None = None

    @property
    def grad_norm(self) -> torch.Tensor | None:
        """The 2-norm of all gradients at the latest step, before `clip_norm` bounded it; None if it bounds none."""
        return self._grad_norm

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether a gradient scaler leaves it to the step to unscale gradients, and to change nothing at infinity."""
        return bool(self.defaults["capturable"])

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; what it leaves out comes from the defaults, or from its own algorithm's if it names another.

        Keys that a trainer keeps in groups, such as `name` or `lr_scale`, stay there; one that looks like a misspelled
        hyperparameter raises.
        """
        if not isinstance(param_group, dict):
            raise TypeError(f"param_group must be a dict, got {type(param_group).__name__}.")
        given = {key: value for key, value in param_group.items() if key not in BOOKKEEPING}
        same = given.get("algorithm", self.defaults["algorithm"]) == self.defaults["algorithm"]
        own = {*group_keys(self.defaults["algorithm"]), "lr", "algorithm", "peak_lr", *SETTINGS}
        inherited = {key: value for key, value in self.defaults.items() if key in own}
        if not same:
            inherited = {key: self.defaults[key] for key in SETTINGS}
            if isinstance(self.defaults["state_dtype"], dict):  # it names states of the other algorithm
                del inherited["state_dtype"]
        if "lr" in given and same:
            del inherited["peak_lr"]  # a group's own lr is its own peak
        for betas, emas in (("betas", ("ema1", "ema2", *THIRD_BETAS)), ("beta3", ("ema_slow",))):
            if betas in given:
                inherited = {key: value for key, value in inherited.items() if key not in emas or key in given}
        group = completed(inherited | given, type(self).__name__, is_group=True)
        group["skipped_steps"] = 0
        kept = {key: param_group[key] for key in BOOKKEEPING if key in param_group}
        if "initial_lr" in kept:
            kept["initial_lr"] = plain(kept["initial_lr"])
        super().add_param_group({**group, **kept})
        added = self.param_groups.pop()
        for key in [key for key in added if key not in group and key not in BOOKKEEPING]:
            del added[key]  # torch filled in the defaults of another algorithm
        added = LiveGroup(added)
        spec = self.spec(added)
        for param in added["params"]:
            spec.check_shape(tuple(param.shape))
            if param.is_complex():
                raise TypeError(
                    f"{type(self).__name__} does not support complex parameters (got {param.dtype}). "
                    "Optimize torch.view_as_real(parameter) instead."
                )
        self.param_groups.append(added)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or deep-copied optimizer, or one saved before a setting existed."""
        super().__setstate__(state)
        self._forget()
        self.defaults.setdefault("skip_nonfinite", "propagate")
        self.defaults.setdefault("capturable", False)
        self.defaults.setdefault("clip_norm", None)
        self.param_groups = [LiveGroup(group) for group in self.param_groups]
        for group in self.param_groups:
            group.setdefault("skipped_steps", 0)
            for key, value in SETTINGS.items():
                group.setdefault(key, value)
            if group["backend"] not in ("auto", *backends.BACKENDS):  # of another version; it belongs to the process
                group["backend"] = "auto"
            if is_strong(group["weight_decay"], group["decay_coupling"], group["peak_lr"]):
                # of a run that began before such numbers were refused, and goes on as it was
                group["weight_decay"] = to_dict(Constant(value=float(group["weight_decay"])))
            spec = self.spec(group)
            for key in group_keys(group["algorithm"]) - group.keys():  # written before there were such fields
                group[key] = to_dict(getattr(spec, key))

    def state_dict(self) -> dict[str, Any]:
        """Return what `load_state_dict` takes: plain data and tensors.

        Raises:
            RuntimeError: The parameters are those of `evaluated()`: saved with this state, they would not go on. Or
                replays of a graph have left updates out.
        """
        self._check_trains("Call state_dict()")
        self._hear_from_device()
        return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load what `state_dict` gave, keeping the dtype of every state tensor as it was saved.

        Hyperparameters of the checkpoint win over those given to the constructor; the backend stays the constructor's.
        A state dict of `torch.optim.AdamW` is taken over by AdamW, with its clocks and moments.

        Raises:
            RuntimeError: The parameters are those of `evaluated()`.
            ValueError: The checkpoint is of another algorithm, or of another optimizer than these.
        """
        self._check_trains("Call load_state_dict()")
        seen: dict[str, Any] = {}

        def prepare(_: Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
            seen.update(self._ours(state_dict))  # after every other hook has had its say
            return seen

        handle = self.register_load_state_dict_pre_hook(prepare)
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()
        self._restore_dtypes(seen)

    def _ours(self, state_dict: dict[str, Any]) -> dict[str, Any]:
        """Return a state dict that fits this optimizer's groups."""
        if len(state_dict["param_groups"]) != len(self.param_groups):
            return state_dict  # torch says so
        if torch_state.is_torchs(state_dict):
            state_dict = torch_state.from_torch(state_dict, [group["algorithm"] for group in self.param_groups])
        groups = []
        for own, saved in zip(self.param_groups, state_dict["param_groups"], strict=True):
            if saved["algorithm"] != own["algorithm"]:
                raise ValueError(
                    f"the checkpoint is of {saved['algorithm']!r}, this optimizer runs {own['algorithm']!r}, whose "
                    f"states are others. Build the optimizer with {saved['algorithm']!r} to go on, or start "
                    f"{own['algorithm']!r} from the weights, without loading its state."
                )
            groups.append({**saved, "backend": own["backend"]})
        return {**state_dict, "param_groups": groups}

    def _restore_dtypes(self, state_dict: dict[str, Any]) -> None:
        """Undo torch's cast of float32 state to the dtype of a low-precision parameter."""
        saved_ids = [index for group in state_dict["param_groups"] for index in group["params"]]
        params = [param for group in self.param_groups for param in group["params"]]
        for index, param in zip(saved_ids, params, strict=True):
            for name, value in state_dict["state"].get(index, {}).items():
                if isinstance(value, torch.Tensor) and self.state[param][name].dtype != value.dtype:
                    self.state[param][name] = value.to(device=self.state[param][name].device, copy=True)
            if "step" in self.state.get(param, {}):  # the optimizer that was saved may have been capturable, or not
                self.state[param]["step"] = self.state[param]["step"].to(self._place_of_clock(param))
        self._replays = Replays()

    def to_torch_state_dict(self) -> dict[str, Any]:
        """Return a state dict with which `torch.optim.AdamW` goes on, clocks and moments included.

        Raises:
            ValueError: A group is not AdamW with constant settings, as torch has it.
        """
        return torch_state.to_torch(self.state_dict(), [self.spec(group) for group in self.param_groups])

    def spec(self, group: dict[str, Any]) -> Spec:
        """Return the spec that a group's plain data stands for; its `lr` is the peak."""
        data = {key: group[key] for key in group if key in group_keys(group["algorithm"])}
        data["lr"] = group["peak_lr"]
        known = self._specs.get(id(group))
        if known is None or known[0] != data:
            # the snapshot is deep: a schedule's dict may be edited in place
            known = (_copied(data), spec_of(group["algorithm"], data))
            self._specs[id(group)] = known
        return known[1]

    def materialize_state(self) -> None:
        """Create the state of every parameter without an update, as a host that saves before the first step needs."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.requires_grad:
                    self._state_of(param, group, self.spec(group).rule)

    def _state_of(self, param: torch.Tensor, group: dict[str, Any], rule: Rule) -> dict[str, Any]:
        """Return the state of a parameter; what is missing starts now: all of it, or that of an option given later."""
        state: dict[str, Any] = self.state[param]
        if "step" not in state:
            state["step"] = torch.zeros((), dtype=torch.float32, device=self._place_of_clock(param))
        missing = [name for name in rule.states if name not in state]
        for name in missing:
            state[name] = self._initial(name, param, group, rule)
        return state

    def _place_of_clock(self, param: torch.Tensor) -> torch.device:
        return param.device if self.defaults["capturable"] else torch.device("cpu")

    def _initial(self, name: str, param: torch.Tensor, group: dict[str, Any], rule: Rule) -> torch.Tensor:
        declared = rule.states[name]
        arithmetic = torch.promote_types(param.dtype, torch.float32)
        if declared.is_number:
            exact = torch.float32 if param.device.type == "mps" else torch.float64  # a sum of a million small weights
            number = torch.zeros((), dtype=exact, device=param.device)
            shared = self._shared_numbers(group["algorithm"]) if declared.is_shared else {}
            if name in shared:
                return number.copy_(shared[name])
            return number if isinstance(declared.init, str) else number.fill_(declared.init)
        chosen = state_formats(group["state_dtype"], rule)[name]
        dtype = arithmetic if chosen is None else FORMATS[chosen].dtype
        shape = self.spec(group).state_shape(name, tuple(param.shape))
        if shape == tuple(param.shape) and declared.place == "shard":
            value = torch.zeros_like(param, dtype=dtype, memory_format=torch.preserve_format)
        else:  # a matrix of its own, whole on every rank
            value = torch.zeros(shape, dtype=dtype, device=param.device)
        if declared.init == "param":
            value.copy_(param.detach())
        elif declared.init == "identity":
            value.fill_diagonal_(1.0)
        elif declared.init != "zeros":
            value.fill_(declared.init)
        return value

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Perform one update.

        Args:
            closure: Reevaluates the model and returns the loss; optional.

        Returns:
            The loss of the closure, or None.

        Raises:
            RuntimeError: A gradient is sparse, a parameter has seen 2^24 updates, or the parameters are those of
                `evaluated()`.
            ValueError: A gradient is not finite and `skip_nonfinite` is "raise".
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self._update()
        return loss

    @_disable_dynamo  # torch.compiler.disable would import the compiler, which takes seconds
    def _update(self) -> None:
        self._check_step()
        if self.defaults["capturable"]:
            self._update_on_device()
            return
        if self._skips():
            return
        scale = self._measured_clip_scale()
        turns = self._turns()
        with _without_autocast():
            waiting: dict[str, list[_Update]] = {}
            for group in self.param_groups:
                if self.spec(group).rule.totals:
                    waiting.setdefault(group["algorithm"], []).extend(self._updates(group, turns, scale))
                else:
                    for update in self._updates(group, turns, scale):
                        backends.get(*update.engine)(*update.operands, **update.options)
                        self._count(update)
            for algorithm, updates in waiting.items():
                backends.finish_together([backends.get_start(*u.engine)(*u.operands, **u.options) for u in updates])
                for update in updates:
                    self._count(update)
                self._share_numbers(algorithm, updates)

    def _measured_clip_scale(self) -> Any:
        """Return the factor that bounds the gradients' norm, a number if it is known without waiting; None for none."""
        bound = self.defaults["clip_norm"]
        grads = [param.grad for group in self.param_groups for param in group["params"] if param.grad is not None]
        if bound is None or not grads:
            return None
        self._grad_norm = total_norm(grads)
        return _host_number(clip_scale(self._grad_norm, bound))

    def _turns(self) -> dict[torch.Tensor, int]:
        """Return the turns of the parameters that take turns, from nothing but how groups and shapes were declared.

        They go round, through group after group and in a group through shape after shape: a step has equally many of
        every shape, and a group that is added later changes no turn.
        """
        turns: dict[torch.Tensor, int] = {}
        for group in self.param_groups:
            num_turns = self.spec(group).num_turns
            if num_turns == 1:
                continue
            by_shape: dict[torch.Size, list[torch.Tensor]] = {}
            for param in group["params"]:
                by_shape.setdefault(param.shape, []).append(param)
            for param in itertools.chain.from_iterable(by_shape.values()):
                turns[param] = len(turns) % num_turns
        return turns

    def _count(self, update: "_Update") -> None:
        for param in update.params:
            self.state[param]["step"] += 1

    def _share_numbers(self, algorithm: str, updates: list["_Update"]) -> None:
        """Give every parameter of an algorithm the shared numbers that the updates ended with."""
        updated = {param for update in updates for param in update.params}
        numbers = self._shared_numbers(algorithm, updated)
        for group in self.param_groups:
            for param in group["params"] if group["algorithm"] == algorithm else ():
                state = self.state.get(param, {})
                for name in numbers.keys() & state.keys():
                    if state[name] is not numbers[name]:
                        state[name].copy_(numbers[name])

    def _shared_numbers(self, algorithm: str, among: Container[torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
        """Return the shared numbers of an algorithm by name, from the first parameter that has them."""
        for group in self.param_groups:
            names = self.spec(group).rule.shared_states if group["algorithm"] == algorithm else ()
            for param in group["params"] if names else ():
                state = self.state.get(param, {})
                if (among is None or param in among) and all(name in state for name in names):
                    return {name: state[name] for name in names}
        return {}

    def _updates(self, group: dict[str, Any], turns: dict[torch.Tensor, int], scale: Any) -> Iterator["_Update"]:
        """Yield what a backend runs at once: parameters of a group that share clock, turn, device and dtypes."""
        spec = self.spec(group)
        rule = spec.rule if scale is None else clipped(spec.rule)
        for t, turn, params in self._by_due(group, spec, turns):
            scalars = spec.scalars(t, _host_number(group["lr"]), turn=turn)
            if scale is not None:
                scalars[CLIP_SCALE] = scale
            yield from self._updates_at(t, group, params, rule, scalars)

    def _updates_at(
        self, t: float, group: dict[str, Any], params: list[torch.Tensor], rule: Rule, scalars: dict[str, Any]
    ) -> Iterator["_Update"]:
        """Yield parameters of one clock that share device and dtypes, with what a rule needs to run on them."""
        stochastic = _stochastic_states(group["state_dtype"], self.spec(group).rule)
        is_random = bool(stochastic) or rule.is_random
        numbers: dict[torch.Tensor, int] = {}
        if is_random:
            everything = (param for own in self.param_groups for param in own["params"])
            numbers = {param: i for i, param in enumerate(everything)}
        for (device, _, _), members in _by_kind(params).items():
            states = [[self.state[p][name] for p in members] for name in rule.state_names]
            rounding = None
            if is_random:
                rounding = Rounding(group["rounding_seed"], int(t), tuple(numbers[p] for p in members), stochastic)
            options = {"maximize": group["maximize"], "rounding": rounding}
            if isinstance(own := scalars.get(CLIP_SCALE), torch.Tensor):
                scalars = {**scalars, CLIP_SCALE: own.to(device)}
            operands = (rule, members, [p.grad for p in members], states, scalars)
            yield _Update((group["backend"], device, rule), members, operands, options)

    @torch.no_grad()
    def prepare_replays(self, num_steps: int) -> None:
        """Put the scalars of the next updates on the device, for a CUDA graph that makes them without the host.

        Call it outside of the capture: before it, after at most `num_steps` replays, and after a change of a group
        (a learning rate that a scheduler has moved, say), which replays do not see by themselves. The memory stays the
        same, so a graph that was captured reads what is new. It waits for the device once.

        Args:
            num_steps: How many updates.

        Raises:
            RuntimeError: The optimizer is not capturable; replays went further than was prepared; the parameters
                cannot make so many updates, or a captured graph's table has no room for them.
        """
        if not isinstance(num_steps, int) or isinstance(num_steps, bool) or num_steps < 1:
            raise ValueError(f"num_steps must be a whole number >= 1, got {num_steps!r}.")
        if not self.defaults["capturable"]:
            raise RuntimeError(
                f"{type(self).__name__} was built without capturable=True, and makes its steps with the host: a graph "
                "would repeat one of them with its scalars frozen. Build it with capturable=True."
            )
        if gpu.is_capturing():
            raise RuntimeError("prepare_replays reads counters on the host. Call it before the capture.")
        for index, group in enumerate(self.param_groups):
            spec = self.spec(group)
            for param in group["params"]:
                if param.requires_grad:
                    self._check_capturable(group, spec.rule, param.device)
                    self._state_of(param, group, spec.rule)
            for device, own in self._counters(group).items():
                last = max(torch.stack(own).tolist())
                if last + num_steps >= MAX_STEP:
                    raise RuntimeError(
                        f"{type(self).__name__}: {num_steps} updates after {last:.0f} pass {MAX_STEP}, where float32 "
                        "step counters stop counting. Prepare fewer, and continue from a new optimizer."
                    )
                self._replays.fill(index, spec, float(group["lr"]), own, num_steps, MAX_STEP - 1)
                self._replays.prepared(index, device)
        self._hear_from_device()

    def _check_capturable(self, group: dict[str, Any], rule: Rule, device: torch.device) -> None:
        reason = reason_against(rule, group["backend"], device)
        if reason is not None:
            raise RuntimeError(f"{type(self).__name__}: {reason}")

    def _counters(self, group: dict[str, Any]) -> dict[torch.device, list[torch.Tensor]]:
        """Return the counters of updates of all parameters that have a state, by device."""
        counters: dict[torch.device, list[torch.Tensor]] = {}
        for param in group["params"]:
            if "step" in self.state.get(param, {}):
                counters.setdefault(param.device, []).append(self.state[param]["step"])
        return counters

    def _update_on_device(self) -> None:
        """Make a step whose counters, scalars and decisions are on the device; inside a capture, record it."""
        grads = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
        # set by a gradient scaler for the time of the step
        scale, found_inf = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
        bound = self.defaults["clip_norm"]
        if bound is not None and grads:  # the kernels divide gradients by the scale
            norm = total_norm(grads)
            self._grad_norm = norm if scale is None else norm / scale.to(norm.device)
            factor = clip_scale(self._grad_norm, bound)
            scale = 1 / factor if scale is None else scale.to(norm.device) / factor
        first = 0
        with _without_autocast():
            guard = self._replays.guard(grads, found_inf, skips=self.defaults["skip_nonfinite"] == "skip")
            for index, group in enumerate(self.param_groups):
                self._update_group_on_device(index, group, first, scale, guard)
                first += len(group["params"])

    def _update_group_on_device(
        self,
        index: int,
        group: dict[str, Any],
        first: int,
        scale: torch.Tensor | None,
        guard: dict[torch.device, torch.Tensor],
    ) -> None:
        spec = self.spec(group)
        rule = spec.rule
        stochastic = _stochastic_states(group["state_dtype"], rule)
        numbers = {param: first + i for i, param in enumerate(group["params"])}
        params = [param for param in group["params"] if param.grad is not None and self._takes_part(param, group, rule)]
        tables = {
            device: self._replays.table_for_step(index, spec, group["lr"], own, MAX_STEP - 1)
            for device, own in (self._counters(group) if params else {}).items()
        }
        for (device, _, _), members in _by_kind(params).items():
            rounding = None
            if stochastic:  # the count of updates comes from the device
                rounding = Rounding(group["rounding_seed"], 0, tuple(numbers[p] for p in members), stochastic)
            clock = gpu.DeviceClock(
                [self.state[p]["step"] for p in members],
                tables[device],
                self._replays.missed(device),
                None if scale is None else scale.to(device),
                guard.get(device),
                self._replays.kept,
            )
            states = [[self.state[p][name] for p in members] for name in rule.state_names]
            grads: list[Any] = [p.grad for p in members]
            gpu.run(rule, members, grads, states, {}, maximize=group["maximize"], rounding=rounding, clock=clock)

    def _takes_part(self, param: torch.Tensor, group: dict[str, Any], rule: Rule) -> bool:
        """Return whether a step moves a parameter that has a gradient; its state exists afterwards."""
        if "step" in self.state.get(param, {}):
            return True
        if gpu.is_capturing():
            raise RuntimeError(
                f"{type(self).__name__}: a parameter of shape {tuple(param.shape)} has no state yet, which must not be "
                "made inside a capture. Make a step before it, or call prepare_replays(num_steps)."
            )
        self._check_capturable(group, rule, param.device)
        self._state_of(param, group, rule)
        assert param.grad is not None
        return not (group["lr"] == 0 and _is_zero(param.grad))  # as in `_by_next_step`

    def _hear_from_device(self) -> None:
        """Take over what only the device knows: steps that were left out; raise for those that should not have been."""
        if self.defaults["capturable"]:
            skipped = self._replays.take_skipped()
            for group in self.param_groups if skipped else []:
                group["skipped_steps"] += skipped
            self._replays.raise_for_missed()

    def _check_trains(self, action: str) -> None:
        """Raise while the parameters are those of `evaluated()`."""
        if self._trained_weights is not None:
            raise RuntimeError(
                f"{type(self).__name__}: the parameters are those to evaluate, not those to train. {action} outside of "
                "`with optimizer.evaluated():`, or call optimizer.train() first."
            )

    def _check_step(self) -> None:
        """Raise for whatever a step could not go through with, before anything has changed."""
        self._check_trains("Step")
        is_capturable = self.defaults["capturable"]
        if not is_capturable and gpu.is_capturing():
            raise RuntimeError(
                f"{type(self).__name__}: a CUDA graph would repeat this step with the scalars and the clock of this "
                "moment. Build the optimizer with capturable=True."
            )
        for group in self.param_groups:
            spec = self.spec(group)
            refuse_strong_decay(spec, is_group=True)
            needs_norm = spec.apply.needs_norm
            for param in group["params"]:
                if param.grad is None:
                    continue
                if param.grad.layout != torch.strided:
                    raise RuntimeError(
                        f"{type(self).__name__} does not support sparse gradients. Use sparse=False in the embedding, "
                        "or torch.optim.SparseAdam for that parameter."
                    )
                state = self.state.get(param, {})
                if not is_capturable and "step" in state and state["step"].item() + 1 >= MAX_STEP:
                    raise RuntimeError(
                        f"{type(self).__name__}: a parameter has seen {MAX_STEP} updates, where its float32 step "
                        "counter stops counting and with it every schedule. Continue from a new optimizer."
                    )
                if gpu.is_capturing():  # the steps before were checked, and the host may not read the device now
                    continue
                takes_second = spec.second_gradients and "step" in state
                if takes_second and (advice := spec.missing(state["step"].item() + 1, state)):
                    raise RuntimeError(advice)
                if needs_norm and param.numel() and _is_untouched(state) and _is_zero(param):
                    raise ValueError(
                        f"apply={spec.apply.name!r} keeps the norm of a parameter, and one of shape "
                        f"{tuple(param.shape)} is all zeros: it could never move. Give it a small random start, or "
                        "another apply in a group of its own."
                    )
                if not self._has_warned and param.dtype in (torch.bfloat16, torch.float16):
                    self._has_warned = True
                    warnings.warn(
                        f"{type(self).__name__} updates weights in {param.dtype}: a change below half a unit in the "
                        "last place of a weight is lost, small updates and decay among them. Keep the weights in "
                        "float32 and compute in a 16-bit format under torch.autocast.",
                        LowPrecisionWarning,
                        stacklevel=_level_of_caller(),
                    )

    def _skips(self) -> bool:
        """Return whether the step is left out, after counting it, for a gradient that is not finite."""
        policy = self.defaults["skip_nonfinite"]
        if policy == "propagate":
            return False
        named = [
            (group.get("param_names", [None] * len(group["params"]))[i], param.grad)
            for group in self.param_groups
            for i, param in enumerate(group["params"])
            if param.grad is not None
        ]
        bad = [name for name, grad in named if not _is_finite(grad)]
        if not bad:
            return False
        if policy == "raise":
            which = ", ".join(str(name) for name in bad[:5] if name is not None)
            raise ValueError(
                f"{len(bad)} of {len(named)} gradients hold NaN or infinity{f' ({which})' if which else ''}. Nothing "
                "was changed. Look for the cause, or leave such steps out with skip_nonfinite='skip'."
            )
        for group in self.param_groups:
            group["skipped_steps"] += 1
        return True

    def _by_next_step(self, group: dict[str, Any], rule: Rule) -> dict[float, list[torch.Tensor]]:
        """Return the parameters that have a gradient by the t of their next update; their state exists afterwards."""
        by_time: dict[float, list[torch.Tensor]] = {}
        for param in group["params"]:
            if param.grad is None:
                continue
            is_new = param not in self.state
            state = self._state_of(param, group, rule)
            if is_new and group["lr"] == 0 and _is_zero(param.grad):
                continue  # a host that asks for the state before the first update makes exactly this step
            by_time.setdefault(state["step"].item() + 1, []).append(param)
        return by_time

    def _by_due(
        self, group: dict[str, Any], spec: Spec, turns: dict[torch.Tensor, int]
    ) -> Iterator[tuple[float, int, list[torch.Tensor]]]:
        """Yield parameters with the same scalars: their t, and a turn at which the same is due as at theirs.

        What is due at other turns than this step's is the same, so there are two sets at most, and not one per turn.
        """
        for t, params in self._by_next_step(group, spec.rule).items():
            if spec.num_turns == 1:
                yield t, 0, params
                continue
            alike: dict[tuple[Any, ...], list[torch.Tensor]] = {}
            for param in params:
                alike.setdefault(tuple(spec.due(t, turns.get(param, 0)).items()), []).append(param)
            for members in alike.values():
                yield t, turns.get(members[0], 0), members

    def is_due(self, name: str) -> bool:
        """Return whether a second gradient of that name, `curvature` say, should be given before the next step."""
        return second_gradients.is_due(self, name)

    def curvature(self, *, samples: float) -> contextlib.AbstractContextManager[None]:
        """Give the optimizer the gradients that are computed within the context as an estimate of the curvature.

        Gradients from before are set aside and come back. What the loss must be is the algorithm's: for Sophia-G the
        mean over `samples` predictions with labels that are sampled from the model.

        Args:
            samples: Number of predictions, over which the loss is a mean.

        Raises:
            TypeError: No group runs an algorithm that reads a curvature.
            ValueError: `samples` is not above 0, or a gradient is not finite and `skip_nonfinite` is "raise".
            RuntimeError: No gradient was computed, or the parameters are those of `evaluated()`.
        """
        self._check_trains("Estimate the curvature")
        return second_gradients.second_gradient(self, "curvature", {"samples": samples})

    @torch.no_grad()
    @_disable_dynamo
    def _take_second(self, name: str, given: dict[str, float]) -> None:
        """Give the present gradients to the stages that take a second one of that name."""
        takers = [(g, spec) for g in self.param_groups if name in (spec := self.spec(g)).second_gradients]
        if not any(param.grad is not None for group, _ in takers for param in group["params"]):
            raise second_gradients.no_gradient(name)
        if self._skips():
            return
        with _without_autocast():
            for group, spec in takers:
                by_time: dict[float, list[torch.Tensor]] = {}
                for param in group["params"]:
                    if param.grad is not None:
                        t = self._state_of(param, group, spec.rule)["step"].item() + 1
                        by_time.setdefault(t, []).append(param)
                for t, params in by_time.items():
                    scalars = spec.second_scalars(name, t, given)
                    for update in self._updates_at(t, group, params, spec.second_rule(name), scalars):
                        backends.get(*update.engine)(*update.operands, **update.options)

    @contextlib.contextmanager
    def evaluated(self) -> Iterator[None]:
        """Within the context the parameters are those to evaluate, where a wrapper trains at other ones.

        Without such a wrapper nothing changes. On leaving, the weights of training come back bit by bit.

        Raises:
            RuntimeError: The parameters are already those to evaluate.
        """
        if self._trained_weights is not None:
            raise RuntimeError(f"{type(self).__name__}: the parameters are those to evaluate already.")
        self.eval()
        try:
            yield
        finally:
            self.train()

    @torch.no_grad()
    def eval(self) -> None:
        """Put the weights to evaluate into the parameters until `train()`; see `evaluated`."""
        if self._trained_weights is not None:
            return
        self._trained_weights = {}
        for group in self.param_groups:
            spec = self.spec(group)
            for param in group["params"]:
                state = self.state.get(param, {})
                t = state["step"].item() if "step" in state else 0
                found = spec.evaluation(t) if t else None
                if found is None:
                    continue
                wrapper, scalars = found
                assert wrapper.evaluation is not None
                self._trained_weights[param] = param.detach().clone()
                states = [local(state[f"{wrapper.name}_{name}"]) for name in wrapper.evaluation.state_names]
                own = local(param.detach())
                own.copy_(wrapper.evaluation.function(own.to(states[0].dtype), *states, **scalars))

    @torch.no_grad()
    def train(self) -> None:
        """Put the weights of training back into the parameters; see `evaluated`."""
        for param, weights in (self._trained_weights or {}).items():
            param.detach().copy_(weights)
        self._trained_weights = None

    def current_scalars(self) -> list[dict[str, Any]]:
        """Return the rule's scalars of the latest update for each group, by their glossary names.

        A group whose parameters have different clocks reports its oldest one; before the first update t is 1.
        """
        report = []
        for group in self.param_groups:
            scalars = self.spec(group).scalars(self._latest_update(group), _host_number(group["lr"]))
            report.append({name: float(value) for name, value in scalars.items()})
        return report

    def current_hyperparameters(self) -> list[dict[str, float]]:
        """Return the hyperparameters of the latest update for each group as numbers, by their keys in the group.

        Loggers want numbers, where a group has the plain data of a schedule: that is what a checkpoint goes on from,
        and what a host that writes a value back for a moment must find again.
        """
        report = []
        for group in self.param_groups:
            spec, t = self.spec(group), self._latest_update(group)
            slots = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec) if f.name != "lr"}
            numbers = {name: value_at(slot, t) for name, slot in slots.items() if _is_slot(slot)}
            report.append({"lr": float(group["lr"]), **numbers})
        return report

    def _latest_update(self, group: dict[str, Any]) -> float:
        """Return the clock of a group, that of its oldest parameter, or 1 before the first update."""
        steps = [self.state[p]["step"].item() for p in group["params"] if "step" in self.state.get(p, {})]
        return max(steps, default=0) or 1

    def backends(self) -> list[str]:
        """Return the backend that runs each group: what `auto` stands for, or what was asked for."""
        names = []
        for group in self.param_groups:
            if self.defaults["capturable"] and group["backend"] == "auto":
                names.append("fused")
                continue
            device = group["params"][0].device if group["params"] else torch.device("cpu")
            names.append(backends.name_for(group["backend"], device, self.spec(group).rule))
        return names

    def state_bytes(self) -> int:
        """Return the bytes of the state tensors on this rank, step counters left out."""
        return sum(
            local(value).numel() * value.element_size()
            for state in self.state.values()
            for name, value in state.items()
            if name != "step"
        )


@dataclasses.dataclass(frozen=True)
class _Update:
    """Parameters that a backend updates at once, and with what.

    Args:
        engine: Arguments of `backends.get`.
        params: The parameters.
        operands: Positional arguments of the backend.
        options: Its keywords.
    """

    engine: tuple[str, torch.device, Rule]
    params: list[torch.Tensor]
    operands: tuple[Any, ...]
    options: dict[str, Any]


def _stochastic_states(state_dtype: Any, rule: Rule) -> frozenset[str]:
    """Return the names of the states that are rounded at random."""
    if state_dtype is None:
        return frozenset()
    by_state = state_formats(state_dtype, rule)
    return frozenset(name for name, chosen in by_state.items() if chosen is not None and FORMATS[chosen].is_stochastic)


def _copied(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _copied(value) for key, value in data.items()}
    return [_copied(value) for value in data] if isinstance(data, list) else data


def _host_number(lr: Any) -> Any:
    """Return a learning rate as a number, except for a tensor on an accelerator: reading that would wait for it."""
    return float(lr) if not isinstance(lr, torch.Tensor) or lr.device.type == "cpu" else lr


def _is_slot(value: Any) -> bool:
    return isinstance(value, int | float | Schedule) and not isinstance(value, bool)


def _level_of_caller() -> int:
    """Return the `stacklevel` with which a warning points at the first line outside of torch and of this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in ("torch", "logclock"):
        frame, level = frame.f_back, level + 1
    return level


def _is_untouched(state: dict[str, Any]) -> bool:
    """Return whether a parameter has seen no update."""
    return "step" not in state or state["step"].item() == 0


def _is_zero(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is zero on every rank (so that all ranks agree)."""
    norm: Any = torch.linalg.vector_norm(tensor)
    return bool((norm.full_tensor() if is_sharded(norm) else norm).item() == 0)


def _is_finite(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is finite on every rank."""
    if tensor.numel() == 0:
        return True
    largest: Any = torch.linalg.vector_norm(tensor, ord=float("inf"))
    return bool((largest.full_tensor() if is_sharded(largest) else largest).isfinite().item())


@contextlib.contextmanager
def _without_autocast() -> Iterator[None]:
    """Run with the dtypes that the settings say, also where a caller is inside torch.autocast."""
    devices = [device for device in ("cpu", "cuda") if torch.is_autocast_enabled(device)]
    with contextlib.ExitStack() as stack:
        for device in devices:
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


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
