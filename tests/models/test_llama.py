import pytest
import torch

from logclock.models import LlamaConfig, language_model_loss
from logclock.optim import param_groups

# specs/adaptive-warmup.md 2.2 and 4: layers, all parameters, and the sums over 2-D tensors of min(rows, columns), of
# rows times columns, and of 1, by which the study converts between norms.
STUDY = [
    (12, 123_587_328, 46_848, 123_568_128, 61),
    (24, 208_540_416, 92_928, 208_502_784, 121),
]


def meta_model(**fields):
    with torch.device("meta"):
        return LlamaConfig(**fields).build(seed=0)


@pytest.mark.parametrize("row", STUDY, ids=lambda row: f"{row[0]} layers")
def test_sizes_and_norm_ratios_of_the_study_follow_from_the_shapes(row):
    num_layers, total_params, kappa_spectral, kappa_sign, kappa_frobenius = row

    model = meta_model(heads=12, num_layers=num_layers)

    matrices = [p for p in model.parameters() if p.ndim == 2]
    assert sum(p.numel() for p in model.parameters()) == total_params
    assert LlamaConfig(heads=12, num_layers=num_layers).size().total_params == total_params
    assert sum(min(p.shape) for p in matrices) == kappa_spectral
    assert sum(p.numel() for p in matrices) == kappa_sign
    assert len(matrices) == kappa_frobenius


def test_the_study_has_60_decayed_matrices_and_keeps_gains_and_the_tied_table():
    # specs/adaptive-warmup.md 3
    decayed, kept = param_groups(meta_model(heads=12), weight_decay=0.1)

    assert len(decayed["params"]) == 60
    assert {name for name, p in kept["params"] if p.ndim == 2} == {"embedding.weight"}
    assert len(kept["params"]) == 1 + 25


def test_shapes_of_a_layer_are_those_of_the_study():
    block = meta_model(heads=12).blocks[0]

    shapes = {name: tuple(p.shape) for name, p in block.named_parameters()}

    assert shapes == {
        "attention_norm.weight": (768,),
        "attention.qkv.weight": (2304, 768),
        "attention.out.weight": (768, 768),
        "feed_forward_norm.weight": (768,),
        "feed_forward.gate.weight": (2048, 768),
        "feed_forward.into.weight": (2048, 768),
        "feed_forward.out.weight": (768, 2048),
    }


def test_compute_counts_the_head_once_though_it_has_no_table_of_its_own():
    # 12 layers: P without the table of 50304 x 768 = 38,633,472, gains included.
    size = LlamaConfig(heads=12).size()

    assert size.non_embedding_params == 84_953_856
    assert size.compute_6p() == 6 * 84_953_856
    assert size.compute_6d() == 6 * 123_587_328
    assert size.compute_kaplan() == 6 * (84_953_856 - 25 * 768)  # 3 d F = 8 d^2: 12 d^2 a layer


def test_a_feed_forward_width_can_be_given():
    # d = 32: 4 * 1024 + 3 * 32 * 50 + 64 in the one layer, 32 in the last norm, and one table of 100 x 32.
    config = LlamaConfig(heads=2, head_dim=16, num_layers=1, feed_forward_width=50, vocab_size=100)

    assert config.size().non_embedding_params == 8_992
    assert config.size().total_params == 12_192
    assert sum(p.numel() for p in config.build(seed=0).parameters()) == 12_192
    with pytest.raises(ValueError, match="feed_forward_width must be at least 1, got 0"):
        LlamaConfig(heads=2, feed_forward_width=0)


def test_the_one_table_is_read_and_written_by_both_ends():
    model = LlamaConfig(heads=2, head_dim=16, num_layers=1, vocab_size=50).build(seed=0)
    tokens_BL = torch.tensor([[1, 2, 3]])

    language_model_loss(model(tokens_BL), torch.tensor([[2, 3, 4]])).cross_entropy.backward()

    assert [name for name in model.state_dict() if "embedding" in name or "head" in name] == ["embedding.weight"]
    rows = model.embedding.weight.grad.abs().sum(dim=1)
    assert bool((rows > 0).all())  # as the head, every row
    assert rows[[1, 2, 3]].min().item() > 10 * rows[10:].max().item()  # as the embedding, those of the inputs too


def test_the_first_loss_is_that_of_the_study():
    # specs/adaptive-warmup.md 4: 10.96 to 11.00 on random tokens. Those have a logit of mean 0, so the expected loss is
    # the mean of log(sum(exp(logits))), which scatters less. The logits have standard deviation 0.02 sqrt(768) and add
    # half its square, 0.154, to log 50304 = 10.826.
    model = LlamaConfig(heads=12).build(seed=0)
    tokens_BL = torch.randint(50304, (1, 64), generator=torch.Generator().manual_seed(0))

    with torch.no_grad():
        logz = model(tokens_BL).logsumexp(dim=-1).mean().item()

    assert 10.96 < logz < 11.00
