"""Do simulations run the optimizers of training, on the problem as it is defined?"""

import numpy as np
import pytest
import reference.adana
import reference.dana_star
import torch

from logclock.algorithms import (
    AdamwSpec,
    AdanaSpec,
    DanaMk4Spec,
    DanaSpec,
    DanaStarMk4Spec,
    DanaStarSpec,
    NormsgdSpec,
    SgdSpec,
)
from logclock.backends import loop
from logclock.rules import Cautious, CautiousDecay, ClipRms, Grams, Hyperball, ScheduleFree, TrustRatio
from logclock.theory import (
    dana_constant,
    dana_decaying,
    exact_risk,
    random_features,
    random_plrf,
    sgd,
    sgd_momentum,
    simulate,
)
from logclock.theory.simulate import Lanes, dana_spec, is_rotation_invariant, simulate_features, simulate_modes

SPECS = {
    "sgd": [SgdSpec(lr=lr, momentum=0.9, nesterov=True) for lr in (0.1, 0.2, 0.3)],
    "dana": [DanaSpec(lr=0.1, kappa=kappa) for kappa in (0.5, 0.75, 1.0)],
    "adamw": [AdamwSpec(lr=0.1, ema1=ema) for ema in (0.1, 0.05, 0.01)],
    "adana": [AdanaSpec(lr=0.1, kappa=kappa) for kappa in (0.5, 0.75, 1.0)],
    "dana-mk4": [DanaMk4Spec(lr=0.1, clip_snr=clip, weight_decay=0.1) for clip in (0.5, 2.0, None)],
    "dana-star": [DanaStarSpec(lr=0.1, kappa=kappa) for kappa in (0.5, 0.75, 1.0)],
    "dana-star-mk4": [DanaStarMk4Spec(lr=0.1, kappa=kappa, clip_snr=1.0) for kappa in (0.5, 0.75, 1.0)],
    "normsgd": [NormsgdSpec(lr=lr, weight_decay=0.1) for lr in (0.1, 0.2, 0.3)],
    "adamw under LAMB's ratio": [AdamwSpec(lr=lr, wrappers=(TrustRatio(),)) for lr in (0.1, 0.2, 0.3)],
    "masked and clipped": [
        AdanaSpec(lr=lr, weight_decay=0.1, apply=CautiousDecay(), wrappers=(Cautious(), ClipRms(bound=0.5)))
        for lr in (0.1, 0.2, 0.3)
    ],
    "on a sphere": [DanaMk4Spec(lr=lr, apply=Hyperball(), wrappers=(Grams(),)) for lr in (0.1, 0.2, 0.3)],
    "schedule-free": [AdamwSpec(lr=lr, ema1=1.0, wrappers=(ScheduleFree(),)) for lr in (0.1, 0.2, 0.3)],
}


def by_the_loop(spec, start, grads):
    """Run one lane on the reference backend of training."""
    param = torch.tensor(start)
    states = []
    for state in spec.rule.states.values():
        number = torch.zeros((), dtype=torch.float64)
        states.append([number if state.is_number else param.clone() if state.init == "param" else param * 0])
    for t, grad in enumerate(grads, start=1):
        loop.run(spec.rule, [param], [torch.tensor(grad)], states, spec.scalars(t))
    return [param.numpy(), *(state.numpy() for (state,) in states if state.dim())]


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("piece", [8, 32, 10_000])  # parts of a lane, one lane, all lanes at once
def test_every_lane_is_a_run_of_the_reference_backend(monkeypatch, name, piece):
    monkeypatch.setattr(simulate, "PIECE", piece)
    rng = np.random.default_rng(0)
    start = rng.standard_normal((3, 4, 5))
    grads = [rng.standard_normal((3, 4, 5)) * (rng.random((3, 4, 5)) < 0.7) for _ in range(12)]
    lanes = Lanes(SPECS[name], start.copy())

    for t, grad in enumerate(grads, start=1):
        lanes.update(t, grad)

    for i, spec in enumerate(SPECS[name]):
        expected = by_the_loop(spec, start[i], [grad[i] for grad in grads])
        for ours, theirs in zip([lanes.param, *lanes.states.values()], expected, strict=True):
            # float64 rounding: fused operations round differently
            np.testing.assert_allclose(ours[i], theirs, rtol=1e-12, atol=1e-14)


def test_one_spec_serves_all_lanes():
    rng = np.random.default_rng(0)
    start, grad = rng.standard_normal((2, 3, 5))
    shared, given = Lanes([AdanaSpec(lr=0.1)], start.copy()), Lanes([AdanaSpec(lr=0.1)] * 3, start.copy())

    for t in range(1, 4):
        shared.update(t, grad)
        given.update(t, grad)

    np.testing.assert_array_equal(shared.param, given.param)


def test_lanes_share_a_rule():
    with pytest.raises(ValueError, match=r"specs must share one rule, got \['adana', 'sgd'\]"):
        Lanes([AdanaSpec(), SgdSpec()], np.zeros((2, 3)))
    with pytest.raises(ValueError, match="specs must be 1 or 3, the length of param's first axis, got 2"):
        Lanes([AdanaSpec(), AdanaSpec()], np.zeros((3, 3)))


