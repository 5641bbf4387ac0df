"""Is the memory the one of the equations, does it look back only, and does the model around it count?"""

import dataclasses

import numpy as np
import pytest
import torch

from logclock.config import from_dict, override, to_dict
from logclock.models import EnokiConfig, LlamaConfig, ModelConfig, ModelSize, Qwen3Config
from logclock.models.osdn import DeltaMemory, Osdn, delta_memory, online_scales
from logclock.models.scale_vectors import ScaleVectors
from logclock.optim import assign_groups, assign_matrices

FAMILIES = {"enoki": EnokiConfig, "qwen3": Qwen3Config, "llama": LlamaConfig}
NO_TABLES = torch.empty(0)


def each_family(function):
    return pytest.mark.parametrize("kind", list(FAMILIES))(function)


def config_of(kind, options=Osdn(), **changes):  # noqa: B008  frozen
    return FAMILIES[kind](**{"heads": 3, "head_dim": 6, "num_layers": 2, "vocab_size": 11, **changes}, osdn=options)


def sequences(length, *, heads=2, head_dim=4, seed=0):
    """Return queries, keys of norm 1, values and rates of one batch of one."""
    generator = torch.Generator().manual_seed(seed)
    shape = (1, heads, length, head_dim)
    query, key, value = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(3))
    rate = torch.rand(shape[:3], generator=generator, dtype=torch.float64)
    return query / query.norm(dim=-1, keepdim=True), key / key.norm(dim=-1, keepdim=True), value, rate


def recurrent(query, key, value, rate, *, hyper_lr, forgetting):
    """Read one head's memory position by position: the equations of `Osdn`, S as a matrix and D as a vector."""
    size = key.shape[1]
    memory, scale, reads, scales = np.zeros((size, size)), np.ones(size), [], []
    for q, k, v, b in zip(query, key, value, rate, strict=True):
        scales.append(scale)
        memory = memory + b * np.outer(v - memory @ k, scale * k)
        reads.append(memory @ q)
        hypergradient = -b * (1 - b * k @ (scale * k)) * k**2
        scale = np.clip(scale + forgetting * (1 - scale) - hyper_lr * hypergradient, 0, 2)
    return np.array(reads), np.array(scales)


def parallel(query, key, value, rate, *, hyper_lr, forgetting, chunk=64):
    scale = online_scales(key, rate, hyper_lr=hyper_lr, forgetting=forgetting)
    return delta_memory(query, key, scale * key, value, rate, chunk=chunk), scale


@pytest.mark.parametrize("settings", [(0.0, 0.0), (0.5, 0.0), (1.0, 0.05), (30.0, 0.01), (1.0, 1.0)])
@pytest.mark.parametrize(("length", "chunk"), [(1, 64), (17, 1), (17, 5), (17, 17), (70, 64)])
def test_the_parallel_form_is_the_recurrence(settings, length, chunk):
    hyper_lr, forgetting = settings
    given = sequences(length)

    reads, scales = parallel(*given, hyper_lr=hyper_lr, forgetting=forgetting, chunk=chunk)

    for head in range(2):
        expected = recurrent(*(one[0, head].numpy() for one in given), hyper_lr=hyper_lr, forgetting=forgetting)
        np.testing.assert_allclose(reads[0, head], expected[0], rtol=0, atol=1e-10)
        np.testing.assert_allclose(scales[0, head], expected[1], rtol=0, atol=1e-12)


