"""Do gains of 1 change nothing, do others do what their equation says, and are the right ones decayed?"""

import dataclasses
import itertools
import types

import numpy as np
import pytest
import reference.transformer
import torch
from torch import nn

from logclock.algorithms import AdamwSpec
from logclock.config import from_dict, override, to_dict
from logclock.models import EnokiConfig, LlamaConfig, ModelConfig, Qwen3Config
from logclock.models.decoder import check_decoder
from logclock.models.layers import bare_layer_norm, bare_rms_norm
from logclock.models.scale_vectors import ScaledLinear, ScaleVector, ScaleVectors, num_gains
from logclock.optim import assign_groups, assign_matrices
from logclock.train import train
from logclock.train.config import run_id
from logclock.train.loop import build_optimizer

FAMILIES = {"enoki": EnokiConfig, "qwen3": Qwen3Config, "llama": LlamaConfig}
BRANCHES, PLACEMENTS, FORMS = ("shared", "separate"), ("input", "both", "both-normed"), ("plain", "scalar", "vector")
EVERY = [
    ScaleVectors(branches=branches, placement=placement, form=form)
    for branches, placement, form in itertools.product(BRANCHES, PLACEMENTS, FORMS)
]
UNIFIED = ScaleVectors(branches="separate", placement="both-normed", form="scalar")


def each_family(function):
    return pytest.mark.parametrize("kind", list(FAMILIES))(function)


def each_option(options):
    return pytest.mark.parametrize("options", options, ids=lambda o: f"{o.branches}-{o.placement}-{o.form}")


def config_of(kind, options, **changes):
    return FAMILIES[kind](
        **{"heads": 3, "head_dim": 6, "num_layers": 2, "vocab_size": 11, **changes}, scale_vectors=options
    )


def tokens(length=9, seed=0):
    return torch.randint(11, (2, length), generator=torch.Generator().manual_seed(seed))


def disturbed(model, seed=1):
    """Move every parameter of a float64 copy, so that what has no effect or the wrong one shows."""
    model = model.double()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for param in model.parameters():
            noise = torch.randn(param.shape, generator=generator, dtype=torch.float64)
            param.copy_(1 + 0.3 * noise if param.ndim == 1 else 0.4 * noise)
    return model


@each_family
@each_option([options for options in EVERY if options.placement != "both-normed"])
def test_gains_of_one_change_no_bit_of_the_logits_and_no_gradient(kind, options):
    plain, scaled = config_of(kind, None).build(seed=3), config_of(kind, options).build(seed=3)

    logits = [model(tokens()) for model in (plain, scaled)]
    for one in logits:
        one.square().mean().backward()

    assert torch.equal(*logits)
    gradients = {name: param.grad for name, param in plain.named_parameters() if param.ndim == 2}
    for name, param in scaled.named_parameters():
        if name in gradients:
            # A norm with a gain and one without are different kernels backward: a few roundings of float32.
            torch.testing.assert_close(param.grad, gradients[name], rtol=1e-4, atol=1e-7)


@each_family
@each_option([ScaleVectors(branches="separate", placement="both", form="vector"), ScaleVectors(placement="both")])
@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")  # norms of queries under autocast, always
def test_gains_of_one_change_no_bit_in_low_precision(kind, options):
    plain, scaled = config_of(kind, None).build(seed=3), config_of(kind, options).build(seed=3)

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(plain(tokens()), scaled(tokens()))
    assert torch.equal(plain.bfloat16()(tokens()), scaled.bfloat16()(tokens()))


@each_family
def test_plain_shared_gains_are_the_parameters_of_the_model_without_options(kind):
    plain, scaled = config_of(kind, None).build(seed=3), config_of(kind, ScaleVectors()).build(seed=3)

    scaled.load_state_dict(plain.state_dict())
    for model in (plain, scaled):
        model(tokens()).square().mean().backward()

    for (name, one), other in zip(plain.named_parameters(), scaled.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad), name


