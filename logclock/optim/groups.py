"""Which parameters of a model are decayed, and which are hidden matrices? Printable; what is missed raises."""

import collections
import dataclasses
import fnmatch
import glob
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import nn

from logclock.optim.heads import Heads, find_heads
from logclock.optim.routing import Holder, Role, holders_of, is_vector, role_of
from logclock.rules import Spec

__all__ = ["Assignment", "assign_groups", "assign_matrices", "class_of_params", "matrix_param_groups", "param_groups"]

Group = Literal["matrix", "decay", "no_decay"]

RateClass = Literal["hidden", "head", "table"]
"""What has a learning rate of its own: hidden weights, output heads, and what is looked up or scales: embeddings, gains
and biases."""


@dataclasses.dataclass(frozen=True)
class Assignment:
    """Which group each trainable parameter belongs to, and why; printing it gives a table.

    Args:
        groups: Group name by parameter name, in the model's order.
        reasons: Why, by parameter name.
        params: The parameters by name.
        notes: What is a guess and may need an override; printed below the table.
        kinds: Of parameters that no override names: which are an "embedding" (a head tied to one included) or a "head".
    """

    groups: dict[str, Group]
    reasons: dict[str, str]
    params: dict[str, nn.Parameter]
    notes: tuple[str, ...] = ()
    kinds: Mapping[str, str] = dataclasses.field(default_factory=dict)

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
        return "\n".join([*lines, *(f"{name}: {total:,} parameters" for name, total in totals.items()), *self.notes])


_GROUPS: tuple[Group, ...] = ("matrix", "decay", "no_decay")


def assign_groups(model: nn.Module, *, overrides: Mapping[str, Group] | None = None) -> Assignment:
    """Assign every trainable parameter to `decay` or `no_decay` by the type of the module that owns it.

    Decayed are the weights of linear, convolutional and recurrent layers, of attention and of experts, an untied output
    head included. Not decayed are embeddings (and a head tied to one), the gains and biases of norms, every bias, and
    what has one dimension. A reason says so where the group follows from a name or a shape alone. A module may say it
    of all its own parameters, as `module.weight_decay_group = ("decay", "why")`.

    Args:
        model: The model.
        overrides: Group by name pattern (as in `fnmatch`), which goes before the rules; a pattern that matches nothing
            raises.

    Raises:
        ValueError: No rule covers some parameters (the message has the overrides to write), or an override matches
            none or names an unknown group.
    """
    return _assign(model, dict(overrides or {}), allowed=("decay", "no_decay"), has_matrices=False)


def assign_matrices(
    model: nn.Module, *, overrides: Mapping[str, Group] | None = None, algorithm: str = "muon"
) -> Assignment:
    """Assign every trainable parameter to `matrix`, `decay` or `no_decay`.

    Hidden matrices are the two-dimensional weights of linear and recurrent layers and of attention, but for output
    heads and routers. A head is what `get_output_embeddings` returns, or a layer with as many outputs as an embedding
    has rows or the configuration has labels; padded vocabularies, names and the last layer make a guess, and the reason
    and the notes say so. Experts that are stacked in one parameter are hidden matrices of an algorithm that takes
    stacks. The others are decayed or not as `assign_groups` says.

    Args:
        model: The model.
        overrides: Group by name pattern, as in `assign_groups`.
        algorithm: Whose matrices they are to be: with one that takes 2-D parameters only, stacks of experts are none.

    Raises:
        ValueError: As in `assign_groups`; or an override sends something other than a matrix to `matrix`.
    """
    takes_stacks = Spec.family.get(algorithm).takes_stacks
    assignment = _assign(model, dict(overrides or {}), allowed=_GROUPS, has_matrices=True, takes_stacks=takes_stacks)
    for name, param in assignment.members("matrix"):
        if param.dim() != 2 and not (takes_stacks and param.dim() == 3):
            stacks = " and stacks of matrices (3-D)" if takes_stacks else ""
            raise ValueError(
                f"overrides send {name!r} of shape {tuple(param.shape)} to 'matrix', which takes 2-D parameters"
                f"{stacks}. Use 'decay' or 'no_decay'."
            )
    return assignment


