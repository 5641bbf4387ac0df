"""Rules drawn at random whose arithmetic is exact in float64, whatever is fused or reordered.

All values are fractions with a small power of two below the line; the generator keeps count of their bits. So a
backend must give the very numbers that the rule gives when it is called on tensors.
"""

import torch
from hypothesis import strategies as st

from logclock.rules import Rule, Stage, State, Step
from logclock.rules.ops import absolute, maximum, minimum, norm, sign, sqrt, total, where

MAX_BITS = 48  # of the 53 of a float64; one operation more never exceeds them
SCALARS = {"s1": 0.75, "s2": -1.5, "s3": 2.0}

# Arithmetic on scalars alone, as in `1 - ema1`: function of the scalars and bits of its value.
SCALAR_TERMS = [
    (lambda s1, s2, s3: s1, 3),
    (lambda s1, s2, s3: s2, 3),
    (lambda s1, s2, s3: -s3, 3),
    (lambda s1, s2, s3: 1 - s1, 3),
    (lambda s1, s2, s3: s1 * s2 + 0.5, 5),
    (lambda s1, s2, s3: (2.0 - s2) / s3, 4),
    (lambda s1, s2, s3: 0.25, 3),
    (lambda s1, s2, s3: 3, 3),
]

# Operations on two earlier values x and y and a scalar s, and the bits of the result.
STEPS = [
    (lambda x, y, s: x + y, lambda a, b, c: max(a, b) + 1),
    (lambda x, y, s: x - y, lambda a, b, c: max(a, b) + 1),
    (lambda x, y, s: x * y, lambda a, b, c: a + b),
    (lambda x, y, s: x + s * y, lambda a, b, c: max(a, b + c) + 1),
    (lambda x, y, s: x - y * s, lambda a, b, c: max(a, b + c) + 1),
    (lambda x, y, s: x + s * (y - x), lambda a, b, c: max(a, b) + c + 2),
    (lambda x, y, s: x - s * (y / _one_or_two(x)), lambda a, b, c: max(a, b + c + 1) + 1),
    (lambda x, y, s: x / _one_or_two(y), lambda a, b, c: a + 1),
    (lambda x, y, s: s * x, lambda a, b, c: a + c),
    (lambda x, y, s: (x * s) * s, lambda a, b, c: a + 2 * c),
    (lambda x, y, s: x + s, lambda a, b, c: max(a, c) + 1),
    (lambda x, y, s: s - x, lambda a, b, c: max(a, c) + 1),
    (lambda x, y, s: x / 4, lambda a, b, c: a + 2),
    (lambda x, y, s: -x, lambda a, b, c: a),
    (lambda x, y, s: sqrt(x * x), lambda a, b, c: 2 * a),
    (lambda x, y, s: absolute(x), lambda a, b, c: a),
    (lambda x, y, s: sign(x), lambda a, b, c: 2),
    (lambda x, y, s: maximum(x, s), lambda a, b, c: max(a, c)),
    (lambda x, y, s: minimum(x, s), lambda a, b, c: max(a, c)),
    (lambda x, y, s: maximum(x, y), lambda a, b, c: max(a, b)),
    (lambda x, y, s: minimum(x, y), lambda a, b, c: max(a, b)),
    (lambda x, y, s: where(x > y, x, y), lambda a, b, c: max(a, b)),
    (lambda x, y, s: where(x <= s, y, x), lambda a, b, c: max(a, b)),
    (lambda x, y, s: where(s < x, s, y), lambda a, b, c: max(b, c)),
    (lambda x, y, s: (x >= y) * y, lambda a, b, c: b),
    (lambda x, y, s: s / _one_or_two(x), lambda a, b, c: c + 1),
    (lambda x, y, s: x - total(sign(y)) * s, lambda a, b, c: max(a, c + 4) + 1),
    (lambda x, y, s: where(total(y) > 0, x, y), lambda a, b, c: max(a, b)),
    (lambda x, y, s: x * maximum(norm(sign(y)) - norm(sign(y)), s), lambda a, b, c: a + c),
]
OPERAND_BITS = 5  # quarters from -4 to 4


def _one_or_two(x):
    return sign(x) * sign(x) + 1


@st.composite
def rules(draw, *, from_anywhere=False):
    """Return a rule with one to three states.

    Args:
        draw: Given by hypothesis.
        from_anywhere: Whether a result may be any value, old states of other names and the same one twice included;
            otherwise each result is computed for its place.
    """
    num_states = draw(st.integers(1, 3))
    bits = [OPERAND_BITS] * (2 + num_states)
    steps = []
    while len(steps) < 12:
        operation = draw(st.integers(0, len(STEPS) - 1))
        x, y = (draw(st.integers(0, len(bits) - 1)) for _ in range(2))
        scalar, scalar_bits = draw(st.sampled_from(SCALAR_TERMS))
        size = STEPS[operation][1](bits[x], bits[y], scalar_bits)
        if size > MAX_BITS:
            operation, y, size = 13, x, bits[x]  # -x fits always
        if x == y and operation < 2 and not from_anywhere:
            operation = 2 if 2 * bits[x] <= MAX_BITS else 13
            size = 2 * bits[x] if operation == 2 else bits[x]
        steps.append((STEPS[operation][0], x, y, scalar))
        bits.append(size)
        if len(steps) >= 4 and draw(st.booleans()):
            break
    first_new = 0 if from_anywhere else 2 + num_states
    choice = st.integers(first_new, len(bits) - 1)
    results = draw(st.lists(choice, min_size=1 + num_states, max_size=1 + num_states, unique=not from_anywhere))

    def random_stage(param, grad, *states, s1, s2, s3):
        values = [param, grad, *states]
        for step, x, y, scalar in steps:
            values.append(step(values[x], values[y], scalar(s1, s2, s3)))
        return tuple(values[result] for result in results)

    names = tuple(f"state{i}" for i in range(num_states))
    return rule_of(random_stage, names, ("s1", "s2", "s3"))


def rule_of(function, states, scalars):
    """Return a rule of one elementwise stage that moves the parameter; its vocabulary is not checked."""
    stage = Stage(function, ("param", "grad"), tuple(states), tuple(scalars), (), is_elementwise=True)
    return Rule(function.__name__, (Step(stage, "moved", states=(State(),) * len(states)),))


def operands(rule, *, size=6, seed=0):
    """Return float64 tensors of quarters for the parameter, the gradient and the states."""
    generator = torch.Generator().manual_seed(seed)
    quarters = torch.randint(-16, 17, (2 + len(rule.state_names), size), generator=generator, dtype=torch.float64)
    return list((quarters / 4).unbind())
