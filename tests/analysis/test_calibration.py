import dataclasses
import math
import random

import pytest
from ladders import Invented

from logclock.analysis import analyse_ladder
from logclock.analysis.calibration import KINDS, MEASURED, Noise, Rate, calibrate, measured_noise

FAMILIES = {"compare", "pooled", "any size", "trend in nats", "trend in the multiplier", "ablate"}
ALLOWED = 0.06
"""Nominal 5 % and 1 % of grace."""


def shrunk(noise, num_sizes, *, noise_factor=1.0, curvature=None):
    return dataclasses.replace(
        noise,
        own=tuple(noise_factor * sd for sd in noise.own[:num_sizes]),
        shared=tuple(noise_factor * sd for sd in noise.shared[:num_sizes]),
        curvature=noise.curvature if curvature is None else curvature,
        params=noise.params[:num_sizes],
        compute=noise.compute[:num_sizes],
    )


def assert_nominal(found):
    for kind, rate in found.false_positives.items():
        assert rate.value - 2.5 * rate.error <= ALLOWED, (kind, rate.value)


@pytest.mark.parametrize(
    ("noise", "num_seeds", "sampling_error"),
    [
        (MEASURED, 3, 0.004),
        (shrunk(MEASURED, 5, noise_factor=0.4), 3, 0.0),  # the search is all that errs
        (shrunk(MEASURED, 5, curvature=0.0), 3, 0.0),  # the search errs in nothing
        (shrunk(MEASURED, 3, curvature=0.25), 3, 0.002),
        (shrunk(MEASURED, 4), 2, 0.004),
        (shrunk(MEASURED, 5, noise_factor=2.0), 5, 0.004),
    ],
)
def test_verdicts_are_wrong_no_more_often_than_stated(noise, num_seeds, sampling_error):
    found = calibrate(
        noise,
        repetitions=150,
        num_seeds=num_seeds,
        num_optimizers=2,
        sampling_error=sampling_error,
        kinds=sorted(FAMILIES),
        seed=1,
    )

    assert set(found.false_positives) == FAMILIES
    assert_nominal(found)


@pytest.mark.slow
@pytest.mark.parametrize("curvature", [0.0, 0.085, 0.2])
def test_every_verdict_is_wrong_no_more_often_than_stated_in_many_repetitions(curvature):
    assert_nominal(calibrate(dataclasses.replace(MEASURED, curvature=curvature), repetitions=2000, seed=2))


def test_a_large_effect_is_found_by_every_verdict():
    found = calibrate(shrunk(MEASURED, 5, noise_factor=0.5), repetitions=20, effect=0.2, sampling_error=0.002)

    assert set(found.power) == set(KINDS)
    assert all(rate.value >= 0.9 for rate in found.power.values())


def test_the_same_seed_gives_the_same_rates():
    first, again = (calibrate(repetitions=5, kinds=["compare"], effect=0.05, seed=3) for _ in range(2))

    assert first == again


def test_the_error_of_a_rate_is_that_of_a_binomial_count():
    # share (5 + 1) / (100 + 2), as one that never happened is not known to be impossible
    share = 6 / 102
    assert Rate(count=5, repetitions=100).error == pytest.approx(math.sqrt(share * (1 - share) / 100))
    assert Rate(count=5, repetitions=100).value == 0.05
    assert Rate(count=0, repetitions=100).error > 0


def test_noise_is_read_off_the_seeds_of_a_ladder():
    """Six optimizers of six seeds, whose losses are a level, a shift of each seed and the noise of each run."""
    ladder = Invented(
        optimizers=tuple("abcdef"),
        seeds=tuple(range(6)),
        noise=0.02,
        curvature=0.06,
        laws=dict.fromkeys("abcdef", Invented().laws["adamw"]),
    )
    shifts = {seed: random.Random(seed).gauss(0, 0.03) for seed in range(6)}
    records = [
        dataclasses.replace(
            r,
            metrics=r.metrics | {"final_validation_loss": r.metrics["final_validation_loss"] + shifts[r.seed]},
        )
        for r in ladder.records()
    ]

    found = measured_noise(analyse_ladder(records, baseline="a", forms=[], num_samples=0))

    assert len(found.own) == len(found.shared) == 5
    # 25 degrees of freedom at each of five sizes: 6 % of a standard deviation over all of them
    assert math.sqrt(sum(sd**2 for sd in found.own) / 5) == pytest.approx(0.02, rel=0.2)
    seen = math.sqrt(sum((s - sum(shifts.values()) / 6) ** 2 for s in shifts.values()) / 5)
    assert found.shared[0] == pytest.approx(seen, rel=0.5)
    assert found.exponent > 0


def test_a_ladder_without_spread_cannot_say_how_noisy_runs_are():
    single = analyse_ladder(dataclasses.replace(Invented(), seeds=(0,)).records(), forms=[], num_samples=0)

    with pytest.raises(ValueError, match="needs two optimizers or more with two shared seeds, got 0 with 0"):
        measured_noise(single)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": ["luck"]}, "unknown kind of verdict 'luck'. Known: compare, pooled"),
        ({"num_seeds": 1}, "num_seeds >= 2, got .*One seed has no spread"),
        ({"repetitions": 0}, "repetitions and num_optimizers must be >= 1"),
    ],
)
def test_what_cannot_be_simulated_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        calibrate(**arguments)


def test_noise_needs_one_number_for_every_size():
    with pytest.raises(ValueError, match="one number each for every size, got 2, 1, 2 and 2"):
        Noise(own=(0.1, 0.1), shared=(0.1,), curvature=0.1, curvature_spread=0.1, params=(1, 2), compute=(1, 2))
    with pytest.raises(ValueError, match="own must be >= 0 at every size"):
        dataclasses.replace(MEASURED, own=(-1.0, 0, 0, 0, 0))
