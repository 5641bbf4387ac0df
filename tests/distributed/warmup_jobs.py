"""What both ranks do in the tests of the adaptive warm-up."""

import torch
import torch.distributed as dist
from torch import nn

from logclock import AdaptiveWarmup


def follow(rank, curves, settings, tokens=None, refuses_float64=False, is_alone=False):
    """Feed this rank its own losses and return what its scheduler did, and the dtypes of its reductions."""
    reductions = []

    def counted(tensor, group=None):
        if refuses_float64 and tensor.dtype == torch.float64:
            raise RuntimeError("this backend has no float64")
        reductions.append(tensor.dtype)
        all_reduce(tensor, group=group)

    alone = [dist.new_group([r]) for r in range(2)]  # every rank creates every group
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(2))], lr=1e-3)
    group = alone[rank] if is_alone else None
    warmup = AdaptiveWarmup(optimizer, 60, process_group=group, **settings)
    lrs = [optimizer.param_groups[0]["lr"]]
    all_reduce, dist.all_reduce = dist.all_reduce, counted
    try:
        for i, loss in enumerate(curves[rank]):
            optimizer.step()
            loss = torch.tensor([loss]) if loss is not None and i % 2 else loss
            warmup.step(loss, tokens=None if tokens is None else tokens[rank][i])
            lrs.append(optimizer.param_groups[0]["lr"])
    finally:
        dist.all_reduce = all_reduce
    state = warmup.state_dict()
    return {"lrs": lrs, "state": state, "dtypes": [str(d) for d in reductions]}
