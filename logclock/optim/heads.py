"""Which layers of a model are output heads, how is that known, and when is it a guess?"""

import dataclasses
import re
from collections.abc import Callable, Iterator

import torch
from torch import nn

from logclock.optim.routing import Holder, Role, role_in

__all__ = ["Heads", "find_heads"]

NAMES = re.compile(
    r"(\w+_)?heads?|lmhead|(?!pre_)(\w+_)?classifier|scores?|embed_out|unembed(ding)?|(\w+_)?logits?|vocab_proj\w*"
    r"|to_vocab|qa_outputs|seq_relationship",
    re.IGNORECASE,
)
"""Names that layers have because they are heads."""

LOOSE_NAMES = re.compile(
    r"(lm_|fc_|proj_)?out|output|(out|output)_(layer|proj|projection)|decoder|readout|final\w*|fc|predict\w*",
    re.IGNORECASE,
)
"""Names that heads share with hidden layers."""

CONTAINERS = re.compile(r"((lm|mlm|cls|classification|qa|prediction|output)_)?head|classifier|score|cls")
"""Names of modules whose last layer is a head."""

OWN_TABLE = re.compile(r"((lm|output)_)?head|unembed(ding)?|embed_out|to_logits")
"""Names of heads of language models, None where the logits come from the embedding."""

OTHER_TABLES = re.compile(r"pos|wpe|type|segment|time|relative", re.IGNORECASE)
"""What is in the names of embeddings that are not of tokens."""

PADDINGS = (8, 16, 32, 64, 128, 256, 512, 1024)


@dataclasses.dataclass(frozen=True)
class Heads:
    """The output heads of a model.

    Args:
        reasons: Why a parameter belongs to one.
        guesses: The parameters of which that is a guess.
        is_missing: Whether the model has an embedding and no head was found, not even a guess.
    """

    reasons: dict[torch.Tensor, str]
    guesses: set[torch.Tensor]
    is_missing: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """A layer that may be a head."""

    param: torch.Tensor
    holder: Holder
    outputs: int
    inputs: int
    is_in_block: bool
    is_tied: bool