def _assign(
    model: nn.Module,
    overrides: dict[str, Group],
    *,
    allowed: tuple[Group, ...],
    has_matrices: bool,
    takes_stacks: bool = False,
) -> Assignment:
    groups: dict[str, Group] = {}
    reasons: dict[str, str] = {}
    kinds: dict[str, str] = {}
    for name, param in model.named_parameters():
        if isinstance(param, nn.parameter.UninitializedParameter):
            raise ValueError(
                f"{name!r} has no shape yet, and its group depends on it. Send one batch through the model first."
            )
    params = {name: param for name, param in model.named_parameters() if param.requires_grad}
    _check_overrides(overrides, params, allowed)
    holders = holders_of(model)
    roles = {param: role_of(param, own) for param, own in holders.items()}
    heads = find_heads(model, holders, roles) if has_matrices else None
    for name, param in params.items():
        matches = [pattern for pattern in overrides if fnmatch.fnmatchcase(name, pattern)]
        role = roles[param]
        if matches:
            groups[name], reasons[name] = overrides[matches[-1]], f"override {matches[-1]!r}"
        elif role is not None:
            groups[name], reasons[name] = _matrix_group(param, role, heads, takes_stacks) if heads else _group(role)
            if role.kind == "embedding" or (heads and param in heads.reasons):
                kinds[name] = "embedding" if role.kind == "embedding" else "head"
    uncovered = [name for name in params if name not in groups]
    if uncovered:
        raise ValueError(_uncovered(uncovered, params, holders, overrides, allowed))
    notes = tuple(_notes(model, reasons, params, roles, heads)) if heads else ()
    return Assignment(groups, reasons, params, notes, kinds)


def _check_overrides(
    overrides: Mapping[str, str],
    params: Mapping[str, nn.Parameter],
    allowed: tuple[str, ...],
    *,
    argument: str = "overrides",
) -> None:
    for pattern, group in overrides.items():
        if group not in allowed:
            choices = " or ".join(map(repr, allowed))
            raise ValueError(f"{argument}[{pattern!r}] must be {choices}, got {group!r}.")
    unused = [pattern for pattern in overrides if not any(fnmatch.fnmatchcase(name, pattern) for name in params)]
    if unused:
        raise ValueError(f"{argument} match no trainable parameter: {', '.join(map(repr, unused))}.")


def _group(role: Role) -> tuple[Group, str]:
    return ("decay" if role.kind in ("matrix", "weight") else "no_decay"), role.reason


def _matrix_group(param: nn.Parameter, role: Role, heads: Heads, takes_stacks: bool) -> tuple[Group, str]:
    if role.kind in ("embedding", "vector"):
        return _group(role)
    if param in heads.reasons:
        return "decay", heads.reasons[param]
    is_stack = role.is_stack and takes_stacks
    if param.dim() != 2 and not is_stack:
        return "decay", f"{role.reason}; {param.dim()}-D, and matrix rules take 2-D parameters"
    if role.kind == "weight" and not is_stack:
        return _group(role)
    if 1 in param.shape[-2:]:
        return "decay", f"{role.reason}; one row or column has no directions to orthogonalize"
    hidden = "hidden" if role.reason == "Linear weight" else f"hidden: {role.reason}"
    return "matrix", f"{hidden}; {role.note}" if role.note else hidden


def _notes(
    model: nn.Module,
    reasons: Mapping[str, str],
    params: Mapping[str, nn.Parameter],
    roles: Mapping[torch.Tensor, Role | None],
    heads: Heads,
) -> list[str]:
    """Return what a user should look at; an override of a parameter is an answer."""
    chosen = {name for name, reason in reasons.items() if reason.startswith("override ")}
    guesses = [
        name
        for name, param in params.items()
        if param in heads.guesses and name not in chosen and not is_vector(param)  # a row is decayed, head or not
    ]
    if guesses:
        reason = ", ".join(f"{name!r} ({reasons[name].partition(': ')[2]})" for name in guesses)
        confirmed = ", ".join(f"{name!r}: 'decay'" for name in guesses)
        return [
            f"the output head of {type(model).__name__} is a guess: {reason}. If it is right, say "
            f"overrides={{{confirmed}}}; if it is a hidden matrix, 'matrix' for it and 'decay' for the head."
        ]
    has_answer = any((role := roles[params[name]]) and role.kind == "embedding" for name in chosen)
    has_layers = any(reason.startswith("hidden") and "LoRA" not in reason for reason in reasons.values())
    if heads.is_missing and has_layers and not has_answer:
        return [
            f"no output head was found in {type(model).__name__}, which has an embedding. If it has one, it stands "
            "among the hidden matrices: overrides={'NAME.weight': 'decay'} takes it out. If it has none, or computes "
            "logits with the embedding itself, say so with overrides={'NAME OF THE EMBEDDING': 'no_decay'}."
        ]
    return []


