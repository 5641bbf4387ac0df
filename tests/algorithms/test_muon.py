import numpy as np
import pytest
import torch
from contract.runs import assert_bitwise, make_params, run, set_grads
from reference.muon import newton_schulz as reference_newton_schulz
from reference.muon import polar_factor

from logclock import Muon, log_time_ema
from logclock.algorithms import MuonSpec
from logclock.rules import linalg
from logclock.rules.linalg import newton_schulz

SHAPES = ((8, 8), (6, 10), (10, 6))

needs_torch_muon = pytest.mark.skipif(
    not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon, the oracle here, came with torch 2.9"
)
# torch iterates in bfloat16, ours too by default, with roundings in other places: over 12 steps torch is up to 0.9 % of
# the distance travelled away from float32 (measured), so two such runs may be 2 % apart.
LOOSE = {"float32": 1e-2, "bfloat16": 2e-2}


def random_matrices(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@needs_torch_muon
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("scale_rule", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("nesterov", [True, False])
def test_equals_torch(dtype, scale_rule, nesterov):
    ours, theirs = make_params(SHAPES), make_params(SHAPES)
    start = [p.detach().clone() for p in ours]
    settings = {"lr": 1e-2, "weight_decay": 0.1, "nesterov": nesterov}

    run(Muon(ours, scale_rule=scale_rule, iteration_dtype=dtype, **settings), ours, range(12))
    run(torch.optim.Muon(theirs, momentum=0.95, adjust_lr_fn=scale_rule, **settings), theirs, range(12))

    for a, b, first in zip(ours, theirs, start, strict=True):
        assert (a - b).norm() < LOOSE[dtype] * (b - first).norm()


@needs_torch_muon
def test_defaults_are_those_of_torch():
    ours, theirs = make_params(SHAPES), make_params(SHAPES)
    start = [p.detach().clone() for p in ours]

    run(Muon(ours), ours, range(12))
    run(torch.optim.Muon(theirs), theirs, range(12))

    for a, b, first in zip(ours, theirs, start, strict=True):
        assert (a - b).norm() < LOOSE["bfloat16"] * (b - first).norm()


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (1, 4)])
def test_the_iteration_equals_its_float64_transcription(shape):
    matrices = random_matrices(4, *shape)

    results = newton_schulz(matrices, num_iterations=5)

    for ours, matrix in zip(results, matrices, strict=True):
        np.testing.assert_allclose(ours.numpy(), reference_newton_schulz(matrix.numpy()), rtol=1e-12, atol=1e-13)


def test_five_steps_bring_singular_values_near_one():
    # specs/zoo.md 4.5: [0.01, 1] goes to [0.68, 1.13], 0.001 to 0.47
    left, right = (torch.linalg.qr(random_matrices(12, 12, seed=seed)).Q for seed in (1, 2))
    values = torch.tensor([1.0, 0.8, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.015, 0.01, 0.001], dtype=torch.float64)
    # the iteration first divides by the Frobenius norm: make that 1, so that `values` are the normalised ones
    values = values / values.norm()
    matrix = left @ torch.diag(values) @ right.T

    (result,) = newton_schulz(matrix[None], num_iterations=5)

    after = torch.diagonal(left.T @ result @ right)
    inside = values >= 0.01
    assert (after[inside] >= 0.68).all()
    assert (after[inside] < 1.135).all()
    assert after[-1] < 0.68
    torch.testing.assert_close(left.T @ result @ right, torch.diag(after), rtol=0, atol=1e-12)  # the same vectors


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_update_does_not_depend_on_the_size_of_the_gradient(factor):
    one, other = (make_params(SHAPES, torch.float64) for _ in range(2))
    settings = {"lr": 1e-2, "weight_decay": 0.0, "iteration_dtype": "float32"}

    run(Muon(one, **settings), one, range(5))
    run(Muon(other, **settings), other, range(5), scale=factor)

    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)  # 1e-7 of a norm of 1e-3, over 5 updates


def test_rotating_the_gradients_rotates_the_update():
    left, right = (torch.linalg.qr(random_matrices(size, size, seed=size)).Q for size in (6, 4))
    start = random_matrices(6, 4, seed=3)
    param, rotated = torch.nn.Parameter(start.clone()), torch.nn.Parameter(left @ start @ right)
    one, other = (Muon([p], lr=0.1, iteration_dtype="float32") for p in (param, rotated))
    for step in range(5):
        param.grad = random_matrices(6, 4, seed=10 + step)
        rotated.grad = left @ param.grad @ right
        one.step()
        other.step()

    torch.testing.assert_close(rotated.detach(), left @ param.detach() @ right, rtol=1e-9, atol=1e-9)


