"""Token ids of other programs: shards of llm.c, arrays of numpy, and bare ids of nanoGPT."""

import hashlib
import json
import struct

import numpy as np
import pytest

from logclock.cli import main
from logclock.data.dataset import Dataset
from logclock.data.prepare import prepare
from logclock.data.sources import open_source
from logclock.data.tokenize import IdTokenizer, load_tokenizer, train_bpe

END = 50256


@pytest.fixture
def documents():
    """150 documents of 20 to 59 ids of GPT-2, none of them end-of-text."""
    random = np.random.default_rng(3)
    return [random.integers(0, END, size=random.integers(20, 60)).tolist() for _ in range(150)]


@pytest.fixture
def build(tmp_path, quiet):
    """Return a function that prepares a source with GPT-2's numbers and opens the dataset."""

    def make(source, *, out="out", tokenizer="gpt2-like", **options):
        return Dataset.open(prepare(source, tmp_path / out, tokenizer=tokenizer, progress=quiet, **options))

    return make


def joined(documents, *, end=END, first=False):
    """The stream of documents with end-of-text after each, as nanoGPT writes them, or before, as llm.c does."""
    return [id_ for document in documents for id_ in ([end, *document] if first else [*document, end])]


def bare(path, ids, letter="H"):
    path.write_bytes(struct.pack(f"<{len(ids)}{letter}", *ids))
    return path


def llm_c(path, ids, *, magic=20240520, version=1, letter="H", count=None):
    header = struct.pack("<3i", magic, version, len(ids) if count is None else count) + bytes(4 * 253)
    path.write_bytes(header + struct.pack(f"<{len(ids)}{letter}", *ids))
    return path


def split(tokens, end=END):
    """Cut a stream after every end-of-text; the last piece must end with one."""
    found, current = [], []
    for token in tokens:
        if token == end:
            found.append(current)
            current = []
        else:
            current.append(token)
    assert not current
    return found


def is_held_out(document, fraction):
    digest = hashlib.sha256(struct.pack(f"<{len(document)}I", *document)).hexdigest()
    return int(digest, 16) / 2**256 < fraction


@pytest.mark.parametrize("form", ["bare", "bare32", "llm.c", "llm.c32", "numpy", "numpy of int64"])
def test_every_form_gives_the_same_documents_on_the_sides_that_their_hashes_say(form, documents, build, tmp_path):
    ids, path = joined(documents, first=form.startswith("llm.c")), tmp_path / "tokens.bin"
    options = {}
    if form.startswith("bare"):
        options["dtype"] = "uint32" if form == "bare32" else "uint16"
        bare(path, ids, "I" if form == "bare32" else "H")
    elif form == "llm.c":
        llm_c(path, ids)
    elif form == "llm.c32":
        llm_c(path, ids, magic=20240801, version=7, letter="I")
    else:
        path = tmp_path / "tokens.npy"
        np.save(path, np.array(ids, dtype=np.int64 if "int64" in form else np.uint16))

    dataset = build(path, validation_fraction=0.2, **options)

    assert split(dataset.train[:].tolist()) == [one for one in documents if not is_held_out(one, 0.2)]
    assert split(dataset.validation[:].tolist()) == [one for one in documents if is_held_out(one, 0.2)]
    assert (dataset.vocab_size, dataset.token_bytes, dataset.tokenizer.end_of_text) == (50257, None, END)


@pytest.mark.parametrize("form", ["bare", "llm.c"])
def test_a_folder_of_train_and_val_keeps_its_split_token_for_token(form, documents, build, tmp_path, quiet):
    folder = tmp_path / "openwebtext"
    folder.mkdir()
    write, options = (bare, {"dtype": "uint16"}) if form == "bare" else (llm_c, {})
    streams = [joined(documents[:90]), joined(documents[90:140], first=True), documents[140] + [END, END, 5]]
    write(folder / "fineweb_train_000001.bin", streams[0])
    write(folder / "fineweb_train_000002.bin", streams[1])
    write(folder / "fineweb_val_000000.bin", streams[2])
    (folder / "prepare.py").write_text("")
    (folder / "readme.md").write_text("how it was made")

    dataset = build(folder, **options)

    assert dataset.train[:].tolist() == streams[0] + streams[1]
    assert dataset.validation[:].tolist() == streams[2]


def test_bits_per_byte_are_counted_with_the_tokenizer_that_made_the_ids(prose, build, tmp_path):
    tokenizer = train_bpe(prose(50), vocab_size=300)
    tokenizer.save(tmp_path / "tokenizer.json")
    texts = prose(150, seed=5)
    ids = joined([one.tolist() for one in tokenizer.encode_documents(texts)], end=tokenizer.end_of_text)

    out = build(bare(tmp_path / "t.bin", ids), tokenizer=tmp_path / "tokenizer.json", dtype="uint16").directory

    description = json.loads((out / "dataset.json").read_text())
    parts = [description["train"], description["val"]]
    assert sum(part["bytes"] for part in parts) == sum(len(text.encode()) for text in texts)
    assert sum(part["documents"] for part in parts) == len(texts)
    dataset = Dataset.open(out)
    sides = [split(stream[:].tolist(), end=tokenizer.end_of_text) for stream in (dataset.train, dataset.validation)]
    assert {dataset.tokenizer.decode(one) for side in sides for one in side} == set(texts)


