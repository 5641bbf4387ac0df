"""What does a stochastic run on a power-law problem do, under the very rules and schedules that train models?"""

import dataclasses
import functools
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from logclock.algorithms import DanaSpec
from logclock.backends.program import NUMEL, Instruction, Segment, trace
from logclock.backends.scalars import Scalar
from logclock.config import to_dict
from logclock.records import content_hash
from logclock.rules import Rule, Spec
from logclock.schedules import check
from logclock.theory.algorithm import Algorithm
from logclock.theory.moe_plrf import check_probabilities
from logclock.theory.moments import geometric_steps
from logclock.theory.plrf import LeastSquares, RandomFeatures, sample_gradient

__all__ = ["Lanes", "Simulation", "dana_spec", "is_rotation_invariant", "simulate_features", "simulate_modes"]

Array = np.ndarray[Any, Any]

PIECE = 32 * 1024
"""Elements on which a rule runs at once: operands and scratch then stay in a core's second-level cache."""

CHUNK_ROWS = 2048
"""Examples that are drawn at once: one matrix product for many updates."""

SAVE_SECONDS = 30.0
"""How much work an interrupted simulation may lose."""

LINEAR = {"add", "sub", "add_scaled", "lerp", "mul_scalar", "div_scalar", "neg", "copy"}
"""Operations of a rule that commute with a rotation of its operands; so does a scalar that depends on norms alone."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Simulation:
    """Risks of runs side by side.

    Args:
        time: Numbers of updates made, ascending, shape (n,).
        risk: P then, shape (runs, n); inf where a run has left the range of its numbers.
    """

    time: Array
    risk: Array


def dana_spec(algorithm: Algorithm) -> DanaSpec:
    """Return the optimizer that an algorithm of the theory is: rule `dana` with learning rate 1."""
    return DanaSpec(
        lr=1.0,
        gamma1=algorithm.gamma1,
        gamma2=algorithm.gamma2,
        gamma3=algorithm.gamma3,
        damping=algorithm.damping,
    )


@functools.cache
def is_rotation_invariant(rule: Rule) -> bool:
    """Return whether a rule gives the same run in every orthonormal basis: its tensor operations are all linear.

    `sgd`, `dana` and `normsgd`, which divides by a norm, are; whatever divides by a root of squares is not.
    """
    segments = trace(rule).segments
    reductions = [reduction.kind for segment in segments for reduction in segment.reductions]
    is_linear = all(step.op in LINEAR for segment in segments for step in segment.instructions)
    return is_linear and all(kind == "total_square" for kind in reductions)


def simulate_modes(
    problem: LeastSquares,
    spec: Spec,
    *,
    num_steps: int,
    seed: int,
    num_runs: int = 1,
    batch_size: int = 1,
    record_at: Sequence[int] | None = None,
) -> Simulation:
    """Run an optimizer from theta = 0 in the eigenbasis of a problem: O(d) per update, whatever the batch size.

    Exact for rules that do not care about the basis (`is_rotation_invariant`); for the others `simulate_features`.

    Args:
        problem: Least squares that is not binned.
        spec: The optimizer, without weight decay (the parameter of the eigenbasis is the error, not theta).
        num_steps: Updates.
        seed: Seed of the data.
        num_runs: Independent runs side by side; they share the interpreter's time.
        batch_size: B.
        record_at: Numbers of updates to record at; those of `geometric_steps` if None.
    """
    advice = "Use simulate_features, which keeps the coordinates in which the rule is meant."
    check(is_rotation_invariant(spec.rule), "spec", "have a rotation-invariant rule", spec.rule.name, advice=advice)
    decay = spec.scalars(1).get("decay", 0.0)
    check(decay == 0, "spec.weight_decay", "be 0 in the eigenbasis", decay, advice="It would pull to theta*, not to 0.")
    rng = np.random.default_rng(seed)
    error = np.tile(problem.initial_error, (num_runs, 1))
    lanes = Lanes([spec], error)
    wanted = _times(num_steps, record_at)
    risks = [problem.risk(error)] if 0 in wanted else []
    with np.errstate(over="ignore", invalid="ignore"):  # a run may diverge
        for t in range(1, num_steps + 1):
            lanes.update(t, sample_gradient(problem, error, batch_size, rng))
            if t in wanted:
                risks.append(problem.risk(error))
    return _simulation(sorted(wanted), risks)


def simulate_features(
    features: RandomFeatures,
    specs: Mapping[str, Spec],
    *,
    num_steps: int,
    seed: int,
    batch_size: int = 1,
    probabilities: Sequence[float] = (1.0,),
    record_at: Sequence[int] | None = None,
    dtype: Any = np.float32,
    checkpoint: Path | None = None,
    progress: Callable[[int, Array], None] | None = None,
) -> Simulation:
    """Run optimizers of any kind on one stream of examples, in the coordinates in which theta is defined.

    Every expert has parameters theta of its own and solves the same problem; an example goes to expert i with
    probability p_i. The loss is half the squared error averaged over the whole batch, so the gradient of an expert
    without an example is exactly zero, and its optimizer counts that update like any other. The risk is
    sum_i p_i P(theta_i). One expert, the default, is the plain problem.

    Args:
        features: The problem.
        specs: The optimizers by label; all see the same examples and start from theta = 0.
        num_steps: Updates. No schedule of theirs should know it, if a shorter run is to be a part of a longer one.
        seed: Seed of the examples.
        batch_size: B.
        probabilities: p, one for each expert, adding up to 1.
        record_at: Numbers of updates to record at; those of `geometric_steps` if None.
        dtype: Of the arithmetic; risks are evaluated in float64.
        checkpoint: File in which an interrupted simulation finds its state; it stays when the simulation is done.
        progress: Called with the number of updates and the latest risks every half a minute.

    Returns:
        A row of risks for each optimizer, in the order of `specs`.
    """
    shares = check_probabilities(probabilities)
    check(len(specs) > 0, "specs", "hold at least one optimizer", specs)
    check(batch_size >= 1, "batch_size", "be >= 1", batch_size)
    source = _Source(features, np.dtype(dtype))
    order = sorted(specs, key=lambda label: specs[label].rule.name)
    theta = np.zeros((len(specs), len(shares), source.num_features), dtype)
    groups = []
    for _, labels in itertools.groupby(order, key=lambda label: specs[label].rule.name):
        members = list(labels)
        rows = slice(order.index(members[0]), order.index(members[-1]) + 1)
        groups.append((Lanes([specs[label] for label in members], theta[rows]), rows))
    wanted = _times(num_steps, record_at)
    settings = {"specs": {label: to_dict(spec) for label, spec in specs.items()}, "seed": seed, "batch": batch_size}
    settings |= {"shares": shares.tolist(), "dtype": np.dtype(dtype).name, "weight": float(features.weight.sum())}
    saved = _Checkpoint(checkpoint, content_hash(settings), [theta, *(a for g, _ in groups for a in g.states.values())])
    done, recorded = saved.load()
    lane_of = [order.index(label) for label in specs]

    def record(t: int) -> None:
        recorded[t] = (source.risk(theta) @ shares)[lane_of]

    if done == 0 and 0 in wanted:
        record(0)
    grad = np.zeros_like(theta)
    cumulative = shares.cumsum()[:-1]
    chunk = max(CHUNK_ROWS // batch_size, 1)
    last_save = time.monotonic()
    with np.errstate(over="ignore", invalid="ignore"):  # optimizers may diverge; the others go on
        for start in range(done, num_steps, chunk):
            rng = np.random.default_rng((seed, start // chunk))
            inputs, targets = source.sample(chunk * batch_size, rng)
            experts = np.searchsorted(cumulative, rng.random(chunk * batch_size))
            for offset in range(min(chunk, num_steps - start)):
                rows_here = slice(offset * batch_size, (offset + 1) * batch_size)
                busy = _put_gradients(grad, theta, inputs[rows_here], targets[rows_here], experts[rows_here])
                t = start + offset + 1
                for lanes, rows_of in groups:
                    lanes.update(t, grad[rows_of])
                grad[:, busy] = 0
                if t in wanted:
                    record(t)
            is_last = start + chunk >= num_steps
            if is_last or time.monotonic() - last_save > SAVE_SECONDS:
                last_save = time.monotonic()
                # a part of a chunk cannot be gone on with: a longer run starts at the chunk's first update
                saved.save(start + chunk if start + chunk <= num_steps else None, recorded)
                if progress is not None and recorded:
                    progress(min(start + chunk, num_steps), recorded[max(recorded)])
    times = sorted(t for t in recorded if t in wanted)
    return _simulation(times, [recorded[t] for t in times])


def _put_gradients(grad: Array, theta: Array, inputs: Array, targets: Array, experts: Array) -> Any:
    """Write the gradients of one batch, shape (lanes, experts, d), and return which experts have one."""
    batch_size = len(targets)
    busy = np.unique(experts)
    for expert in busy:
        mine = slice(None) if len(busy) == 1 else experts == expert
        x = inputs[mine]
        residual = theta[:, expert] @ x.T - targets[mine]
        np.matmul(residual, x / inputs.dtype.type(batch_size), out=grad[:, expert])
    return busy


class _Source:
    """Examples and risks of a problem in the coordinates of theta, by a triangular factor R of K = R^T R.

    Features are z R with z normal. The target's part in their span is z w with R theta* = w; the rest is independent
    Gaussian noise of variance P_inf.
    """

    def __init__(self, features: RandomFeatures, dtype: Any) -> None:
        target = features.scale * features.target
        basis, self.factor = np.linalg.qr(features.scale[:, None] * features.weight)
        self.explained = basis.T @ target
        outside = target - basis @ self.explained
        self.irreducible_risk = float(outside @ outside) + features.label_noise**2
        self.num_features = len(self.explained)
        self._cast = [
            array.astype(dtype) for array in (self.factor, self.explained, self.irreducible_risk**0.5 + np.zeros(1))
        ]

    def sample(self, num_examples: int, rng: np.random.Generator) -> tuple[Array, Array]:
        factor, explained, noise = self._cast
        z = rng.standard_normal((num_examples, self.num_features), dtype=factor.dtype)
        return z @ factor, z @ explained + noise * rng.standard_normal(num_examples, dtype=factor.dtype)

    def risk(self, theta: Array) -> Array:
        """Return P for theta of shape (..., d)."""
        missed = theta.astype(float) @ self.factor.T - self.explained
        risk: Array = self.irreducible_risk + (missed * missed).sum(axis=-1)
        return risk


class _Checkpoint:
    """The arrays of a simulation, and what it has recorded, in one file."""

    def __init__(self, path: Path | None, fingerprint: str, arrays: Sequence[Array]) -> None:
        self.path, self.fingerprint, self.arrays = path, fingerprint, arrays

    def load(self) -> tuple[int, dict[int, Array]]:
        """Fill the arrays and return the number of updates made and the risks recorded."""
        if self.path is None or not self.path.is_file():
            return 0, {}
        with np.load(self.path) as data:
            same = str(data["fingerprint"]) == self.fingerprint
            advice = "Delete the file, or name another."
            check(same, f"checkpoint {self.path}", "come from the same simulation", "another one's", advice=advice)
            for i, array in enumerate(self.arrays):
                array[...] = data[f"array{i}"]
            return int(data["done"]), dict(zip(data["times"].tolist(), data["risks"], strict=True))

    def save(self, done: int | None, recorded: dict[int, Array]) -> None:
        if self.path is None or done is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        arrays: dict[str, Any] = {f"array{i}": array for i, array in enumerate(self.arrays)}
        partial = self.path.with_suffix(".partial.npz")
        np.savez(
            partial,
            fingerprint=self.fingerprint,
            done=done,
            times=np.array(list(recorded)),
            risks=np.array(list(recorded.values())),
            **arrays,
        )
        partial.replace(self.path)


def _times(num_steps: int, record_at: Sequence[int] | None) -> set[int]:
    times = set(geometric_steps(num_steps) if record_at is None else record_at)
    check(max(times) <= num_steps, "record_at", f"lie within num_steps = {num_steps}", max(times))
    return times


def _simulation(times: Sequence[int], risks: Sequence[Array]) -> Simulation:
    risk = np.array(risks).T
    return Simulation(time=np.array(times, dtype=float), risk=np.where(np.isfinite(risk), risk, np.inf))


class Lanes:
    """Several runs side by side along the first axis of numpy arrays, each under its own spec of one rule.

    The instructions are those of the backends (`backends.program.trace`); only the arrays are numpy's, because a lane's
    scalars may differ from its neighbour's, which no backend for training needs.

    Args:
        specs: One for each lane, or one for all of them. All have the same rule.
        param: Shape (lanes, ...), updated in place; its dtype is that of the arithmetic.

    Attributes:
        param: The parameters.
        states: The rule's states by name, shaped like the parameters.
        numbers: Its states that are one number per parameter, a column with a row for each lane.
    """

    def __init__(self, specs: Sequence[Spec], param: Array) -> None:
        rules = {spec.rule.name for spec in specs}
        check(len(rules) == 1, "specs", "share one rule", sorted(rules), advice="Run each rule in Lanes of its own.")
        fits = len(specs) in (1, len(param))
        check(fits, "specs", f"be 1 or {len(param)}, the length of param's first axis", len(specs))
        self.specs = tuple(specs)
        self.param = param
        rule = specs[0].rule
        self._program = trace(rule)
        self.states = {name: np.zeros_like(param) for name in self._program.operands if name not in ("param", "grad")}
        for name, array in self.states.items():
            init = rule.states[name].init
            array += param if init == "param" else 0.0 if init == "zeros" else init
        self.numbers = {name: np.zeros((len(param), 1)) for name in self._program.number_states}
        rows = param.reshape(len(param), -1)
        self._shape = (max(PIECE // rows.shape[1], 1), min(rows.shape[1], PIECE))
        self._scratch = [np.empty(self._shape, param.dtype) for _ in range(self._program.num_temporaries + 1)]

    def update(self, t: int, grad: Array) -> None:
        """Perform update t (1 at the first) of every lane with gradients shaped like the parameters."""
        arrays = {"param": self.param, "grad": grad, **self.states}
        operands = [arrays[name].reshape(len(grad), -1) for name in self._program.operands]
        values = self._scalars(t) | self.numbers | {NUMEL: float(operands[0].shape[1])}
        for segment in self._program.segments:
            values |= self._run(segment, operands, values)
        for name, value in self._program.numbers:
            self.numbers[name] = _value(value, values) + np.zeros((len(grad), 1))

    def _run(self, segment: Segment, operands: list[Array], values: Mapping[str, Any]) -> dict[str, Array]:
        """Run a segment and return its reductions: columns with a row for each lane."""
        height, width = self._shape
        dtype = operands[0].dtype
        code = [
            (
                step,
                _as_column(_value(step.scalar, values), dtype)
                if isinstance(step, Instruction) and step.scalar
                else None,
            )
            for step in segment.code
        ]
        sums = {reduction.name: np.zeros((len(operands[0]), 1)) for reduction in segment.reductions}
        for top in range(0, len(operands[0]), height):
            rows = slice(top, top + height)
            here = [(step, s[rows] if isinstance(s, np.ndarray) else s) for step, s in code]
            for left in range(0, operands[0].shape[1], width):
                pieces = [operand[rows, left : left + width] for operand in operands]
                cut = tuple(slice(0, n) for n in pieces[0].shape)
                *slots, spare = pieces + [scratch[cut] for scratch in self._scratch]
                for step, scalar in here:
                    if isinstance(step, Instruction):
                        run = _OPERATIONS[step.op]
                        run(slots[step.output], spare, scalar, *(slots[i] for i in step.inputs))
                    else:
                        array = slots[step.input].astype(float)
                        array = array * array if step.kind == "total_square" else array
                        sums[step.name][rows] += array.sum(axis=1, keepdims=True)
        return sums

    def _scalars(self, t: int) -> dict[str, Any]:
        """Return the rule's scalars of update t: a number where all lanes agree, else a column with a row for each."""
        every = [spec.scalars(t) for spec in self.specs]
        columns = {name: [scalars[name] for scalars in every] for name in every[0]}
        return {
            name: values[0] if values.count(values[0]) == len(values) else np.array(values)[:, None]
            for name, values in columns.items()
        }


