"""Is a number that all tensors share the same on shards, on every rank and on whole tensors?"""

import pytest
import torch
from distributed.dtensor_jobs import normal
from distributed.net import whole
from distributed.option_jobs import LAYOUTS, VECTORS
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import distribute_tensor

from logclock import Prodigy


@pytest.mark.parametrize("backend", ["loop", "foreach"])
def test_a_distance_over_all_tensors_is_that_of_whole_tensors(pair, backend):
    """Sums of shards are added in another order than in one piece: a unit in the last place of float32, a few times."""
    results = pair.run(_grown, backend)

    for result in results:
        assert result["spread"].keys() == result["plain"].keys()
        for key, value in result["plain"].items():
            torch.testing.assert_close(result["spread"][key], value, rtol=1e-5, atol=1e-7)
        growths = {value.item() for key, value in result["spread"].items() if key.endswith(" growth")}
        assert len(growths) == 1
        assert growths.pop() > 10
    ranks = [result["spread"] for result in results]
    assert all(torch.equal(ranks[0][key], ranks[1][key]) for key in ranks[0])


def _grown(rank, backend):
    """Descend a parabola on plain tensors and on shards; the first tensor comes late."""
    mesh = init_device_mesh("cpu", (2,))
    layouts = LAYOUTS + VECTORS
    plain = [nn.Parameter(normal(shape, i)) for i, (shape, _) in enumerate(layouts)]
    spread = [
        nn.Parameter(distribute_tensor(param.detach().clone(), mesh, [placement]))
        for param, (_, placement) in zip(plain, layouts, strict=True)
    ]
    results = []
    for params in (plain, spread):
        optimizer = Prodigy(params, weight_decay=0.1, backend=backend)
        for step in range(12):
            for param in params[int(step < 3) :]:
                param.grad = param.detach() - 1
            optimizer.step()
        values = {f"{i} {key}": v for i, p in enumerate(params) for key, v in {"": p, **optimizer.state[p]}.items()}
        results.append({key: whole(value) for key, value in values.items()})
    return {"plain": results[0], "spread": results[1]}
