import itertools
import os
import struct

import numpy as np
import pytest

from logclock.data.shards import ShardWriter, TokenShards, write_shard


def shard_bytes(tokens, *, magic=20240520, version=1, count=None):
    """A shard by hand: 256 little-endian int32, then little-endian uint16."""
    header = struct.pack("<3i", magic, version, len(tokens) if count is None else count) + bytes(4 * 253)
    return header + struct.pack(f"<{len(tokens)}H", *tokens)


def test_a_written_shard_is_byte_for_byte_the_llm_c_format(tmp_path):
    path = tmp_path / "a.bin"

    write_shard(path, np.array([1, 258, 65535]), vocab_size=65536)

    content = path.read_bytes()
    assert len(content) == 1024 + 6
    assert content[0:4] == bytes([0x88, 0xD8, 0x34, 0x01])  # 20240520 = 0x0134D888
    assert content[4:8] == bytes([1, 0, 0, 0])
    assert content[8:12] == bytes([3, 0, 0, 0])
    assert content[12:1024] == bytes(1012)
    assert content[1024:] == bytes([1, 0, 2, 1, 255, 255])


def test_several_files_are_read_as_one_stream(tmp_path):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 1000, size=100).astype(np.uint16)
    cuts = [0, 1, 41, 42, 100]
    paths = []
    for number, (start, stop) in enumerate(itertools.pairwise(cuts)):
        paths.append(tmp_path / f"{number}.bin")
        paths[-1].write_bytes(shard_bytes(tokens[start:stop].tolist()))

    shards = TokenShards(paths, vocab_size=1000)

    assert len(shards) == 100
    for start in range(100):
        assert shards[start] == tokens[start]
        for stop in range(start, 101):
            assert np.array_equal(shards[start:stop], tokens[start:stop])
    assert np.array_equal(shards[:], tokens)
    assert np.array_equal(shards[-5:], tokens[-5:])
    assert shards[-1] == tokens[-1]
    windows = shards.read_windows([0, 38, 93], 7)
    assert windows.dtype == np.int64
    assert np.array_equal(windows, np.stack([tokens[0:7], tokens[38:45], tokens[93:100]]))


def test_reading_past_the_end_or_with_a_stride_is_an_error(tmp_path):
    (tmp_path / "a.bin").write_bytes(shard_bytes([1, 2, 3]))
    shards = TokenShards([tmp_path / "a.bin"])

    with pytest.raises(IndexError, match="token 3 is outside a stream of 3"):
        shards[3]
    with pytest.raises(IndexError, match="tokens 2 to 4 are outside a stream of 3"):
        shards.read_windows([2], 2)
    with pytest.raises(ValueError, match="stride 2"):
        shards[::2]


def test_tokens_cannot_be_changed_through_the_stream(tmp_path):
    (tmp_path / "a.bin").write_bytes(shard_bytes([1, 2, 3]))

    with pytest.raises(ValueError, match="read-only"):
        TokenShards([tmp_path / "a.bin"])[0:2][0] = 7


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty: it is not a token shard"),
        (b"short", "has 5 bytes, less than a header"),
        (b"# A text file\n" * 100, "is not a token shard: it begins with .*Convert text"),
        (shard_bytes([1, 2], magic=20240801), "begins with 20240801"),
        (shard_bytes([1, 2], version=7), "version 7; only version 1"),
        (shard_bytes([1, 2, 3])[:-1], "promises 3 tokens, so 1030 bytes, but it has 1029"),
        (shard_bytes([1, 2, 3]) + b"\0\0", "promises 3 tokens, so 1030 bytes, but it has 1032"),
        (shard_bytes([1, 2], count=-5), "promises -5 tokens"),
        (shard_bytes([]), "promises 0 tokens"),
    ],
)
def test_files_that_are_no_whole_shard_are_refused(content, message, tmp_path):
    path = tmp_path / "bad.bin"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=message) as caught:
        TokenShards([path])

    assert str(path) in str(caught.value)
    assert "logclock data prepare" in str(caught.value)


def test_missing_files_and_no_files_are_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no shard at .*a.bin.*logclock data prepare"):
        TokenShards([tmp_path / "a.bin"])
    with pytest.raises(ValueError, match="no shards were given"):
        TokenShards([])


def test_an_id_outside_the_vocabulary_is_found_when_it_is_read(tmp_path):
    (tmp_path / "a.bin").write_bytes(shard_bytes([1, 2, 3]))
    (tmp_path / "b.bin").write_bytes(shard_bytes([4, 9, 5]))
    shards = TokenShards([tmp_path / "a.bin", tmp_path / "b.bin"], vocab_size=9)

    assert shards[0:4].tolist() == [1, 2, 3, 4]
    message = r"b.bin: token id 9 is outside the vocabulary of 9 \(ids 0 to 8\)"
    with pytest.raises(ValueError, match=message):
        shards[3:6]
    with pytest.raises(ValueError, match=message):
        shards[4]
    with pytest.raises(ValueError, match="token id 9 is outside the vocabulary of 9"):
        shards.read_windows([0, 2], 3)


@pytest.mark.parametrize(
    ("tokens", "vocab_size", "message"),
    [
        (np.array([0, 5]), 5, "token id 5 is outside the vocabulary of 5"),
        (np.array([-1, 5]), 9, "token id -1 is outside"),
        (np.array([1]), 65537, r"vocab_size must lie in \[1, 65536\], got 65537: shards store 16 bits"),
        (np.array([], dtype=np.int64), 5, "1 to 2147483647 tokens"),
        (np.array([0.5]), 5, "integer array"),
        (np.array([[1]]), 5, r"shape \(1, 1\)"),
    ],
)
def test_unfit_tokens_are_not_written(tokens, vocab_size, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        write_shard(tmp_path / "a.bin", tokens, vocab_size=vocab_size)

    assert os.listdir(tmp_path) == []


def test_a_stream_is_cut_into_shards_of_the_given_size(tmp_path):
    writer = ShardWriter(tmp_path, "train", vocab_size=100, shard_tokens=10)
    stream = np.arange(35)
    for piece in np.split(stream, [3, 3, 10, 31]):
        writer.append(piece)

    paths = writer.close()

    assert [path.name for path in paths] == [f"train_{number:06d}.bin" for number in range(4)]
    assert [path.stat().st_size for path in paths] == [1044, 1044, 1044, 1034]
    assert TokenShards(paths)[:].tolist() == list(range(35))
    assert writer.num_tokens == 35


def test_the_writer_refuses_strange_ids_sizes_and_empty_streams(tmp_path):
    writer = ShardWriter(tmp_path, "train", vocab_size=10, shard_tokens=4)
    with pytest.raises(ValueError, match="token id 10 is outside the vocabulary of 10"):
        writer.append(np.array([1, 10]))
    with pytest.raises(ValueError, match="no text for the shards"):
        writer.close()
    with pytest.raises(ValueError, match="shard_tokens must lie in"):
        ShardWriter(tmp_path, "train", vocab_size=10, shard_tokens=0)