def _value(scalar: Scalar, values: Mapping[str, Any]) -> Any:
    """Return the value of a scalar: a number, or a column with a row for each lane where lanes differ."""
    if not any(isinstance(values[name], np.ndarray) for name in scalar.names()):
        return scalar(values)
    if scalar.op not in _ON_COLUMNS:
        return scalar(values)  # a name
    with np.errstate(all="ignore"):
        return _ON_COLUMNS[scalar.op](*(_value(argument, values) for argument in scalar.arguments))


_ON_COLUMNS: dict[str, Callable[..., Any]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "neg": np.negative,
    "absolute": np.absolute,
    "sign": np.sign,
    "sqrt": np.sqrt,
    "log": np.log,
    "exp": np.exp,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "greater": lambda x, y: (x > y) * 1.0,
    "greater_equal": lambda x, y: (x >= y) * 1.0,
    "where": lambda condition, x, y: np.where(np.asarray(condition) != 0, x, y),
}


def _as_column(scalar: Any, dtype: Any) -> Any:
    return scalar.astype(dtype) if isinstance(scalar, np.ndarray) else scalar


def _add_scaled(out: Array, spare: Array, scalar: Any, x: Array, y: Array) -> None:
    np.multiply(y, scalar, out=spare)
    np.add(x, spare, out=out)