@pytest.mark.parametrize("name", SPECS)
def test_a_rule_is_rotation_invariant_if_a_rotated_run_is_the_run_rotated(name):
    spec = SPECS[name][0]
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.standard_normal((4, 4)))
    start, grads = rng.standard_normal(4), rng.standard_normal((5, 4))

    plain = by_the_loop(spec, start, grads)[0] @ rotation.T
    rotated = by_the_loop(spec, start @ rotation.T, grads @ rotation.T)[0]

    assert is_rotation_invariant(spec.rule) == np.allclose(plain, rotated, rtol=1e-10)
    assert is_rotation_invariant(spec.rule) == (name in ("sgd", "dana", "normsgd"))


def test_the_eigenbasis_is_refused_to_rules_and_decays_that_it_would_change():
    problem = random_plrf(1.0, 0.7, num_features=5, ambient_dim=20, seed=0)

    with pytest.raises(ValueError, match=r"spec must have a rotation-invariant rule, got 'adana'\. Use simulate_featu"):
        simulate_modes(problem, AdanaSpec(), num_steps=2, seed=0)
    with pytest.raises(ValueError, match="weight_decay must be 0 in the eigenbasis"):
        simulate_modes(problem, SgdSpec(weight_decay=0.1), num_steps=2, seed=0)


BUILDERS = {
    "sgd": sgd,
    "sgd-m": sgd_momentum,
    "dana-constant": dana_constant,
    "dana-decaying": lambda problem, **options: dana_decaying(problem, kappa=0.5, **options),
}


@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_exact_risk_is_the_mean_of_many_runs(name, batch_size):
    """Experiment E1, small: the rule of training against the recursion of the second moments."""
    problem = random_plrf(1.0, 0.7, num_features=30, ambient_dim=120, seed=1)
    algorithm = BUILDERS[name](problem, batch_size=batch_size)
    times = [1, 10, 50, 200]

    runs = simulate_modes(
        problem, dana_spec(algorithm), num_steps=200, seed=0, num_runs=1000, batch_size=batch_size, record_at=times
    )

    exact = exact_risk(problem, algorithm, num_steps=200, batch_size=batch_size, record_at=times).risk
    error = runs.risk.std(axis=0, ddof=1) / 1000**0.5
    # 32 comparisons over the tests: 4 standard errors are exceeded once in 500 such suites
    assert (abs(runs.risk.mean(axis=0) - exact) < 4 * error).all()
    assert (error < 0.08 * exact).all()


def test_two_optimizers_of_torch_and_theory_are_one_function():
    problem = random_plrf(1.0, 0.7, num_features=20, ambient_dim=80, seed=0)
    step = sgd(problem).gamma2

    by_sgd = simulate_modes(problem, SgdSpec(lr=step, momentum=0.9), num_steps=50, seed=3)
    by_dana = simulate_modes(problem, DanaSpec(lr=step, gamma2=0.0, gamma3=1.0, damping=0.1), num_steps=50, seed=3)

    np.testing.assert_allclose(by_sgd.risk, by_dana.risk, rtol=1e-12)


@pytest.mark.parametrize("probabilities", [(1.0,), (0.8, 0.2)])
def test_features_and_experts_have_the_exact_risk(probabilities):
    """Correlated features, a batch shared by the experts: the moments of each with its probability."""
    features = random_features(1.0, 0.3, num_features=12, ambient_dim=48, seed=2)
    problem = features.least_squares()
    algorithm = dana_decaying(problem, kappa=0.5, batch_size=4)
    times, seeds = [0, 5, 40, 150], range(120)

    runs = np.concatenate(
        [
            simulate_features(
                features,
                {"dana": dana_spec(algorithm)},
                num_steps=150,
                seed=seed,
                batch_size=4,
                probabilities=probabilities,
                record_at=times,
                dtype=np.float64,
            ).risk
            for seed in seeds
        ]
    )

    exact = sum(
        p * exact_risk(problem, algorithm, num_steps=150, batch_size=4, probability=p, record_at=times).risk
        for p in probabilities
    )
    error = runs.std(axis=0, ddof=1) / len(seeds) ** 0.5
    assert runs[:, 0] == pytest.approx(problem.initial_risk, rel=1e-10)
    assert (abs(runs.mean(axis=0) - exact)[1:] < 4 * error[1:]).all()
    assert (error < 0.05 * exact).all()


