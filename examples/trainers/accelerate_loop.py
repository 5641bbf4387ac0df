"""One's own loop under Accelerate: accumulated gradients, clipping, checkpoints."""

import sys

import torch
from accelerate import Accelerator
from accelerate.utils import GradientAccumulationPlugin, set_seed
from logclock import ADANA, log_time_decay, param_groups
from torch import nn
from torch.optim.lr_scheduler import LinearLR

STEPS, ACCUMULATED = 8, 2


def train(folder=None, *, steps=STEPS, resumes=False):
    """Make updates and save to the folder, or go on from what is there."""
    set_seed(0)
    plugin = GradientAccumulationPlugin(ACCUMULATED, sync_with_dataloader=False)
    accelerator = Accelerator(gradient_accumulation_plugin=plugin)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    decay = log_time_decay(4.0, total_steps=STEPS)
    # lr is the peak: the scheduler, which lowers it, is built afterwards
    optimizer = ADANA(param_groups(model, weight_decay=decay), lr=1e-2)
    ranks = accelerator.num_processes  # a prepared scheduler steps once for each
    schedule = LinearLR(optimizer, 1.0, 0.1, total_iters=STEPS * ranks)
    model, optimizer, schedule = accelerator.prepare(model, optimizer, schedule)
    done = 0
    if resumes:
        accelerator.load_state(folder)
        done = int(optimizer.state[next(model.parameters())]["step"])
    for batch in range(done * ACCUMULATED, (done + steps) * ACCUMULATED):
        inputs = torch.randn(4, 8, generator=torch.Generator().manual_seed(batch))
        inputs = inputs.to(accelerator.device)
        with accelerator.accumulate(model):
            loss = (model(inputs) - inputs.sum(1, keepdim=True)).square().mean()
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    if folder is not None:
        accelerator.save_state(folder)
    return model, optimizer


if __name__ == "__main__":
    train(*sys.argv[1:])
