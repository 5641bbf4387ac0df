"""How does a person write a number of parameters or tokens, and how is it written back?"""

import math
import re

__all__ = ["count_text", "parse_count"]

SUFFIXES = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12}

COUNT = re.compile(
    r"([0-9]{1,3}(?:,[0-9]{3})+|[0-9][0-9_]*(?:\.[0-9]*)?(?:e[+-]?[0-9]+)?|\.[0-9]+)\s*([kmbgt]?)", re.IGNORECASE
)


def parse_count(text: str, *, name: str) -> float:
    """Return the number that `124M`, `2.6B`, `0.5e6` or `65_536` stands for; K, M, B (or G) and T are decimal.

    Args:
        text: What was written.
        name: What it is called, for the message.

    Raises:
        ValueError: It is not a positive number.

    Examples:
        >>> parse_count("2.6B", name="tokens")
        2600000000.0
    """
    match = COUNT.fullmatch(text.strip())
    value = float(re.sub("[_,]", "", match[1])) * SUFFIXES[match[2].lower()] if match else math.nan
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be a positive number such as 124M, 2.6B or 0.5e6, got {text!r}.")
    return value


def count_text(value: float) -> str:
    """Return a count with three digits and a suffix; whole numbers below 10,000 as they are.

    Examples:
        >>> count_text(65_536), count_text(1.24e8), count_text(4096), count_text(123.4)
        ('65.5 k', '124 M', '4,096', '123')
    """
    if value < 10_000 and value == int(value):
        return f"{value:,.0f}"
    for suffix, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{_three_digits(value / size)} {suffix}"
    return _three_digits(value)


def _three_digits(value: float) -> str:
    text = f"{value:.3g}"
    return str(round(value)) if "e" in text else text
