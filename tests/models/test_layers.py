import math

import numpy as np
import pytest
import torch

from logclock.models.layers import (
    Attention,
    FeedForward,
    GatedAttention,
    SwiGLU,
    apply_rotary,
    gain_only_norm,
    rms_norm,
    rotary_tables,
)

CPU = torch.device("cpu")


def rotate(x_BLHK, *, theta=10000.0):
    tables = rotary_tables(x_BLHK.shape[1], x_BLHK.shape[3], theta=theta, dtype=x_BLHK.dtype, device=CPU)
    return apply_rotary(x_BLHK, *tables)


def test_adjacent_channels_turn_together():
    # Width 4, theta 100: angles are 1 and 0.1 per position. At position 2, (1, 0) turns by 2 and (0, 1) by 0.2.
    x_BLHK = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64).expand(1, 3, 1, 4)

    turned = rotate(x_BLHK, theta=100.0)

    expected = [-0.4161468365471424, 0.9092974268256817, -0.1986693307950612, 0.9800665778412416]
    np.testing.assert_allclose(turned[0, 2, 0].numpy(), expected, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(turned[0, 0, 0].numpy(), [1.0, 0.0, 0.0, 1.0])


def test_products_of_queries_and_keys_depend_on_the_distance_alone():
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 16, dtype=torch.float64, generator=generator)

    turned_query = rotate(query.expand(1, 9, 1, 16))[0, :, 0]
    turned_key = rotate(key.expand(1, 9, 1, 16))[0, :, 0]
    products = (turned_query @ turned_key.T).numpy()

    for distance in range(-8, 9):
        diagonal = np.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], rtol=0, atol=1e-13)
    assert np.ptp(products[0]) > 0.1  # and it does depend on the distance


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_tables_are_float32_for_narrow_tensors_and_right_at_long_range(dtype):
    cos_LK, sin_LK = rotary_tables(4096, 64, theta=10000.0, dtype=dtype, device=CPU)

    angle = np.arange(4096)[:, None] * 10000.0 ** (-np.arange(0, 64, 2) / 64)
    assert cos_LK.dtype == sin_LK.dtype == torch.float32
    # A float32 frequency is off by some 2^-24 relative, its product with 4096 by about 5e-4 at most.
    np.testing.assert_allclose(cos_LK[:, 0::2].numpy(), np.cos(angle), rtol=0, atol=5e-4)
    np.testing.assert_allclose(cos_LK[:, 1::2].numpy(), np.cos(angle), rtol=0, atol=5e-4)
    np.testing.assert_allclose(sin_LK[:, 0::2].numpy(), -np.sin(angle), rtol=0, atol=5e-4)
    np.testing.assert_allclose(sin_LK[:, 1::2].numpy(), np.sin(angle), rtol=0, atol=5e-4)


def test_tables_of_a_prefix_are_a_prefix_of_the_tables():
    short = rotary_tables(5, 8, theta=10000.0, dtype=torch.float32, device=CPU)
    long = rotary_tables(50, 8, theta=10000.0, dtype=torch.float32, device=CPU)

    assert all(torch.equal(a, b[:5]) for a, b in zip(short, long, strict=True))


def test_attention_of_the_first_position_is_its_own_value():
    torch.manual_seed(0)
    attention = Attention(heads=2, head_dim=4, norm=gain_only_norm).double()
    x_BLD = torch.randn(1, 6, 8, dtype=torch.float64)
    tables = rotary_tables(6, 4, theta=10000.0, dtype=torch.float64, device=CPU)

    out_BLD = attention(x_BLD, *tables)

    value_rows = attention.qkv.weight[16:]
    torch.testing.assert_close(out_BLD[0, 0], attention.out.weight @ (value_rows @ x_BLD[0, 0]), rtol=0, atol=1e-14)


def test_the_feed_forward_activation_is_the_exact_gelu():
    feed_forward = FeedForward(width=1).double()
    with torch.no_grad():
        feed_forward.into.weight.fill_(1)
        feed_forward.out.weight.fill_(0.25)

    out = feed_forward(torch.tensor([[[1.5]]], dtype=torch.float64)).item()

    assert abs(out - 1.5 * 0.5 * (1 + math.erf(1.5 / math.sqrt(2)))) < 1e-15  # the tanh form is off by 3e-4


def test_a_gate_of_zero_halves_the_output_of_attention():
    torch.manual_seed(0)
    attention = GatedAttention(heads=2, head_dim=4, norm=rms_norm).double()
    x_BLD = torch.randn(1, 6, 8, dtype=torch.float64)
    tables = rotary_tables(6, 4, theta=10000.0, dtype=torch.float64, device=CPU)
    with torch.no_grad():  # rows 4 to 7 gate the first head, rows 12 to 15 the second
        attention.query_gate.weight[[4, 5, 6, 7, 12, 13, 14, 15]] = 0

    first_D = attention(x_BLD, *tables)[0, 0]

    torch.testing.assert_close(
        first_D, attention.out.weight @ (attention.value.weight @ x_BLD[0, 0] / 2), rtol=0, atol=1e-14
    )


def test_the_gated_feed_forward_by_hand():
    feed_forward = SwiGLU(width=1, hidden=1).double()
    with torch.no_grad():
        for part, weight in ((feed_forward.gate, 2.0), (feed_forward.into, 3.0), (feed_forward.out, 0.5)):
            part.weight.fill_(weight)

    out = feed_forward(torch.tensor([[[0.5]]], dtype=torch.float64)).item()

    assert abs(out - 0.75 / (1 + math.exp(-1))) < 1e-15  # 1 sigmoid(1), times 1.5, times 0.5


def test_the_rms_norm_by_hand():
    # The mean square of (3, 4) is 12.5; no mean is taken off.
    out = rms_norm(2).double()(torch.tensor([3.0, 4.0], dtype=torch.float64))

    np.testing.assert_allclose(out.detach().numpy(), np.array([3, 4]) / math.sqrt(12.5 + 1e-5), rtol=1e-15)