def _uncovered(
    names: list[str],
    params: Mapping[str, nn.Parameter],
    holders: Mapping[torch.Tensor, list[Holder]],
    overrides: Mapping[str, Group],
    allowed: tuple[Group, ...],
) -> str:
    """Return the message that lists the parameters without a rule, and overrides that can be pasted."""
    members: dict[str, list[str]] = collections.defaultdict(list)
    for name in names:
        members[re.sub(r"(?<![^.])\d+(?![^.])", "*", glob.escape(name))].append(name)
    for pattern in list(members):
        # Where the pattern reaches further than the parameters without a rule, each one is named.
        if {name for name in params if fnmatch.fnmatchcase(name, pattern)} - set(names):
            members.update({glob.escape(name): [name] for name in members.pop(pattern)})
    lines = []
    for pattern, own in members.items():
        kinds = ", ".join(sorted({holder.kind for name in own for holder in holders[params[name]]}))
        shapes = " or ".join(sorted({str(tuple(params[name].shape)) for name in own}))
        lines.append(f"  {pattern!r} ({len(own)} parameter{'s'[: len(own) != 1]} of {kinds}, shape {shapes})")
    suggestion: dict[str, str] = {**overrides, **dict.fromkeys(members, "decay")}
    others = " or ".join(map(repr, [group for group in allowed if group != "decay"]))
    return "\n".join(
        [
            f"no rule says whether {len(names)} parameter{'s'[: len(names) != 1]} should be decayed:",
            *lines,
            f"Say so, with {others} where that is right: overrides={suggestion!r}",
        ]
    )


def class_of_params(
    model: nn.Module, *, overrides: Mapping[str, RateClass] | None = None
) -> tuple[dict[str, RateClass], tuple[str, ...]]:
    """Return the class of every trainable parameter by name, and notes on what is a guess.

    Heads are found as in `assign_matrices`, and a head that is tied to an embedding is a table; so is every vector.
    Other weights are hidden, those of convolutions and routers included.

    Args:
        model: The model.
        overrides: Class by name pattern (as in `fnmatch`), which goes before the rules.

    Raises:
        ValueError: An override matches none or names an unknown class.
    """
    given = dict(overrides or {})
    params = {name: param for name, param in model.named_parameters() if param.requires_grad}
    _check_overrides(given, params, ("hidden", "head", "table"), argument="classes")
    holders = holders_of(model)
    roles = {param: role_of(param, own) for param, own in holders.items()}
    heads = find_heads(model, holders, roles)
    classes: dict[str, RateClass] = {}
    guesses = []
    for name, param in params.items():
        matches = [pattern for pattern in given if fnmatch.fnmatchcase(name, pattern)]
        if matches:
            classes[name] = given[matches[-1]]
            continue
        classes[name] = _rate_class(param, roles[param], heads)
        if classes[name] == "head" and param in heads.guesses:
            guesses.append(name)
    notes = []
    if guesses:
        answer = ", ".join(f"{name!r}: 'head'" for name in guesses)
        notes.append(
            f"the output head of {type(model).__name__} is a guess: {', '.join(map(repr, guesses))}. If it is right, "
            f"say classes={{{answer}}}; if it is hidden, 'hidden' for it and 'head' for the head."
        )
    elif heads.is_missing and not any(kind in ("head", "table") for kind in given.values()):
        notes.append(
            f"no output head was found in {type(model).__name__}, which has an embedding. If it has one, it has the "
            "rate of hidden weights: classes={'NAME.weight': 'head'} takes it out. If it has none, say so with "
            "classes={'NAME OF THE EMBEDDING': 'table'}."
        )
    return classes, tuple(notes)


