import numpy as np
import pytest

from logclock.theory import ALGORITHMS, compute_exponents, effective_time_exponent, phase, piece_exponents

# specs/dana-plrf.md 4.5, predicted columns: SGD, DANA-constant, DANA-decaying; (eta, xi) each.
PRINTED = {
    (1.0, 0.3): ("Ia", (0.533, 0.333), (0.640, 0.400), (0.686, 0.429)),
    (1.0, 0.7): ("II", (0.706, 0.412), (0.800, 0.400), (0.878, 0.512)),
    (1.0, 1.3): ("III", (0.750, 0.500), (0.800, 0.400), (0.900, 0.600)),
    (0.7, 0.3): ("Ia", (0.417, 0.417), (0.455, 0.455), (0.479, 0.479)),
    (0.7, 0.6): ("II", (0.615, 0.462), (0.640, 0.480), (0.699, 0.524)),
    (0.7, 1.0): ("III", (0.643, 0.500), (0.643, 0.500), (0.723, 0.563)),
    (1.5, 0.3): ("Ia", (0.650, 0.250), (0.867, 0.333), (0.929, 0.357)),
    (1.5, 0.8): ("II", (0.783, 0.348), (1.000, 0.333), (1.071, 0.357)),
    (1.5, 1.9): ("III", (0.833, 0.500), (1.000, 0.333), (1.071, 0.357)),
    (0.4, 0.3): ("Ib", (0.200, 0.500), (0.200, 0.500), (0.200, 0.500)),
    (0.4, 1.0): ("IVa", (0.400, 0.500), (0.400, 0.500), (0.400, 0.500)),
    (0.27, 0.8): ("IVb", (0.292, 0.590), (0.292, 0.590), (0.292, 0.590)),
}


@pytest.mark.parametrize(("problem", "row"), PRINTED.items())
def test_predictions_are_the_printed_ones(problem, row):
    named, *exponents = row

    assert phase(*problem) == named
    for name, expected in zip(("sgd", "dana-constant", "dana-decaying"), exponents, strict=True):
        predicted = compute_exponents(name, *problem)
        assert (predicted.eta, predicted.xi) == pytest.approx(expected, abs=6e-4)


def best_exponents(algorithm, alpha, beta):
    """Maximise min(pieces) / (1 + tau) over t = d^tau: the exponents without any table.

    P = d^-min(pieces) and f = d^(1 + tau), so P = f^-(min / (1 + tau)). On a grid, then refined.
    """

    def rate(tau):
        return min(piece_exponents(algorithm, alpha, beta, tau).values()) / (1 + tau)

    low, high = 0.0, 8.0
    for _ in range(6):
        taus = np.linspace(low, high, 161)
        best = int(np.argmax([rate(tau) for tau in taus]))
        low, high = taus[max(best - 2, 0)], taus[min(best + 2, 160)]
    return rate(taus[best]), 1 / (1 + taus[best])


@pytest.mark.parametrize("algorithm", ["sgd", "dana-constant", "dana-decaying"])
def test_closed_forms_are_the_best_balance_of_the_pieces(algorithm):
    """All phases, by maximisation at random (alpha, beta); seven phases are met many times."""
    rng = np.random.default_rng(0)
    met = set()
    for _ in range(120):
        alpha, beta = rng.uniform(0.05, 2.0), rng.uniform(-0.2, 2.2)
        if alpha + beta < 0.55:
            continue
        met.add(phase(alpha, beta))

        eta, xi = best_exponents(algorithm, alpha, beta)

        predicted = compute_exponents(algorithm, alpha, beta)
        assert predicted.eta == pytest.approx(eta, abs=1e-5)
        assert predicted.xi == pytest.approx(xi, abs=1e-4)
        tau = 1 / predicted.xi - 1
        pieces = piece_exponents(algorithm, alpha, beta, tau)
        first, second = (pieces[name] for name in predicted.balance)
        assert first == pytest.approx(second)
        assert first == pytest.approx(min(pieces.values()))
    assert len(met) >= 6


