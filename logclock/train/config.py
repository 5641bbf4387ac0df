"""What must be written down so that a training run can be repeated?"""

import dataclasses
import math
from typing import TYPE_CHECKING, Any, Literal

from logclock.config import to_dict
from logclock.models import ModelConfig
from logclock.optim.optimizer import MAX_STEP
from logclock.records import content_hash
from logclock.rules import Spec
from logclock.schedules import AdaptiveWarmupPlan, Schedule, check
from logclock.train.batch_plan import BatchPlan, MeasuredBatch

__all__ = ["DataConfig", "EvaluationConfig", "ExecutionConfig", "Optimizers", "RunConfig", "identity", "run_id"]


@dataclasses.dataclass(frozen=True)
class Optimizers:
    """The optimizers of a run: one for hidden matrices and one for the rest, or one for everything."""

    hidden: Spec
    """The optimizer of hidden matrices, and of every other parameter if there is no `rest`."""

    rest: Spec | None = None
    """The optimizer of everything but hidden matrices (embeddings, head, vectors)."""

    @property
    def specs(self) -> tuple[Spec, ...]:
        """Those that there are."""
        return (self.hidden,) if self.rest is None else (self.hidden, self.rest)


if TYPE_CHECKING:
    SpecOrPair = Spec | Optimizers  # `RunConfig.optimizers` reads what was given, whichever it was
else:
    SpecOrPair = Spec  # what is kept, and what plain data are read as


MAX_THREADS = 1024
"""More than any machine has; OpenMP ends the process when it cannot start a thread."""