@each_family
@each_option([options for options in EVERY if options.placement == "both-normed"])
def test_gains_of_one_leave_the_norm_behind_each_map_and_nothing_else(kind, options):
    scaled = config_of(kind, options).build(seed=3)
    bare = config_of(kind, None).build(seed=3)
    bare_norm = bare_layer_norm if kind == "enoki" else bare_rms_norm
    for module in bare.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.Linear) and name != "head":
                parts = {"qkv": 3, "query_gate": 2}.get(name, 1)
                norm = bare_norm(child.out_features // parts)
                child.register_forward_hook(lambda _, __, out, parts=parts, norm=norm: normed(out, parts, norm))

    torch.testing.assert_close(scaled(tokens()), bare(tokens()), rtol=0, atol=2e-6)
    assert not torch.allclose(scaled(tokens()), config_of(kind, None).build(seed=3)(tokens()), atol=1e-2)


def normed(out, parts, norm):
    """Normalise each of the parts; queries and gates lie side by side in each of 3 heads."""
    if parts == 2:
        by_head = out.unflatten(-1, (3, 2, -1))
        return torch.stack(
            [norm(by_head[..., part, :].flatten(-2)).unflatten(-1, (3, -1)) for part in (0, 1)], -2
        ).flatten(-3)
    return torch.cat([norm(part) for part in out.chunk(parts, dim=-1)], dim=-1)


def vectors_of(weights, prefix):
    """Return the product of direction and magnitude."""
    return weights[prefix + "weight"] * weights.get(prefix + "magnitude", 1.0)


@each_family
@each_option([options for options in EVERY if options.placement != "both-normed"])
def test_the_logits_are_those_of_plain_matrices_that_have_swallowed_the_gains(kind, options):
    """gamma before and u behind W are diag(u) W diag(gamma); the reference knows neither."""
    model = disturbed(config_of(kind, options).build(seed=0))
    weights = {name: param.detach().numpy() for name, param in model.named_parameters()}

    plain = {}
    for name in dict(config_of(kind, None).build(seed=0).named_parameters()):
        stem = name.removesuffix("weight")
        if name.endswith("norm.weight"):
            is_bare = options.branches == "separate" and stem.endswith(("attention_norm.", "feed_forward_norm."))
            plain[name] = (
                np.ones(18) if is_bare else vectors_of(weights, stem if stem + "weight" in weights else stem + "gain.")
            )
            continue
        matrix = weights[name].copy()
        parts = {"qkv.": ("query", "key", "value"), "query_gate.": ("query", "gate")}.get(stem.split(".", 3)[-1])
        module = model.get_submodule(stem[:-1])
        if isinstance(module, ScaledLinear):
            parts = parts or (next(iter(module.input_gains or module.output_gains)),)
            # Rows of queries and gates alternate by head of 6 rows; all others lie one after the other.
            block = 6 if "query_gate" in stem else len(matrix) // len(parts)
            for index, part in enumerate(parts):
                rows = np.flatnonzero(np.arange(len(matrix)) // block % len(parts) == index)
                if module.input_gains:
                    matrix[rows] *= vectors_of(weights, f"{stem}input_gains.{part}.")
                if module.output_gains:
                    matrix[rows] *= vectors_of(weights, f"{stem}output_gains.{part}.")[:, None]
        plain[name] = matrix

    expected = [reference.transformer.logits(kind, plain, row, heads=3, num_layers=2) for row in tokens().numpy()]
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(model(tokens()).detach().numpy(), expected, rtol=0, atol=1e-9)


@each_family
@each_option([ScaleVectors(), UNIFIED, ScaleVectors(placement="both", form="vector")])
def test_gradients_are_those_of_finite_differences(kind, options):
    model = disturbed(config_of(kind, options, num_layers=1).build(seed=0))
    weight = torch.randn(2, 5, 11, generator=torch.Generator().manual_seed(5), dtype=torch.float64)

    def value():
        return (model(tokens(5)) * weight).sum()

    value().backward()

    generator, step = torch.Generator().manual_seed(6), 1e-6
    for name, param in model.named_parameters():
        if param.ndim == 2 and "gain" not in name:
            continue
        direction = torch.randn(param.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            param += step * direction
            above = value()
            param -= 2 * step * direction
            below = value()
            param += step * direction
        slope = ((above - below) / (2 * step)).item()
        assert slope == pytest.approx((param.grad * direction).sum().item(), rel=1e-5, abs=1e-6), name


@each_family
@each_option(EVERY)
def test_the_built_model_has_the_counted_parameters(kind, options):
    config = config_of(kind, options)
    model = config.build(seed=0)

    gains = config.gain_params() if kind == "enoki" else 0  # which no formula of that family counts
    assert sum(param.numel() for param in model.parameters()) == config.size().total_params + gains


# d = 8, F = 32, two layers, heads of 4 with norms. By hand: 2 (8 + 8 + 4 + 4) + 8 = 56. Separate, four input gains in
# the place of two: 2 (32 + 8) + 8 = 88. Both: behind q, k, v (24) and into (32), before the writers (8 + 32) and behind
# them (16), 112 more per layer. A number more for each of the 2 x 4 + 1 vectors, or as much again.
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (None, 56),
        (ScaleVectors(), 56),
        (ScaleVectors(branches="separate"), 88),
        (ScaleVectors(placement="both"), 280),
        (ScaleVectors(placement="both-normed"), 280),
        (ScaleVectors(form="scalar"), 65),
        (ScaleVectors(form="vector"), 112),
    ],
)
def test_the_number_of_gains_is_the_one_counted_by_hand(options, expected):
    counted = num_gains(options, width=8, depth=2, readers=(8, 8, 8, 32), writers=(8, 32), head_norms=(4, 4))

    assert counted == expected


@pytest.mark.parametrize(
    ("decayed", "sides"),
    [("input", {"input"}), ("output", {"output"}), ("all", {"input", "output"}), ("none", set())],
)
@each_family
@pytest.mark.parametrize("assign", [assign_groups, assign_matrices])
def test_gains_are_decayed_by_their_side(kind, decayed, sides, assign):
    options = dataclasses.replace(UNIFIED, decayed=decayed)
    model = config_of(kind, options).build(seed=0)

    groups = assign(model)

    for name, module in model.named_modules():
        if isinstance(module, ScaleVector):
            side = "input" if "input_gains" in name else "output"
            for param in (f"{name}.weight", f"{name}.magnitude"):
                assert groups.groups[param] == ("decay" if side in sides else "no_decay"), param
                assert groups.reasons[param].startswith(f"{side} gain: ")
                assert f"scale_vectors.decayed is {decayed!r}" in groups.reasons[param]
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name != "head":
            assert groups.groups[f"{name}.weight"] == ("matrix" if assign is assign_matrices else "decay"), name
    assert groups.groups["embedding.weight"] == "no_decay"


@each_family
def test_gains_in_the_norms_of_a_layer_are_decayed_and_those_of_queries_keys_and_the_end_are_not(kind):
    model = config_of(kind, ScaleVectors()).build(seed=0)

    groups = assign_groups(model).groups

    gains = {name: group for name, group in groups.items() if "norm" in name}
    assert len(gains) == (5 if kind == "llama" else 9)
    for name, group in gains.items():
        is_input = "attention_norm" in name or "feed_forward_norm" in name
        assert group == ("decay" if is_input else "no_decay"), name


def test_an_optimizer_shrinks_decayed_gains_without_a_gradient_and_no_others(tiny_run):
    config = dataclasses.replace(
        tiny_run(spec=AdamwSpec(lr=1e-2, weight_decay=0.5)),
        model=EnokiConfig(heads=2, head_dim=8, num_layers=1, vocab_size=257, scale_vectors=UNIFIED),
    )
    model = config.model.build(seed=0)
    optimizer = build_optimizer(config, model)
    for param in model.parameters():
        param.grad = torch.zeros_like(param)

    optimizer.step()

    for name, module in model.named_modules():
        if isinstance(module, ScaleVector):
            assert (module.weight < 1).all().item() == ("input_gains" in name), name
            assert (module.weight == 1).all().item() == ("input_gains" not in name), name


@each_family
def test_the_default_is_no_part_of_the_plain_data_and_options_survive_it(kind):
    assert not {"scale_vectors", "osdn"} & set(to_dict(config_of(kind, None)))
    assert from_dict(ModelConfig, to_dict(config_of(kind, UNIFIED))) == config_of(kind, UNIFIED)


def test_the_run_id_changes_with_the_option_and_only_with_it(tiny_run):
    plain = tiny_run()

    assert run_id(dataclasses.replace(plain, model=dataclasses.replace(plain.model, scale_vectors=None))) == run_id(
        plain
    )
    assert run_id(tiny_run("model.scale_vectors.branches=separate")) != run_id(plain)


def test_a_command_line_puts_scale_vectors_into_a_model():
    config = override(EnokiConfig(heads=2), ["scale_vectors.branches=separate", "scale_vectors.placement=both-normed"])

    assert config.scale_vectors == ScaleVectors(branches="separate", placement="both-normed")


@pytest.mark.parametrize("name", ["branches", "placement", "form", "decayed"])
def test_an_unknown_choice_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match=rf"^scale_vectors\.{name} must be one of '.*', got 'many'\.$"):
        ScaleVectors(**{name: "many"})


