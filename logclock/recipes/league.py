"""Which optimizers are ranked against each other, on which benchmark, and by which runs?"""

import dataclasses
from collections.abc import Collection, Mapping

from logclock.config import override
from logclock.models import EnokiConfig
from logclock.recipes.demo import HEAD_DIM, cpu_run
from logclock.recipes.micro import micro
from logclock.recipes.variants import VARIANTS, Variant, get_variant
from logclock.sweep import Arm
from logclock.train.config import EvaluationConfig, ExecutionConfig, RunConfig

__all__ = ["BASELINE", "SCOUTING", "League", "Stage", "cost_run", "entries"]

BASELINE = "adamw"
"""What every other entry is compared with."""

SCOUTING = "scouting"
"""Folder of the short runs."""

TOKENS_PER_PARAM = 8.0
"""Horizon of a run: 704 updates of the micro model, some 5 s on a core, so that 76 entries take 90 core minutes."""

EVALUATIONS = 4
"""In a run; the loss that counts is measured after it, on all validation tokens."""

LOG_POINTS = 16
"""Of the training loss in a record: hundreds of records are committed."""


def entries(only: Collection[str] = (), *, without: Collection[str] = ()) -> dict[str, Variant]:
    """Return what the league ranks, the baseline first: every variant that does not take another one apart.

    Args:
        only: Names to keep; all if empty. The baseline is kept in any case.
        without: Names to leave out.

    Raises:
        ValueError: A name is no entry, or the baseline is left out.
    """
    known = {name: variant for name, variant in VARIANTS.items() if variant.ablates is None}
    for name in (*only, *without):
        if name not in known:
            taken_apart = get_variant(name).ablates  # raises for a name that nobody knows
            raise ValueError(f"{name!r} is no entry of the league: it takes {taken_apart!r} apart. Leave it out.")
    if BASELINE in without:
        raise ValueError(f"{BASELINE!r} is what the league compares with and cannot be left out.")
    kept = [name for name in known if (not only or name in only or name == BASELINE) and name not in without]
    return {name: known[name] for name in sorted(kept, key=lambda name: name != BASELINE)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class League:
    """One benchmark and one budget for every entry.

    A scouting pass of short runs a factor 4 apart finds the octave of each entry's learning rate, whatever its recipe
    guessed. Whole runs an octave apart around it follow, more at the edges, the same number for all; then the other
    seeds at the best. Runs of the baseline at other lengths, tuned alike, say what a loss costs in its compute.

    Args:
        optimizers: Names of entries; the first is the baseline.
        tokens_per_param: Tokens of a run for each of the model's parameters.
        scouting: Factors on the recipe's learning rate.
        scouting_share: Length of a scouting run, as a share of a whole one.
        multipliers: Factors on the scouted learning rate; more below it, because longer runs want smaller ones.
        extensions: How often a grid may grow at an edge; granted to all entries.
        seeds: The first searches, all run at the best.
        rungs: Other lengths of the baseline, as factors.
        rung_multipliers: Factors on the baseline's winner at the length of the league.
        rung_extensions: As `extensions`, for the baseline at another length.
        steps: Updates of a whole run instead of those that `tokens_per_param` asks for.
        overrides: `PATH=VALUE` for every run.
    """

    optimizers: tuple[str, ...]
    tokens_per_param: float = TOKENS_PER_PARAM
    scouting: tuple[float, ...] = (1 / 16, 1 / 4, 1.0, 4.0, 16.0)
    scouting_share: float = 1 / 8
    multipliers: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    extensions: int = 1
    seeds: tuple[int, ...] = (0, 1, 2)
    rungs: tuple[float, ...] = (0.25, 0.5, 2.0, 4.0)
    rung_multipliers: tuple[float, ...] = (0.5, 1.0, 2.0)
    rung_extensions: int = 1
    steps: int | None = None
    overrides: tuple[str, ...] = ()

    @property
    def total_steps(self) -> int:
        """Updates of a whole run."""
        if self.steps is not None:
            return self.steps
        return micro(BASELINE, tokens_per_param=self.tokens_per_param).total_steps

    @property
    def scouting_steps(self) -> int:
        """Updates of a scouting run."""
        return max(round(self.total_steps * self.scouting_share), 10)

    def rung_steps(self, factor: float) -> int:
        """Return the updates of the baseline at another length."""
        return max(round(self.total_steps * factor), 10)

    def run(self, optimizer: str, *, seed: int = 0, total_steps: int | None = None) -> RunConfig:
        """Return the run of an entry at its recipe's learning rate."""
        steps = self.total_steps if total_steps is None else total_steps
        config = dataclasses.replace(
            micro(optimizer, seed=seed, total_steps=steps),
            evaluation=EvaluationConfig(interval=max(steps // EVALUATIONS, 1), batches=16, batch_size=32),
            log_interval=max(steps // LOG_POINTS, 1),
            execution=ExecutionConfig(checkpoint_interval=None),  # a run that a signal stops writes one anyway
        )
        return override(config, self.overrides)

    def arms(self, total_steps: int) -> Mapping[str, Arm]:
        """Return what `run_sweep` takes, for runs of so many updates."""

        def arm(optimizer: str) -> Arm:
            return lambda seed, steps: self.run(optimizer, seed=seed, total_steps=steps or total_steps)

        return {optimizer: arm(optimizer) for optimizer in self.optimizers}

    def stages(self) -> tuple["Stage", ...]:
        """Return the stages in order, with the most runs that each may need."""
        search = len(self.multipliers) + self.extensions + len(self.seeds) - 1
        rung = len(self.rung_multipliers) + self.rung_extensions + len(self.seeds) - 1
        baseline = self.optimizers[:1]
        return (
            Stage(SCOUTING, self.optimizers, steps=self.scouting_steps, runs_each=len(self.scouting)),
            Stage("", self.optimizers, steps=self.total_steps, runs_each=search),
            *(Stage(f"rungs/x{f:g}", baseline, steps=self.rung_steps(f), runs_each=rung) for f in self.rungs),
        )


@dataclasses.dataclass(frozen=True)
class Stage:
    """Runs of one length, with a ledger of their own.

    Args:
        folder: Under the league's; empty for the runs that are compared.
        optimizers: Whose.
        steps: Updates of a run.
        runs_each: The most runs that each may need.
    """

    folder: str
    optimizers: tuple[str, ...]
    steps: int
    runs_each: int


def cost_run(optimizer: str) -> RunConfig:
    """Return a run whose optimizer's step is timed and whose state is counted: 2.6 M parameters, matrices of width 256.

    At the width of the benchmark a step is all overhead, and factors of rank 128 would be larger than the matrices.
    """
    model = EnokiConfig(heads=256 // HEAD_DIM, head_dim=HEAD_DIM, num_layers=2, vocab_size=2048)
    return cpu_run(get_variant(optimizer).build(1000, lr=1e-3), model=model, total_steps=1000, seed=0)
