"""What is a rule for hyperparameters, and what does it say of a run? A declaration, with its range and its source."""

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from logclock.config.registry import suggestion
from logclock.suggestions.counts import count_text

__all__ = ["QUANTITIES", "Advice", "Range", "Rule", "Situation", "advise", "given"]

Quantity = Literal["lr", "batch", "decay", "memory", "schedule", "fine_tuning"]

QUANTITIES: dict[Quantity, str] = {
    "lr": "Peak learning rate",
    "batch": "Batch size, in tokens",
    "decay": "Weight decay",
    "memory": "Memory of the averages",
    "schedule": "Schedules",
    "fine_tuning": "Fine-tuning",
}
"""Headings of what rules set, in the order of the output."""

Value = float | tuple[float, float] | str
"""A number, the two ends of a range, or a text where a rule gives a schedule."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Situation:
    """The run that is asked about, and a smaller one whose settings are known to be good. None is unknown."""

    params: float | None = None
    """P, non-embedding parameters."""

    total_params: float | None = None
    """D, all parameters, vocabulary tables included."""

    tokens: float | None = None
    """Training tokens."""

    batch_tokens: float | None = None
    """Tokens per update."""

    sequence_length: float | None = None
    """Tokens per sequence."""

    width: float | None = None
    """d."""

    depth: float | None = None
    """Layers."""

    lr: float | None = None
    """The peak learning rate of the run, where another setting depends on it."""

    noise_tokens: float | None = None
    """The gradient noise scale in tokens, near the critical batch size."""

    base_lr: float | None = None
    """Best peak learning rate of the known run."""

    base_weight_decay: float | None = None
    """Its weight decay as torch's AdamW takes it."""

    base_beta2: float | None = None
    """Its beta2."""

    base_params: float | None = None
    """Its non-embedding parameters."""

    base_tokens: float | None = None
    """Its training tokens."""

    base_batch_tokens: float | None = None
    """Its tokens per update."""

    base_width: float | None = None
    """Its width."""

    lora_rank: float | None = None
    """Rank of a low-rank adapter."""

    base_lora_rank: float | None = None
    """Rank of an adapter whose alpha is known to be good."""

    base_lora_alpha: float | None = None
    """That alpha."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = -math.inf if value is None else value
            allows_zero = field.name in ("base_weight_decay", "base_beta2")
            if value is not None and not (0 <= least < math.inf if allows_zero else 0 < least < math.inf):
                allowed = "be at least 0" if allows_zero else "be positive"
                raise ValueError(f"{field.name} must {allowed} and finite, got {value!r}.")
        if self.base_beta2 is not None and self.base_beta2 >= 1:
            raise ValueError(f"base_beta2 must lie in [0, 1), got {self.base_beta2!r}.")
        if self.tokens is not None and self.batch_tokens is not None and self.tokens < self.batch_tokens:
            raise ValueError(
                f"batch_tokens must be at most the tokens of the run, got {count_text(self.batch_tokens)} of "
                f"{count_text(self.tokens)}. It is the number of tokens in one update."
            )
        if self.params is not None and self.total_params is not None and self.total_params < self.params:
            raise ValueError(
                f"total_params must be at least params, got {count_text(self.total_params)} and "
                f"{count_text(self.params)}. params leaves out the embedding and the head."
            )

    @property
    def total_steps(self) -> float | None:
        """T, whole updates."""
        if self.tokens is None or self.batch_tokens is None:
            return None
        return float(self.tokens // self.batch_tokens)

    @property
    def overtraining(self) -> float | None:
        """f, tokens over 20 P."""
        return None if self.tokens is None or self.params is None else self.tokens / (20 * self.params)

    @property
    def tokens_per_total_param(self) -> float | None:
        """Tokens over D."""
        return None if self.tokens is None or self.total_params is None else self.tokens / self.total_params


def given(value: float | None) -> float:
    """Return an input that a rule declares, which is there when the rule is computed.

    Raises:
        TypeError: It is not: the rule does not declare it.
    """
    if value is None:
        raise TypeError("a rule read an input that its declaration does not list.")
    return value


SYMBOLS = {
    "params": "P",
    "total_params": "D",
    "tokens": "tokens",
    "batch_tokens": "batch",
    "sequence_length": "sequence",
    "width": "width",
    "depth": "depth",
    "total_steps": "T",
    "overtraining": "tokens / 20 P",
    "tokens_per_total_param": "tokens per total parameter",
}
"""How the output writes what a rule's range is in."""