def _add_scaled_quotient(out: Array, spare: Array, scalar: Any, x: Array, y: Array, z: Array) -> None:
    np.divide(y, z, out=spare)
    _add_scaled(out, spare, scalar, x, spare)


def _lerp(out: Array, spare: Array, scalar: Any, x: Array, y: Array) -> None:
    np.subtract(y, x, out=spare)
    _add_scaled(out, spare, scalar, x, spare)


_OPERATIONS: dict[str, Callable[..., Any]] = {
    "add": lambda out, _, __, x, y: np.add(x, y, out=out),
    "sub": lambda out, _, __, x, y: np.subtract(x, y, out=out),
    "mul": lambda out, _, __, x, y: np.multiply(x, y, out=out),
    "div": lambda out, _, __, x, y: np.divide(x, y, out=out),
    "add_scaled": _add_scaled,
    "add_scaled_quotient": _add_scaled_quotient,
    "lerp": _lerp,
    "add_scalar": lambda out, _, scalar, x: np.add(x, scalar, out=out),
    "mul_scalar": lambda out, _, scalar, x: np.multiply(x, scalar, out=out),
    "div_scalar": lambda out, _, scalar, x: np.divide(x, scalar, out=out),
    "neg": lambda out, _, __, x: np.negative(x, out=out),
    "sqrt": lambda out, _, __, x: np.sqrt(x, out=out),
    "absolute": lambda out, _, __, x: np.absolute(x, out=out),
    "sign": lambda out, _, __, x: np.sign(x, out=out),
    "maximum": lambda out, _, scalar, x: np.maximum(x, scalar, out=out),
    "minimum": lambda out, _, scalar, x: np.minimum(x, scalar, out=out),
    "larger": lambda out, _, __, x, y: np.maximum(x, y, out=out),
    "smaller": lambda out, _, __, x, y: np.minimum(x, y, out=out),
    "scalar_div": lambda out, _, scalar, x: np.divide(scalar, x, out=out),
    "greater": lambda out, _, __, x, y: np.copyto(out, x > y),
    "greater_equal": lambda out, _, __, x, y: np.copyto(out, x >= y),
    "greater_scalar": lambda out, _, scalar, x: np.copyto(out, x > scalar),
    "greater_equal_scalar": lambda out, _, scalar, x: np.copyto(out, x >= scalar),
    "less_scalar": lambda out, _, scalar, x: np.copyto(out, x < scalar),
    "less_equal_scalar": lambda out, _, scalar, x: np.copyto(out, x <= scalar),
    "where": lambda out, _, __, x, y, z: np.copyto(out, np.where(x != 0, y, z)),
    "fill": lambda out, _, scalar: np.copyto(out, scalar),
    "log": lambda out, _, __, x: np.log(x, out=out),
    "exp": lambda out, _, __, x: np.exp(x, out=out),
    "copy": lambda out, _, __, x: np.copyto(out, x),
}