def test_ids_without_an_end_of_text_are_cut_evenly_and_nothing_is_added(build, tmp_path):
    ids = np.random.default_rng(1).integers(0, 65, size=20_000).tolist()

    dataset = build(bare(tmp_path / "chars.bin", ids), tokenizer="ids", vocab_size=65, dtype="uint16")

    pieces = [ids[start : start + 200] for start in range(0, 20_000, 200)]  # a hundredth of the stream each
    held = [is_held_out(piece, 0.1) for piece in pieces]  # a tenth: so little text
    assert 0 < sum(held) < 30
    assert dataset.validation[:].tolist() == [
        id_ for piece, out in zip(pieces, held, strict=True) if out for id_ in piece
    ]
    assert len(dataset.train) + len(dataset.validation) == 20_000
    assert (dataset.vocab_size, dataset.tokenizer.end_of_text) == (65, None)


def test_a_stream_longer_than_a_block_is_cut_like_a_short_one(documents, build, tmp_path, monkeypatch):
    import logclock.data.token_files as module

    path = bare(tmp_path / "t.bin", joined(documents))
    whole = build(path, dtype="uint16", validation_fraction=0.2)
    monkeypatch.setattr(module, "BLOCK_TOKENS", 64)

    pieces = build(path, out="pieces", dtype="uint16", validation_fraction=0.2)

    assert pieces.fingerprint == whole.fingerprint


def test_the_limit_counts_bytes_where_they_are_known(documents, build, tmp_path):
    ids = [byte for _ in range(300) for byte in (*b"some words %d" % np.random.default_rng(_).integers(1e9), 256)]
    path = bare(tmp_path / "t.bin", ids)

    limited = build(path, tokenizer="byte", dtype="uint16", limit_bytes=2000, validation_fraction=0.1)

    assert 1_950 < np.count_nonzero(limited.train[:] != 256) <= 2_000
    with pytest.raises(ValueError, match=r"limit_bytes has no effect .* the bytes of its ids are not known"):
        build(path, out="b", dtype="uint16", limit_bytes=2000)


@pytest.mark.parametrize("place", [0, 777, 1999])
def test_an_id_outside_the_vocabulary_is_named_with_its_position(place, build, tmp_path):
    ids = [7] * 2000
    ids[place] = 50257

    with pytest.raises(ValueError, match=rf"t.bin: token {place} .*is the id 50257, outside the vocabulary of 50257"):
        build(bare(tmp_path / "t.bin", ids), dtype="uint16")

    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("write", "options", "message"),
    [
        (lambda p: bare(p, [1, 2, 3]), {"tokenizer": "bpe"}, "neither the header of llm.c.*--dtype uint16.*gpt2-like"),
        (lambda p: bare(p, [1, 2, 3]), {}, r"neither the header of llm.c.*--dtype uint16"),
        (lambda p: bare(p, [1, 2, 3]), {"tokenizer": "bpe", "dtype": "uint16"}, "holds token ids, no text. Say which"),
        (lambda p: llm_c(p, [1, 2, 3]), {"tokenizer": "bpe"}, "holds token ids, no text. Say which tokenizer"),
        (lambda p: llm_c(p, [1, 2, 3]), {"dtype": "uint32"}, "says itself that its ids are uint16, not uint32"),
        (lambda p: llm_c(p, [1, 2], count=3), {}, "header promises 3 tokens, so 1030 bytes, but it has 1028"),
        (
            lambda p: llm_c(p, [1, 2], version=9),
            {},
            "magic 20240520 version 9; read are 20240520 version 1 or 20240801",
        ),
        (lambda p: bare(p, [1, 2], "B"), {"dtype": "uint32"}, "has 2 bytes, no multiple of 4"),
        (lambda p: p.write_bytes(b""), {"dtype": "uint16"}, "is empty"),
        (lambda p: p.write_bytes(b"PK\x03\x04" + bytes(99)), {}, "is a zip archive"),
        (lambda p: bare(p, [1, 2]), {"dtype": "float32"}, "dtype must be one of uint16, uint32, got 'float32'"),
        (lambda p: bare(p, [1, 2]), {"dtype": "uint16", "column": "text"}, "column has no effect.*token ids"),
        (lambda p: bare(p, [1, 2]), {"dtype": "uint16", "vocab_size": 99}, "vocab_size=99 has no effect.*is 50257"),
        (lambda p: bare(p, [1, 2]), {"dtype": "uint16", "end_of_text": 1}, "end_of_text=1 has no effect"),
        (lambda p: bare(p, [1, 2]), {"dtype": "uint16", "tokenizer": "ids"}, "needs vocab_size"),
        (
            lambda p: bare(p, [1] * 99, "I"),
            {"dtype": "uint32", "tokenizer": "ids", "vocab_size": 99_999},
            "16 bits per",
        ),
    ],
)
def test_files_and_options_that_do_not_fit_are_one_clear_error(write, options, message, build, tmp_path):
    write(tmp_path / "t.bin")

    with pytest.raises(ValueError, match=message) as caught:
        build(tmp_path / "t.bin", **options)

    assert "iconv" not in str(caught.value)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4), dtype=np.uint16), r"holds uint16 of shape \(3, 4\)"),
        (np.zeros(4, dtype=np.float32), "holds float32"),
        (np.array([4, -1, 7], dtype=np.int32), "token 1 .*is the id -1, outside"),
    ],
)
def test_arrays_that_are_no_ids_are_refused(array, message, build, tmp_path):
    np.save(tmp_path / "t.npy", array)

    with pytest.raises(ValueError, match=message):
        build(tmp_path / "t.npy")


