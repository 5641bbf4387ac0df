import numpy as np
import pytest
import torch

from logclock.data.batches import TrainBatches, validation_batches
from logclock.data.shards import TokenShards, write_shard


@pytest.fixture
def counting(tmp_path):
    """Return a function that writes the tokens 0, 1, ..., n - 1 over two files, so a token is its own position."""

    def make(num_tokens: int) -> TokenShards:
        cut = num_tokens // 3 + 1
        for name, tokens in (("a", np.arange(cut)), ("b", np.arange(cut, num_tokens))):
            write_shard(tmp_path / f"{name}.bin", tokens, vocab_size=num_tokens)
        return TokenShards([tmp_path / "a.bin", tmp_path / "b.bin"], vocab_size=num_tokens)

    return make


def window_starts(batches, epoch):
    """The first token of every window of an epoch, in the order of the steps."""
    steps = range(epoch * batches.num_batches_per_epoch + 1, (epoch + 1) * batches.num_batches_per_epoch + 1)
    return torch.cat([batches.at(step)[0][:, 0] for step in steps]).tolist()


def test_inputs_and_targets_are_int64_and_one_place_apart(counting):
    batches = TrainBatches(counting(100), batch_size=3, sequence_length=4, seed=0)

    inputs, targets = batches.at(1)

    assert inputs.shape == targets.shape == (3, 4)
    assert inputs.dtype == targets.dtype == torch.int64
    assert inputs.is_contiguous()
    assert targets.is_contiguous()
    assert torch.equal(targets, inputs + 1)  # tokens count up
    assert torch.equal(inputs, inputs[:, :1] + torch.arange(4))


def test_an_epoch_covers_each_window_exactly_once(counting):
    # 104 tokens and L = 4: (104 - 4) // 5 = 20 windows, 4 batches of 5.
    batches = TrainBatches(counting(104), batch_size=5, sequence_length=4, seed=0)
    assert batches.num_batches_per_epoch == 4

    for epoch in range(12):
        starts = window_starts(batches, epoch)
        offset = min(starts)
        assert 0 <= offset <= 4
        assert sorted(starts) == [offset + 5 * number for number in range(20)]


def test_windows_that_fill_no_batch_are_left_over_differently_each_epoch(counting):
    batches = TrainBatches(counting(104), batch_size=6, sequence_length=4, seed=0)
    assert batches.num_batches_per_epoch == 3

    left_over = set()
    for epoch in range(10):
        starts = window_starts(batches, epoch)
        assert len(starts) == len(set(starts)) == 18
        left_over |= set(range(104)) - {start + place for start in starts for place in range(5)}

    assert len(left_over) > 40


def test_epochs_and_seeds_differ_in_order_and_offset(counting):
    shards = counting(1000)
    orders = {
        (seed, epoch): tuple(window_starts(TrainBatches(shards, batch_size=4, sequence_length=9, seed=seed), epoch))
        for seed in range(4)
        for epoch in range(4)
    }

    assert len(set(orders.values())) == 16
    assert len({min(order) for order in orders.values()}) > 3
    assert all(list(order) != sorted(order) for order in orders.values())


def test_a_step_has_the_same_batch_whatever_was_asked_before(counting):
    shards = counting(300)
    in_order = TrainBatches(shards, batch_size=4, sequence_length=6, seed=5)
    expected = {step: in_order.at(step) for step in range(1, 60)}

    for step in [59, 3, 3, 40, 1, 12, 58]:
        resumed = TrainBatches(shards, batch_size=4, sequence_length=6, seed=5)
        for batches in (in_order, resumed):
            inputs, targets = batches.at(step)
            assert torch.equal(inputs, expected[step][0])
            assert torch.equal(targets, expected[step][1])


