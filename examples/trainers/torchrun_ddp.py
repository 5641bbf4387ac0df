"""DDP: `torchrun --nproc-per-node 2 torchrun_ddp.py FILE STEPS`, once or again."""

import os
import sys

import torch
import torch.distributed as dist
from logclock import OptimizerFactory, log_time_decay
from torch import nn
from torch.nn.parallel import DistributedDataParallel

DECAY = log_time_decay(4.0, total_steps=8)


def train(file, steps):
    """Make updates, a part of every batch on each rank, and save."""
    dist.init_process_group()
    rank, world = dist.get_rank(), dist.get_world_size()
    device = "cpu"
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.manual_seed(0)
    blocks = [nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh()]
    model = nn.Sequential(*blocks, nn.Linear(16, 1)).to(device)
    # Every rank makes the same update: the optimizer need not know of ranks.
    optimizer = OptimizerFactory()(
        model,
        lr=1e-2,
        weight_decay=DECAY,
        matrices={"algorithm": "muon", "lr": 0.02},
        overrides={"4.weight": "decay"},  # the head
    )
    done = 0
    if os.path.exists(file):
        saved = torch.load(file, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        done = saved["done"]
    parallel = DistributedDataParallel(model)
    for batch in range(done, done + steps):
        inputs = torch.randn(8, 8, generator=torch.Generator().manual_seed(batch))
        own = inputs.chunk(world)[rank].to(device)
        optimizer.zero_grad()
        (parallel(own) - own.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()
    dist.barrier()  # nobody is reading the file
    if rank == 0:
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
        torch.save({**state, "done": done + steps}, file)
    dist.destroy_process_group()


if __name__ == "__main__":
    train(sys.argv[1], int(sys.argv[2]))
