"""What happens in a training run, from the configuration to the record?"""

import contextlib
import math
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from logclock.data import Dataset, TrainBatches, data_root
from logclock.optim import (
    ScheduledOptimizer,
    assign_groups,
    assign_matrices,
    by_heads,
    class_of_params,
    from_spec,
    group_of,
    matrix_param_groups,
    param_groups,
)
from logclock.records import Ledger, RunRecord
from logclock.records.record import Status
from logclock.train import checkpoint
from logclock.train.compilation import settle_compilation
from logclock.train.config import RunConfig, run_id
from logclock.train.controllers import Controllers, Observe
from logclock.train.curvature import sampled_backward
from logclock.train.device import check_memory, choose_device, torch_settings
from logclock.train.evaluate import ValidationSet
from logclock.train.export import export_model, write_config
from logclock.train.passes import Passes
from logclock.train.progress import Display, QuietDisplay
from logclock.train.record import completed, ended, new_record, other_lengths
from logclock.train.series import latest, schedule_steps, schedules_of
from logclock.train.state import RunState
from logclock.train.stop import StopRequest, stop_on_signal
from logclock.train.tensorboard import TensorBoardWriter

__all__ = ["open_dataset", "run_directory", "train"]


def train(
    config: RunConfig,
    *,
    out: str | os.PathLike[str],
    label: str | None = None,
    tags: dict[str, str] | None = None,
    data_root: str | Path | None = None,
    resume: bool = True,
    display: Display | None = None,
    command: str | None = None,
    parent: int | None = None,
    verify: bool = False,
) -> RunRecord:
    """Train one model and return its record, which is also in the ledger `out/ledger.jsonl`.

    The run works in `out/runs/RUN_ID`: `config.json`, `checkpoints/`, and at the end `final.safetensors`. SIGTERM or
    SIGINT ends it after the step it is in, with a checkpoint; its record then has the status `running` and a reason.

    A checkpoint of another version (of logclock, of the sources that decide numbers, of torch) is refused unless
    `config.execution.accept_version` says otherwise; the record's `accepted_changes` then lists the differences.

    Args:
        config: The run.
        out: Directory of the study; several runs may share it, at the same time too.
        label: What tables call the run; the optimizer's name if None.
        tags: By which a study finds its runs.
        data_root: Where datasets lie that are given by name; the data room's default if None.
        resume: Whether to go on from the latest checkpoint, and to return the record of a run that has ended. False
            starts over.
        display: Where progress shows.
        command: What the user typed, for the record.
        parent: Process id whose end stops the run too.
        verify: Read the whole dataset and compare it with its hashes, instead of a few blocks.

    Raises:
        FileNotFoundError: The dataset is not there.
        ValueError: Model, dataset and machine do not fit together, or a checkpoint belongs to other data or to another
            version.
        RuntimeError: Another process trains this run, or no checkpoint can be read.
    """
    display = display or QuietDisplay()
    check_memory(config)
    directory = run_directory(out, config)
    ledger = Ledger(Path(out) / "ledger.jsonl")
    dataset = open_dataset(config, root=data_root, verify=verify)
    record = new_record(config, dataset, label=label, tags=tags, command=command)

    def made_before() -> RunRecord | None:
        earlier = completed(ledger.record(record.config), record) if resume else None
        if earlier is not None:
            display.message(f"{earlier.label}: run {earlier.run_id} has {earlier.status} before; nothing to do")
        return earlier

    if earlier := made_before():
        return earlier
    if ledger.record(record.config) is None and (other := other_lengths(ledger.records(), record)):
        display.message(other)
    with checkpoint.claim(directory), stop_on_signal(parent=parent, display=display) as stop, torch_settings(config):
        if earlier := made_before():  # by a process that held the claim until just now
            return earlier
        if not resume:
            checkpoint.remove_checkpoints(directory / "checkpoints")
        write_config(config, directory)
        ledger.append(record)
        try:
            record = run_steps(config, record, dataset=dataset, directory=directory, stop=stop, display=display)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            with contextlib.suppress(OSError):  # of a full disk, say, which then is what the first error says
                ledger.append(ended(record, status="failed", reason=reason))
            raise
        ledger.append(record)
        if record.status != "running":
            checkpoint.remove_checkpoints(directory / "checkpoints")
    return record


