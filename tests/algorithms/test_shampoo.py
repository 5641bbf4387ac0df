import numpy as np
import pytest
import torch
from contract.runs import make_params, run
from contract.test_oracles import require
from contract.test_oracles import run as run_rows
from reference.shampoo import shampoo as reference

from logclock import Shampoo
from logclock.rules.linalg import inverse_power

ALONE = {"ema1": 1.0, "grafting": "none", "refresh_interval": 1, "weight_decay": 0.0}


def random_rows(count, size, seed=1):
    return np.random.default_rng(seed).standard_normal((count, size))


def test_sums_equal_pytorch_optimizer():
    """Theirs starts its factors at matrix_eps I and has no bias to correct: our sum with eps."""
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    rows = random_rows(13, 36)
    settings = {"lr": 1e-2, "weight_decay": 0.1}

    mine = run_rows(lambda p: Shampoo(p, **ALONE | settings, gram_ema=0.0, eps=1e-6), rows, (6, 6))
    theirs = run_rows(
        lambda p: package.Shampoo(p, momentum=0.0, weight_decouple=True, matrix_eps=1e-6, **settings), rows, (6, 6)
    )

    np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("shape", [(1, 1), (4, 4)])
def test_sums_of_diagonal_gradients_are_adagrad(shape):
    """L^-1/4 g R^-1/4 = g / sqrt(sum of g^2) on the diagonal, and the pseudo-inverse leaves the rest alone."""
    ours, theirs = (torch.nn.Parameter(torch.ones(shape, dtype=torch.float64)) for _ in range(2))
    one = Shampoo([ours], lr=0.1, gram_ema=0.0, eps=0.0, **ALONE)
    other = torch.optim.Adagrad([theirs], lr=0.1, eps=0.0, initial_accumulator_value=1e-300)
    for row in random_rows(9, shape[0]):
        ours.grad = torch.diag(torch.from_numpy(row))
        theirs.grad = ours.grad.clone()
        one.step()
        other.step()

    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def check_against(settings, theirs, *, shape=(4, 4), steps=10):
    param = torch.nn.Parameter(torch.from_numpy(random_rows(1, shape[0] * shape[1], seed=2)).reshape(shape))
    start = param.detach().numpy().copy()
    rows = random_rows(steps, shape[0] * shape[1])
    optimizer = Shampoo([param], lr=1e-2, weight_decay=0.0, ema1=0.1, ema2=0.04, refresh_interval=2, **settings)
    for row in rows:
        param.grad = torch.from_numpy(row).reshape(shape)
        optimizer.step()
    grads = [row.reshape(shape) for row in rows]
    common = {"beta1": 0.9, "beta2": 0.96, "interval": 2, "eps": 1e-3, "shampoo_beta": 0.96}
    expected = reference(start, grads, lr=lambda t: 1e-2, decay=lambda t: 0.0, **common | theirs)
    ours = [param.detach(), *list(optimizer.state[param].values())[1:]]
    for mine, other in zip(ours, expected, strict=True):
        np.testing.assert_allclose(mine.numpy(), other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("settings", "theirs"),
    [
        ({"grafting": "none"}, {}),
        ({"grafting": "none", "gram_ema": 0.0}, {"shampoo_beta": None}),
        ({"power": 0.5}, {"graft": 1e-8, "power": 0.5}),
        ({"gram_ema": 0.3, "graft_eps": 1e-2}, {"graft": 1e-2, "shampoo_beta": 0.7}),
    ],
)
def test_equals_the_reference_in_every_form(settings, theirs):
    check_against({"eps": 1e-3, **settings}, theirs)


def test_matrices_that_take_turns_equal_the_reference():
    """Nobody's turn comes before the first interval is over."""
    params = make_params(((4, 4),) * 3, torch.float64)
    starts = [p.detach().numpy().copy() for p in params]
    settings = {"ema1": 0.1, "ema2": 0.04, "eps": 1e-3, "weight_decay": 0.0, "refresh_interval": 3}
    optimizer = Shampoo(params, lr=1e-2, spread_refreshes=True, **settings)
    grads = [[] for _ in params]
    for step in range(10):
        run_step = np.random.default_rng(step).standard_normal((3, 4, 4))
        for param, history, grad in zip(params, grads, run_step, strict=True):
            history.append(grad)
            param.grad = torch.from_numpy(grad.copy())
        optimizer.step()

    common = {"beta1": 0.9, "beta2": 0.96, "shampoo_beta": 0.96, "eps": 1e-3, "graft": 1e-8, "interval": 3}
    for turn, (param, start, history) in enumerate(zip(params, starts, grads, strict=True)):
        theta, *_ = reference(start, history, lr=lambda t: 1e-2, decay=lambda t: 0.0, turn=turn, **common)
        np.testing.assert_allclose(param.detach().numpy(), theta, rtol=1e-11, atol=1e-12)


