"""Does muP keep what it promises, and does the default stay what it was?"""

import dataclasses
import math

import pytest
import torch

from logclock.algorithms import AdamwSpec
from logclock.config import from_dict, to_dict
from logclock.models import EnokiConfig, LlamaConfig, ModelConfig, Qwen3Config, language_model_loss
from logclock.train.loop import build_optimizer

FAMILIES = [EnokiConfig, Qwen3Config, LlamaConfig]
BASE, WIDTHS = 32, (32, 64, 128, 256)
MAPS = ("attention.qkv", "attention.query_gate", "attention.value", "attention.out", "into", "feed_forward.out")


def config_of(family, width, base_width=BASE):
    return family(heads=width // 16, head_dim=16, num_layers=2, vocab_size=64, mup_base_width=base_width)


def run_of(tiny_run, model, **settings):
    return dataclasses.replace(tiny_run(**settings), model=model)


def slope(values):
    """Return the exponent by which a value grows from the narrowest to the widest model."""
    return math.log(values[-1] / values[0]) / math.log(WIDTHS[-1] / WIDTHS[0])


def moved(config, tiny_run, steps=4, lr=1e-2):
    """Train a few steps of AdamW; return how far activations moved (rms) and weights did (top singular value)."""
    model = config.build(seed=0)
    run = run_of(tiny_run, config, spec=AdamwSpec(lr=lr, weight_decay=0.0))
    optimizer = build_optimizer(run, model)
    tokens = torch.randint(64, (8, 33), generator=torch.Generator().manual_seed(1))
    seen = {}
    for name, module in model.named_modules():
        if name in ("blocks.0", "blocks.1.feed_forward.into", "blocks.1.attention.out", ""):
            module.register_forward_hook(
                lambda _, __, out, name=name: seen.__setitem__(name or "logits", out.detach().clone())
            )
    model(tokens[:, :-1])
    first, before = dict(seen), {name: param.detach().clone() for name, param in model.named_parameters()}
    for _ in range(steps):
        optimizer.zero_grad()
        language_model_loss(model(tokens[:, :-1]), tokens[:, 1:]).cross_entropy.backward()
        optimizer.step()
    model(tokens[:, :-1])
    activations = {name: (seen[name] - first[name]).square().mean().sqrt().item() for name in first}
    updates = {
        name: torch.linalg.matrix_norm(param.detach() - before[name], ord=2).item()
        for name, param in model.named_parameters()
        if "blocks.1" in name and name.removesuffix(".weight").endswith(MAPS)
    }
    return activations, updates


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda family: family.__name__)
def by_width(request, tiny_run):
    """What `moved` returns at every width, with muP and in the standard parametrization."""
    return {
        name: [moved(config_of(request.param, width, base), tiny_run) for width in WIDTHS]
        for name, base in (("mup", BASE), ("standard", None))
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_of_the_base_width_is_the_standard_one(family):
    standard, mup = (config_of(family, BASE, base).build(seed=3) for base in (None, BASE))

    for (name, a), (_, b) in zip(standard.named_parameters(), mup.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert config_of(family, BASE).matrix_lr_factor == 1
    tokens = torch.arange(8)[None]
    assert torch.equal(standard(tokens), mup(tokens))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_default_is_no_part_of_the_plain_data(family):
    plain = config_of(family, 64, None)

    assert "mup_base_width" not in to_dict(plain)  # so that runs made before keep their ids
    assert from_dict(ModelConfig, to_dict(config_of(family, 64))) == config_of(family, 64)


# Four times the base width of 32: embedding 1/sqrt(32); head sqrt(32)/128; maps 1/sqrt(fan in), as without muP.
@pytest.mark.parametrize(
    ("family", "ending", "expected"),
    [
        (EnokiConfig, "embedding.weight", 32**-0.5),
        (EnokiConfig, "head.weight", 32**0.5 / 128),
        (EnokiConfig, "attention.qkv.weight", 128**-0.5),
        (EnokiConfig, "feed_forward.out.weight", (2 * 512 * 2) ** -0.5),
        (Qwen3Config, "head.weight", 32**0.5 / 128),
        (LlamaConfig, "embedding.weight", 0.02),
        (LlamaConfig, "attention.qkv.weight", 0.02 / 2),
        (LlamaConfig, "attention.out.weight", 0.02 / 2 / 2),
    ],
)
def test_the_initial_weights_are_those_of_mup(family, ending, expected):
    weights = dict(config_of(family, 128).build(seed=0).named_parameters())

    for weight in (weight for name, weight in weights.items() if name.endswith(ending)):
        assert weight.std().item() == pytest.approx(expected, rel=5 / math.sqrt(2 * weight.numel()))


def test_the_logits_of_a_tied_table_are_scaled():
    model = config_of(LlamaConfig, 128).build(seed=0)
    seen = []
    model.final_norm.register_forward_hook(lambda _, __, out: seen.append(out))

    logits = model(torch.arange(8)[None])

    assert torch.allclose(logits, seen[0] @ model.embedding.weight.T / 4, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_maps_learn_slower_in_wider_models_and_tables_and_gains_do_not(family, tiny_run):
    config = config_of(family, 128)
    model = config.build(seed=0)

    optimizer = build_optimizer(run_of(tiny_run, config, spec=AdamwSpec(lr=1e-2)), model)

    rates = {name: group["peak_lr"] for group in optimizer.param_groups for name in group["param_names"]}
    assert set(rates) == {name for name, _ in model.named_parameters()}
    for name, rate in rates.items():
        is_map = not name.startswith("embedding") and "norm" not in name
        assert rate == pytest.approx(2.5e-3 if is_map else 1e-2), name


def test_the_standard_parametrization_has_one_rate(tiny_run):
    config = config_of(EnokiConfig, 128, None)

    optimizer = build_optimizer(run_of(tiny_run, config, spec=AdamwSpec(lr=1e-2)), config.build(seed=0))

    assert {group["peak_lr"] for group in optimizer.param_groups} == {1e-2}


def test_activations_move_alike_at_every_width(by_width):
    """The coordinate check: under muP no activation grows with the width; in the standard parametrization they do."""
    mup, standard = ([activations for activations, _ in by_width[name]] for name in ("mup", "standard"))

    for name in mup[0]:
        values = [activations[name] for activations in mup]
        if (
            name == "logits"
        ):  # their initial part falls as 1 / sqrt(width) to its limit of 0, and their movement with it
            assert -0.4 < slope(values) < 0.05, name
        else:
            assert max(values) / min(values) < 1.45, name
    for name in ("blocks.0", "blocks.1.attention.out", "logits"):
        assert slope([activations[name] for activations in standard]) > 0.2, name


def test_top_singular_values_of_updates_are_alike_at_every_width(by_width):
    """A width-independent step of a map has a width-independent spectral norm; Adam's at one rate grows with it."""
    mup, standard = ([updates for _, updates in by_width[name]] for name in ("mup", "standard"))

    assert len(mup[0]) >= 4
    for name in mup[0]:
        assert abs(slope([updates[name] for updates in mup])) < 0.35, name
        assert slope([updates[name] for updates in standard]) > 0.6, name


def test_an_optimizer_of_matrices_is_refused_with_its_reason(tiny_run):
    with pytest.raises(ValueError, match=r"rest_optimizer must be None under muP.*a rule of its own"):
        run_of(tiny_run, config_of(EnokiConfig, 64), optimizer="muon")
    run_of(tiny_run, config_of(EnokiConfig, 64, None), optimizer="muon")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mup_base_width": 0}, "mup_base_width must be at least 1, got 0"),
        ({"mup_base_width": 32, "feed_forward_width": 100}, "needs a feed-forward width that follows from the width"),
    ],
)
def test_a_parametrization_that_makes_no_sense_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        LlamaConfig(heads=4, **changes)
