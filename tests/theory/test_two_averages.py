"""Is the risk of two averages exact, by other recursions, by drawn data and by hand?"""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from logclock.recipes import plrf_batches
from logclock.recipes.plrf_batches import POINTS, STEPS, batch_problem
from logclock.schedules import Constant, DebiasedEma, PowerGrowth, log_time_ema
from logclock.theory import (
    Algorithm,
    LeastSquares,
    TwoAverages,
    budget_gain,
    capped_gain,
    exact_risk,
    resolved_modes,
    sgd,
    surrogate_plrf,
    two_average_risks,
)

PROBLEM = surrogate_plrf(1.0, 0.7, num_features=30, ambient_dim=120)


def last(algorithm, *, steps, batch_size):
    return exact_risk(PROBLEM, algorithm, num_steps=steps, batch_size=batch_size, record_at=[steps]).risk[-1]


def one_step_by_hand(error, eigenvalue, floor, step, batch_size):
    # E (e - step g)^2 with E g = lambda e and E g^2 = (1 + 1/B) lambda^2 e^2 + lambda P / B
    risk = floor + eigenvalue * error**2
    square = (1 + 1 / batch_size) * eigenvalue**2 * error**2 + eigenvalue * risk / batch_size
    return floor + eigenvalue * (error**2 - 2 * step * eigenvalue * error**2 + step**2 * square)


def test_one_update_by_hand():
    problem = LeastSquares(eigenvalues=np.array([2.0]), initial_error=np.array([3.0]), irreducible_risk=0.5)
    # the corrected fast average is the gradient at t = 1, and n = D g = 8/9 g: a step of 0.1 (1 + 9 * 8/9) = 0.9
    method = TwoAverages(step=0.1, ema=0.25, gain=lambda t: 9.0)

    (risk,) = two_average_risks(problem, [method], num_steps=1, batch_size=4)

    assert risk == pytest.approx(one_step_by_hand(3.0, 2.0, 0.5, 0.9, 4), rel=1e-14)


@pytest.mark.parametrize("batch_size", [1, 16])
def test_without_a_fast_average_it_is_the_algorithm_with_one_buffer(batch_size):
    step = 0.1
    twin = Algorithm(
        name="twin",
        gamma1=log_time_ema(8.0),
        gamma2=step,
        gamma3=Constant(value=step) * PowerGrowth(kappa=0.7),
        damping=log_time_ema(8.0),
    )

    (risk,) = two_average_risks(
        PROBLEM, [TwoAverages(step=step, gain=PowerGrowth(kappa=0.7))], num_steps=200, batch_size=batch_size
    )

    assert risk == pytest.approx(last(twin, steps=200, batch_size=batch_size), rel=1e-11)


def test_without_the_long_average_and_with_all_memory_in_the_newest_gradient_it_is_sgd():
    plain = sgd(PROBLEM, batch_size=4)

    (risk,) = two_average_risks(PROBLEM, [TwoAverages(step=plain.gamma2)], num_steps=100, batch_size=4)

    assert risk == pytest.approx(last(plain, steps=100, batch_size=4), rel=1e-11)


def test_without_the_long_average_it_is_the_algorithm_with_a_corrected_buffer():
    ema, step = 0.2, 0.1
    corrected = DebiasedEma(ema=ema) * Constant(value=step / ema)  # step / (1 - 0.8^t)
    twin = Algorithm(name="twin", gamma1=ema, gamma2=0.0, gamma3=corrected, damping=ema)

    (risk,) = two_average_risks(PROBLEM, [TwoAverages(step=step, ema=ema)], num_steps=100, batch_size=2)

    assert risk == pytest.approx(last(twin, steps=100, batch_size=2), rel=1e-11)


def test_it_is_the_mean_of_runs_on_drawn_data():
    generator = np.random.default_rng(0)
    problem = surrogate_plrf(0.8, 0.4, num_features=5, ambient_dim=20)
    method = TwoAverages(step=0.15, ema=0.3, gain=capped_gain(1.0, 0.6))
    runs, steps, batch = 40_000, 12, 3
    error = np.tile(problem.initial_error, (runs, 1))
    fast, long = np.zeros_like(error), np.zeros_like(error)

    for t in range(1, steps + 1):
        x = generator.normal(size=(runs, batch, 5)) * np.sqrt(problem.eigenvalues)
        noise = generator.normal(size=(runs, batch)) * math.sqrt(problem.irreducible_risk)
        grad = np.einsum("rbd,rb->rd", x, np.einsum("rbd,rd->rb", x, error) - noise) / batch
        fast += 0.3 * (grad - fast)
        long += 8 / (8 + t) * (grad - long)
        alpha = min((8 + t) / 8, (1 + t) ** 0.4)
        error -= 0.15 * (fast / (1 - 0.7**t) + alpha * long)
    risks = problem.risk(error)

    (risk,) = two_average_risks(problem, [method], num_steps=steps, batch_size=batch)
    assert abs(risks.mean() - risk) < 4 * risks.std() / math.sqrt(runs)
    assert risks.std() / math.sqrt(runs) < 0.02 * risk


