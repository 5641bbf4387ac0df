"""Which parameters of a model are decayed, and which are hidden matrices? Printable; what is missed raises."""

import dataclasses
import fnmatch
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

__all__ = ["Assignment", "assign_groups", "assign_matrices", "matrix_param_groups", "param_groups"]

Group = Literal["matrix", "decay", "no_decay"]

LINEAR_WEIGHT = "Linear weight"

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)

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

    def names(self, group: Group) -> list[str]:
        """Return the parameters of a group."""
        return [name for name, own in self.groups.items() if own == group]

    def members(self, group: Group) -> list[tuple[str, nn.Parameter]]:
        """Return the parameters of a group with their names, as optimizers take them."""
        return [(name, self.params[name]) for name in self.names(group)]

    def __str__(self) -> str:
        rows = [
            (group, name, "x".join(map(str, self.params[name].shape)) or "scalar", self.reasons[name])
            for name, group in self.groups.items()
        ]
        totals = {
            g: sum(self.params[n].numel() for n in self.names(g)) for g in _GROUPS if g != "matrix" or self.names(g)
        }
        widths = [max(len(row[i]) for row in rows) for i in range(3)] if rows else [0, 0, 0]
        lines = ["  ".join([*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3]]) for row in rows]
        return "\n".join([*lines, *(f"{name}: {total:,} parameters" for name, total in totals.items())])


_GROUPS: tuple[Group, ...] = ("matrix", "decay", "no_decay")


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
    return _assign(model, dict(overrides or {}), allowed=("decay", "no_decay"), has_matrices=False)


def assign_matrices(model: nn.Module, *, overrides: Mapping[str, Group] | None = None) -> Assignment:
    """Assign every trainable parameter to `matrix`, `decay` or `no_decay`.

    Hidden matrices are the weights of Linear layers but for the output head. The head is the Linear layer that shares
    its weight with an embedding, or else the last one that has as many outputs as an embedding of the model has rows.
    The others are decayed or not as `assign_groups` says.

    Args:
        model: The model.
        overrides: Group by name pattern, as in `assign_groups`.

    Raises:
        ValueError: As in `assign_groups`, or an override sends something other than a 2-D parameter to `matrix`.
    """
    assignment = _assign(model, dict(overrides or {}), allowed=_GROUPS, has_matrices=True)
    for name, param in assignment.members("matrix"):
        if param.dim() != 2:
            raise ValueError(
                f"overrides send {name!r} of shape {tuple(param.shape)} to 'matrix', which takes 2-D parameters. "
                "Use 'decay' or 'no_decay'."
            )
    return assignment


