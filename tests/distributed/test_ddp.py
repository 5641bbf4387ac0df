"""Do data-parallel replicas stay the same to the last bit?"""

import pytest
from distributed.ddp_jobs import FIRST_USE, data_parallel_and_whole
from distributed.net import assert_same


@pytest.mark.parametrize("asked", [False, True])
def test_replicas_stay_bitwise_equal_to_each_other_and_to_one_process(pair, name, asked):
    """Also with parameters whose first gradient comes late and from one rank, and after DCP asked for the state."""
    ranks = pair.run(data_parallel_and_whole, name, asked)

    assert_same(ranks[0]["parallel"], ranks[1]["parallel"])
    assert ranks[0]["clocks"] == ranks[1]["clocks"]
    assert ranks[0]["clocks"]["head.weight"] == 5
    assert ranks[0]["clocks"]["late.0"] == ranks[0]["clocks"]["late.1"] == 5 - FIRST_USE
    for result in ranks:
        assert_same(result["parallel"], result["whole"])
