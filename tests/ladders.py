"""A ladder that looks like a real one: sizes, optimizers, learning-rate sweeps, seeds. All of it invented."""

import dataclasses
import math
import random

from logclock.records import RunRecord

SIZES = {"2": 2 * 12 * 32**2, "3": 3 * 12 * 48**2, "4": 3 * 12 * 64**2, "6": 4 * 12 * 96**2, "8": 6 * 12 * 128**2}
WIDTHS = {"2": 32, "3": 48, "4": 64, "6": 96, "8": 128}
VOCABULARY, BATCH = 2048, 8 * 64
# What the loss is made of: floor + coefficient (C / 1e12)^-exponent, best learning rate at P = 1e5, its exponent.
LAWS = {
    "adamw": (2.3, 2.10, 0.100, 8e-3, -0.45),
    "adana": (2.3, 2.05, 0.104, 3e-3, -0.60),
    "muon": (2.3, 2.00, 0.095, 6e-3, -0.40),
}
STATE_BYTES = {"adamw": 8, "adana": 8, "muon": 4}
GRID = (0.5, 1.0, 2.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Invented:
    """How noisy a ladder is and how many seeds its winners have."""

    optimizers: tuple[str, ...] = ("adamw", "adana", "muon")
    sizes: tuple[str, ...] = tuple(SIZES)
    seeds: tuple[int, ...] = (0, 1)
    grid: tuple[float, ...] = GRID
    noise: float = 0.003
    curvature: float = 0.02
    draw: int = 0
    is_grid_placed_at_random: bool = False
    laws: dict[str, tuple[float, ...]] = dataclasses.field(default_factory=lambda: LAWS)

    def records(self, **changes):
        """Return every run: each optimizer's grid at every size with the first seed, the others at its winner."""
        runs = []
        for label in self.optimizers:
            for size in self.sizes:
                search = [self.record(label, size, self.seeds[0], factor, **changes) for factor in self.grid]
                best = min(search, key=lambda record: record.metrics["final_validation_loss"] or math.inf)
                winner = float(best.tags["lr_multiplier"])
                runs += search
                runs += [self.record(label, size, seed, winner, **changes) for seed in self.seeds[1:]]
        return runs

    def true_loss(self, label, size):
        floor, coefficient, exponent, *_ = self.laws[label]
        return floor + coefficient * (counted(size) / 1e12) ** -exponent

    def record(self, label, size, seed, factor, **changes):
        """Return one run; its noise depends on all that makes it."""
        random_seed = random.Random(f"{self.draw} {label} {size} {seed} {factor}")
        best_lr = self.laws[label][3] * (SIZES[size] / 1e5) ** self.laws[label][4]
        missed = 1.15  # the grid misses the optimum by a little
        if self.is_grid_placed_at_random:
            missed = 2 ** random.Random(f"grid {self.draw} {label} {size}").uniform(-0.5, 0.5)
        lr = factor * best_lr * missed
        loss = self.true_loss(label, size) + self.curvature * math.log(lr / best_lr) ** 2
        loss += random_seed.gauss(0, self.noise)
        tokens, params = num_tokens(size), SIZES[size]
        steps = tokens // BATCH
        seconds = 1e-9 * tokens * (params * 6 + 6 * VOCABULARY * WIDTHS[size]) / 15
        columns = {"step": [steps // 2, steps], "tokens": [tokens // 2, tokens], "loss": [loss + 0.3, loss]}
        fields = {
            "config": {
                "model": {"kind": "enoki", "heads": int(size)},
                "data": {"dataset": "essentials-bpe-2048"},
                "optimizer": {"name": label, "lr": lr},
                "total_steps": steps,
                "seed": seed,
            },
            "seed": seed,
            "label": label,
            "tags": {
                "study": "micro",
                "baseline": "adamw",
                "phase": "ladder",
                "size": size,
                "lr_multiplier": f"{factor:g}",
                "track": "tuned",
            },
            "status": "finished",
            "reason": None,
            "model": {
                "non_embedding_params": params,
                "total_params": params + 2 * VOCABULARY * WIDTHS[size],
                "compute_6p_per_token": 6 * params,
                "compute_6d_per_token": 6 * params + 6 * VOCABULARY * WIDTHS[size],
            },
            "data": {"fingerprint": "0123456789abcdef", "vocab_size": VOCABULARY},
            "provenance": {
                "logclock": "0.1.0",
                "torch": "2.13.0",
                "rule_hash": f"rule-{label}",
                "git_commit": "0" * 40,
                "started": f"2026-11-24T0{size}:00:00+00:00",
                "ended": f"2026-11-24T0{size}:30:00+00:00",
            },
            "train": columns,
            "validation": columns,
            "schedules": {"step": []},
            "metrics": {"final_validation_loss": loss, "final_step": steps},
            "cost": {
                "wall_seconds": seconds,
                "step_seconds": seconds / steps,
                "optimizer_step_seconds": 0.2 * seconds / steps,
                "tokens_per_second": tokens / seconds,
                "optimizer_state_bytes": float(STATE_BYTES.get(label, 8) * params),
                "peak_memory_bytes": 3e8 + 40.0 * params,
            },
        }
        return RunRecord(**(fields | changes))


def num_tokens(size):
    """20 tokens per total parameter, in whole batches."""
    return 20 * (SIZES[size] + 2 * VOCABULARY * WIDTHS[size]) // BATCH * BATCH


def compute(size):
    """What the study counts: 6 P."""
    return 6.0 * SIZES[size] * num_tokens(size)


def counted(size):
    """What reports count: 6 P + 6 V d."""
    return (6.0 * SIZES[size] + 6 * VOCABULARY * WIDTHS[size]) * num_tokens(size)
