"""How long is an optimizer's step beside the baseline's in one process, and how large is its state?"""

import statistics
import time
from collections.abc import Callable, Mapping

import torch

from logclock.records import StepCost
from logclock.train.config import RunConfig
from logclock.train.device import choose_device, torch_settings
from logclock.train.loop import build_optimizer

__all__ = ["measure_step_costs", "rule_hash_of"]

BLOCK = 10
"""Steps of a block: methods that turn a basis or invert a factor do so every ten steps, and a block holds one such."""

WARMUP = BLOCK + 1
"""Steps before the first block: the first one creates the state and compiles."""


def measure_step_costs(
    configs: Mapping[str, RunConfig],
    *,
    reference: RunConfig,
    baseline: str,
    num_pairs: int = 5,
    done: Callable[[StepCost], None],
) -> None:
    """Time steps of every optimizer in pairs of blocks with the baseline's, one right after the other.

    A ratio of two blocks that follow each other has the machine's other load in both; the median over pairs drops the
    ones that were hit on one side only. Gradients are random and stay the same.

    Args:
        configs: Runs by label, of which model and optimizer count; all of one model.
        reference: What they are timed beside; its own ratio is that of two copies of it.
        baseline: Its label.
        num_pairs: Pairs of blocks.
        done: Told each result as it comes, so that an interrupted measurement can go on.
    """
    for label, config in configs.items():
        with torch_settings(config):
            ours, theirs = _Steps(config), _Steps(reference)
            pairs = [(ours.seconds(), theirs.seconds()) for _ in range(num_pairs)]
        device = choose_device(config.execution.device)
        done(
            StepCost(
                label=label,
                baseline=baseline,
                step_ratio=statistics.median(own / other for own, other in pairs),
                step_seconds=statistics.median(own for own, _ in pairs),
                baseline_seconds=statistics.median(other for _, other in pairs),
                num_pairs=num_pairs,
                state_bytes=ours.state_bytes(),
                num_params=config.model.size().total_params,
                rule_hash=rule_hash_of(config),
                device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
                torch=str(torch.__version__),
            )
        )


def rule_hash_of(config: RunConfig) -> str:
    """Return the version of a run's rules, as its record has it."""
    return "+".join(spec.rule.source_hash for spec in config.optimizers.specs)


class _Steps:
    """Updates of an optimizer on a model of its own, which has made the first ones.

    A gradient of sampled labels, where one is due, is the random gradient again: its backward pass is no part of the
    step, taking it in is.
    """

    def __init__(self, config: RunConfig) -> None:
        device = choose_device(config.execution.device)
        model = config.model.build(seed=config.seed).to(device)
        generator = torch.Generator().manual_seed(config.seed)
        for param in model.parameters():
            param.grad = 1e-2 * torch.randn(param.shape, generator=generator).to(device)
        self._params = [(param, param.grad) for param in model.parameters()]
        self._num_labels = config.data.batch_size * config.data.sequence_length
        self._optimizer = build_optimizer(config, model)
        for _ in range(WARMUP):
            self._step()

    def _step(self) -> None:
        if self._optimizer.is_due("curvature"):
            with self._optimizer.curvature(samples=self._num_labels):
                for param, grad in self._params:
                    param.grad = grad
        self._optimizer.step()

    def seconds(self) -> float:
        """Return the mean time of a step over a block, with the accelerator waited for."""
        _wait()
        began = time.perf_counter()
        for _ in range(BLOCK):
            self._step()
        _wait()
        return (time.perf_counter() - began) / BLOCK

    def state_bytes(self) -> int:
        """Return the size of the state."""
        return self._optimizer.state_bytes()


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
