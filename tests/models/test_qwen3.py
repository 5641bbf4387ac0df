import pytest
import torch

from logclock.models import Qwen3Config

PETAFLOP_HOUR = 3.6e18

# specs/adana.md 3.2: heads, L, d, feed-forward width, P, D, T at 32 x 2048 tokens, 6 P 20 D in petaFLOP hours, as
# printed.
LADDER = [
    (2, 4, 256, 768, 3_673_344, 29_428_992, 8_981, "0.0036"),
    (3, 6, 384, 1152, 12_392_832, 51_026_304, 15_571, "0.0211"),
    (4, 8, 512, 1536, 29_370_880, 80_882_176, 24_683, "0.0792"),
    (5, 10, 640, 1920, 57_360_000, 121_749_120, 37_154, "0.233"),
    (6, 12, 768, 2304, 99_112_704, 176_379_648, 53_826, "0.583"),
    (7, 14, 896, 2688, 157_381_504, 247_526_272, 75_539, "1.30"),
    (8, 16, 1024, 3072, 234_918_912, 337_941_504, 103_131, "2.65"),
    (9, 18, 1152, 3456, 334_477_440, 450_377_856, 137_444, "5.02"),
    (10, 20, 1280, 3840, 458_809_600, 587_587_840, 179_317, "8.99"),
    (11, 22, 1408, 4224, 610_667_904, 752_323_968, 229_591, "15.3"),
    (12, 24, 1536, 4608, 792_804_864, 947_338_752, 289_104, "25.0"),
    (14, 28, 1792, 5376, 1_258_924_800, 1_439_214_336, 439_213, "60.4"),
]


@pytest.mark.parametrize("row", LADDER, ids=lambda row: f"h{row[0]}")
def test_sizes_follow_the_ladder_of_the_paper(row):
    heads, num_layers, width, _, non_embedding_params, total_params, steps, compute_6p = row

    size = Qwen3Config(heads=heads).size()

    assert (size.num_layers, size.width, size.vocab_size) == (num_layers, width, 50304)
    assert (size.non_embedding_params, size.total_params) == (non_embedding_params, total_params)
    assert size.steps_for(tokens_per_step=32 * 2048) == steps
    digits = len(compute_6p.split(".")[1])
    assert f"{size.compute_6p(tokens=size.tokens_for()) / PETAFLOP_HOUR:.{digits}f}" == compute_6p


@pytest.mark.parametrize("row", [row for row in LADDER if row[0] <= 6], ids=lambda row: f"h{row[0]}")
def test_the_built_model_has_the_counted_parameters(row):
    heads, num_layers, width, hidden, non_embedding_params, total_params, _, _ = row

    with torch.device("meta"):
        model = Qwen3Config(heads=heads).build(seed=0)

    assert sum(p.numel() for p in model.parameters()) == total_params
    tables = (model.embedding.weight, model.head.weight)
    assert [tuple(table.shape) for table in tables] == [(50304, width)] * 2
    assert total_params - sum(table.numel() for table in tables) == non_embedding_params
    assert len(model.blocks) == num_layers
    assert model.blocks[0].feed_forward.into.weight.shape == (hidden, width)
    assert model.blocks[0].attention.query_gate.weight.shape == (2 * width, width)
    assert model.blocks[0].attention.query_norm.weight.shape == (128,)


def test_the_rule_of_the_released_table_is_14_percent_short():
    # specs/adana.md 3.2, the trap: 12 d^2 L instead of 14.
    size = Qwen3Config(heads=12).size()

    assert size.compute_kaplan() / size.compute_6p() == pytest.approx(12 / 14, abs=1e-3)
    assert 6 * 12 * size.width**2 * size.num_layers == size.compute_kaplan()


def test_the_head_is_counted_once_in_6d():
    # P of h = 2, and one table of 50304 x 256.
    assert Qwen3Config(heads=2).size().compute_6d() == 6 * (3_673_344 + 12_877_824)


def test_a_micro_size_of_another_head_width_is_counted_by_its_own_shapes():
    # d = 32: 14 * 1024 + 2 * 32 + 2 * 16 in the one layer, 32 in the last norm, and two tables of 100 x 32.
    size = Qwen3Config(heads=2, head_dim=16, num_layers=1, vocab_size=100).size()

    assert (size.non_embedding_params, size.total_params) == (14_464, 20_864)
