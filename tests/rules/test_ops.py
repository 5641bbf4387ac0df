import pytest
import torch

from logclock.rules.ops import VOCABULARY, absolute, maximum, minimum, power, sign, sqrt


class Recorder:
    """An operand that is not a tensor: it answers with what it was asked to do."""

    def apply(self, op, *arguments):
        return (op, *arguments)


@pytest.mark.parametrize(
    ("function", "arguments", "values", "expected"),
    [
        (sqrt, (), [4.0, 0.0, 2.25], [2.0, 0.0, 1.5]),
        (absolute, (), [-2.0, 0.0, 3.0], [2.0, 0.0, 3.0]),
        (sign, (), [-2.0, 0.0, 3.0], [-1.0, 0.0, 1.0]),
        (maximum, (1.0,), [-2.0, 1.0, 3.0], [1.0, 1.0, 3.0]),
        (minimum, (1.0,), [-2.0, 1.0, 3.0], [-2.0, 1.0, 1.0]),
        (power, (2.0,), [-2.0, 0.0, 3.0], [4.0, 0.0, 9.0]),
    ],
)
def test_the_vocabulary_on_tensors(function, arguments, values, expected):
    assert function(torch.tensor(values), *arguments).tolist() == expected


@pytest.mark.parametrize(
    ("function", "bound", "expected"), [(maximum, 1.0, 2.0), (minimum, 1.0, 1.0), (power, 3.0, 8.0)]
)
def test_bounds_and_exponents_may_be_0_d_tensors(function, bound, expected):
    assert function(torch.tensor([2.0]), torch.tensor(bound)).tolist() == [expected]


@pytest.mark.parametrize("name", sorted(VOCABULARY))
def test_the_vocabulary_on_other_operands_is_a_named_request(name):
    arguments = (0.5,) if name in ("maximum", "minimum", "power") else ()

    assert VOCABULARY[name](Recorder(), *arguments) == (name, *arguments)


def test_the_vocabulary_is_complete():
    assert sorted(VOCABULARY) == ["absolute", "maximum", "minimum", "power", "sign", "sqrt"]
    assert set(VOCABULARY.values()) == {absolute, maximum, minimum, power, sign, sqrt}
