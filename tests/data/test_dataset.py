import hashlib
import json
import os
import shutil
import sys

import pytest

from logclock.cli import main
from logclock.data.dataset import Dataset, shards_fingerprint
from logclock.data.prepare import prepare
from logclock.data.tokenize import train_bpe
from logclock.train import train


@pytest.fixture
def directory(text_file, tmp_path, quiet):
    return prepare(text_file, tmp_path / "out", tokenizer="byte", progress=quiet)


def edit(directory, change):
    path = directory / "dataset.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


def test_an_opened_dataset_shows_what_training_needs(directory):
    dataset = Dataset.open(str(directory))

    assert dataset.directory == directory
    assert dataset.vocab_size == len(dataset.token_bytes) == 257
    assert dataset.token_bytes.tolist() == [1] * 256 + [0]
    assert len(dataset.fingerprint) == 64
    assert dataset.train.vocab_size == dataset.validation.vocab_size == 257
    dataset.verify()


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda d: (d / "dataset.json").unlink(), FileNotFoundError, "holds no dataset.json, so it is no finished"),
        (lambda d: (d / "dataset.json").write_text("{"), ValueError, "dataset.json is not JSON"),
        (lambda d: (d / "dataset.json").write_text("[]"), ValueError, "is not of format 1"),
        (lambda d: edit(d, lambda x: x.update(format=99)), ValueError, "is not of format 1"),
        (lambda d: edit(d, lambda x: x.update(vocab_size=999)), ValueError, "was edited: its fingerprint"),
        (lambda d: edit(d, lambda x: x.pop("train")), ValueError, "was edited: its fingerprint"),
        (lambda d: edit(d, lambda x: x["train"].update(tokens=5)), ValueError, "tokens, dataset.json says 5"),
        (lambda d: (d / "tokenizer.json").unlink(), FileNotFoundError, "no tokenizer at"),
        (lambda d: (d / "tokenizer.json").write_text("{}"), ValueError, "is not a tokenizer"),
        (lambda d: (d / "val_000000.bin").unlink(), FileNotFoundError, "no shard at .*val_000000.bin"),
        (lambda d: (d / "val_000000.bin").write_bytes(b""), ValueError, "val_000000.bin is empty"),
    ],
)
def test_a_damaged_dataset_is_one_clear_error_that_says_what_to_do(damage, error, message, directory):
    damage(directory)

    with pytest.raises(error, match=message) as caught:
        Dataset.open(directory)

    assert "tokenizer" in message or "logclock data prepare" in str(caught.value)


def test_another_tokenizer_in_the_directory_is_noticed(directory, prose):
    train_bpe(prose(20), vocab_size=257).save(directory / "tokenizer.json")

    with pytest.raises(ValueError, match="is not the one the shards were made with"):
        Dataset.open(directory)


