"""Small parameters, gradients that depend on (seed, step) only, and the loop that applies them."""

import torch

SHAPES = ((5, 3), (4,), (2, 3, 2), ())


def make_params(shapes=SHAPES, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, generator=generator).to(dtype)) for shape in shapes]


def set_grads(params, step, scale=1.0):
    generator = torch.Generator().manual_seed(1000 + step)
    for param in params:
        param.grad = (scale * torch.randn(param.shape, generator=generator)).to(param.dtype)


def run(optimizer, params, steps, scale=1.0):
    for step in steps:
        set_grads(params, step, scale)
        optimizer.step()


def assert_bitwise(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a, b), f"differs by up to {(a.double() - b.double()).abs().max()}"
