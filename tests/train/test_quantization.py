"""Does training on weights of few bits round as the equation says, pass gradients, and leave the weights whole?"""

import os
import signal

import numpy as np
import pytest
import torch
from torch import nn

from logclock.config import from_dict
from logclock.train import RunConfig, identity, load_model, open_dataset, run_directory, run_id, train
from logclock.train.evaluate import ValidationSet
from logclock.train.progress import QuietDisplay
from logclock.train.quantization import hidden_matrices, quantized_forward, rounded_rows


def reference(weight, bits):
    """One row at a time, from the definition, in float64."""
    out = np.zeros_like(weight)
    for i, row in enumerate(weight):
        largest = max(abs(value) for value in row)
        step = largest / (2 ** (bits - 1) - 1) if largest else 1.0
        out[i] = [step * float(np.rint(value / step)) for value in row]
    return out


def test_a_row_is_rounded_to_whole_steps_of_its_largest_weight():
    weight = torch.tensor([[7.0, 3.4, -3.6, 0.4], [-70.0, 34.0, 4.0, 0.0], [0.0, 0.0, 0.0, 0.0]])

    assert rounded_rows(weight, 4).tolist() == [[7.0, 3.0, -4.0, 0.0], [-70.0, 30.0, 0.0, 0.0], [0.0] * 4]


@pytest.mark.parametrize("bits", [8, 4])
def test_rounding_agrees_with_its_definition(bits):
    weight = np.random.default_rng(0).standard_normal((5, 40))

    assert rounded_rows(torch.from_numpy(weight), bits).numpy() == pytest.approx(reference(weight, bits), abs=1e-15)


def test_gradients_pass_through_the_rounding_to_the_weights(tiny_run):
    model = tiny_run().model.build(seed=0)
    tokens = torch.arange(12)[None]
    rounded = tiny_run().model.build(seed=0)
    with torch.no_grad():
        for name, param in hidden_matrices(rounded).items():
            param.copy_(torch.from_numpy(reference(dict(model.named_parameters())[name].numpy(force=True), 4)))
    quantized = quantized_forward(model, 4)(tokens)
    quantized.square().mean().backward()
    rounded(tokens).square().mean().backward()

    assert quantized.detach() == pytest.approx(rounded(tokens).detach(), abs=1e-5)
    for name, param in rounded.named_parameters():  # the gradient is that of the rounded model, on the whole weights
        found = dict(model.named_parameters())[name].grad
        assert found.numpy() == pytest.approx(param.grad.numpy(), abs=1e-5), name


def test_embedding_head_and_norms_are_not_rounded(tiny_run):
    names = set(hidden_matrices(tiny_run().model.build(seed=0)))

    assert {"embedding.weight", "head.weight", "final_norm.weight"}.isdisjoint(names)
    assert {"blocks.0.feed_forward.into.weight", "blocks.0.attention.out.weight"} <= names


def test_a_model_without_hidden_matrices_is_refused():
    with pytest.raises(ValueError, match=r"Embedding has no hidden matrix to quantize: .* weight. Leave quantization"):
        hidden_matrices(nn.Embedding(4, 2))


def test_no_quantization_is_no_part_of_a_runs_identity(tiny_run):
    assert "quantization" not in identity(tiny_run())
    assert from_dict(RunConfig, identity(tiny_run("quantization=4"))).quantization == 4
    assert len({run_id(tiny_run(f"quantization={bits}")) for bits in ("null", "8", "4")}) == 3


def test_the_weights_of_a_quantized_run_stay_whole_and_its_loss_is_that_of_the_rounded_ones(
    tiny_run, tiny_data_root, tmp_path
):
    config = tiny_run("quantization=4", steps=6)

    record = train(config, out=tmp_path, data_root=tiny_data_root)

    model = load_model(run_directory(tmp_path, config))
    weight = model.blocks[0].feed_forward.into.weight.detach()
    assert not torch.equal(weight, rounded_rows(weight, 4))
    with torch.no_grad():
        for param in hidden_matrices(model).values():
            param.copy_(torch.from_numpy(reference(param.numpy(), 4)))
    dataset = open_dataset(config, root=tiny_data_root)
    found = [
        nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
        for x, y in ValidationSet(dataset, config).batches()
    ]
    assert record.metrics["final_validation_loss"] == pytest.approx(torch.stack(found).mean().item(), abs=1e-5)


class StopAt(QuietDisplay):
    """Sends this process a signal when a run has reached a step."""

    def __init__(self, step):
        self.step = step

    def show(self, name, reading):
        if reading.step >= self.step:
            self.step = 10**9
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_quantized_run_goes_on_bitwise_after_a_stop(tiny_run, tiny_data_root, tmp_path):
    config = tiny_run("quantization=8", "log_interval=2", steps=8)
    whole = train(config, out=tmp_path / "whole", data_root=tiny_data_root)
    stopped = train(config, out=tmp_path / "parts", data_root=tiny_data_root, display=StopAt(4))

    resumed = train(config, out=tmp_path / "parts", data_root=tiny_data_root)

    weights = [run_directory(tmp_path / out, config) / "final.safetensors" for out in ("whole", "parts")]
    assert stopped.status == "running"
    assert resumed.validation == whole.validation
    assert weights[0].read_bytes() == weights[1].read_bytes()
