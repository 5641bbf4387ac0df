"""What may stand in a parameter group, and how does it become complete plain data that stays so?"""

import dataclasses
import math
import numbers
import typing
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from logclock import backends
from logclock.backends.storage import FORMATS, smallest_weight
from logclock.config import from_dict, to_dict
from logclock.config.bounds import bounds_of
from logclock.config.registry import closest, suggestion
from logclock.optim.strong_decay import is_strong, refuse_strong_decay
from logclock.rules import Rule, Spec

__all__ = ["BOOKKEEPING", "SETTINGS", "LiveGroup", "completed", "group_keys", "plain", "spec_of", "state_formats"]

SETTINGS: dict[str, Any] = {"backend": "auto", "maximize": False, "state_dtype": None, "rounding_seed": 0}
"""Settings of a group that are not hyperparameters of its algorithm, with their defaults."""

BOOKKEEPING = ("params", "param_names", "initial_lr", "skipped_steps")
"""Keys that torch and this package keep in a group beside what a user says."""

HOST_KEYS = frozenset(
    [
        "name",
        "lr_scale",
        "lr_mult",
        "wd_mult",
        "layer_id",
        "layer_name",
        "group_name",
        "tag",
        "min_lr",
        "max_lr",
        "swa_lr",
        "base_momentum",
        "max_momentum",
        "base_lr",
        "total_steps",
        "is_expert_parallel",
        "is_decoupled_lr",
        "default_config",
        "pre_wd_mult",
        "pre_lr_mult",
    ]
)
"""Keys that schedulers and trainers are known to write into groups. They mean nothing here and are kept."""

TORCH_ARGUMENTS = {
    "foreach": "Choose an implementation with backend='loop', 'foreach' or 'fused'.",
    "fused": "Choose an implementation with backend='loop', 'foreach' or 'fused'.",
    "capturable": "It is of the whole optimizer, not of a group.",
    "clip_norm": "It is of the whole optimizer, not of a group.",
    "differentiable": "Steps are not differentiable; leave it out.",
    "amsgrad": "There is no AMSGrad here; leave it out.",
    "wd": "Write weight_decay.",
    "learning_rate": "Write lr.",
    "beta1": "Write betas=(beta1, beta2), or ema1, which is 1 - beta1.",
    "beta2": "Write betas=(beta1, beta2), or ema2, which is 1 - beta2.",
    "momentum": "It is no hyperparameter of this algorithm; an average's memory is ema1, which is 1 - momentum.",
    "dampening": "It is no hyperparameter of this algorithm; leave it out.",
    "decoupled_weight_decay": "Weight decay is always decoupled from the gradient; leave it out.",
}
"""What to write instead of an argument that people know from other optimizers."""

BETAS = {"betas": ("ema1", "ema2"), "beta3": ("ema_slow",)}
"""torch's spelling of the weights of new samples, which are 1 - beta."""

THIRD_BETAS = ("ema3", "ema_slow")
"""What a third number of `betas` stands for, in an algorithm that has such a field; it may be left out."""

LAST_STEP = 2**24
"""Far beyond the last update of any run: the weights of log-time averages are as small there as they ever get."""


class LiveGroup(dict[str, Any]):
    """A parameter group whose values are plain data at every moment, whoever writes them.

    Numbers of numpy become Python's, schedules their plain data; a value that the key cannot have raises when it is
    written, and not when a checkpoint of the run cannot be read. Keys that mean nothing here are kept, as plain data
    where they have some: torch and trainers keep their own there.
    """

    def __setitem__(self, key: str, value: Any) -> None:
        """Write one value, or two for `betas`."""
        if "algorithm" not in self:  # being unpickled, item by item
            super().__setitem__(key, value)
        elif _spells_emas(key, self["algorithm"]):
            for name, ema in _emas(key, value, self["algorithm"]).items():
                self[name] = ema
        else:
            super().__setitem__(key, _written(self, key, value))

    def update(self, *others: Any, **values: Any) -> None:
        """Write several values, or, if one of them raises, none.

        How decay is coupled goes first: it says which decays there may be.
        """
        given = dict(*others, **values)
        changed = LiveGroup(self)
        for key in sorted(given, key=lambda key: key != "decay_coupling"):
            changed[key] = given[key]
        super().update(changed)

    def __ior__(self, other: Any) -> "LiveGroup":  # type: ignore[override, misc]
        """Write several values."""
        self.update(other)
        return self

    def setdefault(self, key: str, default: Any = None) -> Any:
        """Write a value if there is none."""
        if key not in self:
            self[key] = default
        return self[key]


