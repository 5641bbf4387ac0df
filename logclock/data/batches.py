"""Which tokens are in the batch of step t? A question with the same answer whether or not the run was interrupted.

Shapes: B batch, L sequence.
"""

import functools
from collections.abc import Iterator

import numpy as np
import torch

from logclock.data.shards import TokenShards

__all__ = ["TrainBatches", "validation_batches"]


class TrainBatches:
    """Training batches as a pure function of (seed, step).

    An epoch cuts the stream into windows of L + 1 tokens that do not overlap, beginning at an offset from 0 to L; each
    gives L inputs and, one place on, L targets. Offset and order of the windows depend on (seed, epoch) alone, so the
    cuts fall elsewhere in every epoch. Batch n (from 0) of an epoch takes the windows n B to n B + B - 1 in that order;
    less than B windows are left over and not used in that epoch. Nothing is remembered from one call to the next (the
    order of an epoch is cached), so a resumed run needs the step and nothing else.

    Args:
        shards: The training stream.
        batch_size: B.
        sequence_length: L.
        seed: Any integer from 0 on.

    Raises:
        ValueError: The stream is too short for one batch, or a number is out of range.
    """

    def __init__(self, shards: TokenShards, *, batch_size: int, sequence_length: int, seed: int) -> None:
        _check_shape(batch_size, sequence_length)
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}.")
        self.shards = shards
        self.batch_size, self.sequence_length, self.seed = batch_size, sequence_length, seed
        # Counted so that the windows fit behind the largest offset, L; then every epoch has the same number.
        self.num_windows = max(len(shards) - sequence_length, 0) // (sequence_length + 1)
        self.num_batches_per_epoch = self.num_windows // batch_size
        if self.num_batches_per_epoch == 0:
            needed = batch_size * (sequence_length + 1) + sequence_length
            raise ValueError(_too_short(shards, batch_size, sequence_length, needed, "training"))
        # One entry serves a run; a second one serves a reader that looks back over an epoch's end.
        self._window_starts = functools.lru_cache(maxsize=2)(self._shuffled_starts)

    def at(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (inputs_BL, targets_BL), int64, for a step; the first is step 1."""
        epoch = self.epoch_of(step)
        first = (step - 1) % self.num_batches_per_epoch * self.batch_size
        starts = self._window_starts(epoch)[first : first + self.batch_size]
        return _inputs_and_targets(self.shards.read_windows(starts, self.sequence_length + 1))

    def epoch_of(self, step: int) -> int:
        """Return the epoch a step belongs to; the first is epoch 0."""
        if step < 1:
            raise ValueError(f"step must be at least 1, got {step}: the first batch is that of step 1.")
        return (step - 1) // self.num_batches_per_epoch

    def _shuffled_starts(self, epoch: int) -> np.ndarray:
        # Raw bits and a stable sort: numpy promises the bit stream for ever, but not the stream of its permutations.
        bits = np.random.PCG64(np.random.SeedSequence([self.seed, epoch]))
        window_length = self.sequence_length + 1
        offset = int(bits.random_raw()) % window_length
        order = np.argsort(bits.random_raw(self.num_windows), kind="stable")
        return offset + order * window_length


def validation_batches(
    shards: TokenShards, *, batch_size: int, sequence_length: int, num_batches: int | None = None
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Return the first batches of the validation stream, in order, always the same.

    Windows follow each other so that every token of the prefix but its first is a target exactly once.

    Args:
        shards: The validation stream.
        batch_size: B.
        sequence_length: L.
        num_batches: How many; None means all that are full, leaving out less than one batch at the end.

    Raises:
        ValueError: The stream is too short for that many.
    """
    _check_shape(batch_size, sequence_length)
    tokens_per_batch = batch_size * sequence_length
    available = max(len(shards) - 1, 0) // tokens_per_batch
    wanted = available if num_batches is None else num_batches
    if not 1 <= wanted <= available:
        if num_batches is not None and num_batches < 1:
            raise ValueError(f"num_batches must be at least 1, got {num_batches}. None takes all.")
        needed = max(wanted, 1) * tokens_per_batch + 1
        raise ValueError(_too_short(shards, batch_size, sequence_length, needed, "validation"))

    def batches() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for number in range(wanted):
            starts = np.arange(batch_size) * sequence_length + number * tokens_per_batch
            yield _inputs_and_targets(shards.read_windows(starts, sequence_length + 1))

    return batches()


def _inputs_and_targets(windows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    tokens = torch.from_numpy(windows)
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def _check_shape(batch_size: int, sequence_length: int) -> None:
    if batch_size < 1 or sequence_length < 1:
        raise ValueError(f"batch_size and sequence_length must be at least 1, got {batch_size} and {sequence_length}.")


def _too_short(shards: TokenShards, batch_size: int, sequence_length: int, needed: int, purpose: str) -> str:
    return (
        f"{shards.paths[0].parent} has {len(shards)} {purpose} tokens, but batch_size={batch_size} and "
        f"sequence_length={sequence_length} need at least {needed}. Lower them, or prepare more text."
    )