def _assign(
    model: nn.Module, overrides: dict[str, Group], *, allowed: tuple[Group, ...], has_matrices: bool
) -> Assignment:
    groups: dict[str, Group] = {}
    reasons: dict[str, str] = {}
    params = {name: param for name, param in model.named_parameters() if param.requires_grad}
    owners = _owners(model)
    head = _head(model, owners) if has_matrices else None
    unused = dict(overrides)
    for pattern, group in unused.items():
        if group not in allowed:
            choices = " or ".join(map(repr, allowed))
            raise ValueError(f"overrides[{pattern!r}] must be {choices}, got {group!r}.")
    for name, param in params.items():
        matches = [pattern for pattern in overrides if fnmatch.fnmatchcase(name, pattern)]
        for pattern in matches:
            unused.pop(pattern, None)
        if matches:
            groups[name], reasons[name] = overrides[matches[-1]], f"override {matches[-1]!r}"
            continue
        found = _by_owners(owners[param])
        if has_matrices and found is not None and found[1] == LINEAR_WEIGHT:
            found = (
                ("decay", "head: as many outputs as an embedding has rows") if param is head else ("matrix", "hidden")
            )
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
    groups = [
        {"params": assignment.members("decay"), **decay_settings},
        {"params": assignment.members("no_decay"), "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def matrix_param_groups(
    model: nn.Module,
    *,
    matrices: Mapping[str, Any],
    rest: Mapping[str, Any],
    overrides: Mapping[str, Group] | None = None,
    row_blocks: Mapping[str, int] | None = None,
) -> list[dict[str, Any]]:
    """Return the groups of an optimizer with one algorithm for hidden matrices and another for everything else.

    Args:
        model: The model.
        matrices: Keys of the hidden matrices' groups, e.g. `{"algorithm": "muon", "lr": 0.02}`.
        rest: Keys of the other groups, e.g. `{"algorithm": "adana", "lr": 1e-3}`; what is not to be decayed gets a
            weight decay of 0.
        overrides: As in `assign_matrices`.
        row_blocks: By name pattern, into how many equal parts the rows of a matrix are cut before it is
            orthogonalised, e.g. `{"*qkv*": 3}` for fused projections; those matrices form a group of their own.

    Raises:
        ValueError: As in `assign_matrices`; there is no hidden matrix; or a pattern of `row_blocks` matches none.

    Examples:
        >>> model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4), nn.Linear(4, 10, bias=False))
        >>> groups = matrix_param_groups(model, matrices={"algorithm": "muon"}, rest={"algorithm": "adana"})
        >>> [[name for name, _ in group["params"]] for group in groups]
        [['1.weight'], ['2.weight'], ['0.weight', '1.bias']]
    """
    assignment = assign_matrices(model, overrides=overrides)
    by_blocks: dict[int, list[tuple[str, nn.Parameter]]] = {}
    unused = set(row_blocks or {})
    for name, param in assignment.members("matrix"):
        matches = [pattern for pattern in (row_blocks or {}) if fnmatch.fnmatchcase(name, pattern)]
        unused -= set(matches)
        by_blocks.setdefault((row_blocks or {})[matches[-1]] if matches else 1, []).append((name, param))
    if unused:
        raise ValueError(f"row_blocks match no hidden matrix: {', '.join(map(repr, sorted(unused)))}.")
    if not by_blocks:
        raise ValueError(
            f"{type(model).__name__} has no hidden matrix (a Linear weight that is not the head). "
            "Use logclock.param_groups, or name matrices with overrides={'PATTERN': 'matrix'}."
        )
    groups = [
        {"params": members, **matrices, **({} if blocks == 1 else {"row_blocks": blocks})}
        for blocks, members in sorted(by_blocks.items())
    ]
    groups += [
        {"params": assignment.members("decay"), **rest},
        {"params": assignment.members("no_decay"), **rest, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _owners(model: nn.Module) -> dict[torch.Tensor, list[tuple[nn.Module, str]]]:
    """Return the modules that hold each parameter, with the attribute's name; a tied parameter has several."""
    owners: dict[torch.Tensor, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for attribute, param in module.named_parameters(recurse=False):
            owners.setdefault(param, []).append((module, attribute))
    return owners


def _head(model: nn.Module, owners: dict[torch.Tensor, list[tuple[nn.Module, str]]]) -> torch.Tensor | None:
    """Return the weight of an output head that is not an embedding's too, or None."""
    tables = [module for module in model.modules() if isinstance(module, EMBEDDINGS)]
    if any(isinstance(module, nn.Linear) for table in tables for module, _ in owners[table.weight]):
        return None
    rows = {table.num_embeddings for table in tables}
    candidates = [m for m in model.modules() if isinstance(m, nn.Linear) and m.out_features in rows]
    return candidates[-1].weight if candidates else None


def _by_owners(owners: list[tuple[nn.Module, str]]) -> tuple[Group, str] | None:
    if any(isinstance(module, EMBEDDINGS) for module, _ in owners):
        return "no_decay", "embedding" if len(owners) == 1 else "embedding, tied"
    module, attribute = owners[0]
    if isinstance(module, NORMS):
        return "no_decay", f"{type(module).__name__} {'bias' if attribute == 'bias' else 'gain'}"
    if attribute == "bias" or attribute.endswith("_bias"):
        return "no_decay", "bias"
    if isinstance(module, nn.Linear) and attribute == "weight":
        return "decay", LINEAR_WEIGHT
    return None
