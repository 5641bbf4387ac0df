"""Are DTensor parameters updated like plain ones, whatever their placement, layout and gradient?"""

import pytest
import torch
from distributed.dtensor_jobs import scheduled_steps, steps_on_gradients_placed_otherwise
from distributed.net import assert_same

BACKENDS = ["loop", "foreach"]


@pytest.mark.parametrize("backend", BACKENDS)
def test_dtensors_under_a_tensor_lr_equal_plain_tensors_bitwise(pair, name, backend):
    for result in pair.run(scheduled_steps, name, backend):
        assert result["strides"] == (1, 3)
        assert result["lr"] == 0
        assert result["peak_lr"] == torch.tensor(1e-2).item()
        assert_same(result["spread"], result["plain"])


@pytest.mark.parametrize("backend", BACKENDS)
def test_gradients_that_autograd_placed_otherwise_count_in_full(pair, name, backend):
    """Autograd leaves the gradient of a replicated gain as one partial sum on each rank (sequence parallelism)."""
    ranks = pair.run(steps_on_gradients_placed_otherwise, name, backend)

    for result in ranks:
        assert result["placements"] == ["P(sum)", "S(0)", "P(sum)"]
        for param in (*result["params"], *result["replicas"]):
            assert torch.equal(param, result["plain"])
