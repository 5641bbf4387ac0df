import json

import pytest

from logclock.data.dataset import Dataset
from logclock.data.prepare import prepare


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
    from logclock.data.tokenize import train_bpe

    train_bpe(prose(20), vocab_size=257).save(directory / "tokenizer.json")

    with pytest.raises(ValueError, match="is not the one the shards were made with"):
        Dataset.open(directory)


def test_a_missing_directory_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist. Make one: `logclock data prepare SOURCE"):
        Dataset.open(tmp_path / "nowhere")


def test_verify_finds_a_changed_token_that_opening_cannot_see(directory):
    with (directory / "train_000000.bin").open("r+b") as file:
        file.seek(1024)
        file.write(b"\x07\x00")
    dataset = Dataset.open(directory)

    with pytest.raises(ValueError, match=r"train_000000.bin has changed since it was written"):
        dataset.verify()
