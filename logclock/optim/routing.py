"""What is a parameter, judged by the modules that hold it: a matrix, another weight, an embedding or a vector?"""

import dataclasses
import re
from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn
from torch.nn.utils import parametrize

__all__ = ["Holder", "Role", "holders_of", "role_of"]

EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)

NORMS = (
    nn.LayerNorm,
    nn.RMSNorm,
    nn.GroupNorm,
    nn.modules.batchnorm._NormBase,
)

RECURRENT = {"LSTM": 4, "LSTMCell": 4, "GRU": 3, "GRUCell": 3}
"""How many gates lie below each other in the weights of a recurrent module."""

WRAPPERS = re.compile(
    r"(^|\.)(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|base_layer|original_module"
    r"|modules_to_save\.\w+)(?=\.|$)"
)
"""Path components that torch and peft insert around a module that stays what it was."""

LORA = re.compile(r"(?:^|\.)(lora_(?:embedding_)?[AB]|lora_magnitude_vector)(?=\.|$)")

TOKENS = re.compile(r"(?<!un)embed|wte$|wpe$|token|(^|_)pos(_|$)|latents$", re.IGNORECASE)

ROUTERS = re.compile(r"^(router|gate|gating|wg|\w*_(router|gate))$")


@dataclasses.dataclass(frozen=True)
class Holder:
    """A module that holds a parameter, seen through weight norms, parametrizations, adapters and wrappers.

    Args:
        module: The module whose tensor the parameter is, or makes.
        parent: The module that contains it, None for the model.
        attribute: Name of that tensor, e.g. `weight`.
        path: Path of the module without wrappers; of the adapted module for the factors of LoRA.
        name: Path of the module as the model has it.
        part: Which part of the tensor the parameter is: `gain` and `direction` of a weight norm, `original` of another
            parametrization, `lora_A` and so on; empty if it is the tensor.
    """

    module: nn.Module
    parent: nn.Module | None
    attribute: str
    path: str
    name: str
    part: str = ""

    @property
    def kind(self) -> str:
        """Name of the module's class."""
        return parametrize.type_before_parametrizations(self.module).__name__

    @property
    def leaf(self) -> str:
        """Last component of the path that is not a number."""
        return next((part for part in reversed(self.path.split(".")) if not part.isdigit()), "")


@dataclasses.dataclass(frozen=True)
class Role:
    """What a parameter is.

    Args:
        kind: `matrix` is a weight with two dimensions; `weight` is another one that is decayed.
        reason: Why.
        note: What an optimizer for matrices should know about it.
        is_transposed: Whether a matrix lies as (inputs, outputs).
        is_stack: Whether a 3-D weight is a stack of matrices, one for each expert.
        is_guess: Whether it follows from a shape or a name only.
    """

    kind: Literal["matrix", "weight", "embedding", "vector"]
    reason: str
    note: str = ""
    is_transposed: bool = False
    is_stack: bool = False
    is_guess: bool = False


LINEAR = Role("weight", "Linear weight")


def holders_of(model: nn.Module) -> dict[torch.Tensor, list[Holder]]:
    """Return the holders of each parameter, in the model's order; a tied parameter has several."""
    holders: dict[torch.Tensor, list[Holder]] = {}
    modules = dict(model.named_modules())
    for name, module in modules.items():
        for attribute, param in module.named_parameters(recurse=False):
            holders.setdefault(param, []).append(_holder(modules, name, module, attribute))
    return holders


def _holder(modules: dict[str, nn.Module], name: str, module: nn.Module, attribute: str) -> Holder:
    part = ""
    if isinstance(module, parametrize.ParametrizationList):
        is_weight_norm = type(module[0]).__name__ == "_WeightNorm"
        part = {"original0": "gain", "original1": "direction"}.get(attribute, "") if is_weight_norm else "original"
        name, _, attribute = re.sub(r"\.?parametrizations\.(\w+)$", r"/\1", name).partition("/")
        module = modules[name]
    elif (legacy := re.fullmatch(r"(\w+)_(g|v|orig)", attribute)) and _is_computed(module, legacy[1]):
        attribute, part = legacy[1], {"g": "gain", "v": "direction", "orig": "original"}[legacy[2]]
    path = WRAPPERS.sub("", name).lstrip(".")
    if adapter := LORA.search(f"{path}.{attribute}"):
        path, part = path[: adapter.start()], adapter[1]
    return Holder(module, modules.get(name.rpartition(".")[0]) if name else None, attribute, path, name, part)


