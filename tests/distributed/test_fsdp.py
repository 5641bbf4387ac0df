"""Does FSDP2 leave every optimizer's numbers alone?"""

import pytest
import torch
from contract.cases import CASES
from distributed.fsdp_jobs import sharded_and_whole
from distributed.net import TRAINED, assert_same


@pytest.mark.parametrize("backend", ["loop", "foreach"])
def test_five_sharded_steps_equal_the_unsharded_run_bitwise(pair, name, backend):
    ranks = pair.run(sharded_and_whole, name, {"backend": backend})

    for result in ranks:
        assert_same(result["sharded"], result["whole"])
        assert result["clocks"] == dict.fromkeys(TRAINED, 5.0)
        for param, before in result["start"].items():
            assert torch.equal(result["sharded"][param], before) == (param not in TRAINED)
    assert_same(ranks[0]["sharded"], ranks[1]["sharded"])


def test_the_shards_are_those_that_this_suite_wants(pair):
    """Shapes that two does not divide; a [1, N] weight and a gain, of which rank 1 has nothing; columns."""
    ranks = pair.run(sharded_and_whole, "adana", {})

    sizes = [result["local_sizes"] for result in ranks]
    assert [rank["head.weight"] for rank in sizes] == [4 * 5, 3 * 5]
    assert [rank["mix.weight"] for rank in sizes] == [5 * 3, 5 * 3]
    assert [rank["mix.bias"] for rank in sizes] == [3, 2]
    assert [rank["gate.weight"] for rank in sizes] == [5, 0]
    assert [rank["norm.gain"] for rank in sizes] == [1, 0]


def test_each_rank_holds_the_state_of_its_shards_only(pair, name):
    ranks = pair.run(sharded_and_whole, name, {})

    for result in ranks:
        trained = [size for param, size in result["local_sizes"].items() if param in TRAINED]
        assert result["state_bytes"][0] == sum(CASES[name].bytes_of((size,)) for size in trained)
    numbers = sum(CASES[name].bytes_of((0,)) for _ in trained)  # whole on every rank
    assert sum(result["state_bytes"][0] for result in ranks) == ranks[0]["state_bytes"][1] + numbers
