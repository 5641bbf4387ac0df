import math

import numpy as np
import pytest
import torch

from logclock.config import override
from logclock.train import open_dataset
from logclock.train.evaluate import ValidationSet
from logclock.train.passes import Passes


@pytest.fixture
def parts(tiny_run, tiny_data_root):
    config = tiny_run()
    return config, open_dataset(config, root=tiny_data_root), config.model.build(seed=0)


def evaluate(config, dataset, model):
    return ValidationSet(dataset, config).evaluate(
        model, cross_entropy=Passes(model).cross_entropy, device=torch.device("cpu")
    )


def expected_nats(dataset, model, *, num_windows, length):
    """The sum of -log p over the first tokens of the validation stream, in float64, one window at a time."""
    nats = 0.0
    for number in range(num_windows):
        tokens = torch.tensor(dataset.validation[number * length : number * length + length + 1].astype(np.int64))
        with torch.no_grad():
            logits = model(tokens[None, :-1])[0].double().numpy()
        for row, target in zip(logits, tokens[1:].tolist(), strict=True):
            top = row.max()
            nats -= row[target] - top - math.log(np.exp(row - top).sum())
    return nats


def test_loss_and_bits_per_byte_are_those_of_the_first_tokens(parts):
    config, dataset, model = parts
    num_tokens = 2 * 4 * 32

    result = evaluate(config, dataset, model)

    nats = expected_nats(dataset, model, num_windows=2 * 4, length=32)
    num_bytes = sum(dataset.token_bytes[token] for token in dataset.validation[1 : num_tokens + 1])
    assert result.loss == pytest.approx(nats / num_tokens, rel=1e-6)  # float32 logits, 1e-7 each
    assert result.bits_per_byte == pytest.approx(nats / math.log(2) / num_bytes, rel=1e-6)


def test_it_is_a_function_of_the_weights(parts):
    assert evaluate(*parts) == evaluate(*parts)


def test_all_batches_are_the_default(parts):
    config, dataset, model = parts
    whole = override(config, ["evaluation.batches=null"])
    num_windows = (len(dataset.validation) - 1) // (4 * 32) * 4

    result = evaluate(whole, dataset, model)

    assert result.loss == pytest.approx(
        expected_nats(dataset, model, num_windows=num_windows, length=32) / (32 * num_windows), rel=1e-6
    )


def test_the_halves_are_those_of_the_whole_set_whatever_the_evaluations_use(parts):
    config, dataset, model = parts
    num_batches = (len(dataset.validation) - 1) // (4 * 32)
    first, last = num_batches // 2 * 4, num_batches * 4

    found = ValidationSet(dataset, config).evaluate_halves(
        model, cross_entropy=Passes(model).cross_entropy, device=torch.device("cpu")
    )

    whole = expected_nats(dataset, model, num_windows=last, length=32)
    half = expected_nats(dataset, model, num_windows=first, length=32)
    assert found.selection.loss == pytest.approx(half / (32 * first), rel=1e-6)
    assert found.held_out.loss == pytest.approx((whole - half) / (32 * (last - first)), rel=1e-6)
    assert found.held_out_tokens == 32 * (last - first)
    held_out = dataset.validation[32 * first + 1 : 32 * last + 1]
    num_bytes = sum(dataset.token_bytes[token] for token in held_out)
    assert found.held_out.bits_per_byte == pytest.approx((whole - half) / math.log(2) / num_bytes, rel=1e-6)
    assert model.training


def test_a_single_batch_has_no_halves(parts):
    config, dataset, model = parts
    large = override(config, [f"evaluation.batch_size={(len(dataset.validation) - 1) // 32}", "evaluation.batches=1"])

    found = ValidationSet(dataset, large).evaluate_halves(
        model, cross_entropy=Passes(model).cross_entropy, device=torch.device("cpu")
    )

    assert found is None


def test_the_model_is_in_evaluation_mode_meanwhile_and_gets_no_gradient(parts):
    config, dataset, model = parts
    seen = []

    def cross_entropy(inputs, targets):
        seen.append((model.training, torch.is_grad_enabled()))
        return Passes(model).cross_entropy(inputs, targets)

    ValidationSet(dataset, config).evaluate(model, cross_entropy=cross_entropy, device=torch.device("cpu"))

    assert seen == [(False, False)] * 2
    assert model.training


def test_more_batches_than_there_are_is_an_error(parts):
    config, dataset, _ = parts

    with pytest.raises(ValueError, match="validation tokens"):
        ValidationSet(dataset, override(config, ["evaluation.batches=1000000"])).batches()
