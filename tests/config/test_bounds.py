import dataclasses
import math
from typing import Annotated

import pytest

from logclock.config.bounds import In, bounds_of, check_bounds
from logclock.config.field_docs import field_docs


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "text"),
    [
        (In(low=0), [0, 1e300, math.inf], [-1e-300, math.nan], "be >= 0"),
        (In(low=0, includes_low=False), [1e-300], [0, -1], "be > 0"),
        (In(low=1), [1, 7], [0], "be >= 1"),
        (In(low=0, high=1), [0, 0.5, 1], [-0.1, 1.1], "lie in [0, 1]"),
        (In(low=0, high=1, includes_low=False), [1e-9, 1], [0.0], "lie in (0, 1]"),
        (In(low=0, high=1, includes_high=False), [0, 0.999], [1.0], "lie in [0, 1)"),
        (In(low=-0.5, high=2.5), [-0.5, 2.5], [3], "lie in [-0.5, 2.5]"),
        (In(high=1), [1, -1e300], [1.1], "be <= 1"),
        (In(high=1, includes_high=False), [0.9], [1], "be < 1"),
    ],
)
def test_an_interval_says_what_a_value_must_do(bounds, inside, outside, text):
    assert all(value in bounds for value in inside)
    assert not any(value in bounds for value in outside)
    assert str(bounds) == text


Share = Annotated[float, In(low=0, high=1, advice="It is a share.")]


@dataclasses.dataclass(frozen=True)
class Base:
    """Two fields."""

    share: Share = 0.5
    """How much of it,
    of all."""

    limit: Annotated[int, In(low=1)] | None = None
    """The largest."""

    name: str = ""


@dataclasses.dataclass(frozen=True)
class Derived(Base):
    """Declares one field again."""

    share: Share = 0.25

    other: float = 1.0
    """Not bounded."""


def test_bounds_are_found_in_annotations_alternatives_and_bases():
    assert dict(bounds_of(Derived)) == {"share": In(low=0, high=1, advice="It is a share."), "limit": In(low=1)}


@pytest.mark.parametrize("value", [Derived(), Derived(limit=3), Derived(share=1), Derived(share="text")])
def test_values_within_bounds_none_and_text_pass(value):
    check_bounds(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Derived(share=1.5), r"^share must lie in \[0, 1\], got 1\.5\. It is a share\.$"),
        (Derived(share=math.nan), r"^share must lie in \[0, 1\], got nan\."),
        (Base(limit=0), r"^limit must be >= 1, got 0\.$"),
    ],
)
def test_a_value_out_of_bounds_is_named_with_what_is_allowed_and_advice(value, message):
    with pytest.raises(ValueError, match=message):
        check_bounds(value)


def test_the_documentation_of_a_field_stands_under_it_and_is_inherited():
    assert dict(field_docs(Derived)) == {
        "share": "How much of it,\nof all.",
        "limit": "The largest.",
        "other": "Not bounded.",
    }


def test_a_class_without_source_has_no_field_docs():
    assert dict(field_docs(dataclasses.make_dataclass("Made", [("x", float)]))) == {}
