"""What must hold for every registered model: the equations, causality, gradients, groups, and the way to disk."""

import copy
import math

import numpy as np
import pytest
import reference.transformer
import torch
from torch import nn

from logclock.models import EnokiConfig, LlamaConfig, ModelConfig, Qwen3Config, language_model_loss
from logclock.optim import assign_groups

TINY = {
    "enoki": EnokiConfig(heads=3, head_dim=6, num_layers=2, vocab_size=11),
    "qwen3": Qwen3Config(heads=3, head_dim=6, num_layers=2, vocab_size=11),
    "llama": LlamaConfig(heads=3, head_dim=6, num_layers=2, vocab_size=11),
}
MICRO = {
    "enoki": EnokiConfig(heads=2, head_dim=16, vocab_size=256),
    "qwen3": Qwen3Config(heads=2, head_dim=16, num_layers=1, vocab_size=256),
    "llama": LlamaConfig(heads=2, head_dim=16, num_layers=1, vocab_size=256),
}


def each(configs):
    return pytest.mark.parametrize(("kind", "config"), list(configs.items()), ids=list(configs))


def tokens_of(shape, *, vocab_size, seed=0):
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def tiny_float64_model(config):
    """Return a model whose gains are not 1 and whose logits are not small, so that a part left out would show."""
    model = config.build(seed=0).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, param in model.named_parameters():
            noise = torch.randn(param.shape, generator=generator, dtype=torch.float64)
            param.copy_(1 + 0.3 * noise if name.endswith("norm.weight") else 0.4 * noise)
    return model


def test_every_family_is_tested_here():
    assert set(TINY) == set(MICRO) == set(ModelConfig.family) == set(reference.transformer.PARTS)


@each(TINY)
def test_forward_equals_a_float64_transcription_without_torch(kind, config):
    model = tiny_float64_model(config)
    tokens_BL = tokens_of((2, 9), vocab_size=11)

    logits_BLV = model(tokens_BL).detach().numpy()

    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    expected = np.array(
        [reference.transformer.logits(kind, weights, tokens, heads=3, num_layers=2) for tokens in tokens_BL.numpy()]
    )
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(logits_BLV, expected, rtol=0, atol=1e-10)


@each(TINY)
def test_no_parameter_is_without_effect_on_the_logits(kind, config):
    model = tiny_float64_model(config)
    tokens_BL = tokens_of((1, 9), vocab_size=11)
    before_BLV = model(tokens_BL)

    for name, param in model.named_parameters():
        changed = copy.deepcopy(model)
        changed.get_parameter(name).data.copy_(param.roll(1, dims=-1))  # a multiple would pass the norms unchanged
        assert (changed(tokens_BL) - before_BLV).abs().max().item() > 1e-4, name


@each(TINY)
def test_a_later_token_does_not_change_earlier_logits(kind, config):
    model = tiny_float64_model(config)
    tokens_BL = tokens_of((1, 12), vocab_size=11)
    changed_BL = tokens_BL.clone()
    changed_BL[0, 7] = (changed_BL[0, 7] + 1) % 11

    difference_L = (model(tokens_BL) - model(changed_BL)).abs().amax(dim=-1)[0]

    assert difference_L[:7].max().item() < 1e-12  # summation order may differ in the last bits
    assert difference_L[7:].min().item() > 1e-4


@each(TINY)
def test_a_prefix_has_the_logits_of_the_whole(kind, config):
    model = tiny_float64_model(config)
    tokens_BL = tokens_of((2, 40), vocab_size=11)

    torch.testing.assert_close(model(tokens_BL[:, :13]), model(tokens_BL)[:, :13], rtol=0, atol=1e-11)


@each(MICRO)
def test_a_micro_model_trains(kind, config):
    model = config.build(seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    tokens_BL = tokens_of((4, 33), vocab_size=256)

    losses = []
    for _ in range(3):
        parts = language_model_loss(model(tokens_BL[:, :-1]), tokens_BL[:, 1:])
        optimizer.zero_grad()
        parts.total(0.0).backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
        optimizer.step()
        losses.append(parts.cross_entropy.item())

    # Fresh logits have variance 1 or, with small weights, nearly 0: the loss starts between log(256) and half a nat
    # more, give or take its sampling error.
    assert math.log(256) - 0.1 < losses[0] < math.log(256) + 0.9
    assert losses[2] < losses[1] < losses[0]


@each(MICRO)
def test_weights_in_bfloat16_give_the_float32_logits_up_to_their_precision(kind, config):
    model = config.build(seed=0).bfloat16()
    tokens_BL = tokens_of((1, 300), vocab_size=256)

    narrow_BLV = model(tokens_BL)

    assert narrow_BLV.dtype == torch.bfloat16
    # 2^-8 relative per operation on logits of size 1 to 4; bfloat16 angles would be off by 1 and more at position 300.
    torch.testing.assert_close(narrow_BLV.float(), model.float()(tokens_BL), rtol=0, atol=0.1)


@each(MICRO)
def test_the_built_model_has_the_counted_parameters(kind, config):
    model = config.build(seed=0)

    gains = config.gain_params() if kind == "enoki" else 0  # which no formula of that family counts
    assert sum(p.numel() for p in model.parameters()) == config.size().total_params + gains


@each(MICRO)
def test_matrices_are_decayed_and_tables_and_gains_are_not(kind, config):
    model = config.build(seed=0)

    groups = assign_groups(model).groups

    kept = {name for name, group in groups.items() if group == "no_decay"}
    assert kept == {"embedding.weight", *(name for name, p in model.named_parameters() if p.ndim == 1)}
    assert ("head.weight" in groups) == (kind != "llama")
    assert {name for name, m in model.named_modules() if isinstance(m, nn.Linear)} == {
        name.removesuffix(".weight") for name in groups if name not in kept
    }


@each(MICRO)
def test_building_leaves_the_global_generator_alone(kind, config):
    torch.manual_seed(3)
    before = torch.get_rng_state()

    config.build(seed=0)

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # raised where torch imports its own compiler
@each(TINY)
def test_a_compiled_model_equals_the_eager_one(kind, config):
    model = config.build(seed=0)
    compiled = torch.compile(model, fullgraph=True)
    tokens_BL = tokens_of((2, 13), vocab_size=11)

    gradients = []
    for run in (model, compiled):
        logits_BLV = run(tokens_BL[:, :-1])
        language_model_loss(logits_BLV, tokens_BL[:, 1:]).total(1e-4).backward()
        gradients.append([logits_BLV.detach()] + [p.grad.clone() for p in model.parameters()])
        model.zero_grad()

    for eager, fused in zip(*gradients, strict=True):
        torch.testing.assert_close(fused, eager, rtol=1e-5, atol=1e-5)  # float32, other summation order


@each(TINY)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": 0}, "heads must be at least 1, got 0"),
        ({"heads": 2, "num_layers": 0}, "num_layers must be at least 1, got 0"),
        ({"heads": 2, "vocab_size": -5}, "vocab_size must be at least 1, got -5"),
        ({"heads": 2, "head_dim": 15}, "head_dim must be even and at least 2, got 15. Rotary positions"),
        ({"heads": 2, "head_dim": 0}, "head_dim must be even and at least 2, got 0"),
        ({"heads": 2, "rope_theta": 0.0}, "rope_theta must be positive and finite, got 0.0"),
        ({"heads": 2, "rope_theta": math.inf}, "rope_theta must be positive and finite, got inf"),
    ],
)
def test_a_config_that_cannot_be_built_is_refused(kind, config, arguments, message):
    with pytest.raises(ValueError, match=message):
        type(config)(**arguments)
