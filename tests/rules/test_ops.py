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
        (power, (0.5,), [4.0, 0.0, 2.25], [2.0, 0.0, 1.5]),
    ],
)
def test_the_vocabulary_on_tensors(function, arguments, values, expected):
    # a power goes through ln and exp: a few units in the last place
    assert function(torch.tensor(values), *arguments).tolist() == pytest.approx(expected, rel=1e-6)


def test_a_power_of_a_negative_number_is_not_a_number():
    assert power(torch.tensor([-2.0]), 2.0).isnan().all()


@pytest.mark.parametrize(
    ("function", "bound", "expected"), [(maximum, 1.0, 2.0), (minimum, 1.0, 1.0), (power, 3.0, 8.0)]
)
def test_bounds_and_exponents_may_be_0_d_tensors(function, bound, expected):
    assert function(torch.tensor([2.0]), torch.tensor(bound)).tolist() == [expected]


@pytest.mark.parametrize("name", sorted(set(VOCABULARY) - {"power"}))
def test_the_vocabulary_on_other_operands_is_a_named_request(name):
    arguments = (0.5,) if name in ("maximum", "minimum") else ()

    assert VOCABULARY[name](Recorder(), *arguments) == (name, *arguments)


def test_a_power_of_another_operand_is_a_product_between_ln_and_exp():
    class Number:
        def __init__(self, text):
            self.text = text

        def apply(self, op):
            return Number(f"{op}({self.text})")

        def __mul__(self, scalar):
            return Number(f"{self.text} * {scalar}")

    assert power(Number("x"), 0.25).text == "exp(log(x) * 0.25)"


def test_the_vocabulary_is_complete():
    assert sorted(VOCABULARY) == ["absolute", "maximum", "minimum", "power", "sign", "sqrt"]
    assert set(VOCABULARY.values()) == {absolute, maximum, minimum, power, sign, sqrt}
