"""Do options and storage formats give on shards what they give on whole tensors?"""

import pytest
import torch
from distributed.net import assert_same
from distributed.option_jobs import steps

from logclock import Constant

BACKENDS = ["loop", "foreach"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("algorithm", ["adana", "lion"])
def test_a_shard_is_rounded_with_the_bits_of_its_place_in_the_whole(pair, algorithm, backend):
    settings = {"state_dtype": "bfloat16_stochastic", "weight_decay": Constant(value=0.1)}

    for result in pair.run(steps, algorithm, backend, settings):
        assert_same(result["spread"], result["plain"])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "settings",
    [
        {"apply": "cautious_decay", "weight_decay": Constant(value=0.1), "wrappers": ["grams"]},
        {"apply": "huber_decay", "weight_decay": Constant(value=0.1)},
        {"weight_decay": Constant(value=0.1), "wrappers": ["schedule_free"]},
        {"weight_decay": Constant(value=0.1), "wrappers": ["ema_nesterov"]},
    ],
)
def test_options_of_single_elements_are_bitwise_those_of_whole_tensors(pair, settings, backend):
    for result in pair.run(_evaluated, backend, settings):
        assert_same(result["spread"], result["plain"])


def _evaluated(rank, backend, settings):
    return steps(rank, "adana", backend, settings, evaluates=True)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    "settings",
    [
        {"weight_decay": Constant(value=0.1), "wrappers": ["cautious", "clip_rms"]},
        {"weight_decay": Constant(value=0.1), "wrappers": ["trust_ratio"]},
        {"weight_decay": 0.0, "apply": "hyperball"},
    ],
)
def test_numbers_per_tensor_are_those_of_the_whole(pair, settings, backend):
    """The sums of the two shards are added in float64, in another order than in one piece: a unit in the last place."""
    for result in pair.run(steps, "adana", backend, settings):
        assert result["spread"].keys() == result["plain"].keys()
        for key, value in result["plain"].items():
            torch.testing.assert_close(result["spread"][key], value, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("backend", BACKENDS)
def test_magnitude_direction_works_on_the_whole_matrix(pair, backend):
    for result in pair.run(_on_matrices, backend, {"weight_decay": 0.0, "apply": "magnitude_direction"}):
        for key, value in result["plain"].items():
            torch.testing.assert_close(result["spread"][key], value, rtol=1e-6, atol=1e-7)


def _on_matrices(rank, backend, settings):
    return steps(rank, "adana", backend, settings, matrices_only=True)