@pytest.mark.parametrize("algorithm", ["sgd", "dana-constant", "dana-decaying"])
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((0.5 - 1e-9, 0.3), (0.5 + 1e-9, 0.3)),
        ((0.5 - 1e-9, 1.0), (0.5 + 1e-9, 1.0)),
        ((0.9, 0.9 - 1e-9), (0.9, 0.9 + 1e-9)),
        ((0.9, 0.5 - 1e-9), (0.9, 0.5 + 1e-9)),
        ((0.75 - 1e-9, 1.0), (0.75 + 1e-9, 1.0)),
        ((1.3090169 - 1e-7, 0.9), (1.3090170 + 1e-7, 0.9)),
        ((0.2928932 - 1e-7, 1.0), (0.2928933 + 1e-7, 1.0)),
        ((0.25 - 1e-9, 1.0), (0.25 + 1e-9, 1.0)),
    ],
)
def test_loss_exponents_do_not_jump_at_boundaries(algorithm, left, right):
    sides = [compute_exponents(algorithm, *point).eta for point in (left, right)]

    assert sides[0] == pytest.approx(sides[1], abs=1e-5)


def test_decaying_beats_constant_beats_sgd_above_the_line_and_nothing_does_below():
    rng = np.random.default_rng(1)
    for _ in range(100):
        alpha, beta = rng.uniform(0.1, 2.0), rng.uniform(0.45, 2.0)
        sgd, constant, decaying = (
            compute_exponents(name, alpha, beta).eta for name in ("sgd", "dana-constant", "dana-decaying")
        )

        if alpha > 0.5:
            assert decaying > constant >= sgd
        else:
            assert decaying == constant == sgd


def test_entries_say_how_well_they_are_founded():
    assert compute_exponents("sgd", 1.0, 0.7).status == "proved"
    assert compute_exponents("sgd", 0.2, 1.0).status == "derived"  # kernel bounds below alpha = 1/4 are open
    assert compute_exponents("dana-decaying", 1.0, 0.7).status == "derived"
    assert compute_exponents("dana-constant", 0.4, 1.0).status == "derived"
    assert compute_exponents("schedule-free", 1.0, 0.7).status == "measured"


def test_time_exponents_are_the_printed_ones():
    """specs/dana-plrf.md 3.6, in brackets: slopes in t at alpha = 1."""

    def slopes(name, beta):
        late, early = (piece_exponents(name, 1.0, beta, tau) for tau in (0.6, 0.5))
        return {piece: (late[piece] - early[piece]) / 0.1 for piece in late}

    assert slopes("sgd", 0.3) == pytest.approx({"capacity": 0.0, "target": 0.8, "noise": 1.5})
    assert slopes("dana-decaying", 0.3)["target"] == pytest.approx(1.2)
    assert slopes("sgd", 0.7)["target"] == pytest.approx(1.2)
    assert slopes("sgd", 0.7)["distortion"] == pytest.approx(0.5)
    assert slopes("dana-decaying", 0.7)["target"] == pytest.approx(1.8)
    assert slopes("dana-decaying", 0.7)["distortion"] == pytest.approx(0.75)
    assert slopes("dana-decaying", 1.3)["noise"] == pytest.approx(2.25)


def test_dana_constant_accelerates_from_t_equal_d_on():
    assert effective_time_exponent("dana-constant", 1.0, 0.7) == pytest.approx(0.7)
    assert effective_time_exponent("dana-constant", 1.0, 1.5) == pytest.approx(2.0)
    assert effective_time_exponent("dana-constant", 0.4, 1.5) == pytest.approx(1.3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: phase(0.0, 1.0), "alpha must be > 0, got 0.0."),
        (lambda: phase(0.3, 0.2), r"2 \(alpha \+ beta\) must exceed 1, got 1.0"),
        (lambda: compute_exponents("adam", 1.0, 0.7), "unknown algorithm 'adam'.*Known: sgd, sgd-m"),
        (lambda: piece_exponents("adam", 1.0, 0.7, 1.0), "unknown algorithm 'adam'"),
    ],
)
def test_bad_requests_say_what_is_allowed(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_every_algorithm_has_a_prediction():
    assert all(compute_exponents(name, 0.9, 0.6).eta > 0 for name in ALGORITHMS)
