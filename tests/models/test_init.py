import math

import pytest
import torch
from torch import nn

from logclock.models import EnokiConfig, LlamaConfig, Qwen3Config
from logclock.models.init import scaled_gpt_init

SIZE = {"heads": 4, "head_dim": 16, "num_layers": 3, "vocab_size": 512}
MICRO = EnokiConfig(**SIZE)

# Width 64, depth 3: 1/sqrt(64), and 1/sqrt(2 * fan_in * 3) for the two residual outputs, with fan_in 64 and, in the
# MLP, 256 or 192. LLaMA: 0.02, and 0.02/sqrt(2 * 3) whatever the width.
EXPECTED_STD = {
    MICRO: {
        "embedding.weight": 0.125,
        "head.weight": 0.125,
        "attention.qkv.weight": 0.125,
        "feed_forward.into.weight": 0.125,
        "attention.out.weight": 1 / math.sqrt(384),
        "feed_forward.out.weight": 1 / math.sqrt(1536),
    },
    Qwen3Config(**SIZE): {
        "embedding.weight": 0.125,
        "head.weight": 0.125,
        "attention.query_gate.weight": 0.125,
        "attention.key.weight": 0.125,
        "attention.value.weight": 0.125,
        "feed_forward.gate.weight": 0.125,
        "feed_forward.into.weight": 0.125,
        "attention.out.weight": 1 / math.sqrt(384),
        "feed_forward.out.weight": 1 / math.sqrt(1152),
    },
    LlamaConfig(**SIZE): {
        "embedding.weight": 0.02,
        "attention.qkv.weight": 0.02,
        "feed_forward.gate.weight": 0.02,
        "feed_forward.into.weight": 0.02,
        "attention.out.weight": 0.02 / math.sqrt(6),
        "feed_forward.out.weight": 0.02 / math.sqrt(6),
    },
}


def is_gain(name):
    return name.endswith("norm.weight")


@pytest.mark.parametrize("config", EXPECTED_STD, ids=lambda config: type(config).__name__)
def test_every_weight_has_the_variance_of_the_scheme(config):
    weights = {name: p for name, p in config.build(seed=0).named_parameters() if not is_gain(name)}

    tables = {name for name in EXPECTED_STD[config] if name in ("embedding.weight", "head.weight")}
    assert len(weights) == len(tables) + 3 * (len(EXPECTED_STD[config]) - len(tables))
    for name, weight in weights.items():
        std = next(value for ending, value in EXPECTED_STD[config].items() if name.endswith(ending))
        # 5 standard errors of the mean and of the standard deviation of n normal draws.
        assert abs(weight.mean().item()) < 5 * std / math.sqrt(weight.numel()), name
        assert abs(weight.std().item() / std - 1) < 5 / math.sqrt(2 * weight.numel()), name


def test_weights_are_normal_and_not_repeated_between_layers():
    model = MICRO.build(seed=0)
    z = (model.embedding.weight / 0.125).flatten()

    # The fourth moment of a standard normal is 3 with variance 96 / n; a uniform draw would give 1.8.
    assert abs(z.pow(4).mean().item() - 3) < 5 * math.sqrt(96 / z.numel())
    assert not torch.equal(model.blocks[0].attention.qkv.weight, model.blocks[1].attention.qkv.weight)


@pytest.mark.parametrize("config", EXPECTED_STD, ids=lambda config: type(config).__name__)
def test_every_gain_starts_at_one(config):
    gains = [p for name, p in config.build(seed=0).named_parameters() if is_gain(name)]

    assert len(gains) == 3 * (2 if isinstance(config, LlamaConfig) else 4) + 1
    assert all(bool((gain == 1).all()) for gain in gains)


def test_weights_are_a_function_of_the_seed_alone():
    torch.manual_seed(1)
    first = MICRO.build(seed=7).state_dict()
    torch.manual_seed(2)
    second = MICRO.build(seed=7).state_dict()
    other = MICRO.build(seed=8).state_dict()

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not any(torch.equal(first[name], other[name]) for name in first if not is_gain(name))


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()

    MICRO.build(seed=0)

    assert torch.equal(torch.get_rng_state(), before)


def test_on_the_meta_device_a_model_has_shapes_only():
    with torch.device("meta"):
        model = MICRO.build(seed=0)

    assert {p.device.type for p in model.parameters()} == {"meta"}


def test_a_parameter_outside_the_scheme_is_refused_by_name():
    model = nn.Sequential(nn.Linear(4, 4, bias=True))

    with pytest.raises(TypeError, match=r"got 0\.bias of Linear"):
        scaled_gpt_init(model, residual_outputs=[], num_layers=1, seed=0)
