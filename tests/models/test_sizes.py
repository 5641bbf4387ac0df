import subprocess
import sys
from decimal import Decimal

import pytest

from logclock.models import sizes
from logclock.models.sizes import ModelSize

PETAFLOP_HOUR = 3.6e18

# specs/adana.md 3.1: heads, L, d, P, D, T at 32 x 2048 tokens, 6 P 20 D and C_6D in petaFLOP hours as printed.
LADDER = [
    (2, 1, 128, 196_608, 13_074_432, 3_990, "8.57e-5", "0.00289"),
    (3, 2, 192, 884_736, 20_201_472, 6_165, "5.96e-4", "0.0071"),
    (4, 3, 256, 2_359_296, 28_114_944, 8_580, "0.00221", "0.0143"),
    (6, 4, 384, 7_077_888, 45_711_360, 13_950, "0.01078", "0.0402"),
    (8, 6, 512, 18_874_368, 70_385_664, 21_480, "0.04428", "0.1047"),
    (10, 7, 640, 34_406_400, 98_795_520, 30_150, "0.1133", "0.2193"),
    (12, 9, 768, 63_700_992, 140_967_936, 43_020, "0.2993", "0.4809"),
    (14, 10, 896, 96_337_920, 186_482_688, 56_910, "0.5988", "0.879"),
    (16, 12, 1024, 150_994_944, 254_017_536, 77_520, "1.279", "1.715"),
    (18, 13, 1152, 207_028_224, 322_928_640, 98_550, "2.229", "2.852"),
    (20, 15, 1280, 294_912_000, 423_690_240, 129_300, "4.165", "5.074"),
    (22, 16, 1408, 380_633_088, 522_289_152, 159_390, "6.627", "7.86"),
    (24, 18, 1536, 509_607_936, 664_141_824, 202_680, "11.28", "12.99"),
    (26, 19, 1664, 631_308_288, 798_720_000, 243_750, "16.81", "19.04"),
    (28, 21, 1792, 809_238_528, 989_528_064, 301_980, "26.69", "29.67"),
    (30, 22, 1920, 973_209_600, 1_166_376_960, 355_950, "37.84", "41.59"),
    (32, 24, 2048, 1_207_959_552, 1_414_004_736, 431_520, "56.94", "61.79"),
    (34, 25, 2176, 1_420_492_800, 1_639_415_808, 500_310, "77.63", "83.61"),
    (36, 27, 2304, 1_719_926_784, 1_951_727_616, 595_620, "111.9", "119.4"),
    (39, 29, 2496, 2_168_045_568, 2_419_163_136, 738_270, "174.8", "185.0"),
    (40, 30, 2560, 2_359_296_000, 2_616_852_480, 798_600, "205.8", "217.0"),
    (41, 30, 2624, 2_478_735_360, 2_742_730_752, 837_015, "226.6", "238.7"),
    (43, 32, 2752, 2_908_225_536, 3_185_098_752, 972_015, "308.8", "323.5"),
    (44, 33, 2816, 3_140_222_976, 3_423_535_104, 1_044_780, "358.4", "374.5"),
]


def enoki_size(num_layers, width, non_embedding_params, total_params):
    return ModelSize(
        non_embedding_params=non_embedding_params,
        total_params=total_params,
        num_layers=num_layers,
        width=width,
        vocab_size=50304,
    )


def assert_prints_as(value, printed):
    exact = Decimal(printed)
    half_of_last_digit = 0.5 * 10.0 ** exact.as_tuple().exponent
    assert abs(value - float(exact)) <= half_of_last_digit * (1 + 1e-9)


@pytest.mark.parametrize("row", LADDER, ids=lambda row: f"h{row[0]}")
def test_the_ladder_of_the_paper_follows_from_the_counts(row):
    _, num_layers, width, params, total_params, steps, compute_6p, compute_6d = row
    size = enoki_size(num_layers, width, params, total_params)

    tokens = size.tokens_for()

    assert tokens == 20 * total_params
    assert size.steps_for(tokens_per_step=65_536) == steps
    assert_prints_as(size.compute_6p(tokens=tokens) / PETAFLOP_HOUR, compute_6p)
    assert_prints_as(size.compute_6d(tokens=tokens) / PETAFLOP_HOUR, compute_6d)
    assert size.compute_kaplan() == size.compute_6p()


def test_compute_per_token_equals_hand_numbers():
    size = enoki_size(4, 384, 7_077_888, 45_711_360)

    assert size.compute_6p() == 42_467_328
    assert size.compute_kaplan() == 42_467_328  # 72 * 4 * 384^2
    assert size.compute_6d() == 42_467_328 + 115_900_416  # + 6 * 50304 * 384
    assert size.compute_deepseek(sequence_length=2048) == 42_467_328 + 37_748_736  # + 12 * 4 * 384 * 2048
    assert size.compute_deepseek(sequence_length=2048, tokens=10) == 802_160_640


def test_kaplan_counts_the_shape_and_6p_the_parameters():
    # A Qwen3 layer has 14 d^2 + 256 + 2 d parameters; specs/adana.md 3.2, h = 2.
    size = ModelSize(non_embedding_params=3_673_344, total_params=29_428_992, num_layers=4, width=256, vocab_size=50304)

    assert size.compute_kaplan() == 18_874_368
    assert size.compute_6p() == 22_040_064


def test_budgets_are_rounded_down_to_whole_tokens_and_steps():
    size = ModelSize(non_embedding_params=5, total_params=11, num_layers=1, width=1, vocab_size=3)

    assert size.tokens_for(ratio=0.5) == 5
    assert size.steps_for(tokens_per_step=3, ratio=1) == 3


@pytest.mark.parametrize("ratio", [0, -1.0, float("nan"), float("inf")])
def test_a_ratio_that_is_no_positive_number_is_refused(ratio):
    with pytest.raises(ValueError, match=r"ratio must be positive and finite, got .*tokens per parameter"):
        enoki_size(1, 128, 196_608, 13_074_432).tokens_for(ratio=ratio)


def test_a_budget_below_one_step_is_refused_with_both_numbers():
    with pytest.raises(ValueError, match=r"20 tokens, less than one step of 64"):
        ModelSize(non_embedding_params=1, total_params=1, num_layers=1, width=1, vocab_size=1).steps_for(
            tokens_per_step=64
        )


def test_a_step_without_tokens_is_refused():
    with pytest.raises(ValueError, match="tokens_per_step must be at least 1, got 0"):
        enoki_size(1, 128, 196_608, 13_074_432).steps_for(tokens_per_step=0)


def test_sizes_can_be_read_without_torch():
    program = f"import runpy, sys; runpy.run_path({sizes.__file__!r}); sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