def _is_computed(module: nn.Module, attribute: str) -> bool:
    """Return whether a tensor of a module is made from parameters, as the older weight_norm and pruning do."""
    return attribute not in module._parameters and isinstance(getattr(module, attribute, None), torch.Tensor)


def role_of(param: torch.Tensor, holders: list[Holder]) -> Role | None:
    """Return what a parameter is, or None if no rule covers it. An embedding stays one when it is tied to a head."""
    roles = [role for holder in holders if (role := role_in(param, holder))]
    if embedding := next((role for role in roles if role.kind == "embedding"), None):
        return embedding if len(holders) == 1 else dataclasses.replace(embedding, reason=f"{embedding.reason}, tied")
    return next((role for role in roles if not role.is_guess), next(iter(roles), None))


def role_in(param: torch.Tensor, holder: Holder) -> Role | None:
    """Return what a parameter is to one of its holders, or None."""
    return next(_roles(param, holder), None)


def _roles(param: torch.Tensor, holder: Holder) -> Iterator[Role]:
    """Yield what a parameter may be to a holder; the first is the best."""
    module, attribute, kind = holder.module, holder.attribute, holder.kind
    if holder.part == "lora_magnitude_vector":
        yield Role("vector", "DoRA magnitude")
    elif holder.part.startswith("lora_embedding") or isinstance(module, EMBEDDINGS):
        yield Role("embedding", "LoRA factor of an embedding" if "lora" in holder.part else "embedding")
    elif holder.part == "gain":
        yield Role("vector", "gain of a weight norm")
    elif (stated := getattr(module, "weight_decay_group", None)) is not None:
        yield _stated(stated, holder)
    elif isinstance(module, NORMS) or (re.search("Norm|norm$", kind) and is_vector(param)):
        yield Role("vector", f"{kind} {'bias' if 'bias' in attribute else 'gain'}")
    elif "bias" in attribute.split("_"):
        yield Role("vector", "bias")
    elif getattr(param, "_no_weight_decay", False):
        yield Role("vector", "marked _no_weight_decay by its module")
    elif holder.part:
        yield from _parts(param, holder)
    else:
        yield from _weights(param, holder)
    yield from _guesses(param, holder)


def _stated(stated: object, holder: Holder) -> Role:
    """Return the role of the parameters of a module that says which group they belong to.

    The gains before a map are decayed, those behind it are not, and neither shape nor class tells them apart.
    """
    match stated:
        case ("decay" | "no_decay" as group, str(reason)):
            return Role("weight" if group == "decay" else "vector", reason)
    raise ValueError(
        f"weight_decay_group of {holder.name or 'the model'!r} must be ('decay', WHY) or ('no_decay', WHY), got "
        f"{stated!r}. It says which group all parameters of that {holder.kind} belong to."
    )


def _parts(param: torch.Tensor, holder: Holder) -> Iterator[Role]:
    if holder.part.startswith("lora"):
        yield Role("matrix", "LoRA factor") if param.dim() == 2 else Role("weight", "LoRA factor")
        return
    origin = "direction of a weight norm" if holder.part == "direction" else "before its parametrization"
    for role in _weights(param, holder):
        yield dataclasses.replace(role, reason=f"{role.reason}, {origin}")


