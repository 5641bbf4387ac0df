"""What both ranks do in the tests of DistributedDataParallel."""

import torch
from distributed.net import Net, build, clocks, make_net, states, train, weights
from torch import nn
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict
from torch.nn.parallel import DistributedDataParallel

from logclock import Constant

FIRST_USE = 2


class LateNet(Net):
    """The network with two parameters that join late, each with a gradient of its own on one rank only."""

    def __init__(self, start):
        super().__init__()
        self.load_state_dict(start.state_dict())
        self.late = nn.ParameterList([torch.full((3,), 0.5), torch.full((3,), -0.5)])

    def forward(self, tokens, step, half):
        logits = super().forward(tokens, step, half)
        return logits * (1 + self.late[half].mean()) if step >= FIRST_USE else logits


def build_late(name, net):
    optimizer = build(name, net)
    optimizer.add_param_group({"params": list(net.late), "weight_decay": Constant(value=0.1)})
    return optimizer


def data_parallel_and_whole(rank, name, asked):
    """Return five steps of each rank, started from different weights, beside those of one process with both halves."""
    net, twin = LateNet(make_net(seed=rank)), LateNet(make_net())
    parallel = DistributedDataParallel(net, find_unused_parameters=True)
    optimizer, reference = build_late(name, net), build_late(name, twin)
    if asked:
        get_optimizer_state_dict(parallel, optimizer)
    train(parallel, optimizer, range(5), rank=rank)
    train(twin, reference, range(5))
    return {
        "parallel": weights(net) | states(net, optimizer),
        "whole": weights(twin) | states(twin, reference),
        "clocks": clocks(net, optimizer),
    }
