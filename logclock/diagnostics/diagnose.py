"""What can be found out about one model from what lies on disk?"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from logclock.analysis.diagnosis import Diagnosis
from logclock.config import from_dict
from logclock.config.files import read_json
from logclock.data import Dataset
from logclock.diagnostics.hidden import quantized_losses, states_facts, validation_loss
from logclock.diagnostics.sources import Source, named_sources
from logclock.diagnostics.stopped import read_checkpoint
from logclock.diagnostics.weights import FileWeights, TensorWeights, matrix_facts
from logclock.models.decoder import Decoder
from logclock.train.config import ExecutionConfig, RunConfig
from logclock.train.loop import open_dataset
from logclock.train.record import optimizer_name

__all__ = ["diagnose"]

WEIGHTS = "final.safetensors"
WITHOUT_DATA = "a file has no data: hidden states and losses need a run's folder, with its config.json and dataset"


def diagnose(
    texts: tuple[str, ...],
    *,
    pattern: str = "*",
    max_tokens: int = 2**16,
    data_root: str | Path | None = None,
    message: Callable[[str], None] = lambda text: None,
) -> list[Diagnosis]:
    """Look at several models, in the order given; nothing on disk is changed.

    Args:
        texts: Runs' folders, entries of ledgers (`OUT:LABEL`, `OUT:RUN_ID`) or safetensors files.
        pattern: Of the names of the matrices to look at.
        max_tokens: About how many validation tokens hidden states are taken on.
        data_root: Where datasets lie that are given by name; the data room's default if None.
        message: Told what is being looked at.

    Raises:
        FileNotFoundError: A path or a dataset is not there.
        ValueError: A text names no model, a file is damaged or has no matrix, or data, configuration and weights do
            not fit together.
        RuntimeError: A run's checkpoints cannot be read.
    """
    if max_tokens < 1:
        raise ValueError(f"--tokens must be >= 1, got {max_tokens}. The default is {2**16}.")
    found = []
    for source in named_sources(texts):
        message(f"{source.label}: {source.path}")
        if source.is_run:
            found.append(_of_run(source, pattern, max_tokens, data_root))
        else:
            found.append(_of_file(source, pattern))
    return found


def _of_file(source: Source, pattern: str) -> Diagnosis:
    weights = FileWeights(source.path)
    matrices, left_out, notes = matrix_facts(weights, source=str(source.path), pattern=pattern)
    return Diagnosis(
        label=source.label,
        group=source.group,
        source=str(source.path),
        facts={"file": str(source.path), "tensors": str(len(list(weights))), **left_out},
        matrices=tuple(matrices),
        missing=dict.fromkeys(("data", "quantized", "optimizer", "updates"), WITHOUT_DATA),
        warnings=tuple(f"{source.label}: {note}" for note in notes),
    )


def _of_run(source: Source, pattern: str, max_tokens: int, data_root: str | Path | None) -> Diagnosis:
    config = _config(source.path)
    dataset = _dataset(source, config, data_root)
    stopped = read_checkpoint(source.path, config, dataset)
    if (source.path / WEIGHTS).is_file():
        file = FileWeights(source.path / WEIGHTS)
        weights, at = TensorWeights({name: file.load(name) for name in file}), f"{source.path / WEIGHTS}"
    elif stopped is not None:
        weights, at = TensorWeights(stopped.weights), f"{source.path / 'checkpoints'}, after step {stopped.step}"
    else:
        status = "" if source.record is None else f" (its status is {source.record.status})"
        raise FileNotFoundError(
            f"{source.path} has neither {WEIGHTS}, which a run writes when it finishes, nor a checkpoint{status}. Give "
            "one that has finished, or was stopped by Ctrl-C."
        )
    model = _model(source, config, weights)
    matrices, left_out, notes = matrix_facts(weights, source=str(source.path), pattern=pattern)
    if config.quantization is not None:
        notes = (*notes, f"trained on weights of {config.quantization} bits; `loss` is that of the whole ones")
    gone = f"{source.path} has no checkpoint: a run deletes them when it finishes. Stop one with Ctrl-C to look at it"
    found = Diagnosis(
        label=source.label,
        group=source.group,
        source=at,
        facts={
            "weights": at,
            "run": source.path.resolve().name,
            "dataset": f"{config.data.dataset}, fingerprint {dataset.fingerprint}",
            "optimizer": optimizer_name(config.optimizers),
            "quantization": str(config.quantization or "none"),
            "seed": str(config.seed),
            **left_out,
        },
        matrices=tuple(matrices),
        loss=validation_loss(model, dataset, config),
        missing={} if stopped else {"optimizer": gone, "updates": gone},
        warnings=tuple(f"{source.label}: {note}" for note in (*notes, *(stopped.notes if stopped else ()))),
    )
    if stopped:
        found = dataclasses.replace(
            found, optimizer_state=stopped.states, updates=stopped.updates, updates_at=stopped.step + 1
        )
    return _with_data(found, model, dataset, config, max_tokens)


def _with_data(found: Diagnosis, model: nn.Module, dataset: Dataset, config: RunConfig, max_tokens: int) -> Diagnosis:
    """Add what needs forward passes."""
    missing = dict(found.missing)
    if isinstance(model, Decoder):
        states = tuple(states_facts(model, dataset, config, max_tokens=max_tokens))
        found = dataclasses.replace(found, states=states)
    else:
        missing["data"] = f"{type(model).__name__} is none of our decoders, so where its layers are is not known"
    try:
        quantized = tuple(quantized_losses(model, dataset, config, max_tokens=max_tokens))
        found = dataclasses.replace(found, quantized=quantized)
    except ValueError as error:  # no hidden matrix
        missing["quantized"] = str(error)
    return dataclasses.replace(found, missing=missing)


def _config(directory: Path) -> RunConfig:
    """Return a run's configuration, to be executed on the CPU."""
    data = read_json(directory / "config.json", advice="Give the folder of a run, OUT/runs/RUN_ID.")
    try:
        config: RunConfig = from_dict(RunConfig, data)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{directory / 'config.json'}: {error} It is no run of this logclock; its weights can be looked at alone: "
            f"give {directory / WEIGHTS} instead."
        ) from error
    return dataclasses.replace(config, execution=ExecutionConfig(device="cpu", num_threads=torch.get_num_threads()))


def _dataset(source: Source, config: RunConfig, data_root: str | Path | None) -> Dataset:
    """Return the data that the run trained on; other data would give numbers that mean nothing."""
    alone = f"Without data, give the weights alone: {source.path / WEIGHTS}."
    try:
        dataset = open_dataset(config, root=data_root)
    except (FileNotFoundError, ValueError) as error:
        raise type(error)(f"{source.label}: {error} {alone}") from error
    expected = None if source.record is None else source.record.data.get("fingerprint")
    if expected is not None and expected != dataset.fingerprint:
        raise ValueError(
            f"{source.label} was trained on {config.data.dataset} with fingerprint {expected}, and the one at "
            f"{dataset.directory} has {dataset.fingerprint}: other tokens or another vocabulary. Give its own with "
            f"--data-root. {alone}"
        )
    return dataset


def _model(source: Source, config: RunConfig, weights: TensorWeights) -> nn.Module:
    model = config.model.build(seed=config.seed)
    try:
        model.load_state_dict(dict(weights.tensors))
    except RuntimeError as error:
        problem = " ".join(str(error).split())
        raise ValueError(
            f"{source.path}: the weights do not fit the model of config.json ({problem}). Give the file alone, or "
            "the folder that it came from."
        ) from error
    return model.eval()