def test_the_order_is_the_documented_one():
    """Transcribed from the docstring with Python integers: bits of PCG64, one for the offset, then one per window."""
    bits = np.random.PCG64(np.random.SeedSequence([7, 0]))
    offset = int(bits.random_raw()) % 5
    keys = [int(bits.random_raw()) for _ in range(20)]
    expected = [offset + 5 * number for number in sorted(range(20), key=keys.__getitem__)]

    class Positions:
        paths = ()

        def __len__(self):
            return 104

        def read_windows(self, starts, length):
            return np.asarray(starts)[:, None] + np.arange(length)

    batches = TrainBatches(Positions(), batch_size=5, sequence_length=4, seed=7)

    assert window_starts(batches, 0) == expected


def test_epoch_of_counts_from_zero_and_steps_from_one(counting):
    batches = TrainBatches(counting(104), batch_size=5, sequence_length=4, seed=0)

    assert [batches.epoch_of(step) for step in (1, 4, 5, 8, 9)] == [0, 0, 1, 1, 2]
    with pytest.raises(ValueError, match="step must be at least 1, got 0"):
        batches.at(0)


def test_batches_do_not_share_memory(counting):
    batches = TrainBatches(counting(104), batch_size=5, sequence_length=4, seed=0)
    inputs, targets = batches.at(1)
    before = targets.clone()

    inputs.zero_()

    assert torch.equal(targets, before)
    assert not torch.equal(batches.at(1)[0], inputs)


def test_validation_is_a_fixed_prefix_in_order_with_each_token_a_target_once(counting):
    shards = counting(1 + 4 * 2 * 3 + 5)

    everything = list(validation_batches(shards, batch_size=2, sequence_length=4))
    prefix = list(validation_batches(shards, batch_size=2, sequence_length=4, num_batches=2))

    assert len(everything) == 3
    assert torch.cat([targets.flatten() for _, targets in everything]).tolist() == list(range(1, 25))
    assert torch.cat([inputs.flatten() for inputs, _ in prefix]).tolist() == list(range(16))


def test_the_smallest_stream_for_one_batch(counting):
    needed = 3 * 5 + 4

    assert TrainBatches(counting(needed), batch_size=3, sequence_length=4, seed=0).num_batches_per_epoch == 1
    with pytest.raises(ValueError, match=r"has 18 training tokens, .* need at least 19. Lower them, or prepare more"):
        TrainBatches(counting(needed - 1), batch_size=3, sequence_length=4, seed=0)
    assert len(list(validation_batches(counting(13), batch_size=3, sequence_length=4))) == 1
    with pytest.raises(ValueError, match=r"has 12 validation tokens, .* need at least 13"):
        validation_batches(counting(12), batch_size=3, sequence_length=4)
    with pytest.raises(ValueError, match="need at least 25"):
        validation_batches(counting(24), batch_size=3, sequence_length=4, num_batches=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size and sequence_length must be at least 1, got 0 and 4"),
        ({"sequence_length": 0}, "got 5 and 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_numbers_out_of_range_are_errors(arguments, message, counting):
    with pytest.raises(ValueError, match=message):
        TrainBatches(counting(104), **{"batch_size": 5, "sequence_length": 4, "seed": 0, **arguments})


def test_asking_for_no_validation_batches_is_an_error(counting):
    with pytest.raises(ValueError, match="num_batches must be at least 1, got 0"):
        validation_batches(counting(104), batch_size=2, sequence_length=4, num_batches=0)


def test_an_id_outside_the_vocabulary_never_becomes_a_batch(tmp_path):
    write_shard(tmp_path / "a.bin", np.full(200, 9), vocab_size=10)
    shards = TokenShards([tmp_path / "a.bin"], vocab_size=9)

    with pytest.raises(ValueError, match="token id 9 is outside the vocabulary of 9"):
        TrainBatches(shards, batch_size=2, sequence_length=4, seed=0).at(1)
    with pytest.raises(ValueError, match="token id 9 is outside the vocabulary of 9"):
        next(validation_batches(shards, batch_size=2, sequence_length=4))
