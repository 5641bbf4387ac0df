import dataclasses
import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logclock.schedules import (
    Constant,
    Cosine,
    DebiasedEma,
    Eden,
    HalfLifeRamp,
    InverseSqrt,
    InverseTime,
    Join,
    Linear,
    LinearRamp,
    MemoryCooldown,
    PowerGrowth,
    PowerLaw,
    Product,
    Schedule,
    Warmup,
    WarmupStableDecay,
    check,
    value_at,
)

# One member of each registered kind, with every field away from its default, and its plain data written by hand.
WARMUP = {"warmup_steps": 10.0, "warmup_start": 0.01, "warmup_shape": "cosine"}
CASES = {
    "constant": (Constant(value=0.1), {"value": 0.1}),
    "cosine": (Cosine(total_steps=100.0, final=0.1, **WARMUP), WARMUP | {"total_steps": 100.0, "final": 0.1}),
    "debiased_ema": (DebiasedEma(ema=0.001), {"ema": 0.001}),
    "eden": (
        Eden(time_scale=100.0, epoch_scale=3.0, steps_per_epoch=50.0, warmup_steps=5.0, warmup_start=0.25),
        {
            "time_scale": 100.0,
            "epoch_scale": 3.0,
            "steps_per_epoch": 50.0,
            "warmup_steps": 5.0,
            "warmup_start": 0.25,
        },
    ),
    "half_life_ramp": (
        HalfLifeRamp(start=0.1, end=1e-4, steps=1000.0),
        {"start": 0.1, "end": 1e-4, "steps": 1000.0},
    ),
    "inverse_sqrt": (InverseSqrt(**WARMUP), WARMUP),
    "inverse_time": (InverseTime(scale=4.0, offset=1395.0), {"scale": 4.0, "offset": 1395.0}),
    "join": (
        Join(schedules=(Constant(value=1.0), PowerGrowth(kappa=0.5)), at=(100.0,)),
        {"schedules": [{"kind": "constant", "value": 1.0}, {"kind": "power_growth", "kappa": 0.5}], "at": [100.0]},
    ),
    "linear": (Linear(total_steps=100.0, final=0.1, **WARMUP), WARMUP | {"total_steps": 100.0, "final": 0.1}),
    "linear_ramp": (LinearRamp(start=1.0, end=8.0, steps=50.0), {"start": 1.0, "end": 8.0, "steps": 50.0}),
    "memory_cooldown": (
        MemoryCooldown(base=Constant(value=0.1), total_steps=100.0, fraction=0.2, final=0.5, shape="linear"),
        {
            "base": {"kind": "constant", "value": 0.1},
            "total_steps": 100.0,
            "fraction": 0.2,
            "final": 0.5,
            "shape": "linear",
        },
    ),
    "power_growth": (PowerGrowth(kappa=0.85), {"kappa": 0.85}),
    "power_law": (
        PowerLaw(time_scale=50.0, exponent=0.7, **WARMUP),
        WARMUP | {"time_scale": 50.0, "exponent": 0.7},
    ),
    "product": (
        Product(factors=(Constant(value=3.0), InverseTime(scale=8.0, offset=8.0))),
        {"factors": [{"kind": "constant", "value": 3.0}, {"kind": "inverse_time", "scale": 8.0, "offset": 8.0}]},
    ),
    "warmup": (Warmup(**WARMUP), WARMUP),
    "wsd": (
        WarmupStableDecay(total_steps=100.0, decay_steps=30.0, decay_shape="sqrt", final=0.1, **WARMUP),
        WARMUP | {"total_steps": 100.0, "decay_steps": 30.0, "decay_shape": "sqrt", "final": 0.1},
    ),
}


KINDS = [kind for kind in Schedule.family if issubclass(Schedule.family.get(kind), Schedule)]
"""All but the plans, which are no functions of t: tests/schedules/test_adaptive.py."""


def case(kind):
    assert kind in CASES, f"the registered schedule {kind!r} needs a line in CASES"
    return CASES[kind]


def test_every_registered_kind_has_a_case():
    assert sorted(CASES) == KINDS


