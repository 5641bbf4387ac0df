import hashlib
import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logclock.records import content_hash


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, "{}"),
        ({"b": 1, "a": [True, None, "x"]}, '{"a":[true,null,"x"],"b":1}'),
        ({"lr": 0.001, "steps": 3.0}, '{"lr":0.001,"steps":3}'),
        ({"zero": -0.0, "tiny": 1e-300, "third": 1 / 3}, '{"third":0.3333333333333333,"tiny":1e-300,"zero":0}'),
        ({"name": "\u00e9"}, '{"name":"\\u00e9"}'),
        ([1.5, [2.0, {"x": 4.0}]], '[1.5,[2,{"x":4}]]'),
    ],
)
def test_the_hash_is_the_sha256_of_canonical_json(data, text):
    assert content_hash(data) == hashlib.sha256(text.encode()).hexdigest()[:16]
    assert content_hash(data, length=64) == hashlib.sha256(text.encode()).hexdigest()


def test_the_order_of_keys_does_not_count():
    assert content_hash({"a": 1, "b": {"c": 2, "d": 3}}) == content_hash({"b": {"d": 3, "c": 2}, "a": 1})


def test_whether_a_whole_number_is_an_int_or_a_float_does_not_count():
    assert content_hash({"a": (1, 2)}) == content_hash({"a": [1.0, 2.0]})


@pytest.mark.parametrize(
    ("one", "other"),
    [({"a": 1}, {"a": 2}), ({"a": 1}, {"b": 1}), ([1, 2], [2, 1]), ({"a": 1}, {"a": "1"}), (1, True), (None, 0)],
)
def test_different_data_have_different_hashes(one, other):
    assert content_hash(one) != content_hash(other)


def test_neighbouring_floats_have_different_hashes():
    assert content_hash(0.1) != content_hash(math.nextafter(0.1, 1))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_does_not_have_are_refused(value):
    with pytest.raises(ValueError, match=rf"loss\[1\] is {value}, and a hash takes finite numbers\. Write None"):
        content_hash({"loss": [1.0, value]})


def test_the_hash_is_the_same_in_every_process():
    data = {"b": [1.0, 0.1, "x"], "a": {"z": None, "y": True}}
    program = f"from logclock.records import content_hash; print(content_hash({data!r}))"
    for seed in ("0", "12345"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == content_hash(data)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.dictionaries(st.text("abc", min_size=1), st.floats(allow_nan=False, allow_infinity=False), min_size=2))
def test_any_permutation_of_keys_gives_the_same_hash(data):
    assert content_hash(dict(reversed(data.items()))) == content_hash(data)
