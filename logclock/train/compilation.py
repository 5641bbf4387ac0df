"""Is the model of a run worth compiling? A short timing before the first step says so."""

import statistics
import time
from collections.abc import Callable

import torch

from logclock.train.config import RunConfig
from logclock.train.passes import Passes
from logclock.train.state import RunState

__all__ = ["MIN_SECONDS", "settle_compilation"]

MIN_SECONDS = 600.0
"""Of all passes of a run, eagerly: below, a compilation of a minute or two would cost what it could save."""

TIMED_PASSES = 3

MIN_GAIN = 0.95
"""Compiled over eager seconds from which compiling is not worth another rounding."""


def settle_compilation(config: RunConfig, run: RunState, passes: Passes, *, message: Callable[[str], None]) -> None:
    """Compile the passes of training if the configuration says so, or if it leaves that open and a timing does.

    The decision stands in the record, so a run that goes on from a checkpoint stays with it: compiled passes add up in
    another order. A timing computes gradients of a batch of zeros and forgets them; it draws no random number. A run
    whose batch grows is not compiled by itself, because every size would be compiled anew.

    Args:
        config: The run.
        run: Its state, restored or fresh; the decision is written into its record.
        passes: Compiled in place.
        message: Told the outcome of a timing.
    """
    if run.record.provenance["compile_model"] == "auto":
        is_faster, seconds = (False, None)
        if config.batch_plan is None:
            is_faster, seconds = _timing(config, run, passes, message)
        run.note(compile_model=is_faster, compile_timing=seconds)
    elif run.record.provenance["compile_model"]:
        passes.compile()


def _timing(
    config: RunConfig, run: RunState, passes: Passes, message: Callable[[str], None]
) -> tuple[bool, dict[str, float] | None]:
    """Return whether the passes are compiled now, and the median seconds of a step's passes in both ways."""
    size = config.data.batch_size // config.accumulation_steps, config.data.sequence_length
    tokens_BL = torch.zeros(size, dtype=torch.long, device=run.device)  # what they are takes no time

    def pass_seconds() -> float:
        began = time.perf_counter()
        torch.autograd.backward(passes.objective(tokens_BL, tokens_BL, z_loss=config.z_loss).value)
        if run.device.type != "cpu":
            torch.accelerator.synchronize()
        run.model.zero_grad(set_to_none=True)
        return config.accumulation_steps * (time.perf_counter() - began)

    if pass_seconds() * config.total_steps < MIN_SECONDS:  # the first one takes longest
        return False, None
    eager = statistics.median(pass_seconds() for _ in range(TIMED_PASSES))
    if eager * config.total_steps < MIN_SECONDS:
        return False, {"eager": eager}
    label = run.record.label
    message(f"{label}: compiling the model, to see whether that is faster")
    passes.compile()
    try:
        pass_seconds()
        compiled = statistics.median(pass_seconds() for _ in range(TIMED_PASSES))
    except RuntimeError as error:  # of the compiler, or of memory that the timing takes once more
        passes.run_eagerly()
        run.model.zero_grad(set_to_none=True)
        message(f"{label}: the model runs eagerly, because it cannot be compiled here: {str(error).splitlines()[0]}")
        return False, {"eager": eager}
    is_faster = compiled < MIN_GAIN * eager
    if not is_faster:
        passes.run_eagerly()
    chosen = "compiled" if is_faster else "eager"
    message(f"{label}: passes of a step take {eager:.3g} s eagerly and {compiled:.3g} s compiled: {chosen}")
    return is_faster, {"eager": eager, "compiled": compiled}
