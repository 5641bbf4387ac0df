import contextlib
import dataclasses
import json
import math
import pathlib
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logclock.config import Registry, from_dict, override, to_dict


class Shape:
    """A family of two members, one of which holds others."""

    family: ClassVar[Registry[Any]] = Registry("shape", tag="kind")


@Shape.family.register("circle")
@dataclass(frozen=True, kw_only=True)
class Circle(Shape):
    radius: float = 1.0
    color: str = "red"


@Shape.family.register("square")
@dataclass(frozen=True, kw_only=True)
class Square(Shape):
    side: float
    color: str = "blue"


@Shape.family.register("pile")
@dataclass(frozen=True, kw_only=True)
class Pile(Shape):
    parts: tuple[Shape, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Inner:
    steps: int
    rate: float = 0.5
    mode: Literal["fast", "slow"] = "fast"


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner
    size: float | Shape = 1.0
    shape: Shape = Circle()
    limit: int | None = None
    is_on: bool = False
    pair: tuple[int, str] = (1, "a")
    numbers: list[float] = field(default_factory=list)
    table: dict[str, float | None] = field(default_factory=dict)
    extra: Any = None


OUTER = Outer(
    name="run",
    inner=Inner(steps=10),
    size=Square(side=2.0),
    shape=Pile(parts=(Circle(radius=3.0), Square(side=4.0))),
    limit=7,
    is_on=True,
    pair=(3, "b"),
    numbers=[1.0, 2.5],
    table={"x": 1.0, "y": None},
    extra={"free": [1, "two", None]},
)
OUTER_DATA = {
    "name": "run",
    "inner": {"steps": 10, "rate": 0.5, "mode": "fast"},
    "size": {"kind": "square", "side": 2.0, "color": "blue"},
    "shape": {
        "kind": "pile",
        "parts": [
            {"kind": "circle", "radius": 3.0, "color": "red"},
            {"kind": "square", "side": 4.0, "color": "blue"},
        ],
    },
    "limit": 7,
    "is_on": True,
    "pair": [3, "b"],
    "numbers": [1.0, 2.5],
    "table": {"x": 1.0, "y": None},
    "extra": {"free": [1, "two", None]},
}


def test_a_tree_becomes_plain_data_with_the_tag_first():
    assert to_dict(OUTER) == OUTER_DATA
    assert list(to_dict(OUTER)["size"]) == ["kind", "side", "color"]


def test_plain_data_becomes_the_tree_again():
    assert from_dict(Outer, OUTER_DATA) == OUTER
    assert from_dict(Outer, json.loads(json.dumps(OUTER_DATA))) == OUTER


def test_left_out_fields_take_their_defaults():
    read = from_dict(Outer, {"name": "run", "inner": {"steps": 3}})

    assert read == Outer(name="run", inner=Inner(steps=3))
    assert read.numbers == []


def test_an_object_that_is_already_built_is_taken_as_it_is():
    assert from_dict(Outer, {"name": "run", "inner": Inner(steps=3), "size": Circle(radius=2.0)}) == Outer(
        name="run", inner=Inner(steps=3), size=Circle(radius=2.0)
    )


def test_a_name_chooses_among_options_of_one_family():
    """And what is wrong with it is said for the option that was meant, wherever that stands."""
    lines: Registry[Any] = Registry("line", tag="kind")
    solid, dashed = type("Solid", (), {"family": lines}), type("Dashed", (), {"family": lines})

    @lines.register("bar")
    @dataclass(frozen=True, kw_only=True)
    class Bar(solid):
        width: float = 1.0

    @lines.register("dots")
    @dataclass(frozen=True, kw_only=True)
    class Dots(dashed):
        gap: float

    for annotation in (solid | dashed, dashed | solid | None):
        assert from_dict(annotation, {"kind": "dots", "gap": 2}) == Dots(gap=2.0)
        assert from_dict(annotation, {"kind": "bar"}) == Bar()
        with pytest.raises(TypeError, match=r"unknown key 'gab'\. Did you mean 'gap'"):
            from_dict(annotation, {"kind": "dots", "gab": 2})
        with pytest.raises(TypeError, match=r"unknown key 'widht'\. Did you mean 'width'"):
            from_dict(annotation, {"kind": "bar", "widht": 2})
        with pytest.raises(ValueError, match="unknown line 'dot'"):
            from_dict(annotation, {"kind": "dot"})
    with pytest.raises(TypeError, match="must be a Solid"):
        from_dict(solid, {"kind": "dots", "gap": 2})


def test_a_derived_field_is_neither_written_nor_read():
    @dataclass
    class Derived:
        width: int
        area: int = field(init=False, default=0)

    assert to_dict(Derived(width=3)) == {"width": 3}
    with pytest.raises(TypeError, match=r"unknown key 'area'\. Known: width\."):
        from_dict(Derived, {"width": 3, "area": 9})


@pytest.mark.parametrize("value", [{1, 2}, 1j, b"x", pathlib.Path("a"), Circle, len])
def test_what_is_not_plain_data_is_refused(value):
    with pytest.raises(TypeError, match="a config holds numbers, strings, lists and dataclasses, got "):
        to_dict({"a": [value]})


@pytest.mark.parametrize(
    ("annotation", "data", "expected"),
    [
        (float, 3, 3.0),
        (float, 3.5, 3.5),
        (float, 2**64, 1.8446744073709552e19),
        (int, 2**64 - 1, 18446744073709551615),
        (int, 3, 3),
        (int, 1e6, 1_000_000),
        (bool, True, True),
        (str, "3", "3"),
        (int | None, None, None),
        (float | Shape, 2, 2.0),
        (float | Shape | None, {"kind": "circle"}, Circle()),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[float, ...], [], ()),
        (tuple[float, ...], (1, 2, 3), (1.0, 2.0, 3.0)),
        (list[int], (1, 2), [1, 2]),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (Literal["a", "b"], "b", "b"),
        (Any, {"anything": [1]}, {"anything": [1]}),
        (Square, {"kind": "square", "side": 1}, Square(side=1.0)),
    ],
)
def test_values_of_the_right_type_are_read(annotation, data, expected):
    value = from_dict(annotation, data)

    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("annotation", "data", "message"),
    [
        (float, "3", "x must be a number, got '3'."),
        (float, True, "x must be a number, got True."),
        (float, None, "x must be a number, got None."),
        (int, 3.5, "x must be a whole number, got 3.5."),
        (int, False, "x must be a whole number, got False."),
        (int, math.inf, "x must be a whole number, got inf."),
        (bool, 1, "x must be true or false, got 1."),
        (str, 3, "x must be a string, got 3."),
        (int | str, [3], "x must be a whole number or a string, got [3]."),
        (float | Shape, "three", "x must be a number or a shape, got 'three'."),
        (tuple[int, str], [1], "x must be a list of 2, got [1]."),
        (tuple[int, ...], "12", "x must be a list, got '12'."),
        (tuple[int, ...], [1, "2"], "x[1] must be a whole number, got '2'."),
        (list[int], {"a": 1}, "x must be a list, got {'a': 1}."),
        (list[int], [1, 2, None], "x[2] must be a whole number, got None."),
        (dict[str, int], [1], "x must be a mapping, got [1]."),
        (dict[str, int], {"a": "b"}, "x.a must be a whole number, got 'b'."),
        (Inner, [1], "x must be a mapping, got [1]."),
        (Shape, 3, "x must be a shape, got 3."),
        (Shape, {"radius": 3}, "x needs the key 'kind'. Known: circle, pile, square."),
        (Square, {"kind": "circle"}, "x must be a Square, got {'kind': 'circle'}."),
        (Shape, {"kind": "square"}, "x lacks 'x.side'."),
        (Inner, {"steps": 1, "reat": 1}, "unknown key 'x.reat'. Did you mean 'rate'? Known: steps, rate, mode."),
        (Inner, {"steps": 1, "zzz": 1}, "unknown key 'x.zzz'. Known: steps, rate, mode."),
        (Inner, {}, "x lacks 'x.steps'."),
    ],
)
def test_values_of_the_wrong_type_are_named(annotation, data, message):
    with pytest.raises(TypeError) as error:
        from_dict(annotation, data, path="x")

    assert str(error.value) == message


