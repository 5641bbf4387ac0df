"""Are rules on whole matrices the same when the matrices are sharded?"""

import pytest
from contract.cases import CASES
from distributed.net import TRAINED, assert_same
from distributed.whole_tensor_jobs import resume_of_two_algorithms, steps_on_shards

WHOLE_TENSOR = sorted(name for name, case in CASES.items() if not case.is_elementwise)


@pytest.mark.parametrize("rule", WHOLE_TENSOR)
@pytest.mark.parametrize("backend", ["loop", "foreach"])
def test_sharded_matrices_equal_whole_ones_bitwise(pair, rule, backend):
    for result in pair.run(steps_on_shards, rule, backend):
        assert result["placements"] == ["S(0)", "S(1)", "R", "S(0)"]
        assert_same(result["spread"], result["plain"])


def test_sharded_matrices_take_the_turns_of_whole_ones(pair):
    for result in pair.run(steps_on_shards, "soap", "foreach", {"spread_refreshes": True, "refresh_interval": 2}):
        assert_same(result["spread"], result["plain"])


@pytest.mark.parametrize("rule", WHOLE_TENSOR)
def test_a_sharded_run_of_two_algorithms_resumes_bitwise(pair, rule, tmp_path):
    ranks = pair.run(resume_of_two_algorithms, rule, str(tmp_path))

    for result in ranks:
        assert_same(result["resumed"], result["uninterrupted"])
        assert_same(result["uninterrupted"], result["whole"])
        assert result["clocks"] == dict.fromkeys(TRAINED, 7.0)
    assert_same(ranks[0]["resumed"], ranks[1]["resumed"])
