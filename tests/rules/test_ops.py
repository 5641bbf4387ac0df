import math

import pytest
import torch

from logclock.backends.program import TensorOperand, _Traced
from logclock.rules.ops import (
    REDUCTIONS,
    VOCABULARY,
    absolute,
    exp,
    maximum,
    mean,
    minimum,
    norm,
    power,
    rms,
    sign,
    size,
    sqrt,
    total,
    where,
)

NAN = math.nan


def same(got, expected):
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert (math.isnan(one) and math.isnan(other)) or one == pytest.approx(other, rel=1e-6)


@pytest.mark.parametrize(
    ("function", "arguments", "values", "expected"),
    [
        (sqrt, (), [4.0, 0.0, 2.25], [2.0, 0.0, 1.5]),
        (absolute, (), [-2.0, 0.0, 3.0], [2.0, 0.0, 3.0]),
        (sign, (), [-2.0, 0.0, 3.0], [-1.0, 0.0, 1.0]),
        (maximum, (1.0,), [-2.0, 1.0, 3.0], [1.0, 1.0, 3.0]),
        (minimum, (1.0,), [-2.0, 1.0, 3.0], [-2.0, 1.0, 1.0]),
        (power, (0.5,), [4.0, 0.0, 2.25], [2.0, 0.0, 1.5]),
        (exp, (), [0.0, 1.0, -math.inf], [1.0, 2.718281828, 0.0]),
    ],
)
def test_the_vocabulary_on_tensors(function, arguments, values, expected):
    # a power goes through ln and exp: a few units in the last place
    assert function(torch.tensor(values), *arguments).tolist() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        (sqrt, (2.25,), 1.5),
        (absolute, (-2.0,), 2.0),
        (sign, (-2.0,), -1.0),
        (sign, (0.0,), 0.0),
        (maximum, (1.0, 2.0), 2.0),
        (minimum, (1.0, 2.0), 1.0),
        (power, (4.0, 0.5), 2.0),
        (exp, (math.log(3.0),), 3.0),
        (where, (2.0 > 1.0, 5.0, 6.0), 5.0),
        (where, (False, 5.0, 6.0), 6.0),
    ],
)
def test_the_vocabulary_on_numbers(function, arguments, expected):
    assert function(*arguments) == pytest.approx(expected, rel=1e-15)


def test_a_power_of_a_negative_number_is_not_a_number():
    assert power(torch.tensor([-2.0]), 2.0).isnan().all()


@pytest.mark.parametrize(
    ("function", "bound", "expected"), [(maximum, 1.0, 2.0), (minimum, 1.0, 1.0), (power, 3.0, 8.0)]
)
def test_bounds_and_exponents_may_be_0_d_tensors(function, bound, expected):
    assert function(torch.tensor([2.0]), torch.tensor(bound)).tolist() == [expected]


@pytest.mark.parametrize(("function", "expected"), [(maximum, [3.0, 2.0]), (minimum, [1.0, -4.0])])
def test_extrema_of_two_tensors_and_of_a_number_and_a_tensor(function, expected):
    x, y = torch.tensor([3.0, -4.0]), torch.tensor([1.0, 2.0])

    assert function(x, y).tolist() == expected
    assert function(0.5, x).tolist() == function(x, 0.5).tolist()


@pytest.mark.parametrize("function", [maximum, minimum])
def test_nan_wins_an_extremum_wherever_it_stands(function):
    x, ones = torch.tensor([NAN, 1.0]), torch.ones(2)

    for result in (function(x, ones), function(ones, x), function(x, 1.0), function(1.0, x)):
        same(result.tolist(), [NAN, 1.0])
    assert function(ones, torch.tensor(NAN)).isnan().all()
    assert math.isnan(function(NAN, 1.0))
    assert math.isnan(function(1.0, NAN))