@pytest.mark.parametrize(
    ("annotation", "data", "message"),
    [
        (Literal["fast", "slow"], "quick", "x must be one of 'fast', 'slow', got 'quick'."),
        (Shape, {"kind": "sqare"}, "unknown shape 'sqare'. Did you mean 'square'? Known: circle, pile, square."),
        (float | Shape, {"kind": "cone"}, "unknown shape 'cone'. Known: circle, pile, square."),
    ],
)
def test_names_that_do_not_exist_are_value_errors(annotation, data, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        from_dict(annotation, data, path="x")


def changed(path, value):
    """Return OUTER_DATA with the entry at a path replaced."""
    data = json.loads(json.dumps(OUTER_DATA))
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["inner", "steps"], "ten", "inner.steps must be a whole number, got 'ten'."),
        (["inner", "stepz"], 1, "unknown key 'inner.stepz'. Did you mean 'steps'? Known: steps, rate, mode."),
        (["shape", "parts", 1, "side"], "x", "shape.parts[1].side must be a number, got 'x'."),
        (["size", "radius"], 3, "unknown key 'size.radius'. Known: side, color."),
        (["table", "y"], "none", "table.y must be a number, got 'none'."),
        (["inner"], {"rate": 1.0}, "inner lacks 'inner.steps'."),
        (["pair", 0], "c", "pair[0] must be a whole number, got 'c'."),
    ],
)
def test_errors_name_the_whole_path(path, value, message):
    with pytest.raises(TypeError) as error:
        from_dict(Outer, changed(path, value))

    assert str(error.value) == message