def test_row_blocks_are_matrices_of_their_own():
    fused = torch.nn.Parameter(random_matrices(9, 4))
    parts = [torch.nn.Parameter(part.clone()) for part in fused.detach().chunk(3)]
    settings = {"lr": 0.1, "iteration_dtype": "float32", "scale_rule": "match_rms_adamw"}
    one, other = Muon([fused], row_blocks=3, **settings), Muon(parts, **settings)
    for step in range(4):
        fused.grad = random_matrices(9, 4, seed=step + 1)
        for part, grad in zip(parts, fused.grad.chunk(3), strict=True):
            part.grad = grad.clone()
        one.step()
        other.step()

    torch.testing.assert_close(fused.detach(), torch.cat([part.detach() for part in parts]), rtol=1e-12, atol=1e-12)


def test_the_momentum_starts_at_zero():
    param = torch.nn.Parameter(random_matrices(4, 4))
    before = param.detach().clone()
    optimizer = Muon([param], lr=0.1, weight_decay=0.0, nesterov=False, iteration_dtype="float32")
    param.grad = random_matrices(4, 4, seed=1)
    optimizer.step()

    expected = before.numpy() - 0.1 * reference_newton_schulz(param.grad.numpy())
    np.testing.assert_allclose(param.detach().numpy(), expected, rtol=1e-5)  # 1e-7 of a norm near 0.2


def test_the_momentum_may_be_log_time():
    params = make_params(SHAPES)
    optimizer = Muon(params, ema1=log_time_ema(8.0))
    run(optimizer, params, range(1))

    set_grads(params, 0)
    assert_bitwise([optimizer.state[params[0]]["momentum_buffer"]], [params[0].grad * (8 / 9)])


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((3,), {}, r"a parameter of muon must be a matrix \(2-D\), got \(3,\)\. logclock\.matrix_param_groups"),
        ((2, 3, 4, 5), {}, r"must be a matrix \(2-D\), got \(2, 3, 4, 5\)\..* It takes stacks of matrices too \(3-D\)"),
        ((4, 3), {"row_blocks": 3}, r"row_blocks must divide the 4 rows, got 3"),
        ((4, 3), {"scale_rule": "spectral"}, r"'original', 'match_rms_adamw'"),
        ((4, 3), {"num_iterations": 0}, r"num_iterations must be >= 1, got 0"),
    ],
)
def test_what_it_cannot_take_is_refused(shape, settings, message):
    with pytest.raises(ValueError, match=message):
        Muon([torch.nn.Parameter(torch.zeros(shape))], **settings)


# specs/zoo-additions.md A2, to three digits: where [0.001, 1] and [0.01, 1] go, of a matrix whose Frobenius norm is 1.
IMAGES = [
    ("jordan", 5, (0.471, 1.202), (0.682, 1.134)),
    ("quintic", 5, (0.475, 1.145), (0.978, 1.032)),
    ("polar-express", 5, (0.847, 1.141), (0.859, 1.141)),
    ("polar-express-8", 8, (1.000, 1.000), (1.000, 1.000)),
    ("polar-express-8", 5, (0.846, 1.124), (0.870, 1.124)),
    ("cans", 5, (0.884, 1.120), (0.884, 1.120)),
    (((3.4445, -4.7750, 2.0315),) * 8 + ((2.0, -1.5, 0.5),) * 2, 10, (1.000, 1.001), (1.000, 1.001)),
    (((2.0, -1.5, 0.5),), 12, (1.000, 1.000), (1.000, 1.000)),
]


def image(coefficients, num_iterations, low):
    """Where singular values go: two of every matrix, which make its norm 1."""
    values = torch.from_numpy(np.geomspace(low, 1.0, 4001))
    matrices = torch.diag_embed(torch.stack([values, (1 - values**2).clamp(min=0).sqrt()], dim=-1))
    triples = MuonSpec(coefficients=coefficients).triples
    results = newton_schulz(matrices, num_iterations=num_iterations, coefficients=triples)
    return results[:, 0, 0].min().item(), results[:, 0, 0].max().item()


@pytest.mark.parametrize(("coefficients", "num_iterations", "wide", "narrow"), IMAGES)
def test_coefficients_bring_singular_values_where_the_table_says(coefficients, num_iterations, wide, narrow):
    # the table's digits, and a grid of its own for the extremes
    assert image(coefficients, num_iterations, 1e-3) == pytest.approx(wide, abs=1.1e-3)
    assert image(coefficients, num_iterations, 1e-2) == pytest.approx(narrow, abs=1.1e-3)


EXACT = {"polar-express-8": 8, ((2.0, -1.5, 0.5),): 12}


