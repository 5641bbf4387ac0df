"""Do states along sides and blocks of a tensor stay whole on every rank, and give what they give on whole tensors?"""

import pytest
import torch
from distributed.option_jobs import steps


@pytest.mark.parametrize("algorithm", ["adafactor", "adam-mini"])
def test_shards_are_updated_as_whole_tensors(pair, algorithm):
    """Bitwise but for the sums of a tensor over two shards, which are added in another order than in one piece."""
    for result in pair.run(steps, algorithm, "foreach", {"weight_decay": 0.1}):
        assert result["spread"].keys() == result["plain"].keys()
        for key, value in result["plain"].items():
            torch.testing.assert_close(result["spread"][key], value, rtol=1e-6, atol=1e-7)
