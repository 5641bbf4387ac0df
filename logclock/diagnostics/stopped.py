"""What does the checkpoint of a run that was stopped say: weights, optimizer state, and the update that comes next?"""

import dataclasses
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from logclock.analysis.diagnosis import StateFacts, UpdateFacts
from logclock.data import Dataset
from logclock.optim import ScheduledOptimizer
from logclock.train.config import RunConfig
from logclock.train.controllers import Controllers
from logclock.train.curvature import sampled_backward
from logclock.train.device import choose_device, torch_settings
from logclock.train.loop import backward, build_optimizer, joined, train_batches
from logclock.train.passes import Passes
from logclock.train.record import new_record
from logclock.train.state import RunState

__all__ = ["Stopped", "read_checkpoint"]


@dataclasses.dataclass(frozen=True)
class Stopped:
    """What the latest checkpoint of a run holds.

    Args:
        step: After which it was written.
        weights: Of the model, those that an evaluation would use.
        states: Of the optimizer.
        updates: What the next step does.
        notes: What to keep in mind.
    """

    step: int
    weights: dict[str, Tensor]
    states: tuple[StateFacts, ...]
    updates: tuple[UpdateFacts, ...]
    notes: tuple[str, ...]


def read_checkpoint(directory: Path, config: RunConfig, dataset: Dataset) -> Stopped | None:
    """Return what the latest checkpoint in a run's folder holds, or None if there is none.

    The next update is made as training would make it, on the batch that comes next, and thrown away.

    Args:
        directory: The run's folder, which is only read.
        config: The run.
        dataset: What it trains on.

    Raises:
        ValueError: The checkpoint was made from other data.
        RuntimeError: There are checkpoints and none can be read.
    """
    messages: list[str] = []
    with torch_settings(config):
        device = choose_device(config.execution.device)
        model = config.model.build(seed=config.seed).to(device)
        optimizer = build_optimizer(config, model)
        control = Controllers(config, optimizer, params=model.parameters())
        run = RunState(
            record=new_record(config, dataset),
            model=model,
            optimizer=optimizer,
            controllers=control,
            device=device,
            accepts_version=True,
        )
        step = run.restore(directory / "checkpoints", message=messages.append)
        if step == 0:
            return None
        with optimizer.evaluated():
            weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
        states = tuple(_state_facts(optimizer))
        before = {name: param.detach().double() for name, param in model.named_parameters()}
        _make_update(config, run, dataset, step + 1)
        updates = tuple(
            _update(name, before[name], param.detach().double()) for name, param in model.named_parameters()
        )
    notes = tuple(message for message in messages if not message.endswith(f"going on after step {step}"))
    return Stopped(step, weights, states, updates, notes)


def _make_update(config: RunConfig, run: RunState, dataset: Dataset, step: int) -> None:
    """Make one step of `train.loop.run_steps`, without what it reports."""
    model, optimizer, control, device = run.model, run.optimizer, run.controllers, run.device
    passes = Passes.of(config, model, device)
    _, numbers = control.begin(step)
    inputs_BL, targets_BL = (tokens.to(device) for tokens in joined(train_batches(config, dataset), numbers))
    optimizer.zero_grad(set_to_none=True)
    parts = control.batch.parts(len(numbers), config.accumulation_steps)
    if optimizer.is_due("curvature"):
        with optimizer.curvature(samples=inputs_BL.numel()):
            sampled_backward(config.seed, passes.logits, inputs_BL, parts=parts, step=step)
    backward(config, passes, inputs_BL, targets_BL, parts=parts, observe=control.batch.after_part)
    optimizer.step()


def _update(name: str, before: Tensor, after: Tensor) -> UpdateFacts:
    norm = before.norm().item()
    return UpdateFacts(parameter=name, ratio=(after - before).norm().item() / norm if norm else None, weight_norm=norm)


def _state_facts(optimizer: ScheduledOptimizer) -> list[StateFacts]:
    """Return the facts of every state tensor but single numbers, such as step counters."""
    found = []
    for group in optimizer.param_groups:
        for name, param in zip(group["param_names"], group["params"], strict=True):
            for key, value in optimizer.state.get(param, {}).items():
                if torch.is_tensor(value) and value.is_floating_point() and value.numel() > 1:
                    entries = value.detach().cpu().double().numpy()
                    low, middle, high = np.quantile(entries, (0.1, 0.5, 0.9)).tolist()
                    found.append(
                        StateFacts(
                            parameter=name,
                            state=key,
                            zeros=float(np.mean(entries == 0)),
                            mean=float(entries.mean()),
                            quantiles=(low, middle, high),
                        )
                    )
    return found