def _weights(param: torch.Tensor, holder: Holder) -> Iterator[Role]:
    """Yield the roles of weights of modules that torch and transformers have."""
    module, attribute, kind = holder.module, holder.attribute, holder.kind
    if _is_router(holder):
        # Its rows are scores that a top-k reads, an output layer of its own: equal steps for all experts, whatever
        # their gradients, are not what balances them.
        yield Role("weight", "router: its rows score experts, like a head")
    elif isinstance(module, nn.Linear) and attribute == "weight":
        # FSDP's first version shards weights as flat vectors, which stay weights.
        is_matrix = param.dim() == 2
        yield Role("matrix", "Linear weight", note=_fused_linear(param, holder)) if is_matrix else LINEAR
    elif kind == "Conv1D" and attribute == "weight" and param.dim() == 2:  # of transformers, which is not imported
        note = "stored as (in, out), so Muon's scale_rule 'original' takes inputs for outputs"
        if _is_fused_qkv(holder.leaf):
            note += "; fused in its columns, which row_blocks cannot cut"
        yield Role("matrix", "Conv1D weight", note=note, is_transposed=True)
    elif isinstance(module, nn.MultiheadAttention) and attribute.endswith("proj_weight"):
        note = _fused("*in_proj_weight", 3) if attribute == "in_proj_weight" else ""
        yield Role("matrix", f"{kind} weight", note=note)
    elif isinstance(module, nn.RNNBase | nn.RNNCellBase):
        gates = RECURRENT.get(kind, 1)
        is_fused = gates > 1 and not attribute.startswith("weight_hr")
        yield Role("matrix", f"{kind} weight", note=_fused(f"*{attribute[:9]}*", gates) if is_fused else "")
    elif isinstance(module, nn.modules.conv._ConvNd | nn.Bilinear):
        yield Role("weight", f"{kind} weight")
    elif param.dim() >= 3 and re.search("expert|moe", f"{kind}.{holder.path}", re.IGNORECASE):
        reason = f"experts: a stack of {param.shape[0]} matrices"
        yield Role("weight", reason, note=_fused_experts(holder), is_stack=param.dim() == 3)


def _guesses(param: torch.Tensor, holder: Holder) -> Iterator[Role]:
    """Yield what follows from names and shapes."""
    kind, attribute = holder.kind, holder.attribute
    if re.search(r"Embed(ding)?s?$", kind) and "Patch" not in kind and attribute in ("weight", "embedding"):
        yield Role("embedding", f"embedding (guess: the class is {kind})", is_guess=True)
    elif TOKENS.search(attribute):
        yield Role("embedding", f"embedding (guess: the name is {attribute})", is_guess=True)
    elif re.fullmatch(r"lm_head|unembed(ding)?", attribute):
        yield Role("weight", f"head (guess: the name is {attribute})", is_guess=True)
    elif attribute == "A_log":
        yield Role("vector", "rates of a state space (guess: the name is A_log)", is_guess=True)
    elif re.search("(Linear|Dense)(Layer)?$", kind) and attribute == "weight" and param.dim() == 2:
        note = _fused_linear(param, holder)
        yield Role("matrix", f"Linear weight (guess: the class is {kind})", note=note, is_guess=True)
    elif is_vector(param):
        yield Role("vector", f"vector (guess: {'one dimension' if param.dim() else 'scalar'} in {kind})", is_guess=True)


def is_vector(param: torch.Tensor) -> bool:
    """Return whether a parameter has at most one dimension that is not 1."""
    return sum(size != 1 for size in param.shape) <= 1


def _is_router(holder: Holder) -> bool:
    if holder.attribute != "weight" and not holder.attribute.startswith(("router", "gate_weight")):
        return False
    if re.search("Router|TopK|Gating|MoEGate", holder.kind):
        return True
    beside = [] if holder.parent is None else [name for name, _ in holder.parent.named_children()]
    beside += [] if holder.parent is None else list(holder.parent._parameters)
    has_experts = any("expert" in name for name in beside if name != holder.leaf)
    return holder.leaf == "router" or (has_experts and bool(ROUTERS.match(holder.leaf)))


def _is_fused_qkv(leaf: str) -> bool:
    return leaf == "c_attn" or "qkv" in leaf.lower()


def _fused_linear(param: torch.Tensor, holder: Holder) -> str:
    rows, columns = param.shape
    leaf = holder.leaf
    if leaf == "query_key_value":
        return "fused head by head (as in GPT-NeoX), so row_blocks would mix queries, keys and values"
    if _is_fused_qkv(leaf):
        if rows == 3 * columns:
            return _fused(f"*{leaf}*", 3)
        return f'fused in parts that may differ in size: row_blocks={{"*{leaf}*": [rows of q, of k, of v]}}'
    return _fused(f"*{leaf}*", 2) if "gate_up" in leaf else ""


def _fused_experts(holder: Holder) -> str:
    """Return what to know of experts whose gates are fused; some models store them as (experts, in, out)."""
    is_fused = "gate_up" in holder.attribute
    return f"{_fused(f'*{holder.attribute}*', 2)} if the outputs are its rows" if is_fused else ""


def _fused(pattern: str, parts: int) -> str:
    return f'fused: row_blocks={{"{pattern}": {parts}}}'