def test_the_grafted_update_has_the_norm_of_adams():
    ours, theirs = make_params(((6, 4),), torch.float64), make_params(((6, 4),), torch.float64)
    settings = {"lr": 0.1, "weight_decay": 0.0}
    one = Shampoo(ours, ema1=0.1, ema2=0.001, refresh_interval=1, eps=1e-6, **settings)
    other = torch.optim.Adam(theirs, lr=0.1)
    for step in range(5):
        before = [p.detach().clone() for p in (*ours, *theirs)]
        run(one, ours, [step])
        run(other, theirs, [step])
        moved = [(p.detach() - old).norm() for p, old in zip((*ours, *theirs), before, strict=True)]

        torch.testing.assert_close(moved[0], moved[1], rtol=1e-10, atol=0)


def test_before_there_are_roots_it_is_adam():
    ours, theirs = make_params(((6, 4),), torch.float64), make_params(((6, 4),), torch.float64)

    run(Shampoo(ours, lr=0.1, weight_decay=0.0), ours, range(20))
    run(torch.optim.Adam(theirs, lr=0.1), theirs, range(20))

    torch.testing.assert_close(ours[0], theirs[0], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("shape", "kept"), [((6, 3), "col"), ((3, 6), "row"), ((4, 4), "row")])
def test_one_sided_shampoo_divides_by_the_square_root_on_the_shorter_side(shape, kept):
    """With one gradient (G G^T)^-1/2 G is the orthogonal factor of G: all singular values are 1."""
    param = torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    optimizer = Shampoo([param], lr=1.0, sides="short", eps=0.0, **ALONE)
    param.grad = torch.from_numpy(random_rows(1, shape[0] * shape[1])).reshape(shape)
    optimizer.step()

    torch.testing.assert_close(torch.linalg.svdvals(param.detach()), torch.ones(min(shape), dtype=torch.float64))
    other = {"row": "col", "col": "row"}[kept]
    assert optimizer.state[param][f"{other}_gram"].shape == (0, 0)
    assert optimizer.state[param][f"{kept}_root"].shape == (min(shape), min(shape))


def test_state_without_grafting_takes_the_bytes_of_the_table():
    """specs/zoo.md: 1 + 2 (m^2 + n^2) / (m n) numbers per parameter."""
    params = make_params(((10, 5),))
    optimizer = Shampoo(params, grafting="none")
    optimizer.materialize_state()

    assert optimizer.state_bytes() == 4 * 50 * (1 + 2 * (100 + 25) / 50)


def test_inverse_powers_by_hand():
    """Eigenvalues 4 and 0 of the matrix [[2, 2], [2, 2]], the second of which rounding may make negative."""
    gram = torch.full((1, 2, 2), 2.0, dtype=torch.float64)

    damped = inverse_power(gram, 0.5, 1.0)
    pseudo = inverse_power(gram, 0.5, 0.0)

    # 5^-1/2 and 1^-1/2 on (1, 1) and (1, -1); 4^-1/2 and nothing
    large, small = 5**-0.5, 1.0
    expected = torch.tensor([[large + small, large - small], [large - small, large + small]]).double() / 2
    torch.testing.assert_close(damped[0], expected)
    torch.testing.assert_close(pseudo[0], torch.full((2, 2), 0.25, dtype=torch.float64))
    assert not inverse_power(torch.zeros(1, 3, 3), 0.25, 0.0).any()
    assert inverse_power(torch.full((1, 2, 2), torch.nan), 0.25, 0.0).isnan().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"grafting": "sgd"}, r"grafting.*'adam', 'rmsprop', 'none'"),
        ({"sides": "rows"}, r"sides.*'both', 'short'"),
        ({"gram_ema": -0.1}, r"gram_ema must lie in \[0, 1\], got -0\.1"),
        ({"gram_ema": 0.0, "state_dtype": "bfloat16"}, r"state_dtype 'bfloat16' cannot keep"),
    ],
)
def test_what_it_cannot_take_is_refused(settings, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Shampoo(make_params(((3, 3),)), **settings)
