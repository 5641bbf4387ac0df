"""What is found out about one trained model, as plain numbers?"""

import dataclasses
import re

__all__ = [
    "BITS",
    "Diagnosis",
    "MatrixFacts",
    "QuantizedLoss",
    "StateFacts",
    "StatesFacts",
    "UpdateFacts",
    "kind_of",
]

BITS = (8, 4)
"""At which weights are rounded."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MatrixFacts:
    """One weight matrix.

    Args:
        name: As in the file.
        shape: Rows and columns.
        singular_values: All of them, descending; empty if an entry is not finite.
        soft_rank: Of the squared singular values.
        hard_rank: Likewise.
        kurtosis: Of all entries.
        max_to_median: The median over rows of the largest size over the median size.
        errors: By bits, norm(W - rounded W)^2 / norm(W)^2; None for a matrix of zeros.
    """

    name: str
    shape: tuple[int, int]
    singular_values: tuple[float, ...]
    soft_rank: float | None
    hard_rank: float | None
    kurtosis: float | None
    max_to_median: float | None
    errors: dict[int, float | None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StatesFacts:
    """The hidden states of one layer on the tokens of one class.

    Args:
        place: `blocks.0.feed_forward`, after the non-linearity, or `blocks.0.output`, of the whole layer.
        kind: `feed-forward` or `output`.
        token_class: `head`, `mid`, `tail` or `all`.
        width: D.
        num_tokens: N.
        soft_rank: Of the covariance; None if there are too few tokens or the states are all equal.
        hard_rank: Likewise.
    """

    place: str
    kind: str
    token_class: str
    width: int
    num_tokens: int
    soft_rank: float | None
    hard_rank: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedLoss:
    """The validation loss with rounded hidden matrices.

    Args:
        bits: Of each weight.
        loss: In nats per token.
        output_error: Mean over tokens of norm(dh)^2 / norm(h)^2 of what the last layer leaves in the residual stream;
            None where the model is none of our decoders.
    """

    bits: int
    loss: float
    output_error: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class StateFacts:
    """One tensor of the optimizer's state.

    Args:
        parameter: Whose.
        state: Its name, such as `exp_avg`.
        zeros: Share of entries that are exactly 0.
        mean: Of its entries.
        quantiles: Of 10, 50 and 90 percent of them.
    """

    parameter: str
    state: str
    zeros: float
    mean: float
    quantiles: tuple[float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class UpdateFacts:
    """What the next update does to one parameter.

    Args:
        parameter: Its name.
        ratio: norm(change) / norm(parameter); None for a parameter of zeros.
        weight_norm: norm(parameter).
    """

    parameter: str
    ratio: float | None
    weight_norm: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """All that was found out about one model.

    Args:
        label: What the page calls it.
        group: What runs have in common whose widths may be compared: the run's label, without what tells it apart.
        source: The file that the weights come from.
        facts: Names and values for the provenance.
        matrices: The weight matrices.
        states: Hidden states by place and class of tokens; empty without data.
        loss: Validation loss of the weights as they are; None without data.
        quantized: The same, rounded.
        optimizer_state: Of a checkpoint.
        updates: Of the update that follows a checkpoint.
        updates_at: The step of that update.
        missing: By question, why there is no answer: `data`, `optimizer`, `updates`.
        warnings: What to keep in mind.
    """

    label: str
    group: str
    source: str
    facts: dict[str, str]
    matrices: tuple[MatrixFacts, ...]
    states: tuple[StatesFacts, ...] = ()
    loss: float | None = None
    quantized: tuple[QuantizedLoss, ...] = ()
    optimizer_state: tuple[StateFacts, ...] = ()
    updates: tuple[UpdateFacts, ...] = ()
    updates_at: int | None = None
    missing: dict[str, str] = dataclasses.field(default_factory=dict)
    warnings: tuple[str, ...] = ()


def kind_of(name: str) -> str:
    """Return a parameter's name without the numbers of its layer, so that layers can be put together.

    Examples:
        >>> kind_of("model.layers.11.mlp.up_proj.weight"), kind_of("experts[3]")
        ('model.layers.*.mlp.up_proj.weight', 'experts[*]')
    """
    return re.sub(r"\[\d+\]", "[*]", re.sub(r"(?<![^.])\d+(?![^.\[])", "*", name))
