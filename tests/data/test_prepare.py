import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from logclock.data.dataset import Dataset
from logclock.data.prepare import ensure_dataset, prepare
from logclock.data.sources import open_source
from logclock.data.tokenize import train_bpe

module = sys.modules["logclock.data.prepare"]  # the package's attribute of this name is the function


def documents_in(dataset, shards):
    """Cut a token stream at end-of-text and decode the pieces."""
    tokens = shards[:]
    ends = np.flatnonzero(tokens == dataset.tokenizer.end_of_text)
    assert ends[-1] == len(tokens) - 1  # the stream ends with an end
    starts = [0, *(ends[:-1] + 1)]
    return [dataset.tokenizer.decode(tokens[start:end]) for start, end in zip(starts, ends, strict=True)]


@pytest.mark.parametrize("tokenizer", ["byte", "bpe"])
def test_every_document_arrives_once_on_its_side_followed_by_end_of_text(tokenizer, text_file, tmp_path, quiet):
    vocab_size = 400 if tokenizer == "bpe" else None

    out = prepare(text_file, tmp_path / "out", tokenizer=tokenizer, vocab_size=vocab_size, progress=quiet)

    dataset = Dataset.open(out)
    expected = list(open_source(text_file).documents())
    assert documents_in(dataset, dataset.train) == [text for held, text in expected if not held]
    assert documents_in(dataset, dataset.validation) == [text for held, text in expected if held]
    assert not set(documents_in(dataset, dataset.train)) & set(documents_in(dataset, dataset.validation))
    assert dataset.vocab_size == (vocab_size or 257)
    assert sorted(path.name for path in out.iterdir()) == [
        "dataset.json",
        "tokenizer.json",
        "train_000000.bin",
        "val_000000.bin",
    ]


def test_the_description_counts_what_is_there(text_file, tmp_path, quiet):
    out = prepare(text_file, tmp_path / "out", tokenizer="byte", progress=quiet)

    description = json.loads((out / "dataset.json").read_text())
    parts = [description["train"], description["val"]]

    assert sum(part["bytes"] for part in parts) == text_file.stat().st_size
    for part in parts:
        assert part["tokens"] == part["bytes"] + part["documents"]  # bytes, and one end-of-text each


def test_the_tokenizer_is_trained_on_the_training_side_alone(text_file, tmp_path, quiet):
    out = prepare(text_file, tmp_path / "out", vocab_size=350, validation_fraction=0.4, progress=quiet)

    training = [text for held, text in open_source(text_file, validation_fraction=0.4).documents() if not held]
    everything = [text for _, text in open_source(text_file, validation_fraction=0.4).documents()]
    assert Dataset.open(out).tokenizer.sha256 == train_bpe(training, vocab_size=350).sha256
    assert Dataset.open(out).tokenizer.sha256 != train_bpe(everything, vocab_size=350).sha256


def test_many_small_shards_hold_the_same_stream_as_one(text_file, tmp_path, quiet):
    one = Dataset.open(prepare(text_file, tmp_path / "one", tokenizer="byte", progress=quiet))
    many = Dataset.open(prepare(text_file, tmp_path / "many", tokenizer="byte", shard_tokens=5_000, progress=quiet))

    assert len(many.train.paths) > 8
    assert np.array_equal(many.train[:], one.train[:])
    assert np.array_equal(many.validation[:], one.validation[:])


def test_the_fingerprint_is_that_of_the_content(text_file, tmp_path, quiet):
    copy = tmp_path / "copy.txt"
    copy.write_bytes(text_file.read_bytes())
    changed = tmp_path / "changed.txt"
    changed.write_text(text_file.read_text().replace("river", "ravine", 1))

    fingerprints = [
        Dataset.open(prepare(path, tmp_path / name, tokenizer="byte", progress=quiet)).fingerprint
        for name, path in (("a", text_file), ("b", copy), ("c", changed))
    ]

    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


def test_a_tokenizer_from_a_file_is_used_as_it_is(text_file, tmp_path, quiet, prose):
    ready = train_bpe(prose(50, seed=9), vocab_size=333)
    ready.save(tmp_path / "tokenizer.json")

    out = prepare(text_file, tmp_path / "out", tokenizer=tmp_path / "tokenizer.json", progress=quiet)

    assert Dataset.open(out).tokenizer.sha256 == ready.sha256


def test_the_same_settings_return_at_once_and_others_raise_unless_forced(text_file, tmp_path, quiet, monkeypatch):
    out = prepare(text_file, tmp_path / "out", vocab_size=300, progress=quiet)
    with monkeypatch.context() as context:
        context.setattr(module, "_build", None)  # any work would fail
        assert prepare(text_file, out, vocab_size=300, progress=quiet) == out

    with pytest.raises(ValueError, match=r"made otherwise: tokenizer vocab_size 300, now 310. .*replace it with force"):
        prepare(text_file, out, vocab_size=310, progress=quiet)
    assert Dataset.open(out).vocab_size == 300

    prepare(text_file, out, vocab_size=310, force=True, progress=quiet)
    assert Dataset.open(out).vocab_size == 310


def test_force_makes_even_an_equal_dataset_anew(text_file, tmp_path, quiet):
    out = prepare(text_file, tmp_path / "out", tokenizer="byte", progress=quiet)
    with (out / "train_000000.bin").open("r+b") as file:  # damage that keeps every size
        file.seek(2000)
        file.write(b"zz")
    with pytest.raises(ValueError, match="has changed"):
        Dataset.open(out).verify()

    prepare(text_file, out, tokenizer="byte", force=True, progress=quiet)

    Dataset.open(out).verify()