def test_text_is_not_taken_for_ids_nor_ids_for_text(text_file, build, tmp_path):
    with pytest.raises(ValueError, match="names no token file, and the tokenizer has ids alone"):
        build(text_file)
    with pytest.raises(ValueError, match="dtype='uint16' has no effect"):
        build(text_file, tokenizer="byte", dtype="uint16")
    with pytest.raises(ValueError, match="holds token ids, no text"):
        open_source(llm_c(tmp_path / "shard.dat", [1, 2, 3]))


def test_a_folder_of_both_asks_which(documents, build, tmp_path):
    (tmp_path / "both").mkdir()
    bare(tmp_path / "both" / "train.bin", joined(documents))
    (tmp_path / "both" / "input.txt").write_text("words")

    with pytest.raises(ValueError, match=r"token files \(train.bin\) and text \(input.txt\)"):
        build(tmp_path / "both", tokenizer="byte")

    (tmp_path / "both" / "train.bin").rename(tmp_path / "both" / "firmware.bin")
    assert [text for _, text in open_source(tmp_path / "both", progress=lambda line: None).documents()] == ["words"]


def test_a_folder_with_its_own_split_refuses_another(documents, build, tmp_path):
    for name in ("train.bin", "val.bin", "odd.bin"):
        bare(tmp_path / name, joined(documents))
    with pytest.raises(ValueError, match=r"odd.bin is neither train nor val by its name"):
        build(tmp_path, dtype="uint16")

    (tmp_path / "odd.bin").unlink()
    with pytest.raises(ValueError, match="validation_fraction has no effect"):
        build(tmp_path, dtype="uint16", validation_fraction=0.1)


def test_a_dataset_is_not_prepared_again_as_a_source(text_file, build):
    ready = build(text_file, tokenizer="byte").directory

    with pytest.raises(ValueError, match=r"is a dataset already. Train on it: .--set data.dataset="):
        build(ready, out="other")


def test_what_is_known_of_ids_is_saved_and_loaded(tmp_path):
    IdTokenizer(50257, END).save(tmp_path / "tokenizer.json")

    loaded = load_tokenizer(tmp_path / "tokenizer.json")

    assert (loaded.vocab_size, loaded.end_of_text, loaded.token_bytes()) == (50257, END, None)
    for use in (lambda: loaded.encode_documents(["x"]), lambda: loaded.decode([1])):
        with pytest.raises(ValueError, match=r"only the number of ids is known.*tokenizer.json"):
            use()


@pytest.mark.parametrize(("vocab_size", "end"), [(0, None), (-1, None), (5, 5), (5, -1)])
def test_numbers_that_make_no_vocabulary_are_refused(vocab_size, end):
    with pytest.raises(ValueError, match="must"):
        IdTokenizer(vocab_size, end)


def test_the_command_of_a_nanogpt_user_works_without_a_name(documents, tmp_path, capsys):
    path = bare(tmp_path / "tokens.bin", joined(documents))

    command = ["data", "prepare", str(path), "--tokenizer", "gpt2-like", "--dtype", "uint16"]
    assert main([*command, "--data-root", str(tmp_path)]) == 0
    assert main(["data", "verify", "tokens-gpt2-like-50257", "--data-root", str(tmp_path)]) == 0

    said = capsys.readouterr().out
    assert "bytes per token not known" in said
    assert "is as it was written" in said
    assert len(Dataset.open(tmp_path / "datasets" / "tokens-gpt2-like-50257").train) > 4000


def test_a_run_on_ids_alone_reports_a_loss_and_no_bits_per_byte(tmp_path, tiny_run, quiet):
    from logclock.train import train

    ids = np.random.default_rng(0).integers(0, 250, size=9000).tolist()
    prepare(
        bare(tmp_path / "t.bin", ids),
        tmp_path / "datasets" / "ids",
        tokenizer="ids",
        vocab_size=257,
        dtype="uint16",
        progress=quiet,
    )

    record = train(tiny_run("data.dataset=ids", steps=4), out=tmp_path / "out", data_root=tmp_path)

    assert record.metrics["final_validation_loss"] > 4
    assert record.metrics["final_bits_per_byte"] is None
    assert record.validation["bits_per_byte"] == [None]
