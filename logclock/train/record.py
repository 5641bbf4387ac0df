"""What does a run write down about itself when it starts, and when it ends?"""

import dataclasses
import datetime
import functools
import hashlib
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

import logclock
from logclock.data import Dataset
from logclock.records import RunRecord, content_hash
from logclock.records.record import Status
from logclock.train.config import Optimizers, RunConfig, identity
from logclock.train.device import choose_device, choose_precision
from logclock.train.series import RunLog
from logclock.version import __version__

__all__ = ["completed", "ended", "exit_code", "new_record", "optimizer_name", "other_lengths", "source_hashes"]

DECIDING = {
    "schedules": "schedules/*.py",
    "rules": "rules/*.py",
    "algorithms": "algorithms/*.py",
    "backends": "backends/*.py",
    "optim": "optim/*.py",
    "models": "models/*.py",
    "batches": "data/batches.py",
    "loop": "train/loop.py",
    "controllers": "train/controllers.py",
    "noise": "train/noise.py",
    "evaluation": "train/evaluate.py",
    "passes": "train/passes.py",
    "quantization": "train/quantization.py",
}
"""The sources that decide a run's numbers, by the name under which a difference is told."""


def new_record(
    config: RunConfig,
    dataset: Dataset,
    *,
    label: str | None = None,
    tags: dict[str, str] | None = None,
    command: str | None = None,
) -> RunRecord:
    """Return the record of a run that has not made a step.

    Args:
        config: The run.
        dataset: What it trains on.
        label: What tables call the run; the optimizer's name if None.
        tags: By which a study finds its runs.
        command: What the user typed; the command line of this process if None.
    """
    log = RunLog()
    return RunRecord(
        config=identity(config),
        seed=config.seed,
        label=label or optimizer_name(config.optimizers),
        tags=dict(tags or {}),
        status="running",
        reason=None,
        model=_model_numbers(config),
        data=_data_numbers(dataset),
        provenance=_provenance(config, dataset, command),
        train=log.train,
        validation=log.validation,
        schedules=log.schedules,
        metrics={},
        cost={},
    )


def completed(earlier: RunRecord | None, fresh: RunRecord) -> RunRecord | None:
    """Return the earlier record of a run if the run has ended for good and would come out the same today.

    A run has ended for good when it finished or diverged. It would come out differently with another version of its
    rule or with other data under the same name; then it has to be made again.

    Args:
        earlier: The latest record of the run, None if there is none.
        fresh: The record of the run as it would start now.
    """
    if earlier is None:
        return None
    has_ended = earlier.status in ("finished", "diverged")
    same_rule = earlier.provenance.get("rule_hash") == fresh.provenance["rule_hash"]
    same_data = earlier.data.get("fingerprint") == fresh.data["fingerprint"]
    return earlier if has_ended and same_rule and same_data else None


def other_lengths(records: Iterable[RunRecord], fresh: RunRecord) -> str | None:
    """Return what to say if a study that lacks the fresh run has it with another number of steps.

    Whoever lengthens a run may expect it to be continued. It is another one: its schedules are made for its own length
    from the first step on.

    Args:
        records: The latest of each run; the fresh one is not among them.
        fresh: The record of the run as it would start now.
    """
    steps = fresh.config["total_steps"]
    others = {}
    for record in records:
        same = all(record.config.get(key) == fresh.config[key] for key in ("model", "data", "seed"))
        if same and (record.label, record.tags) == (fresh.label, fresh.tags):
            others[record.run_id] = record.config.get("total_steps")
    different = {run: length for run, length in others.items() if length != steps}
    if not different:
        return None
    run, length = list(different.items())[-1]
    return (
        f"{fresh.label}: {steps} steps are another run ({fresh.run_id}) than the {length} steps of run {run} here, "
        "which is not continued: its schedules were made for its length. This one starts at step 1."
    )


def ended(record: RunRecord, *, status: Status, reason: str | None) -> RunRecord:
    """Return the record with how its run ended, at this moment."""
    return dataclasses.replace(record, status=status, reason=reason, provenance=record.provenance | {"ended": _now()})


def exit_code(record: RunRecord) -> int:
    """Return the exit code of a process for the run it made: 0 finished, 3 diverged, 130 stopped with a checkpoint."""
    return {"finished": 0, "diverged": 3, "running": 130, "failed": 1}[record.status]


def optimizer_name(optimizers: Optimizers) -> str:
    """Return what a run is called by its optimizer, with whatever stands around it: `adamw`, `adamw+cautious`.

    The optimizer of the rest is named only if something stands around it: `muon (rest adana+grams)`.
    """
    name, *rest = [spec.rule.name for spec in optimizers.specs]
    return name if not any("+" in other for other in rest) else f"{name} (rest {rest[0]})"


def _now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _model_numbers(config: RunConfig) -> dict[str, Any]:
    size = config.model.size()
    return {
        "non_embedding_params": size.non_embedding_params,
        "total_params": size.total_params,
        "compute_6p_per_token": size.compute_6p(),
        "compute_kaplan_per_token": size.compute_kaplan(),
        "compute_6d_per_token": size.compute_6d(),
        "compute_deepseek_per_token": size.compute_deepseek(sequence_length=config.data.sequence_length),
    }


def _data_numbers(dataset: Dataset) -> dict[str, Any]:
    return {
        "fingerprint": dataset.fingerprint,
        "checked": dataset.checked,
        "vocab_size": dataset.vocab_size,
        "train_tokens": len(dataset.train),
        "validation_tokens": len(dataset.validation),
    }


@functools.cache
def source_hashes() -> dict[str, str]:
    """Return a hash of each part of this package that decides numbers, as it was when first asked for."""
    package = Path(logclock.__file__).parent
    hashes = {}
    for name, pattern in DECIDING.items():
        digest = hashlib.sha256()
        for path in sorted(package.glob(pattern)):
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode() + content)
        hashes[name] = digest.hexdigest()[:16]
    return hashes


def _provenance(config: RunConfig, dataset: Dataset, command: str | None) -> dict[str, Any]:
    rule_hash = "+".join(spec.rule.source_hash for spec in config.optimizers.specs)
    deciding = {"logclock": __version__, "torch": torch.__version__, "rule_hash": rule_hash, "sources": source_hashes()}
    numbers_hash = content_hash({"config": identity(config), "fingerprint": dataset.fingerprint, **deciding})
    device = choose_device(config.execution.device)
    commit, is_dirty = _git_state()
    return {
        "logclock": __version__,
        "git_commit": commit,
        "git_dirty": is_dirty,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": choose_precision(config.precision, device),
        "num_threads": config.execution.num_threads,
        "compile_model": config.execution.compile_model,
        "rule_hash": rule_hash,
        "sources": dict(source_hashes()),
        "numbers_hash": numbers_hash,
        "command": command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "started": _now(),
        "ended": None,
    }


@functools.cache
def _git_state() -> tuple[str | None, bool | None]:
    """Return the commit of the running source and whether it was changed since; None for an installed package."""
    package = Path(logclock.__file__).parent

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", *arguments], cwd=package, capture_output=True, text=True, check=False)
        except OSError:  # no git here, or no process to be had
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # A package inside somebody else's repository (in a virtual environment, say) is not tracked by it.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return None, None
    return git("rev-parse", "HEAD"), git("status", "--porcelain", "--", ".") != ""