def test_a_damaged_dataset_is_not_taken_for_finished(text_file, tmp_path, quiet):
    out = prepare(text_file, tmp_path / "out", tokenizer="byte", progress=quiet)
    os.truncate(out / "train_000000.bin", 3000)

    with pytest.raises(ValueError, match=r"it is damaged: .*promises.*replace it with force"):
        prepare(text_file, out, tokenizer="byte", progress=quiet)


def test_a_changed_source_is_noticed(text_file, tmp_path, quiet):
    out = prepare(text_file, tmp_path / "out", tokenizer="byte", progress=quiet)
    text_file.write_text(text_file.read_text() + "One more line.\n")

    with pytest.raises(ValueError, match="made otherwise: source files"):
        prepare(text_file, out, tokenizer="byte", progress=quiet)


def test_a_directory_that_is_no_dataset_is_left_alone_even_under_force(text_file, tmp_path, quiet):
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "chapter.txt").write_text("do not lose me")

    with pytest.raises(ValueError, match="exists and is no dataset; it is left alone"):
        prepare(text_file, out, tokenizer="byte", force=True, progress=quiet)

    assert (out / "chapter.txt").read_text() == "do not lose me"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 100}, r"vocab_size must lie in \[257, 65536\].* got 100"),
        ({"vocab_size": 70_000}, "got 70000"),
        ({"tokenizer": "byte", "vocab_size": 300}, "vocab_size=300 has no effect on tokenizer='byte'.* is 257"),
        ({"shard_tokens": 0, "tokenizer": "byte"}, "shard_tokens must lie in"),
        ({"tokenizer_bytes": 0}, "tokenizer_bytes must be at least 1"),
        ({"tokenizer": "byte", "limit_bytes": 10}, "none of .* documents is left for training.*limit_bytes is 10"),
        ({"tokenizer": "byte", "validation_fraction": 1e-9}, "left for validation. Give more text, or raise"),
    ],
)
def test_unusable_options_are_one_clear_error_and_leave_nothing(options, message, text_file, tmp_path, quiet):
    with pytest.raises(ValueError, match=message):
        prepare(text_file, tmp_path / "out", progress=quiet, **options)

    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*"))


def test_a_missing_tokenizer_file_says_what_may_be_given(text_file, tmp_path, quiet):
    with pytest.raises(FileNotFoundError, match=r"no tokenizer at bytes. Give 'byte', 'bpe' or the path"):
        prepare(text_file, tmp_path / "out", tokenizer="bytes", progress=quiet)


BLOCKING_PREPARE = """
import sys
from logclock.data.prepare import prepare

module = sys.modules["logclock.data.prepare"]
original = getattr(module, {stage!r})

def block(*arguments, **options):
    result = original(*arguments, **options)
    print("reached", flush=True)
    sys.stdin.read()
    return result

setattr(module, {stage!r}, block)
prepare({source!r}, {out!r}, tokenizer="byte", shard_tokens=5000, progress=lambda line: None)
"""


@pytest.mark.skipif(os.name != "posix", reason="kill -9 is a POSIX signal")
@pytest.mark.parametrize("stage", ["file_sha256", "_write_description"])
def test_kill_9_in_the_middle_leaves_no_dataset_that_opens(stage, text_file, tmp_path, quiet):
    """Killed after the first shards were written, and after everything was written but not published."""
    out = tmp_path / "out"
    script = BLOCKING_PREPARE.format(stage=stage, source=str(text_file), out=str(out))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "reached\n"
        process.send_signal(signal.SIGKILL)
        process.wait()

    assert len(list(tmp_path.glob(".out.partial-*/train_*.bin"))) > 1
    with pytest.raises(FileNotFoundError, match=r"does not exist. Make one: `logclock data prepare"):
        Dataset.open(out)

    prepare(text_file, out, tokenizer="byte", shard_tokens=5000, progress=quiet)
    Dataset.open(out).verify()
    assert not list(tmp_path.glob(".out.partial-*"))


def test_ensure_dataset_gets_prepares_and_then_only_looks(tmp_path, quiet, monkeypatch):
    monkeypatch.setattr(sys.modules["logclock.data.corpora"], "SYNTHETIC_BYTES", 300_000)

    out = ensure_dataset("synthetic", tokenizer="bpe", vocab_size=300, root=tmp_path, progress=quiet)

    assert out == tmp_path / "datasets" / "synthetic-bpe-300"
    dataset = Dataset.open(out)
    assert dataset.vocab_size == 300
    assert len(dataset.train) > 50_000
    quiet.lines.clear()
    monkeypatch.setattr(module, "_build", None)
    assert ensure_dataset("synthetic", tokenizer="bpe", vocab_size=300, root=tmp_path, progress=quiet) == out
    assert quiet.lines == []


def test_ensure_dataset_mends_what_is_damaged_and_says_so(tmp_path, quiet, monkeypatch):
    monkeypatch.setattr(sys.modules["logclock.data.corpora"], "SYNTHETIC_BYTES", 300_000)
    out = ensure_dataset("synthetic", tokenizer="byte", root=tmp_path, progress=quiet)
    fingerprint = Dataset.open(out).fingerprint
    os.truncate(out / "val_000000.bin", 100)
    quiet.lines.clear()

    ensure_dataset("synthetic", tokenizer="byte", root=tmp_path, progress=quiet)

    assert "again: it is damaged: " in quiet.lines[0]
    assert Dataset.open(out).fingerprint == fingerprint


def test_ensure_dataset_refuses_unknown_tokenizers_and_corpora(tmp_path, quiet):
    with pytest.raises(ValueError, match="tokenizer must be 'bpe' or 'byte', got 'char'"):
        ensure_dataset("synthetic", tokenizer="char", root=tmp_path, progress=quiet)
    with pytest.raises(ValueError, match="unknown corpus 'fineweb'"):
        ensure_dataset("fineweb", root=tmp_path, progress=quiet)
