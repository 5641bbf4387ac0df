"""How does a step run without the host, so that a CUDA graph repeats it with schedules that go on?"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from logclock.backends import gpu
from logclock.backends.emit import shared_names
from logclock.backends.operands import is_sharded
from logclock.backends.program import plan_of
from logclock.rules import Rule, Spec

__all__ = ["MOST_ROWS", "Replays", "columns_of", "reason_against"]

MOST_EAGER = 256
"""Updates for which scalars are evaluated ahead where nobody has said how many are to come."""

MOST_ROWS = 2**22
"""Of a table: a quarter of the updates that a counter can count."""


def columns_of(rule: Rule) -> tuple[str, ...]:
    """Return the scalars that a table holds beside t, in the order in which kernels look for them."""
    (program,) = plan_of(rule).parts
    return shared_names(program)  # type: ignore[arg-type]


@dataclasses.dataclass
class _Table:
    """The scalars of the updates to come of one group on one device.

    Args:
        rows: float64, for consecutive t: t and the scalars, or zeros where no update is expected.
        made_from: The spec, the learning rate and the number of parameters that there were.
        left: Eager steps for which there are rows still.
        filled: For how many updates it was filled.
        is_captured: Whether a graph reads it, so that it must stay where it is.
        is_prepared: Whether somebody has said for how many updates.
    """

    rows: torch.Tensor
    made_from: tuple[Any, ...] = ()
    left: int = 0
    filled: int = 0
    is_captured: bool = False
    is_prepared: bool = False


class Replays:
    """Tables of scalars on the device, and what happened there that the host has not heard of.

    A graph repeats what was captured: memory is read again, numbers are not. So each parameter's counter is in memory,
    the scalars of all updates that may come are rows of a table there, and each update reads its row.
    """

    def __init__(self) -> None:
        self._tables: dict[tuple[int, torch.device], _Table] = {}
        self._missed: dict[torch.device, torch.Tensor] = {}
        self._skipped: dict[torch.device, torch.Tensor] = {}
        self.kept: list[Any] = []
        """What captured graphs read."""

    def fill(
        self, index: int, spec: Spec, lr: Any, counters: Sequence[torch.Tensor], num_steps: int, most: int
    ) -> None:
        """Evaluate the scalars of the next updates of a group's parameters on one device; reads their counters.

        Args:
            index: Of the group.
            spec: The group's.
            lr: Its learning rate.
            counters: Of all its parameters on the device.
            num_steps: How many updates of each parameter.
            most: The last t there may be.
        """
        device = counters[0].device
        clocks = sorted({int(clock) for clock in torch.stack(list(counters)).tolist()})
        wanted = sorted({t for clock in clocks for t in range(clock + 1, min(clock + num_steps, most) + 1)})
        if not wanted:
            return
        names = columns_of(spec.rule)
        count = wanted[-1] - wanted[0] + 1
        table = self._tables.get((index, device))
        if table is None or table.rows.shape[0] < count or table.rows.shape[1] != 1 + len(names):
            table = self._larger(index, device, table, count, len(names))
        values = torch.zeros(table.rows.shape, dtype=torch.float64)
        for t in wanted:
            scalars = spec.scalars(t, lr)
            values[t - wanted[0]] = torch.tensor([float(t), *(float(scalars[name]) for name in names)])
        values[0, 0] = wanted[0]
        self.missed(device)  # whatever is counted must have been there before a capture
        self._skips(device)
        table.rows.copy_(values)
        table.made_from, table.left, table.filled = (spec, lr, len(counters)), num_steps, num_steps
        table.is_prepared = False

    def _larger(self, index: int, device: torch.device, old: _Table | None, count: int, num_scalars: int) -> _Table:
        if old is not None and old.is_captured:
            raise RuntimeError(
                f"group {index}: {count} rows of schedules are needed, and the table that a captured graph reads has "
                f"{old.rows.shape[0]}, of {old.rows.shape[1] - 1} scalars. Prepare fewer replays at a time, or call "
                "prepare_replays with the largest number before the capture; a changed algorithm needs a new capture."
            )
        if count > MOST_ROWS:
            raise RuntimeError(
                f"group {index}: the update counts of its parameters lie so far apart that a table of schedules would "
                f"need {count} rows; {MOST_ROWS} are allowed. Put late parameters into a group of their own."
            )
        rows = torch.zeros(count, 1 + num_scalars, dtype=torch.float64, device=device)
        table = self._tables[index, device] = _Table(rows)
        return table

    def prepared(self, index: int, device: torch.device) -> None:
        """Note that somebody has said for how many updates a table is."""
        self._tables[index, device].is_prepared = True

    def table_for_step(
        self, index: int, spec: Spec, lr: Any, counters: Sequence[torch.Tensor], most: int
    ) -> torch.Tensor:
        """Return the table for a step that is made or captured now, filled where that is possible."""
        device = counters[0].device
        table = self._tables.get((index, device))
        if gpu.is_capturing():
            return self._for_capture(index, table, spec, lr, len(counters))
        rate = float(lr)
        is_current = table is not None and table.made_from == (spec, rate, len(counters))
        if table is None or not is_current or table.left == 0:
            # a scheduler that writes a new rate at every step would have all rows but one made in vain
            ahead = min(2 * table.filled, MOST_EAGER) if table is not None and is_current else 1
            if table is not None and table.is_captured:
                ahead = max(ahead, min(table.filled, table.rows.shape[0]))
            self.fill(index, spec, rate, counters, ahead, most)
            self.raise_for_missed()
            table = self._tables[index, device]
        table.left -= 1
        return table.rows

    def _for_capture(self, index: int, table: _Table | None, spec: Spec, lr: Any, count: int) -> torch.Tensor:
        # a learning rate that is a tensor must not be read now
        if (
            table is None
            or not table.is_prepared
            or table.made_from
            != (
                spec,
                table.made_from[1] if isinstance(lr, torch.Tensor) else float(lr),
                count,
            )
        ):
            raise RuntimeError(
                f"group {index}: the schedules of the updates that a graph will make must be on the device before it "
                "is captured. Call optimizer.prepare_replays(num_steps) first, after the last change of the group, and "
                "again after at most num_steps replays."
            )
        table.is_captured = True
        return table.rows

    def missed(self, device: torch.device) -> torch.Tensor:
        """Return the counter of updates whose row was not there."""
        if device not in self._missed:
            self._missed[device] = torch.zeros((), dtype=torch.int32, device=device)
        return self._missed[device]

    def _skips(self, device: torch.device) -> torch.Tensor:
        """Return the counter of steps that were left out for their gradients."""
        if device not in self._skipped:
            self._skipped[device] = torch.zeros((), dtype=torch.int64, device=device)
        return self._skipped[device]

    def raise_for_missed(self) -> None:
        """Raise if updates were left out because the tables had ended; reads the counters on the device.

        Raises:
            RuntimeError: With what to do; the counters start again.
        """
        missed = sum(int(counter.item()) for counter in self._missed.values())
        if missed:
            for counter in self._missed.values():
                counter.zero_()
            raise RuntimeError(
                f"{missed} updates of parameters were left out: a graph was replayed more often than "
                "prepare_replays(num_steps) had evaluated schedules for. Weights, states and clocks are those of the "
                "last update that was made. Call prepare_replays(num_steps) again after at most num_steps replays."
            )

    def guard(
        self, grads: Iterable[torch.Tensor], found_inf: torch.Tensor | None, *, skips: bool
    ) -> dict[torch.device, torch.Tensor]:
        """Return, by device, a float32 number that is not 0 where a step must change nothing; nothing if it always may.

        Args:
            grads: All gradients.
            found_inf: What a gradient scaler has found.
            skips: Whether a gradient that is not finite leaves the step out, which is counted.
        """
        grads = list(grads)
        devices = {grad.device: None for grad in grads}
        found = None
        if skips and grads:
            found = torch.stack([largest.to(grads[0].device, torch.float32) for largest in _largest(grads)])
            found = (~found.isfinite()).any().float()
            self._skips(found.device).add_(found.to(torch.int64))
        if found_inf is not None:
            theirs = (found_inf.reshape(()) != 0).float()
            found = theirs if found is None else torch.maximum(found, theirs.to(found.device))
        return {} if found is None else {device: found.to(device) for device in devices}

    def take_skipped(self) -> int:
        """Return how many steps were left out since the last call, for gradients that are not finite."""
        skipped = sum(int(counter.item()) for counter in self._skipped.values())
        for counter in self._skipped.values():
            counter.zero_()
        return skipped


def _largest(grads: list[Any]) -> list[torch.Tensor]:
    """Return the largest absolute value of every gradient, on every rank, without reading it."""
    filled = [grad for grad in grads if grad.numel()]
    norms: list[Any] = [torch.linalg.vector_norm(grad, ord=math.inf) for grad in filled if is_sharded(grad)]
    plain = [grad for grad in filled if not is_sharded(grad)]
    norms += torch._foreach_norm(plain, math.inf) if plain else ()
    return [norm.full_tensor() if is_sharded(norm) else norm for norm in norms] or [torch.zeros(())]


def reason_against(rule: Rule, backend: str, device: torch.device) -> str | None:
    """Return why steps of a rule cannot run without the host, with what to do; None if they can."""
    if backend not in ("auto", "fused"):
        return f"capturable=True runs with backend 'fused', not {backend!r}. Leave backend out."
    if not rule.is_elementwise:
        return (
            f"capturable=True runs elementwise rules; {rule.name!r} works on whole matrices, for which the host "
            "decides what is computed. Build it without capturable, in an optimizer of its own."
        )
    if rule.totals:
        return (
            f"{rule.name!r} needs sums over all tensors, for which a step stops on the host. Build it without "
            "capturable."
        )
    reason = gpu.unavailable_reason(device)
    return None if reason is None else f"capturable=True needs backend 'fused' on a CUDA device: {reason}"
