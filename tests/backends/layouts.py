"""Tensors of any shape, dtype and layout, and the operands of a rule on them."""

import torch

from logclock.rules import Spec


def is_of_tensors(rule):
    """Whether all states are tensors: numbers live on the host in float64, and the contract suite compares them."""
    return rule.is_elementwise and not any(state.is_number for state in rule.states.values())


ELEMENTWISE = [name for name in Spec.family if is_of_tensors(Spec.family.get(name)().rule)]

LAYOUTS = ("contiguous", "reversed", "sliced", "padded")


def laid_out(values, layout):
    """Return a tensor of the same values and shape in another layout."""
    if values.dim() == 0 or layout == "contiguous":
        return values.clone(memory_format=torch.contiguous_format)
    if layout == "reversed":  # dense, strides in the opposite order, as a transposed weight
        order = tuple(reversed(range(values.dim())))
        return values.permute(order).clone(memory_format=torch.contiguous_format).permute(order)
    if layout == "sliced":  # every second column of a wider tensor: not dense
        wide = torch.zeros(*values.shape[:-1], 2 * values.shape[-1], dtype=values.dtype)
        view = wide[..., ::2]
    else:  # the inner part of a tensor with a border
        bordered = torch.zeros([size + 2 for size in values.shape], dtype=values.dtype)
        view = bordered[(slice(1, -1),) * values.dim()]
    view.copy_(values)
    return view


def random_tensor(shape, seed, *, dtype=torch.float32, layout="contiguous", positive=False):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return laid_out((values.abs() if positive else values).to(dtype), layout)


def make_operands(rule, shapes, *, dtype=torch.float32, grad_dtype=None, state_dtype=None, layouts=None):
    """Return params, grads and, for each state, a list of tensors.

    A layout is a triple, of the parameter, the gradient and the states of one shape.
    """
    layouts = layouts or [("contiguous",) * 3] * len(shapes)
    params, grads, states = [], [], [[] for _ in rule.state_names]
    for number, (shape, (param, grad, state)) in enumerate(zip(shapes, layouts, strict=True)):
        seed = 100 * number
        params.append(random_tensor(shape, seed, dtype=dtype, layout=param))
        grads.append(random_tensor(shape, seed + 1, dtype=grad_dtype or dtype, layout=grad))
        for position, (name, column) in enumerate(zip(rule.state_names, states, strict=True)):
            positive = name != "exp_avg"  # second moments and activities
            made = random_tensor(
                shape, seed + 2 + position, dtype=state_dtype or dtype, layout=state, positive=positive
            )
            column.append(made.clamp_(max=0.9))
    return params, grads, states


def copied(operands):
    """Return independent copies with the same strides as far as tensors can have them (dense ones do)."""
    params, grads, states = operands
    return (
        [x.clone() for x in params],
        [x.clone() for x in grads],
        [[x.clone() for x in column] for column in states],
    )


def flat(operands):
    params, _, states = operands
    return [*params, *(x for column in states for x in column)]


def spec_of(name, **changes):
    """Return a registered spec with everything in play: decay, bounds that bind, gains."""
    return Spec.family.get(name)(lr=0.01, weight_decay=0.1, **changes)
