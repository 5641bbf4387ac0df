"""What both ranks do in the tests of options and storage formats on DTensors: the same steps on shards and whole."""

from contract.cases import CASES
from distributed.dtensor_jobs import normal
from distributed.net import whole
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

LAYOUTS = (
    ((5, 4), Shard(0)),
    ((4, 5), Shard(1)),
    ((1, 7), Shard(0)),
    ((3, 2), Replicate()),
    ((6, 6), Shard(0)),
)
VECTORS = (((7,), Shard(0)), ((1,), Shard(0)), ((0, 4), Shard(0)), ((), Replicate()))


def steps(rank, name, backend, settings, *, matrices_only=False, evaluates=False):
    """Return parameters and states after five updates, on plain tensors and on shards."""
    mesh = init_device_mesh("cpu", (2,))
    layouts = LAYOUTS if matrices_only else LAYOUTS + VECTORS
    plain = [nn.Parameter(normal(shape, i)) for i, (shape, _) in enumerate(layouts)]
    spread = [
        nn.Parameter(distribute_tensor(param.detach().clone(), mesh, [placement]))
        for param, (_, placement) in zip(plain, layouts, strict=True)
    ]
    results = []
    for params in (plain, spread):
        optimizer = CASES[name].build(params, lr=1e-2, backend=backend, **{**CASES[name].settings, **settings})
        for step in range(5):
            for i, param in enumerate(params):
                grad = normal(param.shape, 1000 * step + i)
                param.grad = distribute_tensor(grad, mesh, param.placements) if isinstance(param, DTensor) else grad
            optimizer.step()
        values = {f"{i} {key}": v for i, p in enumerate(params) for key, v in {"": p, **optimizer.state[p]}.items()}
        found = {key: whole(value) for key, value in values.items()}
        if evaluates:
            with optimizer.evaluated():
                found |= {f"{i} evaluated": whole(param) for i, param in enumerate(params)}
        results.append(found)
    return {"plain": results[0], "spread": results[1]}
