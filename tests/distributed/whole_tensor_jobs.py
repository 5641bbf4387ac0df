"""What both ranks do in the tests of rules on whole matrices, whose shards must be gathered for every update."""

import torch
from contract.cases import CASES, WEIGHT_DECAY
from distributed.checkpoint_jobs import resume, save
from distributed.net import PEAK, clocks, make_net, shard, states, train, weights, whole
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

from logclock import Constant

PLACEMENTS = (Shard(0), Shard(1), Replicate(), Shard(0))


def normal(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def steps_on_shards(rank, name, backend, changes=None):
    """Return five steps on matrices placed in every way beside those on plain ones; one gradient is a partial sum."""
    mesh = init_device_mesh("cpu", (2,))
    plain = [nn.Parameter(normal((5, 3), i)) for i in range(len(PLACEMENTS))]
    spread = [
        nn.Parameter(distribute_tensor(param.detach().clone(), mesh, [placement]))
        for param, placement in zip(plain, PLACEMENTS, strict=True)
    ]
    settings = {"lr": torch.tensor(1e-2), "weight_decay": WEIGHT_DECAY, "backend": backend}
    settings |= {**CASES[name].settings, **(changes or {})}
    ours, reference = CASES[name].build(spread, **settings), CASES[name].build(plain, **settings)
    for step in range(5):
        grads = [normal((5, 3), 1000 * step + i).mul(8).round() for i in range(len(PLACEMENTS))]
        for param, twin, grad in zip(spread, plain, grads, strict=True):
            twin.grad = grad
            param.grad = distribute_tensor(grad, mesh, param.placements)
        part = grads[-1] - 3 if rank == 0 else torch.full((5, 3), 3.0)  # whole numbers: their sum is exact
        spread[-1].grad = DTensor.from_local(part, mesh, [Partial()])
        ours.step()
        reference.step()
    values = [
        [v for p in params for v in (p, *optimizer.state[p].values())]
        for params, optimizer in ((spread, ours), (plain, reference))
    ]
    return {
        "spread": {str(i): whole(value) for i, value in enumerate(values[0])},
        "plain": {str(i): whole(value) for i, value in enumerate(values[1])},
        "placements": [str(param.placements[0]) for param in spread],
    }


def build_mixed(name, net):
    """Two groups: the whole-matrix rule for two hidden weights, ADANA for everything else."""
    matrices = [net.mix.weight, net.gate.weight]
    rest = [p for p in net.parameters() if p.requires_grad and all(p is not matrix for matrix in matrices)]
    groups = [
        {"params": matrices, "algorithm": name, "weight_decay": WEIGHT_DECAY, "lr": PEAK, **CASES[name].settings},
        {"params": rest, "weight_decay": Constant(value=0.1), "lr": PEAK / 4},
    ]
    return CASES["adana"].build(groups)


def resume_of_two_algorithms(rank, name, path):
    """Save a sharded run of two algorithms after four steps; return it uninterrupted and resumed."""
    net = shard(make_net())
    optimizer = build_mixed(name, net)
    train(net, optimizer, range(4), rank=rank)
    save(net, optimizer, path, False)
    train(net, optimizer, range(4, 7), rank=rank)

    twin = shard(make_net(seed=1))
    resumed = build_mixed(name, twin)
    resume(twin, resumed, path, False)
    train(twin, resumed, range(4, 7), rank=rank)

    reference = make_net()
    unsharded = build_mixed(name, reference)
    train(reference, unsharded, range(7))
    return {
        "uninterrupted": weights(net) | states(net, optimizer),
        "resumed": weights(twin) | states(twin, resumed),
        "whole": weights(reference) | states(reference, unsharded),
        "clocks": clocks(twin, resumed),
    }
