"""Parameters and gradients on a GPU, equal to those of a run on the host."""

import torch
from contract.runs import set_grads

DEVICE = "cuda"


def on_gpu(params):
    """Return parameters of the same values on the device."""
    return [torch.nn.Parameter(p.detach().to(DEVICE, copy=True)) for p in params]


def give_grads(params, twins, step, scale=1.0):
    """Write the gradients of a step to parameters on the host, and to those on the device, each into its own memory."""
    set_grads(twins, step, scale)
    for param, twin in zip(params, twins, strict=True):
        if param.grad is None:
            param.grad = torch.zeros_like(param)
        param.grad.copy_(twin.grad)


def written(optimizer, params):
    """Return parameters and states on the host."""
    return [x.detach().cpu() for p in params for x in (p, *(v for k, v in optimizer.state[p].items() if k != "step"))]
