import numpy as np
import pytest
import torch
from contract.runs import assert_bitwise, make_params
from contract.runs import run as step
from contract.test_oracles import require, run
from reference.normuon import normuon as reference

from logclock.optim import Muon, NorMuon

SHAPES = ((6, 4), (4, 6), (5, 5))
EXACT = {"iteration_dtype": "float32", "lr": 0.1, "weight_decay": 0.0}


def random_matrices(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moves(param, grads, **settings):
    """The weights after each update, and the optimizer."""
    optimizer = NorMuon([param], **EXACT | settings)
    history = [param.detach().clone()]
    for grad in grads:
        param.grad = grad.clone()
        optimizer.step()
        history.append(param.detach().clone())
    return history, optimizer


@pytest.mark.parametrize("axis", ["rows", "short_axis"])
@pytest.mark.parametrize("scale_rule", ["original", "match_rms_adamw"])
@pytest.mark.parametrize("shape", SHAPES)
def test_both_axes_and_scales_equal_the_reference(shape, scale_rule, axis):
    param, grads = torch.nn.Parameter(random_matrices(*shape)), [random_matrices(*shape, seed=s) for s in range(1, 7)]
    start = param.detach().numpy().copy()

    _, optimizer = moves(param, grads, scale_rule=scale_rule, axis=axis)

    expected, buffer, v = reference(
        start,
        [grad.numpy() for grad in grads],
        lr=lambda t: 0.1,
        decay=lambda t: 0.0,
        mu=0.95,
        beta2=0.95,
        eps=1e-10,
        scale_rule=scale_rule,
        axis=axis,
    )
    np.testing.assert_allclose(param.detach().numpy(), expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(optimizer.state[param]["momentum_buffer"].numpy(), buffer, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(optimizer.state[param]["axis_avg_sq"].numpy(), v, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_update_has_muons_norm(shape):
    ours, theirs = torch.nn.Parameter(random_matrices(*shape)), torch.nn.Parameter(random_matrices(*shape))
    grads = [random_matrices(*shape, seed=s) for s in range(1, 5)]
    history, _ = moves(ours, grads)
    muon = Muon([theirs], **EXACT)

    for before, after, grad in zip(history, history[1:], grads, strict=False):
        start = theirs.detach().clone()
        theirs.grad = grad.clone()
        muon.step()
        torch.testing.assert_close((after - before).norm(), (theirs.detach() - start).norm(), rtol=1e-12, atol=0)


def test_matched_updates_have_a_root_mean_square_of_a_fifth():
    history, _ = moves(
        torch.nn.Parameter(random_matrices(6, 9)), [random_matrices(6, 9, seed=1)], scale_rule="match_rms_adamw"
    )

    assert (history[1] - history[0]).square().mean().sqrt().item() == pytest.approx(0.1 * 0.2, rel=1e-12)


@pytest.mark.parametrize(
    ("shape", "axis", "dim"), [((6, 9), "rows", 1), ((9, 6), "short_axis", 1), ((6, 9), "short_axis", 0)]
)
def test_without_memory_every_line_of_the_update_has_the_same_size(shape, axis, dim):
    history, _ = moves(
        torch.nn.Parameter(random_matrices(*shape)), [random_matrices(*shape, seed=1)], ema2=1.0, axis=axis
    )

    sizes = (history[1] - history[0]).square().mean(dim).sqrt()
    torch.testing.assert_close(sizes, sizes.mean().expand_as(sizes), rtol=1e-9, atol=0)


def test_the_size_of_the_gradient_does_not_matter():
    results = []
    for factor in (1.0, 1e3):
        param = torch.nn.Parameter(random_matrices(6, 4))
        moves(param, [factor * random_matrices(6, 4, seed=s) for s in range(1, 5)])
        results.append(param.detach())

    torch.testing.assert_close(*results, rtol=0, atol=1e-6)  # 1e-7 of the normalization, over 4 updates of 0.1


@pytest.mark.parametrize(
    ("row_blocks", "axis", "cols"),
    [((3, 5, 4), "rows", 4), (3, "rows", 6), (3, "short_axis", 6), (2, "short_axis", 4)],
)
def test_blocks_have_statistics_and_norms_of_their_own(row_blocks, axis, cols):
    sizes = [12 // row_blocks] * row_blocks if isinstance(row_blocks, int) else list(row_blocks)
    fused = torch.nn.Parameter(random_matrices(12, cols).float())
    parts = [torch.nn.Parameter(part.clone()) for part in fused.detach().split(sizes)]
    one = NorMuon([fused], row_blocks=row_blocks, axis=axis, **EXACT)
    other = NorMuon(parts, axis=axis, **EXACT)
    for seed in range(4):
        fused.grad = random_matrices(12, cols, seed=seed + 1).float()
        for part, grad in zip(parts, fused.grad.split(sizes), strict=True):
            part.grad = grad.clone()
        one.step()
        other.step()

    # float32: means over rows are summed in an order that depends on how many there are
    torch.testing.assert_close(fused.detach(), torch.cat([part.detach() for part in parts]), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("axis", ["rows", "short_axis"])
def test_every_expert_of_a_stack_has_statistics_of_its_own(axis):
    whole = torch.nn.Parameter(random_matrices(3, 4, 6).float())
    parts = [torch.nn.Parameter(part.clone()) for part in whole.detach()]
    one, other = NorMuon([whole], axis=axis, **EXACT), NorMuon(parts, axis=axis, **EXACT)
    for seed in range(3):
        whole.grad = random_matrices(3, 4, 6, seed=seed + 1).float()
        for part, grad in zip(parts, whole.grad, strict=True):
            part.grad = grad.clone()
        one.step()
        other.step()

    assert_bitwise([whole.detach()], [torch.stack([part.detach() for part in parts])])
    assert one.state[whole]["axis_avg_sq"].shape == ((3, 4) if axis == "rows" else (3, 6))


@pytest.mark.parametrize(("scale_rule", "theirs"), [("original", "preserve_norm"), ("match_rms_adamw", "match_rms")])
def test_is_close_to_pytorch_optimizer(scale_rule, theirs):
    """Loose, because its iteration runs in bfloat16: within 1 % of the distance travelled, as Muon's is."""
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    rows = np.random.default_rng(2).standard_normal((25, 48))
    settings = {"lr": 1e-2, "weight_decay": 0.1}

    mine = run(lambda p: NorMuon(p, scale_rule=scale_rule, iteration_dtype="float32", **settings), rows, (8, 6))
    group = {"use_muon": True, **settings}
    reference = run(
        lambda p: package.NorMuon([{"params": p, **group}], update_scale=theirs, foreach=False), rows, (8, 6)
    )

    travelled = np.linalg.norm(reference[-1] - rows[0].reshape(8, 6))
    assert np.linalg.norm(mine[-1] - reference[-1]) < 1e-2 * travelled


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"axis": "columns"}, r"axis must be .*'rows', 'short_axis', got 'columns'"),
        (
            {"axis": "short_axis", "row_blocks": [2, 4]},
            r"row_blocks must be a count with axis='short_axis', got \(2, 4\)",
        ),
        ({"eps": -1.0}, r"eps must be >= 0, got -1\.0"),
    ],
)
def test_what_does_not_go_together_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        NorMuon(make_params(((6, 4),)), **settings)


def test_a_matrix_of_zeros_stays_finite_and_moves_later():
    params = make_params(SHAPES)
    optimizer = NorMuon(params, lr=0.1)
    step(optimizer, params, range(2), scale=0.0)
    step(optimizer, params, range(2, 4))

    assert all(param.isfinite().all() for param in params)