def find_heads(
    model: nn.Module, holders: dict[torch.Tensor, list[Holder]], roles: dict[torch.Tensor, Role | None]
) -> Heads:
    """Return the heads that are not embeddings too.

    Known are what `get_output_embeddings` returns, a layer with a head's name that has as many outputs as the token
    embedding has rows or as the configuration has labels, and the only layer outside the blocks that has as many
    outputs as the token embedding has rows. Everything else is a guess: padded vocabularies, names, the last layer.
    """
    layers = list(_layers(model, holders, roles))
    rows = _vocabularies(holders, roles)
    counts = _counts(model)
    declared, has_declared = _declared(model, roles)
    widths = {layer.inputs for layer in layers} | {
        param.shape[-1] for param, role in roles.items() if role and role.kind == "embedding" and param.dim()
    }
    has_head = has_declared or any(layer.is_tied for layer in layers)
    has_head |= any(role is not None and role.reason.startswith("head") for role in roles.values())
    open_layers = [layer for layer in layers if not layer.is_tied and layer.param not in declared]
    free = [layer for layer in open_layers if not layer.is_in_block]
    reasons, guesses = dict(declared), set()

    def add(found: list[Layer], reason: Callable[[Layer], str], *, is_guess: bool = True) -> None:
        for layer in found:
            if layer.param not in reasons:
                reasons[layer.param] = f"head{' (guess)' if is_guess else ''}: {reason(layer)}"
                guesses.update([layer.param] if is_guess else [])

    def is_padded(layer: Layer) -> bool:
        fits = (layer.outputs - size in range(pad) and layer.outputs % pad == 0 for size in rows for pad in PADDINGS)
        return any(fits) and layer.outputs <= 2 * max(rows)

    last_in = {_container(layer): layer for layer in layers if not layer.is_in_block and _container(layer)}
    ends = [x for x in free if x.outputs not in widths]  # nobody takes as many inputs as they have outputs
    exact = [x for x in open_layers if x.outputs in rows]
    named = [x for x in open_layers if NAMES.fullmatch(x.holder.leaf) and _ends_its_sequence(x, layers)]
    named += [x for x in ends if x in last_in.values() and x not in named]

    add([x for x in named if x in exact], _by_rows, is_guess=False)
    add(
        [x for x in named if x in free and x.outputs in counts],
        lambda layer: f"its name, and as many outputs as config.{counts[layer.outputs]}",
        is_guess=False,
    )
    add([x for x in named if x in free and is_padded(x)], _by_padding)
    add([x for x in named if x in free], _by_name)
    if not has_head and not any(x.param in reasons and (x in exact or is_padded(x)) for x in named):
        found = [x for x in exact if x in ends]
        add(found[-1:], _by_rows_of(found), is_guess=len(found) > 1)
    is_deep = bool(rows) or sum(role is not None and role.kind == "matrix" for role in roles.values()) > 1
    if reasons or has_head or _has_none(model):
        pass
    elif found := _loose_first(
        [x for x in ends if is_padded(x)] or [x for x in free if is_padded(x) and x not in exact]
    ):
        add(found[-1:], _by_padding)
    elif found := _loose_first([x for x in exact if x in free]) or exact:
        add(found[-1:], _by_rows_of(exact))
    elif found := [x for x in ends if LOOSE_NAMES.fullmatch(x.holder.leaf)]:
        add(found[-1:], _by_name)
    elif layers and is_deep and layers[-1] in ends and layers[-1].outputs < layers[-1].inputs:
        add(layers[-1:], _by_place)
    _add_adapters(reasons, guesses, holders, layers)
    is_missing = bool(rows and layers) and not (reasons or has_head or _has_none(model))
    return Heads(reasons, guesses, is_missing=is_missing)


def _by_rows(layer: Layer) -> str:
    return "as many outputs as an embedding has rows"


def _by_rows_of(found: list[Layer]) -> Callable[[Layer], str]:
    others = len(found) - 1
    return lambda layer: _by_rows(layer) + (f", but so have others ({others})" if others else "")


def _by_padding(layer: Layer) -> str:
    return f"{layer.outputs} outputs, an embedding's rows padded"


def _by_name(layer: Layer) -> str:
    return f"its name, with {_outputs(layer)}"


def _by_place(layer: Layer) -> str:
    return f"the last layer, with {_outputs(layer)}"


def _outputs(layer: Layer) -> str:
    return f"{layer.outputs} output{'s'[: layer.outputs != 1]}"


def _loose_first(layers: list[Layer]) -> list[Layer]:
    return [layer for layer in layers if LOOSE_NAMES.fullmatch(layer.holder.leaf)] or layers


def _ends_its_sequence(layer: Layer, layers: list[Layer]) -> bool:
    """Return whether a layer is the last one of the nn.Sequential it lies in, if it lies in one."""
    parent = layer.holder.parent
    return not isinstance(parent, nn.Sequential) or [x for x in layers if x.holder.parent is parent][-1] is layer


def _container(layer: Layer) -> str:
    """Return the path of the outermost module around a layer that is named like a head, or nothing."""
    parts = layer.holder.path.split(".")
    ends = [i for i, part in enumerate(parts[:-1], start=1) if CONTAINERS.fullmatch(part)]
    return ".".join(parts[: ends[0]]) if ends else ""