@pytest.mark.parametrize(
    ("spec", "run_reference"),
    [
        (
            AdanaSpec(lr=0.05, kappa=0.7, delta=6.0),
            lambda grads: reference.adana.adana(
                np.zeros((3, 4)),
                grads,
                lr=lambda t: 0.05,
                kappa=0.7,
                delta=6.0,
                plus_one=0,
                eps=1e-8,
                decay=lambda t: 0,
            )[0],
        ),
        (
            DanaStarMk4Spec(lr=0.05, kappa=0.7, clip_snr=0.5),
            lambda grads: reference.dana_star.dana_star_mk4(
                np.zeros((3, 4)), grads, lr=lambda t: 0.05, kappa=0.7, delta=8.0, clip=0.5, eps=1e-8, decay=lambda t: 0
            )[0],
        ),
    ],
    ids=["adana", "dana-star-mk4"],
)
def test_an_expert_without_examples_has_a_zero_gradient_and_a_running_clock(spec, run_reference):
    features = random_features(1.0, -0.3, num_features=4, ambient_dim=8, seed=0)
    probabilities = (0.6, 0.3, 0.1)

    ours = simulate_features(
        features,
        {"it": spec},
        num_steps=25,
        seed=7,
        batch_size=2,
        probabilities=probabilities,
        record_at=range(26),
        dtype=np.float64,
    )

    source = simulate._Source(features, np.dtype(float))
    rng = np.random.default_rng((7, 0))
    num_drawn = simulate.CHUNK_ROWS // 2 * 2
    x, y = source.sample(num_drawn, rng)
    experts = (rng.random(num_drawn)[:, None] > np.array([0.6, 0.9])).sum(axis=1)
    theta, grads = np.zeros((3, 4)), []
    for t in range(1, 26):
        grad = np.zeros((3, 4))
        for b in (2 * t - 2, 2 * t - 1):
            grad[experts[b]] += x[b] * (x[b] @ theta[experts[b]] - y[b]) / 2
        grads.append(grad)
        theta = run_reference(grads)
        expected = sum(p * features.risk(row) for p, row in zip(probabilities, theta, strict=True))
        assert ours.risk[0, t] == pytest.approx(expected, rel=1e-10)
    assert 0 < sum((grad == 0).all(axis=1).sum() for grad in grads) < 75


def test_examples_have_the_covariance_and_the_targets_of_the_problem():
    features = random_features(1.0, 0.3, num_features=5, ambient_dim=20, seed=0, label_noise=0.3)
    source = simulate._Source(features, np.dtype(float))

    x, y = source.sample(400_000, np.random.default_rng(0))

    # means of 400,000 products: relative standard errors near 0.2 %
    np.testing.assert_allclose(x.T @ x / len(x), features.covariance, atol=0.02 * features.covariance.max())
    b = features.scale**2 * features.target
    np.testing.assert_allclose(x.T @ y / len(x), features.weight.T @ b, atol=0.02 * abs(features.weight.T @ b).max())
    assert (y**2).mean() == pytest.approx(((features.scale * features.target) ** 2).sum() + 0.09, rel=0.01)


def settings():
    return {
        "specs": {"adana": AdanaSpec(lr=0.01), "adamw": AdamwSpec(lr=0.01, weight_decay=0.0), "b": AdanaSpec(lr=0.02)},
        "seed": 5,
        "batch_size": 2,
        "probabilities": (0.5, 0.5),
    }


@pytest.mark.parametrize("first", [64, 90])
def test_an_interrupted_simulation_goes_on_bitwise(monkeypatch, tmp_path, first):
    monkeypatch.setattr(simulate, "CHUNK_ROWS", 64)
    monkeypatch.setattr(simulate, "SAVE_SECONDS", -1.0)
    features = random_features(1.0, 0.3, num_features=6, ambient_dim=24, seed=0)
    whole = simulate_features(features, num_steps=150, record_at=[0, 10, 100, 150], **settings())
    path = tmp_path / "state.npz"

    simulate_features(features, num_steps=first, record_at=[0, 10], checkpoint=path, **settings())
    resumed = simulate_features(features, num_steps=150, record_at=[0, 10, 100, 150], checkpoint=path, **settings())

    np.testing.assert_array_equal(whole.time, resumed.time)
    np.testing.assert_array_equal(whole.risk, resumed.risk)


def test_a_checkpoint_of_another_simulation_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(simulate, "CHUNK_ROWS", 64)
    features = random_features(1.0, 0.3, num_features=6, ambient_dim=24, seed=0)
    path = tmp_path / "state.npz"
    simulate_features(features, num_steps=64, checkpoint=path, **settings())

    with pytest.raises(ValueError, match="must come from the same simulation"):
        simulate_features(features, num_steps=64, checkpoint=path, **{**settings(), "seed": 6})


def test_a_diverged_optimizer_is_reported_and_the_others_go_on():
    features = random_features(1.0, 0.3, num_features=6, ambient_dim=24, seed=0)
    specs = {"wild": SgdSpec(lr=100.0), "tame": SgdSpec(lr=0.1)}

    result = simulate_features(features, specs, num_steps=400, seed=0)

    assert np.isinf(result.risk[0, -1])
    assert result.risk[1, -1] < 0.2 * result.risk[1, 0]


@pytest.mark.parametrize("probabilities", [(0.5, 0.4), (1.2, -0.2), ()])
def test_probabilities_add_up(probabilities):
    features = random_features(1.0, 0.3, num_features=6, ambient_dim=24, seed=0)

    with pytest.raises(ValueError, match="probabilities must be > 0 and add up to 1"):
        simulate_features(features, {"sgd": SgdSpec()}, num_steps=3, seed=0, probabilities=probabilities)
