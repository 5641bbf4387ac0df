import math

import numpy as np
import pytest
import torch

from logclock.models import EnokiConfig, language_model_loss

# specs/adana.md 3.1: heads, L, d, P, D.
LADDER = [
    (2, 1, 128, 196_608, 13_074_432),
    (3, 2, 192, 884_736, 20_201_472),
    (4, 3, 256, 2_359_296, 28_114_944),
    (6, 4, 384, 7_077_888, 45_711_360),
    (8, 6, 512, 18_874_368, 70_385_664),
    (10, 7, 640, 34_406_400, 98_795_520),
    (12, 9, 768, 63_700_992, 140_967_936),
    (14, 10, 896, 96_337_920, 186_482_688),
    (16, 12, 1024, 150_994_944, 254_017_536),
    (18, 13, 1152, 207_028_224, 322_928_640),
    (20, 15, 1280, 294_912_000, 423_690_240),
    (22, 16, 1408, 380_633_088, 522_289_152),
    (24, 18, 1536, 509_607_936, 664_141_824),
    (26, 19, 1664, 631_308_288, 798_720_000),
    (28, 21, 1792, 809_238_528, 989_528_064),
    (30, 22, 1920, 973_209_600, 1_166_376_960),
    (32, 24, 2048, 1_207_959_552, 1_414_004_736),
    (34, 25, 2176, 1_420_492_800, 1_639_415_808),
    (36, 27, 2304, 1_719_926_784, 1_951_727_616),
    (39, 29, 2496, 2_168_045_568, 2_419_163_136),
    (40, 30, 2560, 2_359_296_000, 2_616_852_480),
    (41, 30, 2624, 2_478_735_360, 2_742_730_752),
    (43, 32, 2752, 2_908_225_536, 3_185_098_752),
    (44, 33, 2816, 3_140_222_976, 3_423_535_104),
]
TINY = EnokiConfig(heads=3, head_dim=6, num_layers=2, vocab_size=11)


def tokens_of(shape, *, vocab_size, seed=0):
    return torch.randint(vocab_size, shape, generator=torch.Generator().manual_seed(seed))


def tiny_float64_model():
    """Return a model whose gains are not 1, so that a gain left out would show."""
    model = TINY.build(seed=0).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, param in model.named_parameters():
            if name.endswith("norm.weight"):
                param.copy_(1 + 0.3 * torch.randn(param.shape, generator=generator))
    return model


def layer_norm(x, gain):
    return gain * (x - x.mean()) / np.sqrt(x.var() + 1e-5)


def rotated(x, position, theta=10000.0):
    """Turn adjacent channels, read as one complex number each."""
    z = x[0::2] + 1j * x[1::2]
    z = z * np.exp(1j * position * theta ** (-2 * np.arange(len(z)) / len(x)))
    return np.stack([z.real, z.imag], axis=1).ravel()


def attention(normed, weights, prefix, heads, head_dim):
    """Return the output of causal attention, position by position and head by head."""
    width = heads * head_dim
    qkv = weights[prefix + "qkv.weight"]
    mixed = np.zeros_like(normed)
    for head in range(heads):
        rows = np.arange(head * head_dim, (head + 1) * head_dim)
        queries, keys, values = (normed @ qkv[part * width + rows].T for part in range(3))
        queries = [rotated(layer_norm(q, weights[prefix + "query_norm.weight"]), i) for i, q in enumerate(queries)]
        keys = [rotated(layer_norm(k, weights[prefix + "key_norm.weight"]), i) for i, k in enumerate(keys)]
        for i, query in enumerate(queries):
            scores = np.exp([query @ keys[j] / math.sqrt(head_dim) for j in range(i + 1)])
            mixed[i, rows] = (scores / scores.sum()) @ values[: i + 1]
    return mixed @ weights[prefix + "out.weight"].T


def reference_logits(weights, tokens, config):
    """Return the logits of one sequence, written from specs/adana.md 3.1 without torch."""
    x = weights["embedding.weight"][tokens]
    for layer in range(config.num_layers):
        prefix = f"blocks.{layer}."
        normed = np.array([layer_norm(row, weights[prefix + "attention_norm.weight"]) for row in x])
        x = x + attention(normed, weights, prefix + "attention.", config.heads, config.head_dim)
        normed = np.array([layer_norm(row, weights[prefix + "feed_forward_norm.weight"]) for row in x])
        hidden = normed @ weights[prefix + "feed_forward.into.weight"].T
        hidden = hidden * 0.5 * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2)))
        x = x + hidden @ weights[prefix + "feed_forward.out.weight"].T
    return np.array([layer_norm(row, weights["final_norm.weight"]) for row in x]) @ weights["head.weight"].T


