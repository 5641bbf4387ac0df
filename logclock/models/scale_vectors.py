"""Where do the gains of a decoder stand, what are they made of, and which of them are decayed?"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["MapMaker", "ScaleVector", "ScaleVectors", "ScaledLinear", "Scaling", "num_gains", "plain_map", "scaling_of"]

Side = Literal["input", "output"]

Norm = Callable[[int], nn.Module]


@dataclass(frozen=True, kw_only=True)
class ScaleVectors:
    """What the gains of a decoder do beyond standing in its norms; every one of them starts at 1.

    A pre-norm map computes W (gamma * n(x)), n a norm without gain. gamma adds nothing to what can be expressed, it
    preconditions how W is learned, and a large gamma makes itself larger: it is decayed. What stands behind a map, as
    the norms of queries and keys and the last norm do, sets the size of an output, and is not. With W of shape (m, n)
    and gains u (m) and gamma (n) around it
        input         W (gamma * x)
        both          u * W (gamma * x)
        both-normed   u * n(W (gamma * x))

    Args:
        branches: "shared", one input gain in each norm, for all maps that read from it; "separate", one norm without
            gain, and a gain for each of queries, keys, values, the gate of attention, and the gate and input of the
            MLP.
        placement: "input", as above; "both", every map of a layer has a gain on both of its sides; "both-normed", with
            a norm between the map and its output gain, over all rows of a branch.
        form: "plain", gamma is one vector; "scalar" and "vector", it is the product of a direction and a magnitude,
            which is one number or a vector.
        decayed: Which gains have the weight decay of matrices: those on the "input" side, the "output" side, "all", or
            "none".

    Examples:
        >>> ScaleVectors(branches="separate").weight_decay_group("input")[0]
        'decay'
        >>> ScaleVectors().weight_decay_group("output")
        ('no_decay', "output gain: sets the size of an output; scale_vectors.decayed is 'input'")

    Deviations: the paper's formulas of magnitude and direction were not to be had, nor its weight decays. Here the
        product is taken as it stands, no direction is normalised, both factors start at 1 and are decayed alike. Its
        text does not say which maps have two gains or over what the norm between runs; here all, and a branch.
    References: Wang et al. 2026, arXiv:2605.26895 (abstract and secondary sources).
    """

    branches: Literal["shared", "separate"] = "shared"
    placement: Literal["input", "both", "both-normed"] = "input"
    form: Literal["plain", "scalar", "vector"] = "plain"
    decayed: Literal["input", "output", "all", "none"] = "input"

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), get_args(field.type)
            if value not in choices:
                known = ", ".join(map(repr, choices))
                raise ValueError(f"scale_vectors.{field.name} must be one of {known}, got {value!r}.")

    @property
    def has_outputs(self) -> bool:
        """Whether maps have gains behind them, and writers of the residual stream gains before them."""
        return self.placement != "input"

    def weight_decay_group(self, side: Side) -> tuple[str, str]:
        """Return the group of the gains on one side of a map, and why, as `param_groups` reads it off their module."""
        effects = {"input": "preconditions the map behind it", "output": "sets the size of an output"}
        group = "decay" if self.decayed in (side, "all") else "no_decay"
        return group, f"{side} gain: {effects[side]}; scale_vectors.decayed is {self.decayed!r}"

    def num_values(self, width: int) -> int:
        """Return how many parameters a gain of `width` channels has."""
        return width + {"plain": 0, "scalar": 1, "vector": width}[self.form]


class ScaleVector(nn.Module):
    """x <- gamma * x, with gamma = weight, or magnitude * weight. Says itself whether it is decayed.

    Args:
        width: Channels.
        side: On which side of a map it stands.
        options: Its form, and which sides are decayed.
    """

    def __init__(self, width: int, *, side: Side, options: ScaleVectors) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        magnitudes = {"plain": 0, "scalar": 1, "vector": width}[options.form]
        self.magnitude = nn.Parameter(torch.ones(magnitudes)) if magnitudes else None
        self.weight_decay_group = options.weight_decay_group(side)

    @property
    def gain(self) -> Tensor:
        """The vector gamma."""
        return self.weight if self.magnitude is None else self.magnitude * self.weight

    def extra_repr(self) -> str:
        """Return the side, for printing."""
        return self.weight_decay_group[1].partition(":")[0]

    def forward(self, x: Tensor) -> Tensor:
        """Return x, of any shape that ends with the width, with its channels scaled."""
        return x * self.gain


class ScaledNorm(nn.Module):
    """A norm whose gain is a `ScaleVector`, in one kernel with it, so that it rounds as one with a plain gain does.

    Args:
        bare: The norm without a gain, LayerNorm or RMSNorm.
        gain: The gain.
    """

    def __init__(self, bare: nn.Module, gain: nn.Module) -> None:
        super().__init__()
        if not isinstance(bare, nn.LayerNorm | nn.RMSNorm):
            raise TypeError(f"a norm with a scale vector is a LayerNorm or RMSNorm, got {type(bare).__name__}.")
        self.bare, self.gain = bare, gain

    def forward(self, x: Tensor) -> Tensor:
        """Return x, normalised over its last dimension and scaled."""
        bare, gain = self.bare, cast(ScaleVector, self.gain).gain
        if isinstance(bare, nn.LayerNorm):
            return functional.layer_norm(x, bare.normalized_shape, gain, None, bare.eps)
        return functional.rms_norm(x, list(bare.normalized_shape), gain, bare.eps)


class ScaledLinear(nn.Linear):
    """A linear map without bias that has gains on its input side, its output side or both, for each of its parts.

    The input gains are multiplied into the columns of the matrix, not into the inputs: parts that are fused need one
    product then, and gains of 1 leave every bit of it as it is.

    Args:
        inputs: Columns.
        outputs: Rows.
        parts: Names of the parts of the rows, equally large.
        groups: How often the parts follow each other along the rows; heads, if the parts are those of each head.
        input_gain: Makes a gain for the input side of one part from its width; None for no gains.
        output_gain: The same for the output side.
        norm: Normalises a part, all its groups together, before its output gain.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        parts: Sequence[str],
        groups: int = 1,
        input_gain: Norm | None = None,
        output_gain: Norm | None = None,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__(inputs, outputs, bias=False)
        rows = outputs // len(parts)
        self.groups, self.num_parts = groups, len(parts)
        self.input_gains = nn.ModuleDict({part: input_gain(inputs) for part in parts} if input_gain else {})
        self.output_gains = nn.ModuleDict({part: output_gain(rows) for part in parts} if output_gain else {})
        self.norm = norm

    def forward(self, x: Tensor) -> Tensor:
        """Return the outputs of all parts, in the order of the rows."""
        weight = self.weight
        if self.input_gains:
            gains = torch.stack([gain.gain for gain in self._gains(self.input_gains)])
            rows = weight.reshape(self.groups, self.num_parts, -1, weight.shape[1])
            weight = (rows * gains[:, None]).flatten(0, 2)
        out = functional.linear(x, weight)
        if not self.output_gains:
            return out
        by_part = out.reshape(*out.shape[:-1], self.groups, self.num_parts, -1).transpose(-3, -2)
        shape = by_part.shape
        by_part = by_part.flatten(-2)
        if self.norm is not None:
            by_part = self.norm(by_part)
        scaled = by_part * torch.stack([gain.gain for gain in self._gains(self.output_gains)])
        # Under autocast gains and norms are float32, and what follows expects the dtype of a product.
        return scaled.reshape(shape).transpose(-3, -2).flatten(-3).to(out.dtype)

    @staticmethod
    def _gains(modules: nn.ModuleDict) -> list[ScaleVector]:
        return [module for module in modules.values() if isinstance(module, ScaleVector)]