def test_a_missing_directory_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist. Make one: `logclock data prepare SOURCE"):
        Dataset.open(tmp_path / "nowhere")


def poke(path, offset, content, *, keeps_time=False):
    """Overwrite bytes in the middle of a file, as a disk or a careless program does."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)
    if keeps_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def large(tmp_path, quiet, prose):
    """A dataset whose training shard, of 4 MB, is not covered by its sampled blocks."""
    source = tmp_path / "large.txt"
    source.write_text("\n\n".join(prose(400)) * 20)
    return prepare(source, tmp_path / "large", tokenizer="byte", progress=quiet)


def test_a_changed_token_is_noticed_when_the_dataset_is_opened(directory):
    poke(directory / "val_000000.bin", 1024 + 2 * 33, b"\x07\x00")

    with pytest.raises(ValueError, match=r"val_000000.bin has changed since it was written: its sha256 .*--force"):
        Dataset.open(directory)


@pytest.mark.parametrize("place", [1024, -2])
def test_a_change_in_a_sampled_block_is_noticed_though_the_time_is_kept(place, large):
    path = large / "train_000000.bin"
    poke(path, place % path.stat().st_size, b"\x07\x00", keeps_time=True)

    with pytest.raises(ValueError, match=r"train_000000.bin has changed since .*the block at byte \d+ is another"):
        Dataset.open(large)


def test_verify_finds_what_opening_cannot_see(large):
    path = large / "train_000000.bin"
    sampled = json.loads((large / "dataset.json").read_text())["train"]["shards"][0]["blocks"]
    assert [offset for offset, _ in sampled][:2] == [0, (path.stat().st_size - 65536) // 15]
    poke(path, sampled[0][0] + 65536 + 1000, b"\x07\x00", keeps_time=True)  # between the first two blocks
    dataset = Dataset.open(large)
    assert dataset.checked == "sampled"

    for look in (dataset.verify, lambda: Dataset.open(large, verify=True)):
        with pytest.raises(ValueError, match=r"train_000000.bin has changed since it was written"):
            look()


def test_a_copy_with_other_times_is_read_as_a_whole_once(directory, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy, copy_function=shutil.copyfile)

    opened = [Dataset.open(copy) for _ in range(2)]

    assert [dataset.checked for dataset in opened] == ["whole", "sampled"]
    assert opened[0].fingerprint == Dataset.open(directory).fingerprint
    poke(copy / "train_000000.bin", 2000, b"\x07\x00")
    with pytest.raises(ValueError, match="time of change is another"):
        Dataset.open(copy)


def test_a_copy_that_cannot_be_written_opens_too(directory, monkeypatch):
    os.utime(directory / "train_000000.bin")

    def refuse(path, data, *, durable):
        raise PermissionError(13, "read-only", str(path))

    monkeypatch.setattr("logclock.data.dataset.write_whole", refuse)
    description = (directory / "dataset.json").read_bytes()

    Dataset.open(directory)

    assert (directory / "dataset.json").read_bytes() == description


def test_a_dataset_of_the_first_version_opens_and_is_checked_from_then_on(directory):
    def forget(description):
        description.pop("left_out")
        for part in ("train", "val"):
            for shard in description[part]["shards"]:
                for name in ("bytes", "mtime_ns", "blocks"):
                    shard.pop(name)

    edit(directory, forget)

    assert [Dataset.open(directory).checked for _ in range(2)] == ["whole", "sampled"]

    poke(directory / "train_000000.bin", 3000, b"\x07\x00", keeps_time=True)
    with pytest.raises(ValueError, match="has changed since it was written"):
        Dataset.open(directory)


def test_a_dataset_whose_tokenizer_was_obeyed_in_truncating_is_to_be_made_again(text_file, tmp_path, prose, quiet):
    tokenizer = train_bpe(prose(50), vocab_size=300)
    tokenizer.save(tmp_path / "t.json")
    out = prepare(text_file, tmp_path / "out", tokenizer=tmp_path / "t.json", progress=quiet)
    data = json.loads(tokenizer.to_json())
    data["truncation"] = {"direction": "Right", "max_length": 16, "strategy": "LongestFirst", "stride": 0}
    (out / "tokenizer.json").write_text(json.dumps(data))

    def adopt(description):
        description["tokenizer_sha256"] = hashlib.sha256((out / "tokenizer.json").read_bytes()).hexdigest()
        description["fingerprint"] = shards_fingerprint(description)

    edit(out, adopt)

    with pytest.raises(ValueError, match="earlier version that obeyed a setting of the tokenizer: truncation"):
        Dataset.open(out)


def test_a_disk_that_returns_other_bytes_is_noticed_while_preparing(text_file, tmp_path, quiet, monkeypatch):
    module = sys.modules["logclock.data.prepare"]
    monkeypatch.setattr(module, "file_sha256", lambda path: "0" * 64)

    with pytest.raises(RuntimeError, match="does not hold what was written to it a moment ago"):
        prepare(text_file, tmp_path / "out", tokenizer="byte", progress=quiet)

    assert not (tmp_path / "out").exists()


def test_a_run_refuses_changed_tokens_and_its_record_says_how_far_it_looked(tmp_path, tiny_data_root, tiny_run):
    root = tmp_path / "root"
    shutil.copytree(tiny_data_root, root)
    record = train(tiny_run(steps=2), out=tmp_path / "a", data_root=root)
    assert record.data["checked"] == "sampled"
    record = train(tiny_run(steps=2), out=tmp_path / "b", data_root=root, verify=True)
    assert record.data["checked"] == "whole"
    assert record.data["fingerprint"] == Dataset.open(root / "datasets" / "tiny-byte-257").fingerprint

    poke(root / "datasets" / "tiny-byte-257" / "train_000000.bin", 5000, b"\x07\x00")

    with pytest.raises(ValueError, match=r"train_000000.bin has changed since it was written"):
        train(tiny_run(steps=3), out=tmp_path / "a", data_root=root)


def test_the_command_line_looks_at_everything_with_verify(tmp_path, large, capsys):
    path = large / "train_000000.bin"
    poke(path, 65536 + 1000, b"\x07\x00", keeps_time=True)

    assert main(["data", "verify", str(large)]) == 2
    sizes = ["model.vocab_size=257", "data.batch_size=2", "evaluation.batch_size=2"]
    command = ["train", "--recipe", "micro", "--steps", "2", "--out", str(tmp_path / "runs"), "--verify"]
    assert main([*command, "--set", f"data.dataset={large}", *sizes]) == 2

    assert capsys.readouterr().err.count("train_000000.bin has changed since it was written") == 2
