"""Are random numbers those of their place, and are they normal?"""

import pytest
import torch
from reference import draws as reference

from logclock.rules import Rule, State, Step, elementwise, matrix
from logclock.rules.random import Draws, keys_of, random_bits

LIKE = torch.zeros(0, dtype=torch.float64)


def test_the_keys_are_those_of_splitmix64_by_hand():
    """The first outputs of the generator with seed 0, which its authors publish, absorb the numbers 0 one by one."""
    low, high = keys_of(0)

    assert (high << 32) | low == 0xE220A8397B1DCDAF


def test_draws_are_those_of_an_independent_transcription():
    draws = Draws(seed=5, params=(3, 11))

    ours = draws.normal("probe", 7, (3, 5), LIKE)

    for drawn, position in zip(ours, (3, 11), strict=True):
        expected = reference.normal("probe", 7, (3, 5), position=position, seed=5)
        torch.testing.assert_close(drawn, torch.from_numpy(expected), rtol=1e-13, atol=1e-15)


def test_draws_are_standard_normal():
    sample = Draws().normal("probe", 1, (100_000,), LIKE).flatten()

    # five standard deviations of the mean, the variance and the fourth moment of 1e5 normal numbers
    assert abs(sample.mean()) < 5 * 1e-5**0.5
    assert abs(sample.square().mean() - 1) < 5 * (2 * 1e-5) ** 0.5
    assert abs(sample.pow(4).mean() - 3) < 5 * (96 * 1e-5) ** 0.5
    assert 4 < sample.abs().max() < 6


@pytest.mark.parametrize(
    "other",
    [
        Draws(seed=1).normal("probe", 1, (40_000,), LIKE),
        Draws(params=(1,)).normal("probe", 1, (40_000,), LIKE),
        Draws().normal("probe", 2, (40_000,), LIKE),
        Draws().normal("projection", 1, (40_000,), LIKE),
        Draws().normal("probe", 1, (40_000,), LIKE).roll(1, -1),
        Draws().normal("probe", 1, (40_000,), LIKE).roll(2, -1),
    ],
    ids=["seed", "parameter", "count", "name", "the partner of a pair", "the next pair"],
)
def test_draws_of_different_places_are_not_correlated(other):
    one = Draws().normal("probe", 1, (40_000,), LIKE)

    assert abs((one * other).mean()) < 5 / 200


def test_a_parameter_draws_the_same_alone_and_in_a_stack():
    alone = torch.cat([Draws(params=(i,)).normal("probe", 1, (7, 3), LIKE) for i in (4, 2, 9)])

    assert torch.equal(Draws(params=(4, 2, 9)).normal("probe", 1, (7, 3), LIKE), alone)


def test_a_shorter_draw_is_the_beginning_of_a_longer_one():
    longer = Draws().normal("probe", 1, (9,), LIKE)

    assert torch.equal(Draws().normal("probe", 1, (4,), LIKE), longer[:, :4])
    assert Draws().normal("probe", 1, (0, 3), LIKE).shape == (1, 0, 3)


def test_a_draw_has_the_dtype_of_its_like_and_the_value_of_float64():
    exact = Draws().normal("probe", 1, (50,), LIKE)

    assert torch.equal(Draws().normal("probe", 1, (50,), torch.zeros((), dtype=torch.float32)), exact.float())


def test_torchs_own_generator_is_left_alone():
    before = torch.get_rng_state()
    Draws().normal("probe", 1, (50,), LIKE)

    assert torch.equal(torch.get_rng_state(), before)


def test_32_bits_are_uniform_in_every_bit():
    bits = random_bits(torch.arange(40_000), (1, 2))

    for place in range(32):
        share = ((bits >> place) & 1).double().mean()
        assert abs(share - 0.5) < 5 * 0.5 / 200


# ----- in a stage


@matrix
def drawing(grad, count, *, scale, draws: Draws):
    return grad + scale * draws.normal("probe", 1, grad.shape[1:], grad), count + 1


@elementwise
def stepped(param, update, *, lr):
    return param - lr * update


RULE = Rule("drawing", (Step(drawing, "update", states=(State(shape="number"),)), Step(stepped, "moved")))


def test_a_stage_says_that_it_draws_and_its_source_is_no_scalar():
    assert drawing.draws_name == "draws"
    assert drawing.scalar_names == ("scale",)
    assert drawing.static_names == ()
    assert RULE.is_random
    assert not Rule("still", (Step(stepped, "moved"),)).is_random


def test_a_rule_on_the_tensors_of_one_parameter_draws_what_the_first_parameter_draws():
    param, grad = torch.zeros(2, 3, dtype=torch.float64), torch.zeros(2, 3, dtype=torch.float64)

    moved, count = RULE(param, grad, torch.zeros((), dtype=torch.float64), scale=2.0, lr=0.5)

    torch.testing.assert_close(moved, -Draws().normal("probe", 1, (2, 3), LIKE)[0])
    assert count == 1


def test_elementwise_stages_and_second_sources_are_refused():
    def noisy(grad, *, draws: Draws):
        return grad

    def twice(grad, *, one: Draws, two: Draws):
        return grad

    with pytest.raises(ValueError, match=r"'noisy' draws random numbers through draws\. A @matrix stage"):
        elementwise(noisy)
    with pytest.raises(ValueError, match=r"'twice' draws random numbers through one, two\."):
        matrix(twice)
