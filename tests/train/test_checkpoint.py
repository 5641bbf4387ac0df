import os
import resource
import signal

import pytest
import torch

from logclock.train import checkpoint


def files(directory):
    return sorted(os.listdir(directory))


def test_what_is_saved_comes_back_and_only_plain_data_is_needed(tmp_path):
    state = {"weights": {"a": torch.arange(3.0)}, "random": torch.get_rng_state(), "log": [1.5, None, "text"]}

    path = checkpoint.save(tmp_path, 7, state)

    assert path.name == "step-00000007.pt"
    loaded = checkpoint.load_latest(tmp_path, message=pytest.fail)
    assert loaded["step"] == 7
    assert loaded["log"] == [1.5, None, "text"]
    assert torch.equal(loaded["weights"]["a"], torch.arange(3.0))
    torch.load(path, weights_only=True)


def test_the_latest_two_are_kept(tmp_path):
    for step in (9, 10, 100):
        checkpoint.save(tmp_path, step, {})

    assert files(tmp_path) == ["step-00000010.pt", "step-00000100.pt"]


def test_without_checkpoints_there_is_nothing_to_load(tmp_path):
    assert checkpoint.load_latest(tmp_path, message=pytest.fail) is None
    assert checkpoint.load_latest(tmp_path / "missing", message=pytest.fail) is None


@pytest.mark.parametrize("kept_share", [0.0, 0.3, 0.99])
def test_a_truncated_file_is_passed_over_with_a_message(tmp_path, kept_share):
    checkpoint.save(tmp_path, 1, {"weights": torch.ones(1000)})
    path = checkpoint.save(tmp_path, 2, {"weights": torch.zeros(1000)})
    os.truncate(path, int(path.stat().st_size * kept_share))
    told = []

    loaded = checkpoint.load_latest(tmp_path, message=told.append)

    assert loaded["step"] == 1
    assert torch.equal(loaded["weights"], torch.ones(1000))
    assert len(told) == 1
    assert str(path) in told[0]
    assert "falling back" in told[0]


def test_flipped_bytes_are_noticed(tmp_path):
    checkpoint.save(tmp_path, 1, {"weights": torch.ones(1000)})
    path = checkpoint.save(tmp_path, 2, {"weights": torch.ones(1000)})
    content = bytearray(path.read_bytes())
    place = content.index(torch.ones(1000).numpy().tobytes())
    content[place + 100] ^= 0xFF
    path.write_bytes(content)
    told = []

    assert checkpoint.load_latest(tmp_path, message=told.append)["step"] == 1
    assert len(told) == 1


def test_if_none_can_be_read_the_error_says_what_to_do(tmp_path):
    for step in (1, 2):
        os.truncate(checkpoint.save(tmp_path, step, {}), 10)

    with pytest.raises(RuntimeError, match=r"none of the 2 checkpoints .*--no-resume"):
        checkpoint.load_latest(tmp_path, message=lambda text: None)


def test_an_error_while_writing_leaves_the_old_checkpoint_alone(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, 1, {})

    def half_a_save(state, file):
        file.write(b"half")
        file.flush()
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint.torch, "save", half_a_save)
        with pytest.raises(MemoryError):
            checkpoint.save(tmp_path, 2, {})

    assert files(tmp_path) == ["step-00000001.pt"]
    assert checkpoint.load_latest(tmp_path, message=pytest.fail)["step"] == 1


def test_what_a_killed_process_left_is_removed_by_the_next_save(tmp_path):
    (tmp_path / ".step-00000002.pt.4711-deadbeef").write_bytes(b"half")

    checkpoint.save(tmp_path, 3, {})

    assert files(tmp_path) == ["step-00000003.pt"]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.99])
def test_a_disk_that_is_full_leaves_what_was_there_and_no_part_of_the_new_file(tmp_path, share):
    """A limit of the size of files stands for the end of the disk."""
    state = {"weights": torch.ones(50_000)}
    size = checkpoint.save(tmp_path, 1, state).stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(share * size), limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            checkpoint.save(tmp_path, 2, state)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)

    assert error.value.filename == str(tmp_path / "step-00000002.pt")
    assert files(tmp_path) == ["step-00000001.pt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, RuntimeError("cannot be pickled"), TypeError("so")])
def test_whatever_ends_a_save_leaves_nothing_behind(tmp_path, error):
    class Unpicklable:
        def __reduce__(self):
            raise error

    kind = error if isinstance(error, type) else type(error)
    with pytest.raises(kind):
        checkpoint.save(tmp_path, 1, {"model": torch.ones(1000), "extra": Unpicklable()})

    assert files(tmp_path) == []


def test_a_directory_in_the_place_of_the_file_is_an_error_that_leaves_nothing(tmp_path):
    (tmp_path / "step-00000003.pt").mkdir()

    with pytest.raises(IsADirectoryError):
        checkpoint.save(tmp_path, 3, {})

    assert files(tmp_path) == ["step-00000003.pt"]


def test_files_of_another_format_are_refused(tmp_path):
    torch.save({"format": 99, "step": 1}, tmp_path / "step-00000001.pt")

    with pytest.raises(RuntimeError, match="not a checkpoint of format 1"):
        checkpoint.load_latest(tmp_path, message=pytest.fail)


def test_checkpoints_of_a_run_that_ended_are_removed(tmp_path):
    checkpoint.save(tmp_path, 1, {})
    (tmp_path / "note.txt").write_text("mine")

    checkpoint.remove_checkpoints(tmp_path)

    assert files(tmp_path) == ["note.txt"]


def test_a_run_belongs_to_one_process(tmp_path):
    with (
        checkpoint.claim(tmp_path / "run"),
        pytest.raises(RuntimeError, match=rf"in use by another process \(id {os.getpid()}\)"),
        checkpoint.claim(tmp_path / "run"),
    ):
        pytest.fail("claimed twice")

    with checkpoint.claim(tmp_path / "run"):
        pass  # free again


def test_others_see_whether_a_run_belongs_to_a_process(tmp_path):
    assert not checkpoint.is_claimed(tmp_path / "run")

    with checkpoint.claim(tmp_path / "run"):
        assert checkpoint.is_claimed(tmp_path / "run")

    assert not checkpoint.is_claimed(tmp_path / "run")
    with checkpoint.claim(tmp_path / "run"):
        pass  # looking did not keep it
