"""What is the state of a run between two steps, and how is it saved, restored and summed up?"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from logclock.optim import ScheduledOptimizer
from logclock.records import RunRecord
from logclock.records.record import Status
from logclock.train import checkpoint
from logclock.train.config import RunConfig
from logclock.train.controllers import Controllers
from logclock.train.device import peak_memory_bytes
from logclock.train.divergence import DivergenceMonitor
from logclock.train.evaluate import Halves
from logclock.train.progress import Reading
from logclock.train.record import ended
from logclock.train.series import RunLog, finite
from logclock.train.timing import StepTimer

__all__ = ["RunState"]


class RunState:
    """Everything that one step leaves to the next. The data order is not part of it: it follows from the step.

    Args:
        record: The record of the run as it starts.
        model: Trained in place.
        optimizer: Updates the model.
        controllers: Set the learning rate and the batch.
        device: Where the model lies.
        accepts_version: Whether a checkpoint of another version may be continued.
    """

    def __init__(
        self,
        *,
        record: RunRecord,
        model: nn.Module,
        optimizer: ScheduledOptimizer,
        device: torch.device,
        controllers: Controllers,
        accepts_version: bool = False,
    ) -> None:
        self._accepts_version = accepts_version
        self.record, self.model, self.optimizer, self.device = record, model, optimizer, device
        self.controllers = controllers
        self.log = RunLog()
        self.monitor = DivergenceMonitor()
        self.timer = StepTimer(device)
        self._began = time.monotonic()
        self._seconds_before = 0.0
        self.note(backends=optimizer.backends())

    def save(self, directory: Path, step: int) -> None:
        """Write a checkpoint of the state after `step`."""
        state = {
            "origin": self._origin(),
            "execution": self._execution(),
            "compile_timing": self.record.provenance.get("compile_timing"),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "controllers": self.controllers.state_dict(),
            "random": _random_state(self.device),
            "log": self.log.state_dict(),
            "monitor": dataclasses.asdict(self.monitor),
            "timer": self.timer.state_dict(),
            "wall_seconds": self.wall_seconds(),
        }
        checkpoint.save(directory, step, state)

    def restore(self, directory: Path, *, message: Callable[[str], None]) -> int:
        """Take over the latest checkpoint and return its step; 0 if there is none.

        Args:
            directory: Where the checkpoints lie.
            message: Told where the run goes on, and of everything that keeps it from being bitwise the same.

        Raises:
            ValueError: The checkpoint was made from other data, or by another version and the configuration does not
                accept that.
        """
        state = checkpoint.load_latest(directory, message=message)
        if state is None:
            return 0
        self._check_origin(state, directory, message)
        self._keep_decision(state)
        changes = [
            f"{name} {before} before, {value} now"
            for name, value in self._execution().items()
            if (before := state["execution"].get(name, value)) != value
        ]
        if changes:
            message(f"{self.record.label}: going on with {'; '.join(changes)}: the same up to rounding, not bitwise")
        self._take_over(state)
        step: int = state["step"]
        message(f"{self.record.label}: going on after step {step}")
        return step

    def _take_over(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.controllers.load_state_dict(_controller_states(state))
        _set_random_state(state["random"], self.device)
        self.log.load_state_dict(state["log"], device=self.device)
        self.monitor = DivergenceMonitor(**state["monitor"])
        self.timer.load_state_dict(state["timer"])
        self._seconds_before = state["wall_seconds"]

    def _check_origin(self, state: dict[str, Any], directory: Path, message: Callable[[str], None]) -> None:
        """Raise if going on would mix two versions of the run, unless that is accepted; the record then says so."""
        before, now = state["origin"], self._origin()
        name = "dataset fingerprint"
        if before[name] != now[name]:
            raise ValueError(
                f"the checkpoint in {directory} was made with {name} {before[name]}, now it is {now[name]}: "
                "the run would be neither the old one nor a new one. Start it over with resume=False (--no-resume)."
            )
        accepted = [before["accepted"]] if before.get("accepted") else []
        changes = _differences(before, now)
        if changes and not self._accepts_version:
            raise ValueError(
                f"the checkpoint in {directory} comes from another version: {'; '.join(changes)}. The rest of the run "
                "would not be what the old version makes of it, nor all of it what this one does. Go on with the old "
                "version, start over with --no-resume (resume=False), or accept the mixture, which the record will "
                "say, with --accept-version (execution.accept_version=true)."
            )
        if changes:
            accepted.append(f"from step {state['step'] + 1}: {'; '.join(changes)}")
            message(f"{self.record.label}: accepted another version {accepted[-1]}")
        if accepted:
            self._note_accepted("; ".join(accepted))

    def _keep_decision(self, state: dict[str, Any]) -> None:
        """Let a run that timed its passes before its first step stay with what it decided then."""
        if self.record.provenance["compile_model"] == "auto":
            decided = state["execution"]["compile_model"] == "True"
            self.note(compile_model=decided, compile_timing=state.get("compile_timing"))

    def note(self, **provenance: Any) -> None:
        """Write into the record how the run is executed."""
        self.record = dataclasses.replace(self.record, provenance=self.record.provenance | provenance)

    def _note_accepted(self, text: str) -> None:
        self.note(accepted_changes=text)

    def wall_seconds(self) -> float:
        """Return how long the run has taken, interruptions not counted."""
        return self._seconds_before + time.monotonic() - self._began

    def reading(self, config: RunConfig, step: int) -> Reading:
        """Return what a display shows after `step`."""
        seconds = self.timer.median_step_seconds()
        return Reading(
            step=step,
            total_steps=config.total_steps,
            loss=_last(self.log.train["loss"]),
            validation_loss=_last(self.log.validation["loss"]),
            tokens_per_second=config.tokens_per_step / seconds if seconds else None,
            seconds_left=seconds * (config.total_steps - step) if seconds else None,
        )

    def final_record(
        self, config: RunConfig, *, step: int, status: Status, reason: str | None, halves: Halves | None
    ) -> RunRecord:
        """Return the record of the run after its last step, and after its evaluation on all validation tokens."""
        reading = self.reading(config, step)
        record = dataclasses.replace(
            self.record,
            train=self.log.train,
            validation=self.log.validation,
            schedules=self.log.compact_schedules(),
            metrics={
                "final_step": step,
                "final_train_loss": reading.loss,
                "final_validation_loss": reading.validation_loss,
                "final_bits_per_byte": _last(self.log.validation["bits_per_byte"]),
                **_metrics_of_halves(halves),
                **self.controllers.metrics(),
            },
            provenance=self.record.provenance | self.controllers.provenance(),
            cost={
                "wall_seconds": self.wall_seconds(),
                "step_seconds": self.timer.median_step_seconds(),
                "tokens_per_second": reading.tokens_per_second,
                "optimizer_step_seconds": self.timer.median_optimizer_seconds(),
                "optimizer_state_bytes": self.optimizer.state_bytes(),
                "peak_memory_bytes": peak_memory_bytes(self.device),
            },
        )
        return ended(record, status=status, reason=reason)

    def _origin(self) -> dict[str, Any]:
        """What the checkpoint must agree with, beside the configuration, which names its directory."""
        provenance = self.record.provenance
        return {
            "dataset fingerprint": self.record.data["fingerprint"],
            "logclock": provenance["logclock"],
            "git_commit": provenance["git_commit"],
            "torch": str(provenance["torch"]),
            "rule_hash": provenance["rule_hash"],
            "sources": dict(provenance["sources"]),
            "accepted": provenance.get("accepted_changes"),
        }

    def _execution(self) -> dict[str, Any]:
        """What changes results by rounding."""
        names = ("device", "precision", "num_threads", "compile_model", "backends")
        return {name: str(self.record.provenance[name]) for name in names}


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return what decides numbers and has changed since a checkpoint; a commit decides nothing but helps to find it."""
    changes = [
        f"{name} {before.get(name, 'unknown')} before, {now[name]} now"
        for name in ("logclock", "torch", "rule_hash")
        if before.get(name) != now[name]
    ]
    sources = before.get("sources", {})
    changed = [name for name, value in now["sources"].items() if sources.get(name) != value]
    if changed:
        commits = (before.get("git_commit"), now["git_commit"])
        named = f" (commit {commits[0] or 'unknown'} before, {commits[1] or 'unknown'} now)" if any(commits) else ""
        changes.append(f"other sources of {', '.join(changed)}{named}")
    return changes


def _controller_states(state: dict[str, Any]) -> dict[str, Any]:
    """Return the states of controllers; checkpoints from before there were any have that of the warm-up alone."""
    if "controllers" in state:
        states: dict[str, Any] = state["controllers"]
        return states
    batch = {"factor": 1, "num_seen": state["step"], "sums": [0.0] * 4, "count": 0, "scale": float("nan")}
    return {"batch": batch, "rate": {}, "warmup": state.get("warmup")}


def _random_state(device: torch.device) -> dict[str, torch.Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    if device.type == "mps":
        state["mps"] = torch.mps.get_rng_state()
    return state


def _set_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
    if device.type == "mps" and "mps" in state:
        torch.mps.set_rng_state(state["mps"])


def _metrics_of_halves(halves: Halves | None) -> dict[str, float | None]:
    """Settings are chosen by `selection_loss` and reported on tokens that had no part in the choice."""
    if halves is None:
        return {}
    return {
        "selection_loss": finite(halves.selection.loss),
        "held_out_loss": finite(halves.held_out.loss),
        "held_out_bits_per_byte": finite(halves.held_out.bits_per_byte),
        "held_out_tokens": halves.held_out_tokens,
    }


def _last(column: list[float | None]) -> float | None:
    return column[-1] if column else None