def _written(group: Mapping[str, Any], key: str, value: Any) -> Any:
    """Return what is written for a value under a key of a live group."""
    algorithm = group["algorithm"]
    if key == "algorithm":
        if value != algorithm:
            raise ValueError(
                f"the algorithm of a group that exists cannot be changed from {algorithm!r} to {value!r}: its states "
                "are those of the other. Build a new optimizer, or add a group that names the algorithm."
            )
        return value
    if key in ("lr", "peak_lr"):
        return _learning_rate(key, value)
    if key in SETTINGS:
        return _setting(key, value)
    if key in _field_names(algorithm):
        value = _field_value(Spec.family.get(algorithm), key, value)
        if key == "weight_decay" and is_strong(value, group.get("decay_coupling"), group["peak_lr"]):
            fields = {name: group[name] for name in group_keys(algorithm) if name in group}
            spec = spec_of(algorithm, {**fields, "weight_decay": value, "lr": group["peak_lr"]})
            refuse_strong_decay(spec, is_group=True)
        return value
    if key in ("params", "param_names"):
        return value
    if key not in group and key not in BOOKKEEPING and not _is_a_hosts(key, algorithm):
        raise TypeError(_unknown(key, algorithm, "a parameter group"))
    return plain(value)


def plain(value: Any) -> Any:
    """Return plain data for a value that has some, and the value itself otherwise."""
    value = _unboxed(value)
    try:
        return to_dict(value)
    except TypeError:
        return value


def _unboxed(value: Any) -> Any:
    """Return a value with Python's numbers in place of other libraries', inside schedules and containers too."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(
            value, **{f.name: _unboxed(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        )
    if isinstance(value, Mapping):
        return {key: _unboxed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_unboxed(item) for item in value]
    if hasattr(value, "item") and getattr(value, "size", None) == 1:  # a scalar of numpy, or an array with one element
        return value.item()
    is_foreign = isinstance(value, numbers.Real) and not isinstance(value, int | float)
    return float(value) if is_foreign else value


def _field_value(cls: type[Spec], name: str, value: Any) -> Any:
    """Return the plain data of a value that a field of a spec can have.

    Raises:
        TypeError: The value is of another kind.
        ValueError: The value is out of range.
    """
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    annotation = typing.get_type_hints(cls)[name]
    read = from_dict(annotation, plain(value), path=name)
    if isinstance(read, float) and not math.isfinite(read):
        raise ValueError(f"{name} must be finite, got {read}.")
    bounds = bounds_of(cls).get(name)
    if bounds is not None and isinstance(read, int | float) and read not in bounds:
        raise ValueError(f"{name} must {bounds}, got {value!r}.{' ' + bounds.advice if bounds.advice else ''}")
    return to_dict(read)


def _learning_rate(key: str, value: Any) -> Any:
    """Return a learning rate as a Python number, or the tensor as it is (which schedulers fill in place)."""
    if isinstance(value, torch.Tensor):
        if value.numel() != 1:
            raise ValueError(f"{key} must be a number or a tensor with one element, got shape {tuple(value.shape)}.")
        return float(value) if key == "peak_lr" else value
    value = _unboxed(value)
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number:
        advice = " YAML reads 1e-3 as text; write 1.0e-3." if isinstance(value, str) else ""
        raise TypeError(f"{key} must be a number or a tensor with one element, got {value!r}.{advice}")
    if not math.isfinite(value):
        raise ValueError(f"{key} must be finite, got {value!r}.")
    return float(value) if not isinstance(value, int) else value


def _setting(key: str, value: Any) -> Any:
    """Return the plain data of a setting's value."""
    value = plain(value)
    if key == "maximize" and not isinstance(value, bool):
        raise TypeError(f"maximize must be True or False, got {value!r}.")
    if key == "rounding_seed" and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise ValueError(f"rounding_seed must be a whole number >= 0, got {value!r}.")
    if key == "backend":
        return backends.current_name(value)
    if key == "state_dtype":
        for name in value.values() if isinstance(value, Mapping) else [value]:
            if name is not None and name not in FORMATS:
                raise ValueError(f"state_dtype must be None or one of {', '.join(FORMATS)}, got {name!r}.")
    return value