def _rate_class(param: nn.Parameter, role: Role | None, heads: Heads) -> RateClass:
    if param in heads.reasons:
        return "head"
    is_looked_up = role is not None and role.kind in ("embedding", "vector")
    is_stated_vector = is_vector(param) and (role is None or role.kind == "weight")
    return "table" if is_looked_up or is_stated_vector else "hidden"


def param_groups(
    model: nn.Module,
    *,
    overrides: Mapping[str, Group] | None = None,
    tables_lr: float | None = None,
    head_lr: float | None = None,
    classes: Mapping[str, RateClass] | None = None,
    **decay_settings: Any,
) -> list[dict[str, Any]]:
    """Return named groups for an optimizer: decayed parameters, and the others with weight_decay 0.

    With `tables_lr` or `head_lr` they are divided by class too, hidden weights first: a table of embeddings, whose rows
    see few of the tokens, and the head often want several times the rate of hidden matrices. A group's rate is its
    peak, which schedules and independent decay follow.

    Args:
        model: The model.
        overrides: As in `assign_groups`.
        tables_lr: Peak learning rate of embeddings, gains and biases, and of heads without `head_lr`.
        head_lr: Peak learning rate of output heads. Under muP it is that of the tables times `matrix_lr_factor`.
        classes: As the overrides of `class_of_params`.
        **decay_settings: Further keys of the decayed group, e.g. `weight_decay=log_time_decay(4.0, offset=T / 10)`.
            With class rates `lr` is that of hidden weights, decayed or not.

    Raises:
        ValueError: As in `assign_groups` and `class_of_params`; or `classes` without a rate for one.

    Warns:
        UserWarning: With class rates, if the output head is a guess or none was found.

    Examples:
        >>> model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4, bias=False), nn.Linear(4, 10, bias=False))
        >>> [len(group["params"]) for group in param_groups(model)]
        [2, 1]
        >>> [group.get("lr") for group in param_groups(model, lr=1e-3, tables_lr=4e-3)]
        [0.001, 0.004, 0.004]
    """
    assignment = assign_groups(model, overrides=overrides)
    if tables_lr is None and head_lr is None:
        if classes is not None:
            raise ValueError(
                "classes say whose rate is tables_lr and whose is head_lr. Give one of them, or no classes."
            )
        groups = [
            {"params": assignment.members("decay"), **decay_settings},
            {"params": assignment.members("no_decay"), "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]
    found, notes = class_of_params(model, overrides=classes)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    rates = {
        "hidden": decay_settings.get("lr"),
        "head": tables_lr if head_lr is None else head_lr,
        "table": tables_lr,
    }
    groups = []
    decayed, kept = assignment.members("decay"), assignment.members("no_decay")
    for members, settings in ((decayed, decay_settings), (kept, {"weight_decay": 0.0})):
        for kind, lr in rates.items():
            own = [(param_name, param) for param_name, param in members if found[param_name] == kind]
            groups.append({"params": own, **settings, **({} if lr is None else {"lr": lr})})
    return [group for group in groups if group["params"]]


def matrix_param_groups(
    model: nn.Module,
    *,
    matrices: Mapping[str, Any],
    rest: Mapping[str, Any],
    overrides: Mapping[str, Group] | None = None,
    row_blocks: Mapping[str, int | Sequence[int]] | None = None,
    embeddings: Mapping[str, Any] | None = None,
    heads: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Return the groups of an optimizer with one algorithm for hidden matrices and another for everything else.

    Args:
        model: The model.
        matrices: Keys of the hidden matrices' groups, e.g. `{"algorithm": "muon", "lr": 0.02}`. Stacks of experts are
            among them if the algorithm takes stacks.
        rest: Keys of the other groups, e.g. `{"algorithm": "adana", "lr": 1e-3}`; what is not to be decayed gets a
            weight decay of 0.
        overrides: As in `assign_matrices`.
        row_blocks: By name pattern, into how many equal parts the rows of a matrix are cut before it is
            orthogonalised, or the sizes of the parts, e.g. `{"*qkv*": 3}` for fused projections, `{"*qkv*": [512, 128,
            128]}` where queries have more heads, `{"*q_proj*": 8}` for 8 heads; such matrices form groups of their own.
        embeddings: Keys of a group for the embeddings; None leaves them to the rest, undecayed.
        heads: Keys of a group for the output heads that are no embeddings; None leaves them to the rest.

    Raises:
        ValueError: As in `assign_matrices`; there is no hidden matrix, or none of a kind that has keys of its own; or a
            pattern of `row_blocks` matches none, or one that lies as (in, out).

    Warns:
        UserWarning: The output head is a guess, or none was found though the model has an embedding.

    Examples:
        >>> model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4), nn.Linear(4, 10, bias=False))
        >>> groups = matrix_param_groups(model, matrices={"algorithm": "muon"}, rest={"algorithm": "adana"})
        >>> [[name for name, _ in group["params"]] for group in groups]
        [['1.weight'], ['2.weight'], ['0.weight', '1.bias']]
    """
    algorithm = matrices.get("algorithm")
    assignment = assign_matrices(model, overrides=overrides, **({} if algorithm is None else {"algorithm": algorithm}))
    for note in assignment.notes:
        warnings.warn(note, stacklevel=2)
    groups = [
        {"params": members, **matrices, **({} if blocks == 1 else {"row_blocks": blocks})}
        for blocks, members in _by_row_blocks(model, assignment, row_blocks or {})
    ]
    taken = {}
    for kind, argument, keys in (("embedding", "embeddings", embeddings), ("head", "heads", heads)):
        if keys is None:
            continue
        names = [name for name in assignment.groups if assignment.kinds.get(name) == kind]
        if not names:
            raise ValueError(
                f"{type(model).__name__} has no {kind} of its own (a head that is tied to an embedding is an "
                f"embedding). Leave {argument} out."
            )
        taken[kind] = names
        groups.append({"params": [(name, assignment.params[name]) for name in names], **keys})
    gone = {name for names in taken.values() for name in names}
    decay, no_decay = (
        [(name, param) for name, param in members if name not in gone]
        for members in (assignment.members("decay"), assignment.members("no_decay"))
    )
    groups += [{"params": decay, **rest}, {"params": no_decay, **rest, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def _by_row_blocks(
    model: nn.Module, assignment: Assignment, row_blocks: Mapping[str, int | Sequence[int]]
) -> list[tuple[int | list[int], list[tuple[str, nn.Parameter]]]]:
    """Return the hidden matrices by how their rows are cut, whole ones first."""
    transposed = _transposed(model)
    by_blocks: dict[int | tuple[int, ...], list[tuple[str, nn.Parameter]]] = {}
    unused = set(row_blocks)
    for name, param in assignment.members("matrix"):
        matches = [pattern for pattern in row_blocks if fnmatch.fnmatchcase(name, pattern)]
        unused -= set(matches)
        if matches and param in transposed:
            raise ValueError(
                f"row_blocks[{matches[-1]!r}] cuts rows of {name!r} of shape {tuple(param.shape)}, a Conv1D, which is "
                "stored as (in, out): what is fused there lies in its columns. Leave it out of row_blocks (it is then "
                "one matrix), or replace the Conv1D by an nn.Linear."
            )
        blocks = row_blocks[matches[-1]] if matches else 1
        by_blocks.setdefault(blocks if isinstance(blocks, int) else tuple(blocks), []).append((name, param))
    if unused:
        raise ValueError(f"row_blocks match no hidden matrix: {', '.join(map(repr, sorted(unused)))}.")
    if not by_blocks:
        raise ValueError(
            f"{type(model).__name__} has no hidden matrix (a Linear weight that is not the head). "
            "Use logclock.param_groups, or name matrices with overrides={'PATTERN': 'matrix'}."
        )
    order = sorted(by_blocks, key=lambda blocks: (1, *blocks) if isinstance(blocks, tuple) else (0, blocks))
    return [(list(blocks) if isinstance(blocks, tuple) else blocks, by_blocks[blocks]) for blocks in order]


def _transposed(model: nn.Module) -> set[torch.Tensor]:
    return {param for param, own in holders_of(model).items() if (role := role_of(param, own)) and role.is_transposed}