@pytest.mark.parametrize("coefficients", EXACT)
@pytest.mark.parametrize("shape", [(12, 12), (9, 20), (20, 9)])
def test_the_exact_sets_reach_the_polar_factor(coefficients, shape):
    values = torch.from_numpy(np.geomspace(1e-3, 1.0, min(shape)))
    left, right = (torch.linalg.qr(random_matrices(size, min(shape), seed=size)).Q for size in shape)
    matrix = left @ torch.diag(values) @ right.T
    param = torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))
    optimizer = Muon(
        [param], lr=1.0, ema1=1.0, nesterov=False, coefficients=coefficients, num_iterations=EXACT[coefficients]
    )
    param.grad = matrix

    optimizer.step()

    scale = max(1.0, shape[0] / shape[1]) ** 0.5
    np.testing.assert_allclose(-param.detach() / scale, polar_factor(matrix.numpy()), rtol=0, atol=1e-3)


def test_fewer_steps_take_the_first_triples_and_more_repeat_the_last():
    one, two = (4.0, -6.0, 3.0), (2.0, -1.5, 0.5)
    (matrix,) = random_matrices(1, 4, 6)

    for num_iterations, triples in ((1, (one,)), (2, (one, two)), (4, (one, two, two, two))):
        (ours,) = newton_schulz(matrix[None], num_iterations=num_iterations, coefficients=(one, two))
        expected = reference_newton_schulz(matrix.numpy(), triples)
        np.testing.assert_allclose(ours.numpy(), expected, rtol=1e-12, atol=1e-13)


def test_own_triples_equal_the_set_of_that_name_and_survive_a_checkpoint():
    runs = []
    for coefficients in ("cans", [list(triple) for triple in MuonSpec(coefficients="cans").triples]):
        params = make_params(SHAPES)
        optimizer = Muon(params, lr=0.02, coefficients=coefficients, iteration_dtype="float32")
        run(optimizer, params, range(3))
        resumed = Muon(params, lr=0.02)
        resumed.load_state_dict(optimizer.state_dict())
        run(resumed, params, range(3, 5))
        runs.append(params)

    assert_bitwise(*runs)


def test_a_spec_takes_lists_as_tuples():
    spec = MuonSpec(coefficients=[[2, -1.5, 0.5]], row_blocks=[2, 1])

    assert spec == MuonSpec(coefficients=((2, -1.5, 0.5),), row_blocks=(2, 1))
    assert spec.rule == MuonSpec(coefficients=((2, -1.5, 0.5),), row_blocks=(2, 1)).rule


def step_alike(whole, parts, settings, whole_settings, split, backend="loop"):
    """Update a parameter, and its matrices as parameters of their own, with the same gradients."""
    settings = {"lr": 0.1, "iteration_dtype": "float32", "backend": backend, **settings}
    one, other = Muon([whole], **settings, **whole_settings), Muon(parts, **settings)
    for step in range(4):
        whole.grad = random_matrices(*whole.shape, seed=step + 1).to(whole.dtype)
        for part, grad in zip(parts, split(whole.grad), strict=True):
            part.grad = grad.clone()
        one.step()
        other.step()