def test_where_takes_numbers_and_tensors_and_a_comparison_with_nan_does_not_hold():
    x = torch.tensor([2.0, -2.0, NAN])

    same(where(x > 0, x, 7.0).tolist(), [2.0, 7.0, 7.0])
    same(where(x > 0, 1.0, 0.0).tolist(), [1.0, 0.0, 0.0])
    same(((x > 0) * x).tolist(), [2.0, 0.0, NAN])


# of 3, -4, 0, 0: the sum, the mean, the norm, and the root of 25 / 4
@pytest.mark.parametrize(("function", "expected"), [(total, -1.0), (mean, -0.25), (norm, 5.0), (rms, 2.5)])
@pytest.mark.parametrize("shape", [(4,), (2, 2), (1, 4, 1)])
def test_a_reduction_gives_one_number_for_a_tensor_of_any_shape(function, expected, shape):
    result = function(torch.tensor([3.0, -4.0, 0.0, 0.0]).reshape(shape))

    assert result.shape == ()
    assert result.item() == expected


@pytest.mark.parametrize(("shape", "expected"), [((), 1.0), ((0,), 0.0), ((4, 3), 12.0)])
def test_the_size_is_the_number_of_elements(shape, expected):
    assert size(torch.full(shape, NAN)) == expected


def test_the_mean_of_a_mask_is_the_share_where_it_holds():
    assert mean(torch.tensor([1.0, -1.0, 2.0, 0.0]) > 0).item() == 0.5


@pytest.mark.parametrize("function", [total, mean, norm, rms])
def test_a_reduction_keeps_a_nan(function):
    assert function(torch.tensor([1.0, NAN])).isnan()


def operand():
    code = [_Traced("operand", (), None), _Traced("operand", (), None)]
    return code, TensorOperand(code, 0), TensorOperand(code, 1)


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x, y: sqrt(x), [("sqrt", (0,), None)]),
        (lambda x, y: absolute(x), [("absolute", (0,), None)]),
        (lambda x, y: sign(x), [("sign", (0,), None)]),
        (lambda x, y: maximum(x, 0.5), [("maximum", (0,), 0.5)]),
        (lambda x, y: minimum(0.5, x), [("minimum", (0,), 0.5)]),
        (lambda x, y: maximum(x, y), [("larger", (0, 1), None)]),
        (lambda x, y: minimum(x, y), [("smaller", (0, 1), None)]),
        (lambda x, y: power(x, 0.25), [("log", (0,), None), ("mul_scalar", (2,), 0.25), ("exp", (3,), None)]),
        (lambda x, y: where(x > y, x, y), [("greater", (0, 1), None), ("where", (2, 0, 1), None)]),
        (lambda x, y: where(x < y, x, y), [("greater", (1, 0), None), ("where", (2, 0, 1), None)]),
        (lambda x, y: x >= 0.5, [("greater_equal_scalar", (0,), 0.5)]),
        (lambda x, y: x < 0.5, [("less_scalar", (0,), 0.5)]),
        (lambda x, y: x <= 0.5, [("less_equal_scalar", (0,), 0.5)]),
        (lambda x, y: 2.0 / x, [("scalar_div", (0,), 2.0)]),
        (lambda x, y: exp(x), [("exp", (0,), None)]),
        (lambda x, y: x * size(y), []),  # a number, which waits for no element
        (lambda x, y: total(x), [("total", (0,), None)]),
        (lambda x, y: mean(x), [("total", (0,), None)]),
        (lambda x, y: norm(x), [("total_square", (0,), None)]),
        (lambda x, y: rms(x), [("total_square", (0,), None)]),
    ],
)
def test_the_vocabulary_while_a_stage_is_traced(function, expected):
    code, x, y = operand()

    function(x, y)

    assert [(step.op, step.inputs, step.scalar and step.scalar({})) for step in code[2:]] == expected


def test_the_vocabulary_is_complete():
    assert set(REDUCTIONS) == {"mean", "norm", "rms", "size", "total"}
    assert set(VOCABULARY) == {"absolute", "exp", "maximum", "minimum", "power", "sign", "sqrt", "where", *REDUCTIONS}
    assert all(VOCABULARY[function.__name__] is function for function in VOCABULARY.values())
