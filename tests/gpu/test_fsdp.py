"""Do sharded parameters go the way of whole ones, with FSDP2 over nccl on one rank?"""

import pytest
import torch
import torch.distributed as dist
from contract.cases import CASES, WEIGHT_DECAY
from distributed.net import make_net
from gpu.steps import DEVICE
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

COMMUNICATION = {"cuda": "nccl"}


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    """A mesh of this one process."""
    store = dist.FileStore(str(tmp_path_factory.mktemp("ranks") / "store"), 1)
    dist.init_process_group(COMMUNICATION.get(DEVICE, "gloo"), store=store, rank=0, world_size=1)
    yield init_device_mesh(DEVICE, (1,))
    dist.destroy_process_group()


def train(net, optimizer, steps):
    tokens = torch.arange(8, device=DEVICE)
    for step in steps:
        optimizer.zero_grad(set_to_none=True)
        loss = (net(tokens, step, 0) * torch.linspace(-1, 1, 7, device=DEVICE)).square().mean()
        loss.backward()
        optimizer.step()


def whole(x):
    return x.full_tensor() if hasattr(x, "full_tensor") else x


@pytest.mark.parametrize("backend", ["loop", "foreach", "fused"])
@pytest.mark.parametrize("name", sorted(CASES))
def test_sharded_steps_are_whole_steps(mesh, name, backend):
    case = CASES[name]
    net, twin = make_net().to(DEVICE), make_net().to(DEVICE)
    fully_shard(net, mesh=mesh)
    optimizers = []
    for own in (net, twin):
        params = [p for p in own.parameters() if p.requires_grad and (p.ndim == 2 or not case.matrices_only)]
        optimizers.append(case.build(params, lr=1e-2, weight_decay=WEIGHT_DECAY, backend=backend, **case.settings))
    train(net, optimizers[0], range(5))
    train(twin, optimizers[1], range(5))

    for ours, theirs in zip(net.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(whole(ours), theirs, rtol=1e-5, atol=1e-6)
