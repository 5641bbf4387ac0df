"""What both ranks do in the tests of DTensor parameters that no wrapper made."""

import torch
from contract.cases import CASES, WEIGHT_DECAY
from distributed.net import whole
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

LAYOUTS = (
    ((5, 3), Shard(0)),
    ((4, 5), Shard(1)),
    ((1, 7), Shard(0)),
    ((7, 1), Shard(1)),
    ((1,), Shard(0)),
    ((0, 4), Shard(0)),
    ((3, 2), Replicate()),
    ((), Replicate()),
)


def normal(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def scheduled_steps(rank, name, backend):
    """Return six steps on DTensors beside those on plain tensors, lr a tensor that LambdaLR fills in place."""
    mesh = init_device_mesh("cpu", (2,))
    plain = [nn.Parameter(normal(shape, i)) for i, (shape, _) in enumerate(LAYOUTS)]
    spread = [
        nn.Parameter(distribute_tensor(param.detach().clone(), mesh, [placement]))
        for param, (_, placement) in zip(plain, LAYOUTS, strict=True)
    ]
    # a shard whose elements lie in memory by columns, with gradients that lie by rows
    strided = distribute_tensor(normal((6, 4), 99), mesh, [Shard(0)]).to_local().T.contiguous().T
    plain.append(nn.Parameter(normal((6, 4), 99)))
    spread.append(nn.Parameter(DTensor.from_local(strided, mesh, [Shard(0)])))
    results = []
    for params in (plain, spread):
        lr = torch.tensor(1e-2)
        optimizer = CASES[name].build(params, lr=lr, weight_decay=WEIGHT_DECAY, backend=backend, **CASES[name].settings)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(1 - step / 5, 0))
        for step in range(6):
            for i, param in enumerate(params):
                grad = normal(param.shape, 1000 * step + i)
                is_dtensor = isinstance(param, DTensor)
                param.grad = distribute_tensor(grad, mesh, param.placements) if is_dtensor else grad
            optimizer.step()
            scheduler.step()
        values = [v for p in params for v in (p, *optimizer.state[p].values())]
        results.append({str(i): whole(value) for i, value in enumerate(values)})
        assert optimizer.param_groups[0]["lr"] is lr
    return {
        "plain": results[0],
        "spread": results[1],
        "strides": spread[-1].to_local().stride(),
        "lr": lr.item(),
        "peak_lr": optimizer.param_groups[0]["peak_lr"],
    }


def steps_on_gradients_placed_otherwise(rank, name, backend):
    """Return steps on gradients that lie otherwise than their parameter: as partial sums, or sharded or whole.

    The gradients are sums of whole numbers, hence the same to the last bit however they are summed.
    """
    mesh = init_device_mesh("cpu", (2,))
    start = normal((7,), 0)
    placements = (Replicate(), Replicate(), Shard(0))
    params = [nn.Parameter(distribute_tensor(start.clone(), mesh, [placement])) for placement in placements]
    plain = nn.Parameter(start.clone())
    settings = {"lr": 1e-2, "weight_decay": WEIGHT_DECAY, "backend": backend, **CASES[name].settings}
    optimizer, reference = CASES[name].build(params, **settings), CASES[name].build([plain], **settings)
    for step in range(4):
        data = (4 * normal((4, 7), step)).round()
        (distribute_tensor(data, mesh, [Shard(0)]) * params[0]).sum().backward()
        (distribute_tensor(data, mesh, [Shard(1)]) * params[1]).sum().backward()
        part = data.sum(0) + 3 if rank == 0 else torch.full((7,), -3.0)
        params[2].grad = DTensor.from_local(part, mesh, [Partial()])
        (data * plain).sum().backward()
        placements = [param.grad.placements[0] for param in params]
        optimizer.step()
        reference.step()
        optimizer.zero_grad()
        reference.zero_grad()
    return {
        "params": [whole(param) for param in params],
        "replicas": [param.to_local().detach().clone() for param in params[:2]],
        "plain": plain.detach().clone(),
        "placements": list(map(str, placements)),
    }