@pytest.mark.parametrize("row", LADDER, ids=lambda row: f"h{row[0]}")
def test_sizes_follow_the_ladder_of_the_paper(row):
    heads, num_layers, width, non_embedding_params, total_params = row

    size = EnokiConfig(heads=heads).size()

    assert (size.num_layers, size.width, size.vocab_size) == (num_layers, width, 50304)
    assert (size.non_embedding_params, size.total_params) == (non_embedding_params, total_params)


@pytest.mark.parametrize("row", [row for row in LADDER if row[0] <= 12], ids=lambda row: f"h{row[0]}")
def test_the_built_model_has_the_counted_parameters_and_its_gains(row):
    heads, num_layers, width, non_embedding_params, _ = row
    config = EnokiConfig(heads=heads)

    with torch.device("meta"):
        model = config.build(seed=0)

    gains = num_layers * (2 * width + 2 * 64) + width
    assert config.gain_params() == gains
    assert non_embedding_params + 2 * width * 50304 + gains == sum(p.numel() for p in model.parameters())
    assert gains == sum(p.numel() for p in model.parameters() if p.ndim == 1)


@pytest.mark.parametrize(("heads", "depth"), [(1, 1), (2, 1), (3, 2), (4, 3), (5, 3), (7, 5)])
def test_depth_is_three_quarters_of_the_heads_rounded_down_and_at_least_one(heads, depth):
    assert EnokiConfig(heads=heads).depth == depth


def test_forward_equals_a_float64_transcription_without_torch():
    model = tiny_float64_model()
    tokens_BL = tokens_of((2, 9), vocab_size=11)

    logits_BLV = model(tokens_BL).detach().numpy()

    weights = {name: p.detach().numpy() for name, p in model.named_parameters()}
    expected = np.array([reference_logits(weights, tokens, TINY) for tokens in tokens_BL.numpy()])
    assert np.ptp(expected) > 1
    np.testing.assert_allclose(logits_BLV, expected, rtol=0, atol=1e-10)


def test_a_later_token_does_not_change_earlier_logits():
    model = tiny_float64_model()
    tokens_BL = tokens_of((1, 12), vocab_size=11)
    changed_BL = tokens_BL.clone()
    changed_BL[0, 7] = (changed_BL[0, 7] + 1) % 11

    difference_L = (model(tokens_BL) - model(changed_BL)).abs().amax(dim=-1)[0]

    assert difference_L[:7].max().item() < 1e-13  # summation order may differ in the last bits
    assert difference_L[7:].min().item() > 1e-4


def test_a_prefix_has_the_logits_of_the_whole():
    model = tiny_float64_model()
    tokens_BL = tokens_of((2, 40), vocab_size=11)

    torch.testing.assert_close(model(tokens_BL[:, :13]), model(tokens_BL)[:, :13], rtol=0, atol=1e-12)


def test_a_micro_model_trains():
    model = EnokiConfig(heads=2, head_dim=16, vocab_size=256).build(seed=0)
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

    # Fresh logits have variance 1, so the loss starts at log(256) + 1/2 give or take its sampling error.
    assert losses[0] == pytest.approx(math.log(256) + 0.5, abs=0.4)
    assert losses[2] < losses[1] < losses[0]


def test_weights_in_bfloat16_give_the_float32_logits_up_to_their_precision():
    model = EnokiConfig(heads=2, head_dim=16, vocab_size=64).build(seed=0).bfloat16()
    tokens_BL = tokens_of((1, 300), vocab_size=64)

    narrow_BLV = model(tokens_BL)

    assert narrow_BLV.dtype == torch.bfloat16
    # 2^-8 relative per operation on logits of size 1 to 4; bfloat16 angles would be off by 1 and more at position 300.
    torch.testing.assert_close(narrow_BLV.float(), model.float()(tokens_BL), rtol=0, atol=0.1)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")  # raised where torch imports its own compiler
def test_a_compiled_model_equals_the_eager_one():
    model = EnokiConfig(heads=2, head_dim=8, num_layers=2, vocab_size=50).build(seed=0)
    compiled = torch.compile(model, fullgraph=True)
    tokens_BL = tokens_of((2, 13), vocab_size=50)

    gradients = []
    for run in (model, compiled):
        logits_BLV = run(tokens_BL[:, :-1])
        language_model_loss(logits_BLV, tokens_BL[:, 1:]).total(1e-4).backward()
        gradients.append([logits_BLV.detach()] + [p.grad.clone() for p in model.parameters()])
        model.zero_grad()

    for eager, fused in zip(*gradients, strict=True):
        torch.testing.assert_close(fused, eager, rtol=1e-5, atol=1e-5)  # float32, other summation order


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
def test_a_config_that_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        EnokiConfig(**arguments)
