import numpy as np
import pytest
import torch
from contract.runs import assert_bitwise, make_params
from contract.test_oracles import require, run
from reference.scion import bias, col_norm, row_norm, scion, sign, spectral
from torch import nn

from logclock import matrix_param_groups
from logclock.optim import Scion

BALLS = {
    "spectral": spectral,
    "col_norm": col_norm,
    "row_norm": row_norm,
    "sign": sign,
    "bias": lambda g, normalized=True: bias(g),
}


@pytest.mark.parametrize("lmo", BALLS)
@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("transposed", [True, False])
@pytest.mark.parametrize("weight_decay", [1.0, 0.0])
def test_every_ball_equals_the_reference(lmo, normalized, transposed, weight_decay):
    generator = np.random.default_rng(0)
    start, grads = generator.standard_normal((5, 3)), list(generator.standard_normal((6, 5, 3)))
    param = nn.Parameter(torch.from_numpy(start.copy()))
    settings = {"lmo": lmo, "normalized": normalized, "transposed": transposed, "weight_decay": weight_decay}
    optimizer = Scion([param], lr=0.05, radius=3.0, **settings)
    for grad in grads:
        param.grad = torch.from_numpy(grad)
        optimizer.step()

    def ball(g):
        g = g.T if transposed else g
        result = BALLS[lmo](g, normalized)
        return result.T if transposed else result

    decay = 0.05 * weight_decay
    expected, _ = scion(start, grads, lr=lambda t: 0.05, decay=lambda t: decay, alpha=0.1, radius=3.0, lmo=ball)
    np.testing.assert_allclose(param.detach().numpy(), expected, rtol=1e-11, atol=1e-12)


def norm_of(update, lmo):
    """The norm in which the ball is one, for a matrix (outputs, inputs)."""
    m, n = update.shape
    if lmo == "spectral":
        return np.linalg.svd(update, compute_uv=False).max() * np.sqrt(n / m)
    if lmo == "sign":
        return n * np.abs(update).max()
    if lmo == "col_norm":
        return n * np.sqrt((update**2).mean(axis=0)).max()
    return np.sqrt(n) * np.linalg.norm(update, axis=1).max()


@pytest.mark.parametrize(
    ("lmo", "settings"),
    [
        ("spectral", {"coefficients": "polar-express-8", "num_iterations": 8}),
        ("sign", {}),
        ("col_norm", {}),
        ("row_norm", {}),
    ],
)
def test_constrained_weights_stay_within_the_radius(lmo, settings):
    param = nn.Parameter(torch.zeros(5, 3, dtype=torch.float64))
    optimizer = Scion([param], lr=0.2, radius=3.0, lmo=lmo, **settings)
    direction = torch.from_numpy(np.random.default_rng(1).standard_normal((5, 3)))
    for _ in range(60):
        param.grad = direction
        optimizer.step()

    # a constant gradient drives the weights to the boundary, of which 0.8^60 is missing
    assert norm_of(param.detach().numpy(), lmo) == pytest.approx(3.0, rel=1e-3)


def test_each_kind_of_layer_gets_its_own_ball():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4), nn.Conv1d(4, 4, 2), nn.Linear(4, 10, bias=False))
    groups = matrix_param_groups(
        model,
        matrices={"algorithm": "scion"},
        embeddings={"algorithm": "scion", "lmo": "col_norm", "normalized": False, "transposed": True, "radius": 1.0},
        heads={"algorithm": "scion", "lmo": "sign", "radius": 3000.0},
        rest={"algorithm": "scion", "lmo": "bias", "radius": 1.0},
    )
    optimizer = Scion(groups, lr=0.01)
    before = {name: param.detach().clone() for name, param in model.named_parameters()}
    for param in model.parameters():
        param.grad = torch.randn_like(param)
    optimizer.step()

    moved = {name: (0.99 * before[name] - param.detach()) / 0.01 for name, param in model.named_parameters()}
    torch.testing.assert_close(moved["0.weight"].square().mean(1), torch.ones(10), rtol=1e-3, atol=0)
    torch.testing.assert_close(moved["3.weight"].abs(), torch.full((10, 4), 750.0), rtol=1e-3, atol=0)
    for name in ("1.bias", "2.weight", "2.bias"):
        group = next(g for g in optimizer.param_groups if any(p is model.get_parameter(name) for p in g["params"]))
        removed = 0.0 if group["weight_decay"] == 0.0 else 0.01
        size = ((1 - removed) * before[name] - model.get_parameter(name).detach()).square().mean().sqrt() / 0.01
        assert size.item() == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize(
    ("lmo", "settings", "norm_type", "keywords"),
    [
        ("sign", {}, 4, {}),
        ("sign", {"normalized": False}, 4, {"normalize": False}),
        ("col_norm", {}, 6, {"normalized": True}),
        ("col_norm", {"normalized": False, "transposed": True}, 6, {"transpose": True}),
        ("row_norm", {}, 7, {}),
        ("row_norm", {"normalized": False}, 7, {"normalized": False}),
    ],
)
@pytest.mark.parametrize("constrained", [True, False])
def test_equals_pytorch_optimizer(lmo, settings, norm_type, keywords, constrained):
    require("pytorch_optimizer", "4.1.0")
    package = pytest.importorskip("pytorch_optimizer")
    rows = np.random.default_rng(3).standard_normal((13, 15))
    settings = {"lmo": lmo, "radius": 2.0, "weight_decay": 1.0 if constrained else 0.0, **settings}

    mine = run(lambda p: Scion(p, lr=0.01, **settings), rows, (5, 3))
    theirs = {
        "norm_type": norm_type,
        "norm_kwargs": keywords,
        "scale": 2.0,
        "constraint": constrained,
        "foreach": False,
    }
    reference = run(lambda p: package.SCION(p, lr=0.01, momentum=0.1, **theirs), rows, (5, 3))

    np.testing.assert_allclose(mine, reference, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("lmo", ["spectral", "sign"])
def test_blocks_and_experts_are_layers_of_their_own(lmo):
    fused = nn.Parameter(make_params(((8, 3),))[0].detach().clone())
    stack = nn.Parameter(fused.detach().reshape(2, 4, 3).clone())
    parts = [nn.Parameter(part.clone()) for part in stack.detach()]
    settings = {"lr": 0.01, "lmo": lmo, "iteration_dtype": "float32"}
    optimizers = [Scion([fused], row_blocks=2, **settings), Scion([stack], **settings), Scion(parts, **settings)]
    for seed in range(3):
        stack.grad = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(seed))
        fused.grad = stack.grad.reshape(8, 3).clone()
        for part, grad in zip(parts, stack.grad, strict=True):
            part.grad = grad.clone()
        for optimizer in optimizers:
            optimizer.step()

    expected = torch.stack([part.detach() for part in parts])
    assert_bitwise([stack.detach(), fused.detach().reshape(2, 4, 3)], [expected, expected])


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ((3,), {}, r"a parameter of scion must be a matrix \(2-D\), got \(3,\)"),
        ((2, 3, 4, 5), {"lmo": "sign"}, r"a parameter of scion must be a matrix"),
        (
            (3,),
            {"lmo": "bias", "apply": "magnitude_direction", "weight_decay": 0.0},
            r"a parameter of magnitude_direction",
        ),
        ((3, 2), {"lmo": "polar"}, r"lmo must be one of 'spectral'"),
    ],
)
def test_what_a_ball_cannot_take_is_refused(shape, settings, message):
    with pytest.raises(ValueError, match=message):
        Scion([nn.Parameter(torch.zeros(shape))], **settings)