def test_decayed_gains_are_refused_under_mup():
    """A group that is decayed has the learning rate of matrices there."""
    fields = {"heads": 2, "head_dim": 8, "vocab_size": 9, "rope_theta": 1e4, "mup_base_width": 16}

    with pytest.raises(ValueError, match=r"^scale_vectors\.decayed must be 'none' under muP, got 'input'"):
        check_decoder(types.SimpleNamespace(**fields, scale_vectors=ScaleVectors()))
    check_decoder(types.SimpleNamespace(**fields, scale_vectors=ScaleVectors(decayed="none")))
    check_decoder(types.SimpleNamespace(**fields, scale_vectors=None))


@pytest.mark.parametrize("model", ["scale_vectors", "osdn"])
@pytest.mark.parametrize("optimizer", ["adana", "muon"])
def test_a_stopped_run_ends_as_if_it_had_not_been_stopped(tiny_run, tiny_data_root, tmp_path, model, optimizer):
    from logclock.train.progress import QuietDisplay

    class Crash(Exception):
        pass

    class Crashing(QuietDisplay):
        def show(self, name, reading):
            if reading.step == 10:
                raise Crash

    changes = {
        "scale_vectors": ("branches=separate", "placement=both-normed", "form=vector"),
        "osdn": ("hyper_lr=0.5",),
    }[model]
    config = tiny_run(
        "execution.checkpoint_interval=4",
        *(f"model.{model}.{change}" for change in changes),
        optimizer=optimizer,
        steps=12,
    )
    whole = train(config, out=tmp_path / "whole", data_root=tiny_data_root)

    with pytest.raises(Crash):
        train(config, out=tmp_path / "cut", data_root=tiny_data_root, display=Crashing())
    resumed = train(config, out=tmp_path / "cut", data_root=tiny_data_root)

    assert resumed.train == whole.train
    assert resumed.validation == whole.validation