@pytest.mark.parametrize("scale_rule", ["original", "match_rms_adamw"])
@pytest.mark.parametrize(("rows", "row_blocks"), [(12, (6, 3, 3)), (10, (3, 4, 3)), (9, 3), (8, (8,))])
def test_row_blocks_of_any_sizes_are_matrices_of_their_own_bit_for_bit(rows, row_blocks, scale_rule):
    sizes = [rows // row_blocks] * row_blocks if isinstance(row_blocks, int) else list(row_blocks)
    whole = torch.nn.Parameter(random_matrices(rows, 5).float())
    parts = [torch.nn.Parameter(part.clone()) for part in whole.detach().split(sizes)]

    step_alike(whole, parts, {"scale_rule": scale_rule}, {"row_blocks": row_blocks}, lambda grad: grad.split(sizes))

    assert_bitwise([whole.detach()], [torch.cat([part.detach() for part in parts])])


@pytest.mark.parametrize("row_blocks", [1, 2, (2, 4)])
@pytest.mark.parametrize("shape", [(3, 6, 4), (2, 6, 8), (1, 6, 6)])
def test_a_stack_of_experts_is_updated_expert_by_expert_bit_for_bit(shape, row_blocks):
    whole = torch.nn.Parameter(random_matrices(*shape).float())
    parts = [torch.nn.Parameter(part.clone()) for part in whole.detach()]

    step_alike(whole, parts, {"row_blocks": row_blocks}, {}, lambda grad: grad)

    assert_bitwise([whole.detach()], [torch.stack([part.detach() for part in parts])])


def test_foreach_stacks_experts_of_several_layers():
    one, other = (make_params(((3, 6, 4), (3, 6, 4), (6, 4), (2, 6, 4))) for _ in range(2))
    run(Muon(one, lr=0.1, backend="foreach", iteration_dtype="float32"), one, range(3))
    run(Muon(other, lr=0.1, backend="loop", iteration_dtype="float32"), other, range(3))

    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)  # float32 products summed in another order


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"coefficients": "polar"}, r"coefficients must be .*one of 'jordan', .*'cans'.* or a list, got 'polar'"),
        ({"coefficients": []}, r"coefficients must .*a list of triples"),
        ({"coefficients": [[1.5, -0.5]]}, r"coefficients must be .*got \[\[1\.5, -0\.5\]\]"),
        ({"row_blocks": [3, 2]}, r"row_blocks must sum to the 4 rows, got \[3, 2\]"),
        ({"row_blocks": [4, 0]}, r"row_blocks must be a count, or a list of sizes >= 1, got"),
        ({"row_blocks": []}, r"row_blocks must be a count, or a list of sizes >= 1, got"),
        ({"row_blocks": 0}, r"row_blocks must be >= 1, got 0"),
    ],
)
def test_coefficients_and_blocks_that_are_none_are_refused(settings, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Muon([torch.nn.Parameter(torch.zeros(4, 3))], **settings)


def conditioned(rows, cols, smallest, dtype):
    """Three matrices whose singular values fall from 1 to `smallest`."""
    side = min(rows, cols)
    values = torch.from_numpy(np.geomspace(smallest, 1.0, side))
    left, right = (torch.linalg.qr(random_matrices(3, size, side, seed=size)).Q for size in (rows, cols))
    return (left @ torch.diag_embed(values.expand(3, -1)) @ right.mT).to(dtype)


@pytest.mark.parametrize("form", ["gram", "auto"])
@pytest.mark.parametrize("coefficients", ["jordan", "polar-express-8"])
@pytest.mark.parametrize("num_iterations", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("shape", [(6, 6), (4, 9), (9, 3), (1, 5)])
def test_every_form_of_the_iteration_is_the_same_map(shape, num_iterations, coefficients, form):
    matrices, triples = random_matrices(3, *shape), MuonSpec(coefficients=coefficients).triples
    settings = {"num_iterations": num_iterations, "coefficients": triples}

    direct, other = newton_schulz(matrices, **settings), newton_schulz(matrices, form=form, **settings)

    torch.testing.assert_close(other, direct, rtol=0, atol=1e-12)


@pytest.mark.parametrize("smallest", [1e-2, 1e-4, 1e-6])
@pytest.mark.parametrize("shape", [(40, 160), (160, 40)])
def test_the_gram_form_is_stable_in_float32(shape, smallest):
    """Small singular values live as their squares for two steps, which are smaller than float32 knows beside 1."""
    matrices = conditioned(*shape, smallest, torch.float32)
    exact = newton_schulz(matrices.double(), num_iterations=5)

    gram = newton_schulz(matrices, num_iterations=5, form="gram").double()

    # float32 in the direct form is 1e-6 of the norm away
    assert (gram - exact).norm() < 1e-4 * exact.norm()


def test_symmetric_products_are_formed_by_halves_for_large_matrices(monkeypatch):
    matrices = random_matrices(2, 37, 50)
    direct = newton_schulz(matrices, num_iterations=5)
    sizes = []
    monkeypatch.setattr(linalg, "HALVED_FROM", 8)
    monkeypatch.setattr(torch, "bmm", lambda a, b, bmm=torch.bmm: sizes.append(a.shape[-2]) or bmm(a, b))

    halved = newton_schulz(matrices, num_iterations=5, form="auto")

    torch.testing.assert_close(halved, direct, rtol=0, atol=1e-12)
    assert max(sizes) == 37 // 2


@pytest.mark.parametrize(
    ("shape", "dtype", "is_gram"),
    [
        ((4, 8), torch.float32, True),
        ((8, 4), torch.float32, True),
        ((4, 7), torch.float32, False),
        ((4, 4), torch.float64, False),
        ((4, 16), torch.bfloat16, False),
    ],
)
def test_auto_takes_the_gram_form_for_long_matrices_in_full_precision(shape, dtype, is_gram):
    matrices = random_matrices(2, *shape).float()
    dtype = None if dtype == torch.float32 else dtype

    results = {
        form: newton_schulz(
            matrices.double() if dtype == torch.float64 else matrices, num_iterations=5, dtype=dtype, form=form
        )
        for form in ("direct", "gram", "auto")
    }

    assert torch.equal(results["auto"], results["gram" if is_gram else "direct"])
    assert dtype == torch.bfloat16 or not torch.equal(results["gram"], results["direct"])


def test_an_update_in_the_gram_form_differs_by_rounding():
    one, other = (make_params(((12, 40), (40, 12), (8, 8))) for _ in range(2))
    for params, form in ((one, "direct"), (other, "auto")):
        run(Muon(params, lr=0.1, iteration_form=form, iteration_dtype="float32"), params, range(6))

    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)  # of 6 updates of 0.1
