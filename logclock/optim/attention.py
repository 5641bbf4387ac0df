"""Which projections make queries and keys, and of how many heads?"""

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from logclock.optim.routing import Holder, holders_of, role_of

__all__ = ["by_heads", "head_blocks"]

PROJECTIONS = re.compile(
    r"(to_)?(q|k|wq|wk|query|key|query_gate)(_(proj|lin|layer|projection))?|(query|key)s?|.*qkv.*|c_attn|query_key_value",
    re.IGNORECASE,
)
"""Names of layers that make queries or keys; fused ones make values too."""

HEADS = ("num_attention_heads", "num_heads", "n_heads", "n_head", "heads")
"""Attributes in which attention modules, or their configurations, keep the number of heads."""

WIDTHS = ("head_dim", "attention_head_size", "head_size")
"""Attributes in which they keep the width of a head."""

OUTPUTS = ("out", "out_proj", "o_proj", "c_proj", "wo", "dense", "proj")
"""Names of the projection behind the heads, whose inputs are all heads side by side."""


def head_blocks(model: nn.Module) -> dict[str, int]:
    """Return, by name, into how many heads the rows of each query or key projection of a model fall.

    The width of a head is what its attention module says, or what follows from the number of heads that it or its
    configuration says, and the inputs of its output projection. A projection whose rows no head's width divides, or
    that lies as (in, out), is left out. Gates that are fused with the queries count as heads, and so do fused values.

    Examples:
        >>> model = nn.MultiheadAttention(8, num_heads=2)
        >>> head_blocks(model)
        {'in_proj_weight': 6}
    """
    holders = holders_of(model)
    names: dict[torch.Tensor, str] = {param: name for name, param in model.named_parameters()}
    found = {}
    for param, own in holders.items():
        role = role_of(param, own)
        is_projection = role is not None and role.kind == "matrix" and not role.is_transposed
        width = _head_width(own[0]) if is_projection and len(own) == 1 and own[0].attribute.endswith("weight") else 0
        if width and param.shape[0] % width == 0:
            found[names[param]] = param.shape[0] // width
    return found


def by_heads(model: nn.Module, groups: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return parameter groups in which projections of queries and keys stand apart, cut into their heads.

    Args:
        model: The model.
        groups: As `param_groups` and `matrix_param_groups` return them, with named parameters.

    Examples:
        >>> from logclock.optim import param_groups
        >>> model = nn.TransformerEncoderLayer(8, nhead=2, dim_feedforward=8)
        >>> [(group.get("row_blocks"), len(group["params"])) for group in by_heads(model, param_groups(model))]
        [(None, 3), (6, 1), (None, 8)]
    """
    blocks = head_blocks(model)
    result = []
    for group in groups:
        kinds: dict[int | None, list[tuple[str, nn.Parameter]]] = {}
        for name, param in group["params"]:
            kinds.setdefault(blocks.get(name), []).append((name, param))
        for count, members in sorted(kinds.items(), key=lambda item: item[0] or 0):
            cut = {} if count is None else {"row_blocks": count}
            result.append({**group, "params": members, **cut})
    return result


def _head_width(holder: Holder) -> int:
    """Return the rows of a head of a projection, 0 if it makes neither queries nor keys, or nobody says."""
    if isinstance(holder.module, nn.MultiheadAttention):
        is_known = holder.attribute in ("in_proj_weight", "q_proj_weight", "k_proj_weight")
        return holder.module.head_dim if is_known else 0
    if not PROJECTIONS.fullmatch(holder.leaf) or holder.parent is None:
        return 0
    sources = [holder.parent, getattr(holder.parent, "config", None)]
    if width := _number(sources, WIDTHS):
        return width
    heads = _number(sources, HEADS)
    children = dict(holder.parent.named_children())
    outputs = [child for name in OUTPUTS if isinstance(child := children.get(name), nn.Linear)]
    inputs = outputs[0].in_features if outputs else 0
    return inputs // heads if heads and inputs % heads == 0 else 0


def _number(sources: Iterable[Any], names: Iterable[str]) -> int:
    """Return the first positive whole number that is an attribute of a source by one of the names."""
    values = [getattr(source, name, None) for source in sources if source is not None for name in names]
    return next((value for value in values if isinstance(value, int) and value > 0), 0)
