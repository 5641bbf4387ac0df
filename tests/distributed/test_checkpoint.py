"""Does a run on two ranks go on from its checkpoint as if nothing had happened, on two ranks and on one?"""

import pytest
import torch
from distributed import checkpoint_jobs as jobs
from distributed.net import TRAINED, assert_same, build, make_net, states, train, weights


@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")  # DCP says so when it loads on one
@pytest.mark.parametrize("flatten", [True, False])
def test_a_checkpoint_of_two_ranks_resumes_bitwise_on_two_and_on_one(pair, name, flatten, tmp_path):
    ranks = pair.run(jobs.save_on_two_and_load_on_two, name, flatten, tmp_path)
    net = make_net(seed=1)
    alone = build(name, net, **jobs.other_settings(name))
    jobs.resume(net, alone, tmp_path, flatten, no_dist=True)
    loaded = weights(net) | states(net, alone)
    train(net, alone, range(4, 7))

    for result in ranks:
        assert_same(result["loaded"], result["saved"])
        assert_same(result["resumed"], result["uninterrupted"])
        saved_groups, resumed_groups = result["groups"]
        assert resumed_groups == saved_groups
    assert_same(loaded, ranks[0]["saved"])
    assert_same(weights(net) | states(net, alone), ranks[0]["uninterrupted"])


def test_a_checkpoint_of_one_process_resumes_bitwise_on_two_ranks(pair, name, tmp_path):
    for result in pair.run(jobs.save_on_one_and_load_on_two, name, True, tmp_path):
        assert_same(result["resumed"], result["uninterrupted"])


def test_bfloat16_parameters_keep_float32_state_and_resume_bitwise(pair, name, tmp_path):
    for result in pair.run(jobs.save_on_two_and_load_on_two, name, True, tmp_path, "bfloat16"):
        assert_same(result["loaded"], result["saved"])
        assert_same(result["resumed"], result["uninterrupted"])
        assert result["resumed"]["head.weight"].dtype == torch.bfloat16
        state_dtypes = {v.dtype for key, v in result["resumed"].items() if key.count(".") == 2}
        assert {torch.float32} <= state_dtypes <= {torch.float32, torch.float64}  # numbers are kept exact


@pytest.mark.parametrize("flatten", [True, False])
def test_a_tied_head_resumes_bitwise(pair, flatten, tmp_path):
    for result in pair.run(jobs.save_and_load_a_tied_head, "adana", flatten, tmp_path):
        assert_same(result["resumed"], result["uninterrupted"])


def test_state_gathered_on_one_rank_and_broadcast_again_resumes_bitwise(pair, name, tmp_path):
    ranks = pair.run(jobs.gather_on_rank_0_and_broadcast, name, tmp_path / "checkpoint.pt")

    for result in ranks:
        assert_same(result["resumed"], result["uninterrupted"])
    assert [result["num_entries_on_this_rank"] for result in ranks] == [2, 0]


@pytest.mark.parametrize("tensor_lr", [False, True])
def test_asking_for_the_state_before_the_first_step_shifts_nothing(pair, name, tensor_lr):
    for result in pair.run(jobs.ask_before_the_first_step, name, tensor_lr):
        assert result["names"] >= TRAINED
        assert not result["moved"]
        assert result["clocks_when_asked"] == dict.fromkeys(TRAINED, 0.0)
        assert_same(result["asked"], result["not_asked"])


def test_both_ranks_count_a_first_step_at_lr_zero_that_only_one_has_a_gradient_for(pair, name):
    """Whether a step is DCP's question or a warm-up from zero is decided by all ranks together."""
    for clocks in pair.run(jobs.warm_up_from_zero, name):
        assert clocks == dict.fromkeys(TRAINED, 1.0)