def test_a_missing_key_at_the_top_is_named_with_the_class():
    with pytest.raises(TypeError, match=r"^Outer lacks 'name', 'inner'\.$"):
        from_dict(Outer, {})


def test_an_annotation_that_cannot_be_read_is_an_error():
    with pytest.raises(TypeError, match=r"^x: cannot read the annotation "):
        from_dict(set[int], [1], path="x")


# ----- override


def overridden(*assignments):
    """Return what `override` changed, as plain data."""
    before, after = to_dict(OUTER), to_dict(override(OUTER, assignments))
    return {key: after[key] for key in after if before[key] != after[key]}


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("name=other", {"name": "other"}),
        ('name="12"', {"name": "12"}),
        ("name=a=b", {"name": "a=b"}),
        ("name=", {"name": ""}),
        ("limit=12", {"limit": 12}),
        ("limit=1e3", {"limit": 1000}),
        ("limit=null", {"limit": None}),
        ("limit=None", {"limit": None}),
        ("is_on=false", {"is_on": False}),
        ("size=1e-3", {"size": 0.001}),
        ("size=.5", {"size": 0.5}),
        ("size=3", {"size": 3.0}),
        ('size={"kind": "circle", "radius": 9}', {"size": {"kind": "circle", "radius": 9.0, "color": "red"}}),
        ("size.side=7", {"size": {"kind": "square", "side": 7.0, "color": "blue"}}),
        ("inner.steps=20", {"inner": {"steps": 20, "rate": 0.5, "mode": "fast"}}),
        ("inner.mode=slow", {"inner": {"steps": 10, "rate": 0.5, "mode": "slow"}}),
        ("numbers=[1, 2]", {"numbers": [1.0, 2.0]}),
        ('pair=[5, "c"]', {"pair": [5, "c"]}),
        ('table={"z": 1}', {"table": {"z": 1.0}}),
        ("extra=text", {"extra": "text"}),
    ],
)
def test_one_value_is_replaced(assignment, expected):
    assert overridden(assignment) == expected


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("size=inf", "size must be a finite number, got inf."),
        ("size=-Infinity", "size must be a finite number, got -inf."),
        ("inner.rate=NaN", "inner.rate must be a finite number, got nan."),
        ("inner.rate=1e999", "inner.rate must be a finite number, got inf."),
        (f"inner.rate={10**400}", "inner.rate must be a finite number, got inf."),
        (f"inner.rate=-{10**400}", "inner.rate must be a finite number, got -inf."),
        (f"limit={2**64}", "limit must be a whole number of 64 bits, got 18446744073709551616."),
        (f"limit=-{2**63 + 1}", "limit must be a whole number of 64 bits, got -9223372036854775809."),
        ("limit=1e30", "limit must be a whole number of 64 bits, got 1e+30."),
        ("limit=inf", "limit must be a whole number, got inf."),
    ],
)
def test_a_number_that_no_record_could_hold_is_refused(assignment, message):
    with pytest.raises((ValueError, TypeError)) as error:
        overridden(assignment)

    assert str(error.value).startswith(message)


