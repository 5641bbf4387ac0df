"""Do the ranks of a data-parallel run see the noise that one process sees in the halves of the whole batch?"""

import pytest
import torch

from logclock.train.noise import Noise


def gradients_of(rank):
    generator = torch.Generator().manual_seed(rank)
    return [torch.randn(shape, generator=generator) for shape in ((3,), (2, 4))]


def _seen(rank):
    gradients = gradients_of(rank)
    before = [grad.clone() for grad in gradients]
    noise = Noise.of_ranks(gradients, batch_size=8)
    assert all(torch.equal(a, b) for a, b in zip(gradients, before, strict=True))
    return noise


def test_every_rank_sees_the_noise_of_the_halves(pair):
    expected = Noise.of(gradients_of(0), gradients_of(1), batch_size=8)

    one, other = pair.run(_seen)

    assert one == other
    for name in ("trace", "along", "square", "product"):
        assert getattr(one, name) == pytest.approx(getattr(expected, name), rel=1e-6)  # float32 gradients