TOLERANCE = 1.1
"""By which factor a setting may differ from the only one at which a rule was measured."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
    """Where a rule was measured: an interval, a single point, or open at an end."""

    what: str
    """A field or a property of `Situation`."""

    low: float | None = None
    """Smallest; None where it is not known."""

    high: float | None = None
    """Largest; None where it is not known."""

    is_limit: bool = False
    """Whether the rule says nothing outside."""

    def __str__(self) -> str:
        symbol = SYMBOLS[self.what]
        if self.low == self.high and self.low is not None:
            return f"{symbol} = {count_text(self.low)}"
        low = "" if self.low is None else f"{count_text(self.low)} <= "
        high = "" if self.high is None else f" <= {count_text(self.high)}"
        return f"{low}{symbol}{high}"

    def warning(self, situation: Situation) -> str | None:
        """Return in which direction, and how far, a situation lies outside; None if it does not, or nobody knows."""
        value = getattr(situation, self.what)
        if value is None:
            return None
        slack = TOLERANCE if self.low == self.high else 1.0
        symbol = SYMBOLS[self.what]
        if self.low is not None and value * slack < self.low:
            return (
                f"{symbol} = {count_text(value)} is {self.low / value:.3g} times below where it was measured ({self})"
            )
        if self.high is not None and value > self.high * slack:
            return (
                f"{symbol} = {count_text(value)} is {value / self.high:.3g} times above where it was measured ({self})"
            )
        return None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """A published rule: what it sets, from what, by which formula, where it holds and who says so."""

    name: str
    """Unique; as JSON and the documentation call it."""

    sets: Quantity
    """What it is about."""

    optimizers: tuple[str, ...] = ()
    """For which optimizers it was found; empty for any."""

    gives: str = ""
    """What the number is, where the heading does not say it."""

    formula: str
    """As text, with P, D, d, T and B for the batch in tokens; 0 marks the known run."""

    inputs: tuple[str, ...]
    """Fields and properties of `Situation` without which it says nothing."""

    compute: Callable[[Situation], Value]
    """The formula."""

    ranges: tuple[Range, ...] = ()
    """Where it was measured."""

    source: str
    """Who says so."""

    notes: tuple[str, ...] = ()
    """What it rests on, what was not found and which choice was made instead."""

    is_main: bool = True
    """Whether it is shown when nobody asked for its optimizer."""

    def __post_init__(self) -> None:
        known = [*(f.name for f in dataclasses.fields(Situation)), "total_steps", "overtraining"]
        unknown = [name for name in self.inputs if name not in known]
        if unknown:
            raise ValueError(f"rule {self.name!r} needs {unknown[0]!r}, which no Situation has.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Advice:
    """What one rule says of one situation."""

    rule: Rule
    """The rule."""

    value: Value | None
    """What it says; None if it says nothing here."""

    missing: tuple[str, ...] = ()
    """What it needs and was not given."""

    warnings: tuple[str, ...] = ()
    """In which respects the situation lies outside of where it was measured."""


def advise(rules: Iterable[Rule], situation: Situation, *, optimizer: str | None = None) -> list[Advice]:
    """Return what every rule says, in the order in which they are shown.

    Args:
        rules: The declarations.
        situation: The run.
        optimizer: Only rules for this one, and those for any; None for the main rules of every optimizer.

    Raises:
        ValueError: No rule is for this optimizer.
    """
    chosen = list(rules)
    if optimizer is not None:
        known = sorted({name for rule in chosen for name in rule.optimizers})
        if optimizer not in known:
            hint = suggestion(optimizer, known)
            raise ValueError(f"no published rule is for {optimizer!r}.{hint} Rules are for: {', '.join(known)}.")
        chosen = [rule for rule in chosen if not rule.optimizers or optimizer in rule.optimizers]
    else:
        chosen = [rule for rule in chosen if rule.is_main]
    order: Sequence[str] = list(QUANTITIES)
    return [_applied(rule, situation) for rule in sorted(chosen, key=lambda rule: order.index(rule.sets))]


def _applied(rule: Rule, situation: Situation) -> Advice:
    missing = tuple(name for name in _needed(rule) if getattr(situation, name) is None)
    outside = [(known, warning) for known in rule.ranges if (warning := known.warning(situation))]
    warnings = tuple(warning for _, warning in outside)
    if missing or any(known.is_limit for known, _ in outside):
        return Advice(rule=rule, value=None, missing=missing, warnings=warnings)
    return Advice(rule=rule, value=rule.compute(situation), warnings=warnings)


def _needed(rule: Rule) -> list[str]:
    """Return the fields that a rule needs, with those that its derived inputs follow from."""
    parts = {"total_steps": ("tokens", "batch_tokens"), "overtraining": ("params", "tokens")}
    return list(dict.fromkeys(field for name in rule.inputs for field in parts.get(name, (name,))))