def test_methods_do_not_see_each_other_and_one_that_diverges_is_infinite():
    good, bad = TwoAverages(step=0.1), TwoAverages(step=0.1, gain=lambda t: 1e4)

    both = two_average_risks(PROBLEM, [bad, good], num_steps=300, batch_size=1)

    assert both[0] == math.inf
    (alone,) = two_average_risks(PROBLEM, [good], num_steps=300, batch_size=1)
    assert both[1] == pytest.approx(alone, rel=1e-12)


def test_a_budget_is_spent_over_the_resolved_modes():
    gain = budget_gain(PROBLEM, 0.5, step=0.1, delta=8.0)
    damping = 8 / 1008
    modes = resolved_modes(PROBLEM, gamma2=0.1, damping=damping)

    assert gain(1000) == pytest.approx(0.5 / modes / damping)
    assert budget_gain(PROBLEM, 1e9, step=0.1)(1000) == pytest.approx(1 / damping)  # the cap


@pytest.mark.parametrize("settings", [{"step": 0.0}, {"step": 0.1, "ema": 0.0}, {"step": 0.1, "ema": 1.5}])
def test_settings_out_of_bounds_are_refused(settings):
    with pytest.raises(ValueError, match="must"):
        TwoAverages(**settings)


def rows_of_the_page():
    text = (Path(__file__).parents[2] / "docs" / "theory.md").read_text()
    table = text.split("## Batches, and a fast average")[1].split("\n\n* **")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| ")
    ][1:]


@pytest.mark.parametrize(("alpha", "batch_size"), [("1", "16"), ("1", "1024"), ("0.7", "64")])
def test_the_page_has_the_risks_that_its_settings_give(alpha, batch_size):
    (row,) = [row for row in rows_of_the_page() if row[:2] == [alpha, batch_size]]
    _, _, *cells = row
    problem = batch_problem(float(alpha), dict(POINTS)[float(alpha)], num_features=1000)
    numbers = [[float(part) for part in re.findall(r"[\d.]+", cell)] for cell in cells]
    (plain,), (fast, memory), (power, c, kappa), (budgeted, budget), _, (both, mixed_memory, mixed_c, mixed_kappa) = (
        numbers
    )
    arms = {"plain": [], "fast": [], "power": [], "budget": [], "both": []}
    for step in (share / problem.eigenvalues.max() for share in STEPS):
        arms["plain"].append(TwoAverages(step=step))
        arms["fast"].append(TwoAverages(step=step, ema=1 / memory))
        arms["power"].append(TwoAverages(step=step, gain=capped_gain(c, kappa)))
        arms["budget"].append(TwoAverages(step=step, gain=budget_gain(problem, budget, step=step)))
        gain = capped_gain(mixed_c, mixed_kappa)
        arms["both"].append(TwoAverages(step=step, ema=1 / mixed_memory, gain=gain))

    risks = two_average_risks(
        problem, [arm for kind in arms.values() for arm in kind], num_steps=500, batch_size=int(batch_size)
    )

    best = (np.array(risks).reshape(len(arms), -1).min(axis=1) - problem.irreducible_risk) * 1e5
    assert best == pytest.approx([plain, fast, power, budgeted, both], rel=6e-3)  # three digits


def test_the_experiment_finds_the_best_of_each_kind(monkeypatch):
    monkeypatch.setattr(plrf_batches, "BATCH_SIZES", (4,))
    monkeypatch.setattr(plrf_batches, "POINTS", ((1.0, 0.7),))
    monkeypatch.setattr(plrf_batches, "STEPS", (0.25, 0.5))
    said = []

    rows = plrf_batches.batches(said.append, num_features=20, num_steps=30)

    problem = batch_problem(1.0, 0.7, num_features=20)
    steps = [share / problem.eigenvalues.max() for share in (0.25, 0.5)]
    plain = min(two_average_risks(problem, [TwoAverages(step=step) for step in steps], num_steps=30, batch_size=4))
    found = {row["kind"]: row for row in rows}
    assert list(found) == ["sgd", "fast", "budget", "power", "mixture"]
    assert len(said) == 5
    assert found["sgd"]["excess_risk"] == pytest.approx(plain - problem.irreducible_risk, rel=1e-3)
    assert found["power"]["excess_risk"] < found["sgd"]["excess_risk"]