@pytest.mark.parametrize("digits", ["7" * 5000, "[" * 100_000, '{"a":' * 900, "[" * 900 + "]" * 900, "x" * 100_000])
def test_an_absurd_value_is_one_short_error(digits):
    with pytest.raises((TypeError, ValueError), match=r"^limit must be") as error:
        overridden(f"limit={digits}")

    assert len(str(error.value)) < 400


@dataclass(frozen=True, kw_only=True)
class Fan:
    speed: float = 1.0
    mode: Literal["fast", "slow"] = "fast"


@dataclass(frozen=True, kw_only=True)
class House:
    fan: Fan | None = field(default=None, metadata={"omit_default": True})
    inner: Inner | None = None


def test_a_field_of_an_optional_dataclass_puts_one_there():
    assert override(House(), ["fan.mode=slow", "fan.speed=2"]).fan == Fan(speed=2.0, mode="slow")
    assert override(House(fan=Fan(speed=3.0)), ["fan.mode=slow"]).fan == Fan(speed=3.0, mode="slow")
    assert override(House(fan=Fan()), ["fan=null"]) == House()


def test_an_optional_dataclass_with_required_fields_is_not_put_there_by_one_of_them():
    with pytest.raises(ValueError, match="nothing below 'inner' has fields"):
        override(House(), ["inner.rate=2"])


def test_an_unknown_field_of_an_optional_dataclass_is_explained():
    with pytest.raises(ValueError, match=r"^unknown path 'fan\.sped'\. Did you mean 'speed'\?"):
        override(House(), ["fan.sped=2"])


def test_the_config_that_was_given_is_not_changed():
    override(OUTER, ["inner.steps=99", "size.side=99", "numbers=[9]"])

    assert to_dict(OUTER) == OUTER_DATA


def test_assignments_apply_from_left_to_right():
    assert override(OUTER, ["inner.steps=1", "inner.steps=2"]).inner.steps == 2


def test_no_assignments_give_an_equal_config():
    assert override(OUTER, []) == OUTER


def test_a_new_tag_keeps_the_fields_that_both_classes_have():
    changed_shape = override(OUTER, ["size.color=green", "size.kind=circle"]).size

    assert changed_shape == Circle(radius=1.0, color="green")


def test_a_new_tag_takes_the_fields_it_lacks_from_later_assignments():
    assert override(OUTER, ["size=2", "shape.kind=square", "shape.side=5"]).shape == Square(side=5.0)


def test_a_new_tag_without_its_required_fields_is_an_error():
    with pytest.raises(TypeError, match=r"^shape lacks 'shape\.side'\.$"):
        override(OUTER, ["shape.kind=square"])


def test_a_number_may_become_a_member_of_a_family_and_back():
    one = override(OUTER, ["size=1"])
    two = override(one, ['size={"kind": "circle"}', "size.radius=3"])

    assert one.size == 1.0
    assert two.size == Circle(radius=3.0)


