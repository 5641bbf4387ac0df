import pytest

from logclock.analysis import CONVENTIONS, compute_6d, compute_6p, compute_deepseek, compute_kaplan
from logclock.analysis.compute import compute_per_token, total_compute
from logclock.models.sizes import ModelSize

ENOKI_6 = ModelSize(non_embedding_params=7_077_888, total_params=45_711_360, num_layers=4, width=384, vocab_size=50304)


def run_of(record, size, sequence_length):
    """A run of 100 steps of 10 tokens with what training writes down of a model."""
    model = {
        "compute_6p_per_token": size.compute_6p(),
        "compute_kaplan_per_token": size.compute_kaplan(),
        "compute_6d_per_token": size.compute_6d(),
        "compute_deepseek_per_token": size.compute_deepseek(sequence_length=sequence_length),
    }
    return record(steps=(100,), losses=(4.0,), model=model)


def test_each_convention_equals_the_numbers_by_hand(record):
    run = run_of(record, ENOKI_6, sequence_length=2048)

    # 72 * 4 * 384^2 = 42,467,328; 6 * 50304 * 384 = 115,900,416; 12 * 4 * 384 * 2048 = 37,748,736; 1,000 tokens
    assert compute_6p(run) == 42_467_328e3
    assert compute_kaplan(run) == 42_467_328e3
    assert compute_6d(run) == (42_467_328 + 115_900_416) * 1e3
    assert compute_deepseek(run) == (42_467_328 + 37_748_736) * 1e3


def test_the_share_of_the_head_that_6p_leaves_out_is_as_stated(record):
    run = run_of(record, ENOKI_6, sequence_length=2048)

    assert 1 - compute_6p(run) / compute_6d(run) == pytest.approx(0.73, abs=0.005)
    assert "73 %" in CONVENTIONS["compute_6p_per_token"].trap


def test_every_convention_is_described_and_recorded(record):
    assert set(CONVENTIONS) == set(run_of(record, ENOKI_6, sequence_length=8).model)


def test_an_unknown_convention_lists_the_known_ones(record):
    with pytest.raises(ValueError, match=r"no 'compute_7p'.*Known conventions: compute_6d_per_token, compute_6p"):
        compute_per_token(record(), "compute_7p")


@pytest.mark.parametrize("tokens", [[], [0]])
def test_a_run_without_a_step_has_no_compute(record, tokens):
    with pytest.raises(ValueError, match="no token was trained on"):
        total_compute(record(train={"step": [0][: len(tokens)], "tokens": tokens}))