def run_steps(
    config: RunConfig, record: RunRecord, *, dataset: Dataset, directory: Path, stop: StopRequest, display: Display
) -> RunRecord:
    """Make the steps that are left and return the record with what came out: the loop, top to bottom."""
    device = choose_device(config.execution.device)
    model = config.model.build(seed=config.seed).to(device)
    passes = Passes.of(config, model, device)
    optimizer = build_optimizer(config, model)
    groups = group_names(config, model, optimizer)
    batches = train_batches(config, dataset)
    validation = ValidationSet(dataset, config)
    control = Controllers(config, optimizer, params=model.parameters())
    accepts = config.execution.accept_version
    run = RunState(
        record=record, model=model, optimizer=optimizer, controllers=control, device=device, accepts_version=accepts
    )
    first_step = run.restore(directory / "checkpoints", message=display.message) + 1
    settle_compilation(config, run, passes, message=display.message)
    writer = (
        TensorBoardWriter(directory / "tensorboard", first_step=first_step) if config.execution.tensorboard else None
    )
    display.show(record.label, run.reading(config, first_step - 1))
    points = schedule_steps(config.total_steps)
    status: Status = "finished"
    reason = None

    for step in range(first_step, config.total_steps + 1):
        run.timer.step_begins()
        progress, numbers = control.begin(step)
        inputs_BL, targets_BL = (tokens_BL.to(device, non_blocking=True) for tokens_BL in joined(batches, numbers))
        optimizer.zero_grad(set_to_none=True)
        parts = control.batch.parts(len(numbers), config.accumulation_steps)
        if optimizer.is_due("curvature"):
            with optimizer.curvature(samples=inputs_BL.numel()):
                sampled_backward(config.seed, passes.logits, inputs_BL, parts=parts, step=step)
        loss = backward(config, passes, inputs_BL, targets_BL, parts=parts, observe=control.batch.after_part)
        run.timer.optimizer_begins()
        grad_norm = update(optimizer)
        run.timer.step_ends()
        run.log.add_step(loss, grad_norm)

        tokens, is_last = progress.tokens, progress.is_last
        if step in points:
            run.log.add_schedules(step=step, groups=schedules_of(optimizer, names=groups, step=step))
            if writer:
                writer.add_point("schedules", latest(run.log.schedules))
        if is_last or step % config.log_interval == 0:
            lr = optimizer.param_groups[0]["lr"]
            logged = run.log.close_interval(step=step, tokens=tokens, lr=lr, **control.readings())
            run.timer.interval_ends()
            if writer:
                writer.add_point("train", latest(run.log.train))
            reason = run.monitor.check_all(step - len(logged.losses) + 1, *logged)
            if reason:
                status = "diverged"
                break
        if is_last or step % config.evaluation.interval == 0:
            with optimizer.evaluated():
                result = validation.evaluate(model, cross_entropy=passes.cross_entropy, device=device)
            run.log.add_evaluation(step=step, tokens=tokens, loss=result.loss, bits_per_byte=result.bits_per_byte)
            if writer:
                writer.add_point("validation", latest(run.log.validation))
            if not math.isfinite(result.loss):
                waiting = run.log.waiting()  # one of them was not finite either, and says at which step
                reason = run.monitor.check_all(step - len(waiting.losses) + 1, *waiting)
                status, reason = "diverged", reason or f"the validation loss was {result.loss} after step {step}"
                break
        if is_last or step % config.log_interval == 0:
            display.show(record.label, run.reading(config, step))
        control.end(progress, loss=loss)
        if stop.reason and not is_last:
            run.save(directory / "checkpoints", step)
            status, reason = "running", f"stopped by {stop.reason} after step {step}; start it again to go on"
            break
        if config.execution.checkpoint_interval and step % config.execution.checkpoint_interval == 0 and not is_last:
            run.save(directory / "checkpoints", step)
        if is_last:
            break

    if writer:
        writer.close()
    halves = None
    if status == "finished":
        with optimizer.evaluated():
            halves = validation.evaluate_halves(model, cross_entropy=passes.cross_entropy, device=device)
            export_model(model, config, directory)
    return run.final_record(config, step=step, status=status, reason=reason, halves=halves)