def _field_names(algorithm: str) -> frozenset[str]:
    return frozenset(f.name for f in dataclasses.fields(Spec.family.get(algorithm)))


def _spells_emas(key: str, algorithm: str) -> bool:
    """Return whether a key is torch's spelling of weights that the algorithm has."""
    return key in BETAS and set(BETAS[key]) <= _field_names(algorithm)


def _emas(key: str, value: Any, algorithm: str) -> dict[str, float]:
    """Return the weights 1 - beta that `betas` or `beta3` stand for."""
    names = BETAS[key]
    betas = list(value) if key == "betas" and isinstance(value, Iterable) and not isinstance(value, str) else [value]
    betas = [beta.item() if isinstance(beta, torch.Tensor) and beta.numel() == 1 else _unboxed(beta) for beta in betas]
    third = [name for name in THIRD_BETAS if key == "betas" and name in _field_names(algorithm)]
    if third and len(betas) == 3:
        names = (*names, *third)
    if len(betas) != len(names):
        allowed = "two or three numbers" if third else f"{len(names)} number{'s' if len(names) > 1 else ''}"
        raise ValueError(f"{key} must be {allowed} in [0, 1), got {value!r}.")
    for beta in betas:
        is_number = isinstance(beta, numbers.Real) and not isinstance(beta, bool)
        if not is_number:
            raise TypeError(
                f"{key} must hold numbers in [0, 1), got {value!r}. A schedule goes into {' and '.join(names)}."
            )
        if not 0 <= beta < 1:
            raise ValueError(f"{key} must lie in [0, 1), got {value!r}.")
    return {name: 1 - float(beta) for name, beta in zip(names, betas, strict=True)}


def completed(given: Mapping[str, Any], owner: str, *, is_group: bool = False) -> LiveGroup:
    """Return a group with every hyperparameter present and checked; `lr` stays as it was given.

    Args:
        given: The algorithm, and any of its hyperparameters and settings.
        owner: The optimizer's class, for error messages.
        is_group: Whether these are the keys of a group, among which a trainer may have its own.

    Raises:
        TypeError: A key is unknown, or a value of the wrong kind.
        ValueError: A value is out of range.
    """
    algorithm = given["algorithm"]
    cls = Spec.family.get(algorithm)
    given = _with_emas(given, algorithm)
    foreign = {}
    for key in given:
        if key not in _field_names(algorithm) and key not in ("algorithm", "peak_lr", *SETTINGS):
            if not is_group or not _is_a_hosts(key, algorithm):
                raise TypeError(_unknown(key, algorithm, owner))
            foreign[key] = plain(given[key])
    lr = _learning_rate("lr", given.get("lr", _default(cls, "lr")))
    peak = given.get("peak_lr")
    peak = float(lr if peak is None else _learning_rate("peak_lr", peak))
    fields = {key: given[key] for key in given if key in _field_names(algorithm) and key != "lr"}
    spec = spec_of(algorithm, {**{key: _field_value(cls, key, value) for key, value in fields.items()}, "lr": peak})
    refuse_strong_decay(spec, is_group=is_group)
    group: dict[str, Any] = {"lr": lr, "algorithm": algorithm, "peak_lr": peak}
    for key, default in SETTINGS.items():
        group[key] = _setting(key, given.get(key, default))
    state_formats(group["state_dtype"], spec.rule, spec)
    group |= {f.name: to_dict(getattr(spec, f.name)) for f in dataclasses.fields(spec) if f.name != "lr"}
    return LiveGroup({**group, **foreign})


def _default(cls: type[Spec], name: str) -> Any:
    return next(f.default for f in dataclasses.fields(cls) if f.name == name)


