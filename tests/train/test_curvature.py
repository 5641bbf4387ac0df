"""Does the training loop give Sophia-G its curvature, the same again after a stop, and touch nothing else?"""

import pytest
import torch

from logclock.train import train
from logclock.train.curvature import sampled_backward
from logclock.train.loop import build_optimizer
from logclock.train.progress import QuietDisplay


class Crash(Exception):
    pass


class Crashing(QuietDisplay):
    def show(self, name, reading):
        if reading.step == 15:
            raise Crash


def test_a_stopped_run_ends_as_if_it_had_not_been_stopped(tiny_run, tiny_data_root, tmp_path):
    config = tiny_run("execution.checkpoint_interval=7", optimizer="sophia-g")
    whole = train(config, out=tmp_path / "whole", data_root=tiny_data_root)

    with pytest.raises(Crash):
        train(config, out=tmp_path / "cut", data_root=tiny_data_root, display=Crashing())
    resumed = train(config, out=tmp_path / "cut", data_root=tiny_data_root)

    assert whole.status == "finished"
    assert resumed.train == whole.train
    assert resumed.validation == whole.validation


def gradients(config, model, tokens, *, step):
    model.zero_grad(set_to_none=True)
    sampled_backward(config.seed, model, tokens, parts=config.accumulation_steps, step=step)
    return [param.grad.clone() for param in model.parameters()]


def test_labels_depend_on_seed_and_step_and_nothing_else(tiny_run):
    config = tiny_run(optimizer="sophia-g")
    model = config.model.build(seed=0)
    tokens = torch.arange(32).view(4, 8)
    state = torch.get_rng_state()

    first, again = (gradients(config, model, tokens, step=1) for _ in range(2))
    other = gradients(config, model, tokens, step=11)
    reseeded = gradients(tiny_run(optimizer="sophia-g", seed=5), model, tokens, step=1)

    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, reseeded, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_the_gradient_is_that_of_a_mean_of_sampled_labels_which_averages_to_zero(tiny_run):
    """The score of a distribution has mean 0, so that draws average out and their mean square does not."""
    config = tiny_run(optimizer="sophia-g")
    model = config.model.build(seed=0)
    tokens = torch.arange(32).view(4, 8)
    draws = [gradients(config, model, tokens, step=step)[-1].flatten() for step in range(100)]

    stacked = torch.stack(draws)
    size = stacked.norm(dim=1).mean()
    assert stacked.mean(0).norm() < 0.2 * size  # 1 / sqrt(100) is 0.1


def test_a_run_with_another_optimizer_makes_no_second_pass(tiny_run):
    config = tiny_run(optimizer="adamw")

    assert not build_optimizer(config, config.model.build(seed=0)).is_due("curvature")