MAX_SEED = 2**64
"""Torch's generators take seeds of 64 bits."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Which tokens, and how many of them per update."""

    dataset: str
    """A prepared dataset: its name under the data root, as in `essentials-bpe-2048`, or a path, which has a slash."""

    batch_size: int
    """Sequences per update, all accumulation steps together."""

    sequence_length: int
    """Tokens per sequence that the model predicts."""

    def __post_init__(self) -> None:
        is_path = bool(self.dataset) and "\0" not in self.dataset
        check(is_path, "data.dataset", "name a prepared dataset", self.dataset, advice="See `logclock data prepare`.")
        check(self.batch_size >= 1, "batch_size", "be >= 1 sequence", self.batch_size)
        check(self.sequence_length >= 1, "sequence_length", "be >= 1 token", self.sequence_length)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """When the validation loss is measured, and on how much: always the same tokens."""

    interval: int
    """Updates between evaluations; there is always one after the last update."""

    batches: int | None = None
    """How many batches from the start of the validation set; None takes all of it."""

    batch_size: int = 32
    """Sequences per batch. It bounds the memory and changes the loss by rounding only if `batches` is None."""

    def __post_init__(self) -> None:
        check(self.interval >= 1, "interval", "be >= 1 update", self.interval)
        check(self.batches is None or self.batches >= 1, "batches", "be >= 1 or None", self.batches)
        check(self.batch_size >= 1, "batch_size", "be >= 1 sequence", self.batch_size)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExecutionConfig:
    """Where a run happens and what it leaves on disk. No part of the run's identity: the results are meant to agree.

    They agree to rounding, not bitwise: another device, another number of threads or a compiled model adds up in
    another order. The record's provenance says how a run was executed.
    """

    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    """Where to train; `auto` takes the first of cuda, mps, cpu that is there."""

    num_threads: int = 1
    """Threads of torch's CPU kernels. Two runs side by side with one thread each beat one run with two."""

    compile_model: bool | Literal["auto"] = "auto"
    """Whether the passes of training go through torch.compile; "auto" times a few of them before the first step of a
    run whose passes would take ten minutes or more, and takes what is faster. The record keeps the decision."""

    checkpoint_interval: int | None = 1000
    """Updates between checkpoints; None writes one only when a signal stops the run."""

    tensorboard: bool = False
    """Whether the series also go to a TensorBoard event file; needs the extra `tensorboard`."""

    accept_version: bool = False
    """Whether to go on from a checkpoint that another version of logclock, of its rules or of torch wrote; the record
    then says so."""

    def __post_init__(self) -> None:
        check(1 <= self.num_threads <= MAX_THREADS, "num_threads", f"lie between 1 and {MAX_THREADS}", self.num_threads)
        interval = self.checkpoint_interval
        check(interval is None or interval >= 1, "checkpoint_interval", "be >= 1 update or None", interval)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One training run, complete."""

    model: ModelConfig
    """The model and its size."""

    data: DataConfig
    """Which tokens, and how many of them per update."""

    optimizer: SpecOrPair
    """The optimizer; its `lr` is the peak learning rate. In Python it may be given together with that of the rest, as
    `Optimizers(hidden, rest)`, and reads as the first of them."""

    rest_optimizer: Spec | None = None
    """The optimizer of everything but hidden matrices (embeddings, head, vectors), with its own peak learning rate;
    None lets `optimizer` update every parameter, which one for matrices only cannot."""

    tables_lr_factor: float | None = None
    """Peak learning rate of embedding, head, gains and biases over that of hidden weights, which is `optimizer.lr`; muP
    scales head and hidden weights on top. None, and 1, is one rate for all. A `rest_optimizer` has its own."""

    lr_schedule: Schedule | AdaptiveWarmupPlan
    """Multiplier s(t) on the peak learning rate of every parameter group, or a plan that takes it from the loss."""

    total_steps: int
    """Planned updates T; with a `batch_plan` the base batches after which the run ends, in fewer updates."""

    batch_plan: BatchPlan | None = None
    """How the batch grows; None keeps it at `data.batch_size`."""

    seed: int = 0
    """Seed of the initial weights and of the data order."""

    grad_clip: float | None = 0.5
    """Bound on the norm of the whole gradient; None leaves it as it is."""

    accumulation_steps: int = 1
    """Parts into which a batch is cut to save memory; the gradients add up to those of the whole batch."""

    z_loss: float = 0.0
    """Coefficient of the squared log of the softmax denominator in the training objective, never in a reported loss."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the model's arithmetic; `auto` is bfloat16 autocast on CUDA devices that have it and float32 elsewhere.
    Parameters and optimizer state are float32 in any case."""

    quantization: Literal[8, 4] | None = None
    """Bits of the hidden matrices in every forward pass, evaluations included: symmetric, one scale per row, rounded to
    the nearest, with gradients passed straight through. Parameters, state and exported weights stay float32."""

    backend: Literal["auto", "loop", "foreach", "fused"] = "auto"
    """How updates run; `auto` is `fused` for elementwise rules on a CPU (`loop` without a C++ compiler) and `foreach`
    otherwise; the record says which. Stages on matrices run on stacks of equal shape, or one by one with `loop`."""

    evaluation: EvaluationConfig
    """When and on what the validation loss is measured."""

    log_interval: int = 20
    """Updates per point of the training series, which holds means over them."""

    measures_noise: bool = False
    """Whether the gradient's noise scale is measured from the halves of every batch, for the training series and the
    record; changes losses by rounding only."""

    execution: ExecutionConfig = dataclasses.field(default_factory=ExecutionConfig)
    """Where the run happens; no part of its identity."""

    def __post_init__(self) -> None:
        if isinstance(self.optimizer, Optimizers):
            self._take_apart(self.optimizer)
        rest = self.optimizers.rest
        needs_rest = self.optimizers.hidden.matrices_only and (rest is None or rest.matrices_only)
        check(
            not needs_rest,
            "rest_optimizer",
            "take embeddings, head and vectors, which `optimizer` does not",
            rest,
            advice="Set one, e.g. --set rest_optimizer.name=adamw rest_optimizer.lr=1e-3.",
        )
        is_plain = self.model.matrix_lr_factor == 1 or (rest is None and not self.optimizers.hidden.matrices_only)
        check(
            is_plain,
            "rest_optimizer",
            "be None under muP",
            rest,
            advice="model.mup_base_width scales one learning rate by the width, as Adam and its kin need it; an "
            "optimizer of hidden matrices has a rule of its own.",
        )
        self._check_tables_lr_factor()
        check(self.total_steps >= 1, "total_steps", "be >= 1", self.total_steps)
        check(
            self.total_steps < MAX_STEP,
            "total_steps",
            f"be below 2^24 = {MAX_STEP:,}, where the float32 step counters of the optimizers stop counting",
            self.total_steps,
            advice="Use larger batches, or several runs.",
        )
        check(0 <= self.seed < MAX_SEED, "seed", "be >= 0 and below 2^64", self.seed)
        clip_is_valid = self.grad_clip is None or 0 < self.grad_clip < math.inf
        advice = "None (null) switches clipping off."
        check(clip_is_valid, "grad_clip", "be > 0 and finite, or None", self.grad_clip, advice=advice)
        check(self.accumulation_steps >= 1, "accumulation_steps", "be >= 1", self.accumulation_steps)
        check(
            self.data.batch_size % self.accumulation_steps == 0,
            "accumulation_steps",
            f"divide data.batch_size = {self.data.batch_size}",
            self.accumulation_steps,
            advice="A batch is cut into equal parts.",
        )
        check(0 <= self.z_loss < math.inf, "z_loss", "be >= 0 and finite", self.z_loss)
        check(self.log_interval >= 1, "log_interval", "be >= 1 update", self.log_interval)
        self._check_batch_plan()
        horizon = getattr(self.lr_schedule, "total_steps", self.total_steps)
        check(
            horizon == self.total_steps,
            "lr_schedule.total_steps",
            f"equal total_steps = {self.total_steps}",
            horizon,
            advice="A recipe's step count (--steps) sets both, and every schedule that depends on T.",
        )

    def _check_tables_lr_factor(self) -> None:
        factor = self.tables_lr_factor
        check(
            factor is None or self.optimizers.rest is None,
            "tables_lr_factor",
            "be None beside a rest_optimizer",
            factor,
            advice="Tables and head have the rate of that one: set rest_optimizer.lr.",
        )
        is_valid = factor is None or 0 < factor < math.inf
        check(is_valid, "tables_lr_factor", "be > 0 and finite, or None", factor, advice="1 is one rate for all.")
        if factor == 1:  # the run without it, and so its id
            object.__setattr__(self, "tables_lr_factor", None)

    def _check_batch_plan(self) -> None:
        check(
            self.batch_plan is None or not isinstance(self.lr_schedule, AdaptiveWarmupPlan),
            "batch_plan",
            "be None beside an adaptive warm-up, which counts updates",
            self.batch_plan,
            advice="Use a schedule.",
        )
        parts = self.accumulation_steps * (1 + self.accumulation_steps % 2)
        is_measured = isinstance(self.batch_plan, MeasuredBatch) or self.measures_noise
        check(
            not is_measured or self.data.batch_size % parts == 0,
            "data.batch_size",
            f"be a multiple of {parts}, so that both halves of a batch can be measured",
            self.data.batch_size,
        )

    def _take_apart(self, pair: Optimizers) -> None:
        """Write a pair into the two fields as which it is kept."""
        if self.rest_optimizer not in (None, pair.rest):
            raise ValueError(
                f"rest_optimizer is {self.rest_optimizer!r}, and the pair given as optimizer has {pair.rest!r} for the "
                "rest. Give the pair alone: with dataclasses.replace, set rest_optimizer=None beside it."
            )
        object.__setattr__(self, "optimizer", pair.hidden)
        object.__setattr__(self, "rest_optimizer", pair.rest)

    @property
    def optimizers(self) -> Optimizers:
        """The optimizer and that of the rest, as a pair."""
        if isinstance(self.optimizer, Optimizers):  # for type checkers; __post_init__ has taken it apart
            return self.optimizer
        return Optimizers(self.optimizer, self.rest_optimizer)

    @property
    def tokens_per_step(self) -> int:
        """Predicted tokens per update."""
        return self.data.batch_size * self.data.sequence_length


def identity(config: RunConfig) -> dict[str, Any]:
    """Return the part of a configuration that says which run it is: everything but `execution`.

    This is what a record stores as its `config`, so a run has one id on every machine, and one that was interrupted
    can go on with another number of threads or with more frequent checkpoints.
    """
    data: dict[str, Any] = to_dict(config)
    del data["execution"]
    for name in ("rest_optimizer", "tables_lr_factor", "batch_plan", "quantization"):
        if data[name] is None:  # a run made before there was such a field keeps its id
            del data[name]
    if not data["measures_noise"]:
        del data["measures_noise"]
    return data


def run_id(config: RunConfig) -> str:
    """Return the short hash by which the ledger and the run's directory know this configuration."""
    return content_hash(identity(config))