@pytest.mark.parametrize("kind", KINDS)
def test_to_dict_gives_the_kind_and_every_field(kind):
    schedule, fields = case(kind)

    assert schedule.to_dict() == {"kind": kind, **fields}
    assert next(iter(schedule.to_dict())) == "kind"
    assert set(fields) == {f.name for f in dataclasses.fields(schedule)}


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_survives_a_dict_and_json(kind):
    schedule, fields = case(kind)

    through_json = json.loads(json.dumps(schedule.to_dict()))

    assert Schedule.from_dict({"kind": kind, **fields}) == schedule
    assert Schedule.from_dict(through_json) == schedule
    assert [Schedule.from_dict(through_json)(t) for t in (1, 7, 90, 1e6)] == [schedule(t) for t in (1, 7, 90, 1e6)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_survives_pickling(kind):
    schedule, _ = case(kind)

    assert pickle.loads(pickle.dumps(schedule)) == schedule


@pytest.mark.parametrize("kind", KINDS)
def test_equal_schedules_have_equal_hashes_and_other_kinds_differ(kind):
    schedule, fields = case(kind)

    assert hash(Schedule.from_dict({"kind": kind, **fields})) == hash(schedule)
    assert [other for other, (value, _) in CASES.items() if value == schedule] == [kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_schedule_cannot_be_changed(kind):
    schedule, fields = case(kind)

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, next(iter(fields)), 1.0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_documented_in_one_line(kind):
    assert Schedule.family.get(kind).__doc__.splitlines()[0].endswith((".", "updates."))


def test_an_unknown_kind_is_answered_with_the_closest_one():
    with pytest.raises(
        ValueError, match=r"unknown schedule 'warmupp'\. Did you mean 'warmup'.*\? Known: .*constant, cosine,"
    ):
        Schedule.from_dict({"kind": "warmupp"})


def test_an_unknown_field_is_answered_with_the_closest_one():
    with pytest.raises(TypeError, match=r"unknown key 'kapa'\. Did you mean 'kappa'\? Known: kappa\."):
        Schedule.from_dict({"kind": "power_growth", "kapa": 0.85})


def test_a_class_reads_only_its_own_kind():
    with pytest.raises(TypeError, match=r"value must be a Cosine, got \{'kind': 'constant', 'value': 0.1\}"):
        Cosine.from_dict({"kind": "constant", "value": 0.1})


def test_a_slot_takes_a_number_or_a_schedule():
    assert value_at(0.25, 10) == 0.25
    assert value_at(InverseTime(scale=8.0, offset=8.0), 24) == 0.25


def test_check_says_what_was_given_what_is_allowed_and_what_to_do():
    check(True, "kappa", "lie in [0, 1]", 0.5)

    with pytest.raises(ValueError, match=r"^kappa must lie in \[0, 1\], got 1\.5\.$"):
        check(False, "kappa", "lie in [0, 1]", 1.5)
    with pytest.raises(ValueError, match=r"got 1\.5\. Try 1\.$"):
        check(False, "kappa", "lie in [0, 1]", 1.5, advice="Try 1.")


def test_constant_is_constant():
    assert [Constant(value=0.3)(t) for t in (1, 1e4, 1e8)] == [0.3, 0.3, 0.3]


def test_a_product_multiplies_its_factors():
    product = Constant(value=3.0) * InverseTime(scale=8.0, offset=8.0) * Constant(value=0.5)

    assert isinstance(product, Product)
    assert product(8) == 3.0 * 0.5 * 0.5


def test_a_product_with_a_number_is_refused():
    with pytest.raises(TypeError):
        Constant(value=3.0) * 2.0


def test_an_empty_product_is_refused():
    with pytest.raises(ValueError, match=r"factors must hold at least one schedule, got \(\)"):
        Product(factors=())


def test_a_join_changes_at_its_boundary_and_keeps_the_common_clock():
    join = Join(schedules=(Constant(value=1.0), PowerGrowth(kappa=0.5), Constant(value=-1.0)), at=(8, 24))

    assert [join(t) for t in (1, 7.5, 8, 15, 23, 24, 1e8)] == [1.0, 1.0, 3.0, 4.0, 24**0.5, -1.0, -1.0]


@pytest.mark.parametrize(
    ("schedules", "at", "message"),
    [
        (1, (10.0,), "schedules must be one more than the 1 boundaries in at, got 1"),
        (2, (), "schedules must be one more than the 0 boundaries in at, got 2"),
        (3, (10.0, 10.0), r"at must be strictly increasing, got \(10\.0, 10\.0\)"),
        (3, (20.0, 10.0), r"at must be strictly increasing, got \(20\.0, 10\.0\)"),
    ],
)
def test_a_join_whose_parts_do_not_fit_is_refused(schedules, at, message):
    with pytest.raises(ValueError, match=message):
        Join(schedules=(Constant(value=1.0),) * schedules, at=at)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(values=st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=6), data=st.data())
def test_a_join_gives_the_value_of_exactly_one_part(values, data):
    at = sorted(data.draw(st.sets(st.integers(2, 1000), min_size=len(values) - 1, max_size=len(values) - 1)))
    t = data.draw(st.integers(1, 1001))
    join = Join(schedules=tuple(Constant(value=v) for v in values), at=tuple(at))

    intervals = zip([0, *at], [*at, 2000], values, strict=True)

    assert [value for start, stop, value in intervals if start <= t < stop] == [join(t)]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    st.recursive(
        st.builds(lambda v: Constant(value=v), st.floats(allow_nan=False, allow_infinity=False)),
        lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda parts: Product(factors=tuple(parts))),
        max_leaves=8,
    )
)
def test_nested_schedules_survive_json(schedule):
    assert Schedule.from_dict(json.loads(json.dumps(schedule.to_dict()))) == schedule
