"""Does Dion2 spend the largest rows, and is it Muon where it spends all?"""

import pytest
import torch
from contract.runs import make_params, run

from logclock import Dion2, Muon

DTYPE = torch.float64
FLOAT = {"iteration_dtype": "float32"}  # float64 for float64 parameters


def test_with_all_rows_it_is_muon_whose_sum_of_gradients_decays_after_its_use():
    """Tall matrices, of which both have the scale sqrt(rows / columns)."""
    ours, theirs = (make_params(((6, 4), (5, 5)), DTYPE) for _ in range(2))
    settings = {"lr": 0.05, "weight_decay": 0.1, **FLOAT}

    run(Dion2(ours, share=1.0, error_decay=0.9, **settings), ours, range(20))
    run(Muon(theirs, ema1=0.1, nesterov=False, **settings), theirs, range(20))

    for a, b in zip(ours, theirs, strict=True):
        # the 1e-7 beside the norm counts ten times as much for an average as for a sum
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(4, 6), (6, 4)])
def test_the_rows_with_the_largest_sums_move_and_the_others_wait(shape):
    """The shorter side is cut; its third and first entries have the largest sums of absolute values by hand."""
    param = torch.nn.Parameter(torch.zeros(shape, dtype=DTYPE))
    sizes = torch.tensor([2.0, 0.5, -3.0, 1.0], dtype=DTYPE)
    pattern = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, 1.0], dtype=DTYPE)
    grad = sizes[:, None] * pattern + torch.diag(torch.full((4,), 0.1, dtype=DTYPE)) @ torch.eye(4, 6, dtype=DTYPE)
    is_wide = shape == (4, 6)
    param.grad = grad if is_wide else grad.mT.contiguous()
    optimizer = Dion2([param], lr=0.1, share=0.3, error_decay=0.25, weight_decay=0.0, **FLOAT)  # ceil(1.2) = 2

    optimizer.step()

    moved = param.detach() if is_wide else param.detach().mT
    left = optimizer.state[param]["momentum_buffer"]
    left = left if is_wide else left.mT
    assert [bool(row.any()) for row in moved] == [True, False, True, False]
    factors = torch.tensor([0.25, 1.0, 0.25, 1.0], dtype=DTYPE)
    torch.testing.assert_close(left, factors[:, None] * grad)


def test_decay_acts_on_the_rows_that_wait_too():
    param = torch.nn.Parameter(torch.ones(4, 6, dtype=DTYPE))
    param.grad = torch.zeros(4, 6, dtype=DTYPE)
    param.grad[1] = torch.arange(6)
    Dion2([param], lr=0.5, share=0.25, weight_decay=0.5, **FLOAT).step()

    torch.testing.assert_close(param.detach()[[0, 2, 3]], torch.full((3, 6), 0.75, dtype=DTYPE))


def test_every_row_gets_its_turn():
    (param,) = make_params(((8, 10),), DTYPE)
    optimizer = Dion2([param], lr=1e-2, share=0.25, error_decay=0.25, weight_decay=0.0, **FLOAT)
    before = param.detach().clone()
    run(optimizer, [param], range(12))

    assert (param.detach() != before).all()


@pytest.mark.parametrize(("rule", "shape", "scale"), [("spectral", (4, 9), 2 / 3), ("match_rms_adamw", (4, 9), 0.6)])
def test_the_scale_by_hand(rule, shape, scale):
    param = torch.nn.Parameter(torch.zeros(shape, dtype=DTYPE))
    param.grad = torch.zeros(shape, dtype=DTYPE)
    param.grad[2, 3] = 7.0
    Dion2([param], lr=1.0, share=0.25, scale_rule=rule, **FLOAT).step()

    # the quintic maps 1 to 0.70 after five steps: by hand 3.4445 - 4.775 + 2.0315 = 0.7010, ...
    value = 1.0
    for _ in range(5):
        value = 3.4445 * value - 4.775 * value**3 + 2.0315 * value**5
    assert -param.detach()[2, 3].item() == pytest.approx(scale * value, rel=1e-6)


def test_unknown_names_are_refused_with_what_there_is():
    with pytest.raises(ValueError, match=r"'rms'.*'spectral', 'match_rms_adamw'|scale_rule must be one of"):
        Dion2(make_params(((4, 4),)), scale_rule="rms")
    with pytest.raises(ValueError, match=r"share must lie in \(0, 1\], got 0\.0"):
        Dion2(make_params(((4, 4),)), share=0.0)
