import pytest
import torch

from logclock.models import EnokiConfig

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
