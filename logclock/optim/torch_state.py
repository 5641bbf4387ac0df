"""How does a run move between torch.optim.AdamW and this package? Its state dict, read and written."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from logclock.optim.completion import completed
from logclock.rules import Spec
from logclock.schedules import Schedule

__all__ = ["from_torch", "is_torchs", "to_torch"]

TORCH_GROUP = {
    "amsgrad": False,
    "foreach": None,
    "maximize": False,
    "capturable": False,
    "differentiable": False,
    "fused": None,
    "decoupled_weight_decay": True,
}


def is_torchs(state_dict: Mapping[str, Any]) -> bool:
    """Return whether a state dict is that of an optimizer of torch's, and not of this package."""
    return any("algorithm" not in group for group in state_dict["param_groups"])


def from_torch(state_dict: Mapping[str, Any], algorithms: list[str]) -> dict[str, Any]:
    """Return the state dict of this package's AdamW that goes on where torch's AdamW stopped.

    Clocks, moments, learning rates, betas, eps and weight decay are taken over; the peak learning rate is the group's
    `initial_lr` if a scheduler has left one, else its current `lr`.

    Args:
        state_dict: Of `torch.optim.AdamW`.
        algorithms: Those of the groups that it is loaded into.

    Raises:
        ValueError: It is another optimizer's, or is loaded into another algorithm.
    """
    groups = []
    for group, algorithm in zip(state_dict["param_groups"], algorithms, strict=False):
        if not {"lr", "betas", "eps", "weight_decay"} <= set(group):
            raise ValueError(
                f"the state dict has a group with the keys {', '.join(sorted(group))}, which is neither this package's "
                "nor torch.optim.AdamW's. Load it into the optimizer that wrote it, and start a new optimizer from "
                "the weights."
            )
        if algorithm != "adamw":
            raise ValueError(
                f"the state dict is torch.optim.AdamW's, and the optimizer it is loaded into runs {algorithm!r}. Load "
                f"it into logclock.AdamW, which goes on with it; {algorithm!r} starts from the weights, without a "
                "state."
            )
        if group.get("amsgrad"):
            raise ValueError(
                "the state dict was written with amsgrad=True, which there is not here. Start without a state."
            )
        is_coupled_to_gradient = group.get("decoupled_weight_decay") is False and group["weight_decay"] != 0
        if is_coupled_to_gradient:
            raise ValueError(
                "the state dict is torch.optim.Adam's with weight decay in the gradient, which there is not here."
            )
        keys = {name: group[name] for name in ("lr", "betas", "eps", "weight_decay")}
        peak = group.get("initial_lr", group["lr"])
        own = completed({"algorithm": "adamw", **keys, "peak_lr": float(peak)}, "AdamW")
        own["maximize"] = bool(group.get("maximize", False))
        kept = {name: group[name] for name in ("params", "param_names", "initial_lr") if name in group}
        groups.append({**own, **kept})
    return {**state_dict, "param_groups": groups}


def to_torch(state_dict: Mapping[str, Any], specs: list[Spec]) -> dict[str, Any]:
    """Return a state dict that `torch.optim.AdamW` loads.

    Raises:
        ValueError: A group is another algorithm, or AdamW with settings that torch's does not have.
    """
    groups = []
    for group, spec in zip(state_dict["param_groups"], specs, strict=True):
        differing = _differs_from_torch(spec)
        if differing:
            raise ValueError(f"torch.optim.AdamW cannot go on with this optimizer: {differing}.")
        kept = {name: group[name] for name in group if name in ("params", "param_names", "initial_lr")}
        settings: Any = spec
        betas = (1 - settings.ema1, 1 - settings.ema2)
        own = {"lr": group["lr"], "betas": betas, "eps": settings.eps, "weight_decay": settings.weight_decay}
        groups.append({**own, **TORCH_GROUP, "maximize": group["maximize"], **kept})
    return {**state_dict, "param_groups": groups}


def _differs_from_torch(spec: Spec) -> str:
    """Return what torch's AdamW does not have, or an empty string."""
    if Spec.family.name_of(type(spec)) != "adamw":
        return f"a group runs {Spec.family.name_of(type(spec))!r}"
    wanted = {
        "decay_coupling": "coupled",
        "decay_order": "before",
        "bias_correction": True,
        "lr_schedule": 1.0,
        "wrappers": (),
    }
    for name, value in wanted.items():
        if getattr(spec, name) != value:
            return f"{name} is {getattr(spec, name)!r} and must be {value!r}"
    if spec.apply != next(f.default for f in dataclasses.fields(spec) if f.name == "apply"):
        return f"apply is {spec.apply.name!r} and must be 'decay'"
    scheduled = [f.name for f in dataclasses.fields(spec) if isinstance(getattr(spec, f.name), Schedule)]
    return f"{', '.join(scheduled)} must be numbers" if scheduled else ""