def build_optimizer(config: RunConfig, model: nn.Module) -> ScheduledOptimizer:
    """Return the optimizer of a run: one algorithm for everything, or one for hidden matrices and one for the rest."""
    hidden, rest = config.optimizers.hidden, config.optimizers.rest
    whole: dict[str, Any] = {"backend": config.backend, "clip_norm": config.grad_clip}
    if rest is None:
        # The decayed group is that of linear maps, whose inputs grow with the width; embeddings and gains keep lr.
        factor = config.model.matrix_lr_factor
        settings: dict[str, Any] = {} if factor == 1 else {"lr": factor * hidden.lr}
        if config.tables_lr_factor is not None:
            tables_lr = config.tables_lr_factor * hidden.lr
            settings |= {"tables_lr": tables_lr, "head_lr": factor * tables_lr}
        groups = param_groups(model, **settings)
        is_open = hidden.cuts_heads and getattr(hidden, "row_blocks", None) is None
        return from_spec(hidden, by_heads(model, groups) if is_open else groups, **whole)
    return from_spec(rest, matrix_param_groups(model, matrices=group_of(hidden), rest={}), **whole)


def group_names(config: RunConfig, model: nn.Module, optimizer: ScheduledOptimizer) -> list[str]:
    """Return what the record calls each parameter group: `matrix`, `decay` or `no_decay`; a second one `matrix-2`.

    With class rates the head's is called `head`.
    """
    assign = assign_groups if config.optimizers.rest is None else assign_matrices
    groups: dict[str, str] = dict(assign(model).groups)
    if config.tables_lr_factor is not None:
        groups |= {name: kind for name, kind in class_of_params(model)[0].items() if kind == "head"}
    names: list[str] = []
    for kind in (groups[group["param_names"][0]] for group in optimizer.param_groups):
        count = 1 + sum(name.split("-")[0] == kind for name in names)
        names.append(kind if count == 1 else f"{kind}-{count}")
    return names


def backward(
    config: RunConfig,
    passes: Passes,
    inputs_BL: Tensor,
    targets_BL: Tensor,
    *,
    parts: int,
    observe: Observe,
) -> Tensor:
    """Add the gradient of the whole batch to the parameters, part by part, and return its mean cross-entropy."""
    cross_entropies = []
    for number, (inputs, targets) in enumerate(zip(inputs_BL.chunk(parts), targets_BL.chunk(parts), strict=True), 1):
        objective = passes.objective(inputs, targets, z_loss=config.z_loss)
        torch.autograd.backward(objective.value / parts)
        cross_entropies.append(objective.cross_entropy)
        observe(number, parts)
    return torch.stack(cross_entropies).mean()


def joined(batches: TrainBatches, numbers: range) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of one or several base batches as those of one."""
    found = [batches.at(number) for number in numbers]
    if len(found) == 1:
        return found[0]
    return torch.cat([inputs_BL for inputs_BL, _ in found]), torch.cat([targets_BL for _, targets_BL in found])


def update(optimizer: ScheduledOptimizer) -> Tensor:
    """Make an update and return the norm of the whole gradient, of which the optimizer may have clipped a copy."""
    if optimizer.defaults["clip_norm"] is None:
        params = (param for group in optimizer.param_groups for param in group["params"])
        norm = nn.utils.get_total_norm([param.grad for param in params if param.grad is not None])
        optimizer.step()
        return norm
    optimizer.step()
    assert optimizer.grad_norm is not None
    return optimizer.grad_norm


def run_directory(out: str | os.PathLike[str], config: RunConfig) -> Path:
    """Return where a run of a study keeps its files."""
    return Path(out) / "runs" / run_id(config)


def open_dataset(config: RunConfig, *, root: str | Path | None = None, verify: bool = False) -> Dataset:
    """Open the dataset that a configuration names, after checking that the run and the dataset fit together.

    Args:
        config: The run.
        root: Where datasets lie that are given by name; the data room's default if None.
        verify: Read the whole dataset and compare it with its hashes, instead of a few blocks.

    Raises:
        FileNotFoundError: There is no such dataset.
        ValueError: The dataset has changed, or is too small for a batch, or the model's vocabulary is too small.
    """
    name = config.data.dataset
    dataset = Dataset.open(name if "/" in name else data_root(root) / "datasets" / name, verify=verify)
    vocab_size = config.model.size().vocab_size
    if vocab_size < dataset.vocab_size:
        raise ValueError(
            f"model.vocab_size is {vocab_size}, dataset {name!r} has {dataset.vocab_size} tokens. "
            f"Use --set model.vocab_size={dataset.vocab_size} or more."
        )
    train_batches(config, dataset), ValidationSet(dataset, config).batches()  # raise if there are too few tokens
    return dataset


def train_batches(config: RunConfig, dataset: Dataset) -> TrainBatches:
    """Return the batches of a run."""
    return TrainBatches(
        dataset.train,
        batch_size=config.data.batch_size,
        sequence_length=config.data.sequence_length,
        seed=config.seed,
    )