def _layers(
    model: nn.Module, holders: dict[torch.Tensor, list[Holder]], roles: dict[torch.Tensor, Role | None]
) -> Iterator[Layer]:
    """Yield the layers with a matrix, tied ones too, in the order of the modules; factors of LoRA are none."""
    blocks = tuple(_blocks(model))
    order = {id(module): i for i, module in enumerate(model.modules())}
    pairs = [(param, holder) for param, own in holders.items() for holder in own]
    for param, holder in sorted(pairs, key=lambda pair: order[id(pair[1].module)]):
        role = role_in(param, holder)
        if role and role.kind == "matrix" and holder.attribute == "weight" and not holder.part.startswith("lora"):
            outputs, inputs = reversed(param.shape) if role.is_transposed else param.shape
            owner = roles[param]
            is_tied = owner is not None and owner.kind == "embedding"
            yield Layer(param, holder, outputs, inputs, holder.name.startswith(blocks), is_tied)


def _blocks(model: nn.Module) -> Iterator[str]:
    """Yield the prefixes of what lies in the repeated blocks of a model."""
    for name, module in model.named_modules():
        children = [(key, child) for key, child in module.named_children() if next(child.children(), None) is not None]
        is_repeated = len(children) > 1 and len({type(child) for _, child in children}) == 1
        if isinstance(module, nn.ModuleList) or (isinstance(module, nn.Sequential) and is_repeated):
            yield from (f"{name}.{key}.".lstrip(".") for key, _ in children)


def _vocabularies(holders: dict[torch.Tensor, list[Holder]], roles: dict[torch.Tensor, Role | None]) -> set[int]:
    """Return the rows of the token embeddings, or of all embeddings if none looks like one of tokens."""
    tables = {
        param: own[0].path + own[0].attribute
        for param, own in holders.items()
        if (role := roles[param]) and role.kind == "embedding" and param.dim() == 2 and "lora" not in own[0].part
    }
    tokens = [param for param, path in tables.items() if not OTHER_TABLES.search(path.rpartition(".")[2])]
    return {param.shape[0] for param in tokens or tables}


def _counts(model: nn.Module) -> dict[int, str]:
    """Return the numbers of outputs that a configuration states, with their names."""
    configs = [config for module in model.modules() if (config := getattr(module, "config", None)) is not None]
    fields = [(field, getattr(config, field, None)) for config in configs[:1] for field in ("vocab_size", "num_labels")]
    return {count: field for field, count in fields if isinstance(count, int)}


def _has_none(model: nn.Module) -> bool:
    """Return whether a model has None where its head would be: its logits come from the embedding."""
    return any(
        value is None and OWN_TABLE.fullmatch(name)
        for module in model.modules()
        for name, value in [*vars(module).items(), *module._modules.items()]
    )


def _declared(model: nn.Module, roles: dict[torch.Tensor, Role | None]) -> tuple[dict[torch.Tensor, str], bool]:
    """Return the matrices of what `get_output_embeddings` returns, and whether it returns anything."""
    declared: dict[torch.Tensor, str] = {}
    has_declared = False
    for module in model.modules():
        try:
            head = getattr(module, "get_output_embeddings", lambda: None)()
        except (NotImplementedError, AttributeError):  # encoders of transformers say so that they have none
            continue
        if isinstance(head, nn.Module):
            has_declared = True
            for param in head.parameters():
                role = roles.get(param)
                if role and role.kind == "matrix":
                    declared[param] = "head: get_output_embeddings() returns it"
    return declared, has_declared


def _add_adapters(
    reasons: dict[torch.Tensor, str],
    guesses: set[torch.Tensor],
    holders: dict[torch.Tensor, list[Holder]],
    layers: list[Layer],
) -> None:
    """Add the factors of LoRA on a head, which are as much of the head as its weight."""
    known = {layer.holder.path: layer.param in guesses for layer in layers if layer.param in reasons}
    for param, own in holders.items():
        if own[0].part in ("lora_A", "lora_B") and own[0].path in known and param not in reasons:
            is_guess = known[own[0].path]
            reasons[param] = f"head{' (guess)' if is_guess else ''}: LoRA factor of one"
            guesses.update([param] if is_guess else [])
