"""What tests of emitted C++ and Triton share: operands of a rule, and every operation with what it computes."""

import re

import numpy as np
import torch

import logclock.algorithms  # noqa: F401 (registers every optimizer)
from logclock.backends.program import OPERATIONS, Instruction, Program, Segment
from logclock.backends.scalars import named
from logclock.config import from_dict
from logclock.rules import Spec

EPS = torch.finfo(torch.float32).eps

COMPOSITIONS = [
    {"name": "adana", "wrappers": ["cautious", "trust_ratio", "clip_rms", "schedule_free"], "apply": "hyperball"},
    {"name": "lion", "wrappers": ["grams", "ema_nesterov"], "apply": "huber_decay"},
    {"name": "dana-star-mk4", "wrappers": ["clip_rms"], "apply": "cautious_decay", "weight_decay": 0.1},
]
SPECS = [{"name": name, "weight_decay": 0.1} for name in sorted(Spec.family.members)] + COMPOSITIONS


def spec_of(data):
    return from_dict(Spec, data if isinstance(data, dict) else {"name": data})


def operands(rule, shapes, *, dtype=torch.float32, grad_dtype=None, state_dtype=None, seed=0):
    """Return parameters, gradients and states; second moments and activities between 0 and 0.9."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape, kind):
        return torch.randn(shape, generator=generator).to(kind)

    params = [draw(shape, dtype) for shape in shapes]
    grads = [draw(shape, grad_dtype or dtype) for shape in shapes]
    states = []
    for name, state in rule.states.items():
        if state.is_number:
            states.append([torch.tensor(0.25 + 0.125 * i) for i in range(len(shapes))])
        elif name == "exp_avg":
            states.append([draw(shape, state_dtype or dtype) for shape in shapes])
        else:
            positive = [draw(shape, torch.float32).abs().clamp(max=0.9) for shape in shapes]
            states.append([x.to(state_dtype or dtype) for x in positive])
    return params, grads, states


def written(made):
    params, _, states = made
    return [*params, *(x for column in states for x in column)]


def assert_rounds_alike(ours, theirs, *, eps=EPS):
    """Bound the distance after one update of operands near 1.

    Where a processor fuses a product and a sum for one backend and not for the other, or log and exp end on a neighbor,
    a value moves by half a unit or a unit in the last place of its largest term; at most a dozen such terms make a
    result, and the update is multiplied by the learning rate: 8 units of the larger of the result and 1.
    """
    for x, y in zip(ours, theirs, strict=True):
        assert x.dtype == y.dtype
        bound = 8 * eps * y.double().abs().clamp(min=1)
        assert ((x.double() - y.double()).abs() <= bound).all()


SCALAR_OPS = {"fill"} | {op for op, text in OPERATIONS.items() if "scalar" in text}
NUM_INPUTS = {op: len(set(re.findall(r"\b[xyz]\b", text))) for op, text in OPERATIONS.items()}

EXPECTED = {
    "add": lambda x, y, z, s: x + y,
    "sub": lambda x, y, z, s: x - y,
    "mul": lambda x, y, z, s: x * y,
    "div": lambda x, y, z, s: x / y,
    "add_scaled": lambda x, y, z, s: x + s * y,
    "add_scaled_quotient": lambda x, y, z, s: x + s * y / z,
    "lerp": lambda x, y, z, s: x + s * (y - x),
    "add_scalar": lambda x, y, z, s: x + s,
    "mul_scalar": lambda x, y, z, s: x * s,
    "div_scalar": lambda x, y, z, s: x / s,
    "scalar_div": lambda x, y, z, s: s / x,
    "neg": lambda x, y, z, s: -x,
    "sqrt": lambda x, y, z, s: np.sqrt(x),
    "absolute": lambda x, y, z, s: np.abs(x),
    "sign": lambda x, y, z, s: np.sign(x),
    "maximum": lambda x, y, z, s: np.maximum(x, s),
    "minimum": lambda x, y, z, s: np.minimum(x, s),
    "larger": lambda x, y, z, s: np.maximum(x, y),
    "smaller": lambda x, y, z, s: np.minimum(x, y),
    "log": lambda x, y, z, s: np.log(x),
    "exp": lambda x, y, z, s: np.exp(x),
    "greater": lambda x, y, z, s: x > y,
    "greater_equal": lambda x, y, z, s: x >= y,
    "greater_scalar": lambda x, y, z, s: x > s,
    "greater_equal_scalar": lambda x, y, z, s: x >= s,
    "less_scalar": lambda x, y, z, s: x < s,
    "less_equal_scalar": lambda x, y, z, s: x <= s,
    "where": lambda x, y, z, s: np.where(x != 0, y, z),
    "fill": lambda x, y, z, s: s + 0 * x,
    "copy": lambda x, y, z, s: x,
}


def all_operations():
    """Return a program that computes every operation of param, grad and new_grad with the scalar "s"."""
    names = tuple(f"out_{op}" for op in OPERATIONS)
    code = tuple(
        Instruction(op, tuple(range(NUM_INPUTS[op])), named("s") if op in SCALAR_OPS else None, 3 + k)
        for k, op in enumerate(OPERATIONS)
    )
    return Program(("param", "grad", "new_grad", *names), names, (Segment(code),), (), 0)


ALL = all_operations()


def ulps_apart(got, exact):
    """Return the distance of float32 numbers from float64 ones in units in the last place of the latter."""
    _, exponent = np.frexp(exact)
    return np.abs(got.astype(np.float64) - exact) / np.ldexp(1.0, np.maximum(exponent - 24, -149))


ROUNDED = Program(
    ("param", "grad", "exp_avg", "other"),
    ("exp_avg", "other"),
    (Segment((Instruction("copy", (1,), None, 2), Instruction("neg", (1,), None, 3))),),
    (),
    0,
)
