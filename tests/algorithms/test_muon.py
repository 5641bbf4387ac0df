import numpy as np
import pytest
import torch
from contract.runs import assert_bitwise, make_params, run, set_grads
from reference.muon import newton_schulz as reference_newton_schulz

from logclock import Muon, log_time_ema
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
        ((2, 3, 4), {}, r"must be a matrix"),
        ((4, 3), {"row_blocks": 3}, r"row_blocks must divide the 4 rows, got 3"),
        ((4, 3), {"scale_rule": "spectral"}, r"'original', 'match_rms_adamw'"),
        ((4, 3), {"num_iterations": 0}, r"num_iterations must be >= 1, got 0"),
    ],
)
def test_what_it_cannot_take_is_refused(shape, settings, message):
    with pytest.raises(ValueError, match=message):
        Muon([torch.nn.Parameter(torch.zeros(shape))], **settings)
