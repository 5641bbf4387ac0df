"""Which parameters of a model are decayed? The studies' convention, printable, with an error for anything it misses."""

import dataclasses
import fnmatch
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

__all__ = ["Assignment", "assign_groups", "param_groups"]

Group = Literal["decay", "no_decay"]

NORMS = (
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._NormBase,
)


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Which group each trainable parameter belongs to, and why; printing it gives a table.

    Args:
        groups: Group name by parameter name, in the model's order.
        reasons: Why, by parameter name.
        params: The parameters by name.
    """

    groups: dict[str, Group]
    reasons: dict[str, str]
    params: dict[str, nn.Parameter]

    def __str__(self) -> str:
        rows = [
            (group, name, "x".join(map(str, self.params[name].shape)) or "scalar", self.reasons[name])
            for name, group in self.groups.items()
        ]
        totals = {g: sum(self.params[n].numel() for n, group in self.groups.items() if group == g) for g in _GROUPS}
        widths = [max(len(row[i]) for row in rows) for i in range(3)] if rows else [0, 0, 0]
        lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]) for row in rows]
        return "\n".join([*lines, *(f"{name}: {total:,} parameters" for name, total in totals.items())])


_GROUPS: tuple[Group, ...] = ("decay", "no_decay")


def assign_groups(model: nn.Module, *, overrides: Mapping[str, Group] | None = None) -> Assignment:
    """Assign every trainable parameter to `decay` or `no_decay` by the type of the module that owns it.

    Decayed are the weights of Linear layers, an untied output head included. Not decayed are embeddings (and a head
    tied to one), the gains and biases of norms, and every bias.

    Args:
        model: The model.
        overrides: Group by name pattern (as in `fnmatch`), which goes before the rules; a pattern that matches nothing
            raises.

    Raises:
        ValueError: No rule covers a parameter, or an override matches none or names an unknown group.
    """
    groups: dict[str, Group] = {}
    reasons: dict[str, str] = {}
    params = {name: param for name, param in model.named_parameters() if param.requires_grad}
    owners = _owners(model)
    unused = dict(overrides or {})
    for pattern, group in unused.items():
        if group not in _GROUPS:
            raise ValueError(f"overrides[{pattern!r}] must be 'decay' or 'no_decay', got {group!r}.")
    for name, param in params.items():
        matches = [pattern for pattern in (overrides or {}) if fnmatch.fnmatchcase(name, pattern)]
        for pattern in matches:
            unused.pop(pattern, None)
        if matches:
            groups[name], reasons[name] = (overrides or {})[matches[-1]], f"override {matches[-1]!r}"
            continue
        found = _by_owners(owners[param])
        if found is None:
            kinds = ", ".join(sorted({type(module).__name__ for module, _ in owners[param]}))
            raise ValueError(
                f"no rule says whether {name!r} (of {kinds}, shape {tuple(param.shape)}) is decayed. "
                f"Say so: param_groups(model, overrides={{{name!r}: 'decay' or 'no_decay'}})."
            )
        groups[name], reasons[name] = found
    if unused:
        raise ValueError(f"overrides match no trainable parameter: {', '.join(map(repr, unused))}.")
    return Assignment(groups, reasons, params)


def param_groups(
    model: nn.Module, *, overrides: Mapping[str, Group] | None = None, **decay_settings: Any
) -> list[dict[str, Any]]:
    """Return two named groups for an optimizer: decayed parameters, and the others with weight_decay 0.

    Args:
        model: The model.
        overrides: As in `assign_groups`.
        **decay_settings: Further keys of the decayed group, e.g. `weight_decay=log_time_decay(4.0, offset=T / 10)`.

    Examples:
        >>> model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 10, bias=False))
        >>> [len(group["params"]) for group in param_groups(model)]
        [1, 1]
    """
    assignment = assign_groups(model, overrides=overrides)
    members = {
        group: [(name, assignment.params[name]) for name, g in assignment.groups.items() if g == group]
        for group in _GROUPS
    }
    groups = [{"params": members["decay"], **decay_settings}, {"params": members["no_decay"], "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _owners(model: nn.Module) -> dict[torch.Tensor, list[tuple[nn.Module, str]]]:
    """Return the modules that hold each parameter, with the attribute's name; a tied parameter has several."""
    owners: dict[torch.Tensor, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for attribute, param in module.named_parameters(recurse=False):
            owners.setdefault(param, []).append((module, attribute))
    return owners


def _by_owners(owners: list[tuple[nn.Module, str]]) -> tuple[Group, str] | None:
    if any(isinstance(module, nn.Embedding | nn.EmbeddingBag) for module, _ in owners):
        return "no_decay", "embedding" if len(owners) == 1 else "embedding, tied"
    module, attribute = owners[0]
    if isinstance(module, NORMS):
        return "no_decay", f"{type(module).__name__} {'bias' if attribute == 'bias' else 'gain'}"
    if attribute == "bias" or attribute.endswith("_bias"):
        return "no_decay", "bias"
    if isinstance(module, nn.Linear) and attribute == "weight":
        return "decay", "Linear weight"
    return None