class MapMaker(Protocol):
    """Makes the linear maps of a layer."""

    def __call__(
        self, inputs: int, outputs: int, *, parts: Sequence[str] = ("map",), groups: int = 1, is_writer: bool = False
    ) -> nn.Linear:
        """Return a map without bias.

        Args:
            inputs: Columns.
            outputs: Rows.
            parts: As for `ScaledLinear`.
            groups: As for `ScaledLinear`.
            is_writer: Whether its outputs go to the residual stream; its inputs come from there otherwise.
        """
        ...


def plain_map(
    inputs: int, outputs: int, *, parts: Sequence[str] = ("map",), groups: int = 1, is_writer: bool = False
) -> nn.Linear:
    """Return a map without gains; see `MapMaker`."""
    return nn.Linear(inputs, outputs, bias=False)


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """Makes the parts of a decoder that have gains.

    Args:
        input_norm: Norms before the maps of a layer.
        output_norm: Norms of queries and keys, and the last one.
        linear: Maps.
    """

    input_norm: Norm
    output_norm: Norm
    linear: MapMaker


def scaling_of(options: ScaleVectors | None, *, norm: Norm, bare_norm: Norm) -> Scaling:
    """Return what makes norms and maps with the gains that `options` ask for; None is a gain in each norm.

    Args:
        options: Form and places of the gains.
        norm: Makes a norm with a gain from its width.
        bare_norm: Makes the same norm without one.
    """
    if options is None:
        return Scaling(input_norm=norm, output_norm=norm, linear=plain_map)

    def gain(side: Side) -> Norm:
        return lambda width: ScaleVector(width, side=side, options=options)

    def own_gain(side: Side) -> Norm:
        """Keep the gain of the norm itself, so that a model has the parameters that it has without options."""

        def make(width: int) -> nn.Module:
            module: Any = norm(width)
            module.weight_decay_group = options.weight_decay_group(side)
            return cast(nn.Module, module)

        return make

    def scaled_norm(side: Side) -> Norm:
        if options.form == "plain":
            return own_gain(side)
        return lambda width: ScaledNorm(bare_norm(width), gain(side)(width))

    def linear(
        inputs: int, outputs: int, *, parts: Sequence[str] = ("map",), groups: int = 1, is_writer: bool = False
    ) -> nn.Linear:
        has_input = options.has_outputs if is_writer else options.branches == "separate"
        if not has_input and not options.has_outputs:
            return plain_map(inputs, outputs)
        return ScaledLinear(
            inputs,
            outputs,
            parts=parts,
            groups=groups,
            input_gain=gain("input") if has_input else None,
            output_gain=gain("output") if options.has_outputs else None,
            norm=bare_norm(outputs // len(parts)) if options.placement == "both-normed" else None,
        )

    is_separate = options.branches == "separate"
    input_norm = bare_norm if is_separate else scaled_norm("input")
    return Scaling(input_norm=input_norm, output_norm=scaled_norm("output"), linear=linear)


def num_gains(
    options: ScaleVectors | None,
    *,
    width: int,
    depth: int,
    readers: Sequence[int],
    writers: Sequence[int],
    head_norms: Sequence[int] = (),
) -> int:
    """Return the number of gains of a decoder.

    Args:
        options: Their form and places; None is one gain in each norm.
        width: d.
        depth: L.
        readers: Output widths of the branches of a layer that read from the residual stream.
        writers: Input widths of the maps of a layer that write to it.
        head_norms: Widths of the norms of queries and keys.

    Examples:
        >>> num_gains(None, width=8, depth=2, readers=(8, 8, 8, 32), writers=(8, 32), head_norms=(4, 4))
        56
    """
    options = options or ScaleVectors()
    inputs = [width] * (len(readers) if options.branches == "separate" else 2)
    outputs = [*readers, *writers, *[width] * len(writers)] if options.has_outputs else []
    per_layer = sum(map(options.num_values, [*inputs, *outputs, *head_norms]))
    return depth * per_layer + options.num_values(width)