@pytest.mark.parametrize(
    ("assignment", "kind", "message"),
    [
        ("name", ValueError, "cannot read 'name'. Write PATH=VALUE, for example optimizer.lr=1e-3."),
        ("=3", ValueError, "cannot read '=3'. Write PATH=VALUE, for example optimizer.lr=1e-3."),
        (
            "inner.step=3",
            ValueError,
            "unknown path 'inner.step'. Did you mean 'steps' or 'rate'? Known here: mode, rate, steps.",
        ),
        (
            "size.sid=3",
            ValueError,
            "unknown path 'size.sid'. Did you mean 'side' or 'kind'? Known here: color, kind, side.",
        ),
        ("inner.steps.x=3", ValueError, "cannot set 'inner.steps.x': nothing below 'inner.steps' has fields."),
        ("limit.x=3", ValueError, "cannot set 'limit.x': nothing below 'limit' has fields."),
        ("numbers.0=3", ValueError, "cannot set 'numbers.0': nothing below 'numbers' has fields."),
        ("size.kind.x=3", ValueError, "cannot set 'size.kind.x': 'kind' is the name of the shape and has no fields."),
        ("size.kind=cube", ValueError, "unknown shape 'cube'. Known: circle, pile, square."),
        ("inner.mode=quick", ValueError, "inner.mode must be one of 'fast', 'slow', got 'quick'."),
        ("inner.steps=many", TypeError, "inner.steps must be a whole number, got 'many'."),
        ("inner.steps=1.5", TypeError, "inner.steps must be a whole number, got 1.5."),
        ("is_on=yes", TypeError, "is_on must be true or false, got 'yes'."),
        ("name=12", TypeError, "name must be a string, got 12."),
        ("size=three", TypeError, "size must be a number or a shape, got 'three'."),
    ],
)
def test_an_assignment_that_does_not_fit_is_explained(assignment, kind, message):
    with pytest.raises(kind) as error:
        override(OUTER, [assignment])

    assert str(error.value) == message


# ----- properties

TEXT = st.text("ab 1.=[]{}\"'\\\n\u00e9\u4e2d", max_size=6)
INTEGERS = st.integers(-(2**63), 2**64 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
SHAPES = st.recursive(
    st.one_of(
        st.builds(Circle, radius=NUMBERS, color=TEXT),
        st.builds(Square, side=NUMBERS, color=TEXT),
    ),
    lambda inner: st.builds(Pile, parts=st.lists(inner, max_size=3).map(tuple)),
    max_leaves=6,
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), NUMBERS, TEXT),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
OUTERS = st.builds(
    Outer,
    name=TEXT,
    inner=st.builds(Inner, steps=INTEGERS, rate=NUMBERS, mode=st.sampled_from(["fast", "slow"])),
    size=NUMBERS | SHAPES,
    shape=SHAPES,
    limit=st.none() | INTEGERS,
    is_on=st.booleans(),
    pair=st.tuples(INTEGERS, TEXT),
    numbers=st.lists(NUMBERS, max_size=3),
    table=st.dictionaries(TEXT, st.none() | NUMBERS, max_size=3),
    extra=JSON,
)
PROPERTY = settings(max_examples=60, deadline=None, derandomize=True)


@PROPERTY
@given(OUTERS)
def test_any_tree_survives_json(config):
    assert from_dict(Outer, json.loads(json.dumps(to_dict(config)))) == config


@PROPERTY
@given(OUTERS, st.data())
def test_any_field_is_overridden_by_its_own_json(config, data):
    other = data.draw(OUTERS)
    name = data.draw(st.sampled_from([f.name for f in dataclasses.fields(Outer)]))
    text = json.dumps(to_dict(other)[name])

    result = override(config, [f"{name}={text}"])

    assert result == dataclasses.replace(config, **{name: getattr(other, name)})


@PROPERTY
@given(OUTERS, JSON)
def test_wrong_data_is_a_typed_error_and_never_another(config, junk):
    for name in to_dict(config):
        with contextlib.suppress(TypeError, ValueError):
            read = from_dict(Outer, to_dict(config) | {name: junk})
            assert from_dict(Outer, to_dict(read)) == read


@PROPERTY
@given(NUMBERS)
def test_any_number_can_be_written_as_python_or_json_writes_it(number):
    assert override(OUTER, [f"size={number!r}"]).size == number
    assert override(OUTER, [f"size={number:.17e}"]).size == number