def test_the_step_of_the_scales_is_the_gradient_of_the_relative_residual():
    _, key, value, rate = (one[0, 0, 0] for one in sequences(1))
    scale = torch.full((4,), 0.8, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    residual = value - memory @ key

    after = value - (memory + rate * torch.outer(residual, scale * key)) @ key
    (gradient,) = torch.autograd.grad(0.5 * after.square().sum() / residual.square().sum(), scale)

    left = 1 - rate * (scale * key**2).sum()
    torch.testing.assert_close(-gradient, (rate * left * key**2).detach())


def test_no_write_makes_its_residual_larger():
    _, key, _, rate = sequences(300, seed=4)

    _, scale = parallel(key, key, key, rate, hyper_lr=100.0, forgetting=0.0)

    left = 1 - rate * (key**2 * scale).sum(-1)
    assert scale.max() == 2  # the bound was reached
    assert left.abs().max() <= 1


def test_a_repeated_key_is_written_more_and_more_completely():
    key = torch.tensor([0.6, 0.8], dtype=torch.float64).expand(1, 1, 40, 2)
    rate = torch.full((1, 1, 40), 0.6, dtype=torch.float64)

    _, adapted = parallel(key, key, key, rate, hyper_lr=1.0, forgetting=0.0)
    _, forgotten = parallel(key, key, key, rate, hyper_lr=1.0, forgetting=1.0)

    left = (1 - rate * (key**2 * adapted).sum(-1))[0, 0]
    assert left[0].item() == pytest.approx(0.4)
    assert left[-1].abs() < 1e-3
    # Forgetting everything leaves the last step: 0.6 (1 - 0.6) k^2 on the way from 1, then less.
    assert forgotten[0, 0, 1].tolist() == pytest.approx([1 + 0.24 * 0.36, 1 + 0.24 * 0.64])
    assert forgotten.max() < 1.16


def test_plain_delta_rule_recalls_values_by_orthogonal_keys():
    key = torch.eye(4, dtype=torch.float64)[None, None]
    value = torch.arange(16, dtype=torch.float64).reshape(1, 1, 4, 4)

    reads, _ = parallel(key.flip(2), key, value, torch.ones(1, 1, 4).double(), hyper_lr=0.0, forgetting=0.0)

    # The last two queries are the second and first key, which were written by then; the first two come too early.
    assert torch.equal(
        reads[0, 0], torch.stack([value[0, 0, 0] * 0, value[0, 0, 0] * 0, value[0, 0, 1], value[0, 0, 0]])
    )


@each_family
def test_a_later_token_does_not_change_earlier_logits(kind):
    model = config_of(kind).build(seed=0).double()
    with torch.no_grad():
        for param in model.parameters():
            param *= 3 if param.ndim == 2 else 1
    tokens = torch.randint(11, (1, 80), generator=torch.Generator().manual_seed(0))  # more than a chunk
    for changed_at in (0, 7, 63, 64, 79):
        changed = tokens.clone()
        changed[0, changed_at] = (changed[0, changed_at] + 1) % 11

        difference = (model(tokens) - model(changed)).abs().amax(dim=-1)[0]

        assert difference[:changed_at].sum().item() < 1e-11
        assert difference[changed_at].item() > 1e-4
        assert changed_at == 79 or difference[changed_at + 1 :].max().item() > 1e-6


@each_family
def test_every_parameter_gets_a_gradient_and_it_is_that_of_finite_differences(kind):
    model = config_of(kind, Osdn(hyper_lr=0.5), num_layers=1, heads=2, head_dim=4).build(seed=0).double()
    tokens = torch.randint(11, (2, 12), generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for param in model.parameters():
            param += 0.3 * torch.randn(param.shape, generator=generator, dtype=torch.float64)
    weight = torch.randn(2, 12, 11, generator=generator, dtype=torch.float64)

    def value():
        return (model(tokens) * weight).sum()

    value().backward()

    step = 1e-6
    for name, param in model.named_parameters():
        direction = torch.randn(param.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            param += step * direction
            above = value()
            param -= 2 * step * direction
            below = value()
            param += step * direction
        slope = ((above - below) / (2 * step)).item()
        assert slope == pytest.approx((param.grad * direction).sum().item(), rel=1e-5, abs=1e-6), name
        assert param.grad.abs().sum() > 0, name


def test_the_layer_is_the_memory_between_its_maps():
    layer = DeltaMemory(heads=2, head_dim=3, options=Osdn(hyper_lr=0.7), is_gated=True).double()
    x = torch.randn(1, 9, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    out = layer(x, NO_TABLES, NO_TABLES)[0].detach().numpy()

    weights = {name: param.detach().numpy() for name, param in layer.named_parameters()}
    inputs = x[0].numpy()
    parts = np.split(inputs @ weights["qkv.weight"].T, 3, axis=1)
    rates = 1 / (1 + np.exp(-inputs @ weights["rate.weight"].T))
    reads = []
    for head in range(2):
        query, key, value = (part[:, 3 * head : 3 * head + 3] for part in parts)
        query, key = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (query, key))
        reads.append(recurrent(query, key, value, rates[:, head], hyper_lr=0.7, forgetting=0.01)[0])
    gates = 1 / (1 + np.exp(-inputs @ weights["gate.weight"].T))
    np.testing.assert_allclose(out, (np.hstack(reads) * gates) @ weights["out.weight"].T, rtol=0, atol=1e-12)


def test_the_memory_works_in_float32_under_autocast():
    layer = DeltaMemory(heads=2, head_dim=4, options=Osdn())
    x = torch.randn(1, 70, 8, generator=torch.Generator().manual_seed(3))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        narrow = layer(x, NO_TABLES, NO_TABLES)

    assert narrow.dtype == torch.bfloat16
    # 2^-8 relative in the inputs of the memory and in the last product.
    torch.testing.assert_close(narrow.float(), layer(x, NO_TABLES, NO_TABLES), rtol=0, atol=0.03)


@each_family
def test_weights_in_bfloat16_give_the_float32_logits_up_to_their_precision(kind):
    model = config_of(kind, heads=2, head_dim=16).build(seed=0).bfloat16()
    tokens = torch.randint(11, (1, 100), generator=torch.Generator().manual_seed(0))

    narrow = model(tokens)

    assert narrow.dtype == torch.bfloat16
    torch.testing.assert_close(narrow.float(), model.float()(tokens), rtol=0, atol=0.1)  # 2^-8 relative per operation


@each_family
def test_the_loss_has_second_derivatives(kind):
    """Curvature and its warm-up need them."""
    model = config_of(kind, num_layers=1).build(seed=0).double()
    tokens = torch.randint(11, (1, 6), generator=torch.Generator().manual_seed(0))
    weight = model.get_parameter("blocks.0.attention.qkv.weight")

    def gradient():
        return torch.autograd.grad(model(tokens).square().sum(), weight, create_graph=True)[0]

    direction = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    product = torch.autograd.grad((gradient() * direction).sum(), weight)[0]
    with torch.no_grad():
        weight += 1e-6 * direction
    above = gradient().detach()
    with torch.no_grad():
        weight -= 2e-6 * direction
    torch.testing.assert_close(product, (above - gradient().detach()) / 2e-6, rtol=1e-4, atol=1e-6)


@each_family
@pytest.mark.parametrize("scale_vectors", [None, ScaleVectors(branches="separate", placement="both", form="scalar")])
def test_the_built_model_has_the_counted_parameters(kind, scale_vectors):
    config = dataclasses.replace(config_of(kind), scale_vectors=scale_vectors)
    model = config.build(seed=0)

    gains = config.gain_params() if kind == "enoki" else 0  # which no formula of that family counts
    assert sum(param.numel() for param in model.parameters()) == config.size().total_params + gains


@each_family
def test_the_sizes_are_those_of_attention_and_the_rates(kind):
    """Heads x width more per layer, and the gains of queries and keys less where the family counts them."""
    changes = {"heads": 2, "head_dim": 16, "num_layers": 3, "vocab_size": 7}
    attention, memory = (config_of(kind, options, **changes).size() for options in (None, Osdn()))

    less = 3 * 2 * 16 if kind == "qwen3" else 0
    assert memory.non_embedding_params - attention.non_embedding_params == 3 * 32 * 2 - less
    assert memory.compute_kaplan() == attention.compute_kaplan() == 72 * 3 * 32**2


def test_the_memory_costs_the_same_per_token_at_any_length():
    size = ModelSize(non_embedding_params=1, total_params=1, num_layers=2, width=8, vocab_size=3, memory_head_dim=4)

    # 72 * 2 * 8^2 = 9216. Per layer and token 2 heads, each 3 products of 4 x 4 (multiply and add), once forward and
    # twice backward: 2 * 3 * 16 * 2 * 3 = 576.
    assert size.compute_deepseek(sequence_length=10) == size.compute_deepseek(sequence_length=1000) == 9216 + 2 * 576
    assert size.compute_deepseek(sequence_length=10, tokens=5) == 5 * (9216 + 2 * 576)


@each_family
def test_maps_are_matrices_and_decayed(kind):
    model = config_of(kind).build(seed=0)

    assert {name for name, group in assign_groups(model).groups.items() if group == "no_decay"} == {
        "embedding.weight",
        *(name for name, param in model.named_parameters() if param.ndim == 1),
    }
    assert assign_matrices(model).groups["blocks.0.attention.rate.weight"] == "matrix"


def test_the_option_survives_plain_data_and_is_set_on_a_command_line():
    config = override(EnokiConfig(heads=2), ["osdn.hyper_lr=0.5"])

    assert config.osdn == Osdn(hyper_lr=0.5)
    assert from_dict(ModelConfig, to_dict(config)) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hyper_lr": -1.0}, r"^osdn\.hyper_lr must be at least 0 and finite, got -1\.0"),
        ({"hyper_lr": float("nan")}, r"^osdn\.hyper_lr must be at least 0 and finite, got nan"),
        ({"forgetting": 1.5}, r"^osdn\.forgetting must lie in \[0, 1\], got 1\.5"),
    ],
)
def test_settings_out_of_range_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        Osdn(**changes)