def _with_emas(given: Mapping[str, Any], algorithm: str) -> dict[str, Any]:
    """Return the keys with `betas` and `beta3` written as weights of new samples."""
    result = dict(given)
    for key in BETAS:
        if key in given and _spells_emas(key, algorithm):
            value = result.pop(key)
            if value is None:
                continue
            emas = _emas(key, value, algorithm)
            if any(name in given for name in emas):
                raise TypeError(f"give {key} or {' and '.join(emas)} (which are 1 - beta), not both.")
            result |= emas
    return result


def _is_a_hosts(key: str, algorithm: str) -> bool:
    """Return whether an unknown key of a group is a trainer's own, and not a slip of the pen."""
    if key in HOST_KEYS:
        return True
    known = [*_field_names(algorithm), *SETTINGS, "peak_lr"]
    return key not in TORCH_ARGUMENTS and key not in BETAS and not closest(key, known, cutoff=0.75)


def _unknown(key: str, algorithm: str, owner: str) -> str:
    names = [f.name for f in dataclasses.fields(Spec.family.get(algorithm))]
    hint = f" {TORCH_ARGUMENTS[key]}" if key in TORCH_ARGUMENTS else suggestion(key, [*names, *SETTINGS, "peak_lr"])
    if key in BETAS:
        missing = [name for name in BETAS[key] if name not in names]
        hint = f" It has no {' and '.join(missing)}, of which {key} would be 1 minus."
    known = ", ".join([*names, "peak_lr", *SETTINGS])
    return f"{owner} ({algorithm}) got an unknown argument {key!r}.{hint} Known: {known}."


def group_keys(algorithm: str) -> frozenset[str]:
    """Return the keys of a group that are hyperparameters, without `lr`."""
    return _field_names(algorithm) - {"lr"}


def spec_of(algorithm: str, data: Mapping[str, Any]) -> Spec:
    """Return the spec that plain data stand for."""
    spec: Spec = from_dict(Spec, {"name": algorithm, **data})
    return spec


def state_formats(state_dtype: Any, rule: Rule, spec: Spec | None = None) -> dict[str, str | None]:
    """Return the storage format of every state that is not a number; None for that of the arithmetic.

    Args:
        state_dtype: A format for all states, or formats by state.
        rule: The rule.
        spec: Whose averages must be able to follow their targets in these formats; None does not check.

    Raises:
        ValueError: There is no such state, or it cannot be kept in that format.
    """
    names = [name for name, state in rule.states.items() if not state.is_number]
    by_state = dict(state_dtype) if isinstance(state_dtype, Mapping) else dict.fromkeys(names, state_dtype)
    for name in by_state:
        if name not in names:
            hint = suggestion(name, names)
            raise ValueError(
                f"state_dtype names the state {name!r}, which there is not.{hint} Known: {', '.join(names)}."
            )
    formats = {name: by_state.get(name) for name in names}
    if spec is None:
        return formats
    scalars = spec.scalars(LAST_STEP)
    for name, chosen in formats.items():
        if chosen is None:
            continue
        state = rule.states[name]
        if state.keeps == "float32" and chosen not in ("float32", "float64"):
            raise ValueError(
                f"state_dtype: {name} must be kept in float32, got {chosen!r}. Give a dict of formats by state."
            )
        weight = scalars.get(_weight_name(rule, name)) if state.weight else None
        if weight is not None and weight < smallest_weight(FORMATS[chosen]):
            raise ValueError(
                f"state_dtype {chosen!r} cannot keep {name}: a new sample's weight falls to {weight:.1g}, and changes "
                f"below {smallest_weight(FORMATS[chosen]):.1g} of a value are rounded away, so that the average stops. "
                f"Use 'bfloat16_stochastic' or 'float32', for this state alone with state_dtype={{{name!r}: ...}}."
            )
    return formats


def _weight_name(rule: Rule, state: str) -> str:
    """Return the full name of the scalar that a state's declaration calls the weight of its newest sample."""
    step = next(step for step in rule.steps if state in step.state_names)
    weight = rule.states[state].weight
    assert weight is not None
    return step.scalar_name(weight)
