"""Which layers of a model are output heads, how is that known, and when is it a guess?"""

import dataclasses
import functools
import re
from collections.abc import Iterator

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

    def is_called(self, names: re.Pattern[str]) -> bool:
        """Return whether its name is one of some names."""
        return names.fullmatch(self.holder.leaf) is not None


@dataclasses.dataclass(frozen=True)
class Candidates:
    """The layers that may be heads, and what tells heads from hidden layers.

    Args:
        layers: All layers in the order of the modules, without those that are known as heads.
        rows: Rows of the token embeddings.
        widths: Sizes that layers take as inputs: somebody takes what a hidden layer returns, nobody what a head does.
    """

    layers: list[Layer]
    rows: set[int]
    widths: set[int]

    @functools.cached_property
    def free(self) -> list[Layer]:
        """Layers outside the repeated blocks."""
        return [layer for layer in self.layers if not layer.is_in_block]

    @functools.cached_property
    def ends(self) -> list[Layer]:
        """Layers outside the blocks whose outputs no layer takes."""
        return [layer for layer in self.free if layer.outputs not in self.widths]

    def is_exact(self, layer: Layer) -> bool:
        """Return whether a layer has as many outputs as the vocabulary has tokens."""
        return layer.outputs in self.rows

    def is_padded(self, layer: Layer) -> bool:
        """Return whether a layer has as many outputs as a padded vocabulary has rows."""
        return any(
            layer.outputs % padding == 0 and 0 < layer.outputs - rows < min(padding, rows + 1)
            for rows in self.rows
            for padding in PADDINGS
        )


Found = list[tuple[Layer, str, bool]]
"""Heads, why, and whether that is a guess."""


def find_heads(
    model: nn.Module, holders: dict[torch.Tensor, list[Holder]], roles: dict[torch.Tensor, Role | None]
) -> Heads:
    """Return the heads that are not embeddings too.

    Known are what `get_output_embeddings` returns, a layer with a head's name that has as many outputs as the token
    embedding has rows or as the configuration says, and the only layer outside the blocks that has as many outputs as
    the token embedding has rows. Everything else is a guess: padded vocabularies, names, the last layer.
    """
    layers = list(_layers(model, holders, roles))
    declared, has_declared = _declared(model, roles)
    known = [role for role in roles.values() if role is not None]
    tables = {param.shape[-1] for param, role in roles.items() if role and role.kind == "embedding" and param.dim()}
    candidates = Candidates(
        [layer for layer in layers if not layer.is_tied and layer.param not in declared],
        _vocabularies(holders, roles),
        {layer.inputs for layer in layers} | tables,
    )
    has_vocabulary = has_declared or any(layer.is_tied for layer in layers)
    has_vocabulary |= any(role.reason.startswith("head") for role in known)  # a parameter of that name, without a layer
    uses_table = has_vocabulary or _has_none(model)

    found = _named(candidates, layers, _counts(model))
    if not has_vocabulary and not any(candidates.is_exact(x) or candidates.is_padded(x) for x, *_ in found):
        found += _of_the_vocabulary(candidates)
    # A single layer is what it is: the rest of the model lies elsewhere.
    if not found and not uses_table and (candidates.rows or sum(role.kind == "matrix" for role in known) > 1):
        found += _likeliest(candidates)
    reasons = dict(declared)
    for layer, why, is_guess in found:
        reasons.setdefault(layer.param, f"head{' (guess)' if is_guess else ''}: {why}")
    guesses = {layer.param for layer, _, is_guess in found if is_guess}
    _add_adapters(reasons, guesses, holders, layers)
    return Heads(reasons, guesses, is_missing=bool(candidates.rows and layers) and not (reasons or uses_table))


def _named(candidates: Candidates, layers: list[Layer], counts: dict[int, str]) -> Found:
    """Return the layers that are called heads, or end a module that is."""
    last_in = {container: layer for layer in layers if not layer.is_in_block and (container := _container(layer))}
    found: Found = []
    for layer in candidates.layers:
        is_named = layer.is_called(NAMES) and _ends_its_sequence(layer, layers)
        if not is_named and not (layer in last_in.values() and layer in candidates.ends):
            continue
        if candidates.is_exact(layer):
            found.append((layer, BY_ROWS, False))
        elif layer.is_in_block:
            continue
        elif layer.outputs in counts:
            found.append((layer, f"its name, and as many outputs as config.{counts[layer.outputs]}", False))
        elif candidates.is_padded(layer):
            found.append((layer, _padded(layer), True))
        else:
            found.append((layer, f"its name, with {_outputs(layer)}", True))
    return found


def _of_the_vocabulary(candidates: Candidates) -> Found:
    """Return the layers outside the blocks that score a vocabulary, by their shapes alone."""
    ends = [layer for layer in candidates.ends if "qkv" not in layer.holder.leaf]
    exact = [layer for layer in ends if candidates.is_exact(layer)]
    padded = [layer for layer in ends if candidates.is_padded(layer)]
    if exact:
        is_guess = len(exact) > 1 or bool(padded)
        return [(layer, BY_ROWS, is_guess) for layer in exact] + [(layer, _padded(layer), True) for layer in padded]
    return [(layer, _padded(layer), True) for layer in _loose_first(padded)[-1:]]


def _likeliest(candidates: Candidates) -> Found:
    """Return the layer that is the likeliest head where no layer stands out."""
    if padded := [layer for layer in candidates.free if candidates.is_padded(layer)]:
        layer = _loose_first(padded)[-1]
        return [(layer, _padded(layer), True)]
    if exact := [layer for layer in candidates.layers if candidates.is_exact(layer)]:
        others = f", but so have others ({len(exact) - 1})" if len(exact) > 1 else ""
        layer = (_loose_first([layer for layer in exact if not layer.is_in_block]) or exact)[-1]
        return [(layer, f"{BY_ROWS}{others}", True)]
    if loose := [layer for layer in candidates.ends if layer.is_called(LOOSE_NAMES)]:
        return [(loose[-1], f"its name, with {_outputs(loose[-1])}", True)]
    last = candidates.layers[-1] if candidates.layers else None
    if last in candidates.ends and last.outputs < last.inputs:
        return [(last, f"the last layer, with {_outputs(last)}", True)]
    return []


BY_ROWS = "as many outputs as an embedding has rows"


def _padded(layer: Layer) -> str:
    return f"{_outputs(layer)}, an embedding's rows padded"


def _outputs(layer: Layer) -> str:
    return f"{layer.outputs} output{'s'[: layer.outputs != 1]}"


def _loose_first(layers: list[Layer]) -> list[Layer]:
    return [layer for layer in layers if layer.is_called(LOOSE_NAMES)] or layers


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
