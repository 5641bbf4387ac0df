import numpy as np
import pytest

from logclock.theory import Envelope, RiskCurve, compute_envelope, fit_exponents, time_slope

TIME = np.concatenate([[0.0], np.geomspace(1, 1e9, 400)])


def power_curves(sizes, *, horizon_of=lambda d: 1e9):
    """P = t^-1 + d^-1.5: at compute f = d t the best d is (1.5 f)^0.4 and P* ~ f^-0.6."""
    return {
        d: RiskCurve(time=(t := TIME[horizon_of(d) * 1.01 >= TIME]), risk=1 / np.maximum(t, 1e-9) + d**-1.5)
        for d in sizes
    }


def test_exponents_of_a_known_law_are_found():
    envelope = compute_envelope(power_curves([100 * 2**i for i in range(12)]))

    fitted = fit_exponents(envelope, window=(1e8, 1e11))

    assert fitted.eta == pytest.approx(0.6, abs=0.003)  # the best of sizes a factor 2 apart ripples around the law
    assert fitted.xi == pytest.approx(0.4, abs=0.005)
    assert fitted.num_points == 61
    assert fitted.window == pytest.approx((1e8, 1e11))


def test_the_envelope_is_the_least_risk_and_the_refined_size():
    curves = power_curves([100 * 2**i for i in range(12)])
    envelope = compute_envelope(curves)

    risk, size = envelope.at(1e9)

    assert risk == pytest.approx(min(float(curve.at(1e9 / d)) for d, curve in curves.items()))
    assert size == pytest.approx((1.5e9) ** 0.4, rel=0.06)


def test_points_whose_best_size_may_lie_outside_are_left_out():
    sizes = [1000 * 2**i for i in range(4)]

    envelope = compute_envelope(power_curves(sizes))

    assert envelope.size.min() > 1000
    assert envelope.size.max() < 8000
    assert envelope.compute.min() > 1000**2.5 / 1.5
    assert envelope.compute.max() < 8000**2.5 / 1.5


def test_a_curve_that_ends_early_leaves_the_others():
    """Horizons of equal compute are equal up to rounding; points at their very end count."""
    curves = {
        d: RiskCurve(
            time=(t := np.concatenate([[0.0], np.geomspace(1, 1e10 / d, 300)])), risk=1 / np.maximum(t, 1e-9) + d**-1.5
        )
        for d in (300, 1_100, 4_000, 15_000, 55_000)
    }

    envelope = compute_envelope(curves)

    assert envelope.compute[-1] == pytest.approx(1e10)
    assert envelope.at(1e10)[1] == pytest.approx((1.5e10) ** 0.4, rel=0.3)


def test_a_batch_costs_as_many_examples():
    curves = power_curves([100 * 2**i for i in range(12)])

    one, ten = compute_envelope(curves), compute_envelope(curves, batch_size=10)

    assert ten.at(1e10) == pytest.approx(one.at(1e9), rel=1e-6)


def test_diverged_sizes_never_win():
    curves = power_curves([100 * 2**i for i in range(12)])
    curves[400] = RiskCurve(time=TIME, risk=np.full_like(TIME, np.inf))

    envelope = compute_envelope(curves)

    assert np.isfinite(envelope.risk).all()


def test_slopes_of_a_power_are_found():
    curve = RiskCurve(time=TIME, risk=3 * np.maximum(TIME, 0.5) ** -1.25)

    assert time_slope(curve, window=(10, 1e6)) == pytest.approx(1.25)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: compute_envelope(power_curves([100, 200])), "curves must hold at least three sizes, got 2."),
        (
            lambda: fit_exponents(compute_envelope(power_curves([100, 200, 400])), window=(1e30, 1e31)),
            "window must hold three points of the envelope",
        ),
        (lambda: compute_envelope(power_curves([100, 200, 400])).at(1.0), "compute must lie in"),
        (lambda: Envelope(compute=np.array([]), risk=np.array([]), size=np.array([])).at(1.0), "compute must lie in"),
        (lambda: time_slope(power_curves([100])[100], window=(2, 2)), "window must hold three points of the curve"),
    ],
)
def test_bad_requests_say_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call()
