"""Files as people have them: JSON in all its forms, compressed, with marks, and of kinds that hold no text."""

import bz2
import codecs
import gzip
import io
import json
import lzma
import os
import pickle
import sqlite3
import sys
import tarfile
import zipfile
from collections import Counter

import numpy as np
import pytest

from logclock.data import readers
from logclock.data.dataset import Dataset
from logclock.data.file_kinds import format_suffix
from logclock.data.prepare import prepare
from logclock.data.sources import open_source

zstandard = pytest.importorskip("zstandard")
pyarrow = pytest.importorskip("pyarrow")
feather = pytest.importorskip("pyarrow.feather")
parquet = pytest.importorskip("pyarrow.parquet")

TEXTS = ["first one", "second, with a comma", 'third "quoted"\nand two lines', "vierter \u00e4\u65e5"]
ROWS = [{"id": number, "text": text} for number, text in enumerate(TEXTS)]


def read(path, **options):
    return [text for _, text in open_source(path, progress=lambda line: None, **options).documents()]


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


LINES = "".join(json.dumps(row) + "\n" for row in ROWS)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson", "A.JSON", "B.JsonL", "c.NDJSON"])
@pytest.mark.parametrize(
    "content",
    [
        LINES,
        LINES.replace("\n", "\r\n\r\n"),
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2, ensure_ascii=False),
        " \n" + json.dumps(TEXTS),
        "\n".join(json.dumps(text) for text in TEXTS),
        "\n".join(json.dumps(row, indent=1) for row in ROWS),
        json.dumps({"text": TEXTS}),
        json.dumps({"text": dict(enumerate(TEXTS)), "id": {"0": 1}}, indent=1),  # how pandas writes a table
        json.dumps({"version": "1.0", "data": ROWS}, indent=1),
        "\ufeff" + LINES,
        "\ufeff" + json.dumps(ROWS),
    ],
)
def test_json_is_recognised_by_content_whatever_its_suffix(name, content, tmp_path):
    assert read(write(tmp_path, name, content)) == TEXTS


def test_one_object_with_one_text_is_one_document(tmp_path):
    assert read(write(tmp_path, "a.json", json.dumps({"title": "t", "text": "all of it"}, indent=1))) == ["all of it"]


@pytest.mark.parametrize("piece", [1, 2, 7, 64])
def test_an_array_is_read_in_pieces_of_any_size(piece, tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "PIECE_CHARS", piece)
    path = write(tmp_path, "a.json", json.dumps([*ROWS, {"text": "long " * 500}], indent=3))

    assert read(path) == [*TEXTS, "long " * 500]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "neither JSON lines nor one JSON value"),
        ("a.json", '[{"text": "x"}', "the array does not end|comma or the end"),
        ("a.json", '[{"text": "x"} {"text": "y"}]', "comma or the end of the array is missing"),
        ("a.json", '[{"text": "x"}]\n[{"text": "y"}]', "the array ends, but something follows"),
        ("a.json", '[{"text": "x"}, {"body": "y"}]', "record 2 has no text under 'text', only: body"),
        ("a.json", '{"body": "y",\n"id": 1}', "record 1 has no text under 'text', only: body, id"),
        ("a.json", "just words", "neither JSON lines"),
        ("a.json", "[" * 5000, "nested too deeply|neither JSON"),
        ("a.jsonl", '{"text": "x"}\n{"text": "x}\n', "line 2 is not JSON"),
        ("a.ndjson", '{"text": "x"}\n{"text": ["x", 5]}\n', "line 2 has no text under 'text'"),
        ("a.jsonl", '{"text": "x"}\n' + '{"a":' * 5000 + "\n", "line 2 is not JSON"),
        ("a.json", b'[{"text": "caf\xe9"}]', "is not UTF-8"),
        ("a.csv", "id,body\n1,x\n", "no column 'text', only: id, body.*call the file .txt"),
    ],
)
def test_broken_tables_are_one_error_with_the_place(name, content, message, tmp_path):
    path = write(tmp_path, name, content)

    with pytest.raises(ValueError, match=message) as caught:
        read(path)

    assert str(path) in str(caught.value)


def test_null_records_are_skipped_and_counted_in_every_kind_of_table(tmp_path):
    records = [{"text": "x"}, {"text": None}, {"text": "y"}, {"text": None}, {"text": " "}]
    table = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": [record["text"] for record in records]}), table)
    lines = write(tmp_path, "b.jsonl", "\n".join(map(json.dumps, records)))
    array = write(tmp_path, "c.json", json.dumps(records))

    for path in (table, lines, array):
        left_out = Counter()
        texts = [text for _, text in open_source(path).documents(left_out)]
        assert texts == ["x", "y"]
        assert left_out == {"null": 2, "blank": 1}


def test_null_rows_of_a_hub_dataset_are_skipped_and_counted(monkeypatch):
    import types

    rows = [{"text": "x"}, {"text": None}, {"text": "y"}]
    monkeypatch.setitem(
        sys.modules, "datasets", types.SimpleNamespace(load_dataset=lambda *names, **options: iter(rows))
    )
    left_out = Counter()

    assert [text for _, text in open_source("owner/name").documents(left_out)] == ["x", "y"]
    assert left_out["null"] == 1


def test_what_was_left_out_is_told_and_kept_with_the_dataset(tmp_path, prose, quiet):
    rows = [*({"text": text} for text in prose(60)), {"text": None}, {"text": None}]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)))

    out = prepare(path, tmp_path / "out", tokenizer="byte", validation_fraction=0.3, progress=quiet)

    assert quiet.lines[-1] == "left out 2 records without text (null)"
    assert json.loads((out / "dataset.json").read_text())["left_out"] == {"null": 2}


COMPRESSIONS = {
    ".gz": gzip.compress,
    ".GZ": lambda data: gzip.compress(data[:20]) + gzip.compress(data[20:]),
    ".zst": lambda data: zstandard.ZstdCompressor().compress(data),
    ".zstd": lambda data: b"".join(zstandard.ZstdCompressor().compress(part) for part in (data[:20], data[20:])),
}


@pytest.mark.parametrize("suffix", COMPRESSIONS)
@pytest.mark.parametrize(("name", "content"), [("a.jsonl", LINES), ("a.Json", json.dumps(ROWS)), ("a.ndjson", LINES)])
def test_compressed_tables_are_read_through(suffix, name, content, tmp_path):
    assert read(write(tmp_path, name + suffix, COMPRESSIONS[suffix](content.encode()))) == TEXTS


@pytest.mark.parametrize("suffix", COMPRESSIONS)
def test_compressed_text_is_the_text(suffix, tmp_path, prose):
    text = "\n\n".join(prose(150))

    path = write(tmp_path, f"a.txt{suffix}", COMPRESSIONS[suffix](codecs.BOM_UTF8 + text.encode()))

    assert "".join(read(path)) == text
    assert "".join(read(write(tmp_path, "b.txt", path.read_bytes()))) == text  # the content says it, not the name


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("share", [0.5, 0.999])
def test_a_compressed_file_that_is_cut_off_is_an_error(suffix, share, tmp_path, prose):
    whole = COMPRESSIONS[suffix]("\n\n".join(prose(400)).encode())
    path = write(tmp_path, f"a.txt{suffix}", whole[: int(len(whole) * share)])

    with pytest.raises(ValueError, match=r"a.txt\.\w+ is a damaged (gzip|zstd) file.*Get it again"):
        read(path)


def test_a_missing_zstandard_names_the_extra(tmp_path, monkeypatch):
    path = write(tmp_path, "a.txt.zst", COMPRESSIONS[".zst"](b"words"))
    monkeypatch.setitem(sys.modules, "zstandard", None)

    with pytest.raises(ImportError, match=r"needs zstandard: pip install 'logclock\[hub\]'"):
        read(path)


@pytest.mark.parametrize("name", ["a.txt", "a.MD", "a", "a.log"])
def test_a_byte_order_mark_is_stripped_at_the_start_alone(name, tmp_path):
    path = write(tmp_path, name, codecs.BOM_UTF8 + "words \ufeff more words".encode())

    assert read(path) == ["words \ufeff more words"]


def arrow_bytes(kind):
    table, sink = pyarrow.table({"text": TEXTS, "id": [1, 2, 3, 4]}), io.BytesIO()
    if kind == "feather":
        feather.write_feather(table, sink)
    else:
        new = pyarrow.ipc.new_stream if kind == "stream" else pyarrow.ipc.new_file
        with new(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=2)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("name", "kind"), [("a.arrow", "stream"), ("a.arrow", "file"), ("A.ARROW", "file"), ("a.feather", "feather")]
)
def test_arrow_files_streams_and_feather_are_read(name, kind, tmp_path):
    path = write(tmp_path, name, arrow_bytes(kind))

    assert read(path) == TEXTS
    with pytest.raises(ValueError, match="no column 'body', only: text, id"):
        read(path, column="body")


def test_csv_and_tsv_are_tables_too(tmp_path):
    quoted = 'id,text\n1,first one\n2,"second, with a comma"\n3,"third ""quoted""\nand two lines"\n'
    assert read(write(tmp_path, "a.csv", "\ufeff" + quoted)) == TEXTS[:3]
    assert read(write(tmp_path, "a.TSV", "text\tid\none, two\t1\nthree\t2\n")) == ["one, two", "three"]
    assert read(write(tmp_path, "long.csv", "text\n" + "x" * 200_000 + "\n")) == ["x" * 200_000]


def tar(mode):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as archive:
        info = tarfile.TarInfo("a.txt")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"words"))
    return sink.getvalue()


def zipped():
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a.txt", "words")
    return sink.getvalue()


def sqlite(tmp_path):
    with sqlite3.connect(tmp_path / "made.db") as connection:
        connection.execute("create table documents (text)")
    connection.close()
    return (tmp_path / "made.db").read_bytes()


SAFETENSORS = (60).to_bytes(8, "little") + b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}      ' + bytes(4)


@pytest.mark.parametrize(
    ("name", "content", "kind", "remedy"),
    [
        ("a.zip", zipped(), "zip archive", "Unpack it"),
        ("a.docx", zipped(), "zip archive", "Unpack it"),
        ("a.txt", zipped(), "zip archive", "Unpack it"),
        ("a.tar", tar("w"), "tar archive", "Unpack it"),
        ("a.tgz", tar("w:gz"), "tar archive", "Unpack it"),
        ("a.tar.gz", tar("w:gz"), "tar archive", "Unpack it"),
        ("a.txt.bz2", bz2.compress(b"words " * 50), "bzip2", "gzip or zstd"),
        ("a.jsonl.xz", lzma.compress(b"words " * 50), "with xz", "gzip or zstd"),
        ("a.pkl", pickle.dumps(TEXTS), "pickle, which is never opened", "Extract its text"),
        ("a.pt", pickle.dumps({"w": 1}, protocol=2), "pickle", "Extract"),
        ("a.safetensors", SAFETENSORS, "safetensors", "Give the text"),
        ("a.pdf", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "PDF", "Extract its text"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + bytes(50), "picture", "Give the text"),
        ("a.h5", b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5", "Export"),
        ("a.dat", np.random.default_rng(0).bytes(5000), "binary file", "JSON lines or Parquet"),
        ("a.dat", bytes(1000), "binary file", "JSON lines"),
        ("a.txt", "words \u00e9".encode("utf-16"), "text in UTF-16", "iconv -f UTF-16 -t UTF-8 a.txt"),
        ("a.jsonl", codecs.BOM_UTF16_BE + LINES.encode("utf-16-be"), "text in UTF-16", "iconv -f UTF-16"),
        ("a.json", LINES.encode("utf-32"), "text in UTF-32", "iconv -f UTF-32"),
        ("a.txt", ("plain words " * 20).encode("utf-16-le"), "text in UTF-16LE", "iconv -f UTF-16LE"),
        ("a.txt", ("plain words " * 20).encode("utf-16-be"), "text in UTF-16BE", "iconv -f UTF-16BE"),
        ("a.txt.gz", gzip.compress("words".encode("utf-16")), "text in UTF-16", "iconv"),
    ],
    ids=lambda value: value if isinstance(value, str) else "content",  # compressed content holds the time
)
def test_files_of_other_formats_are_named_with_what_to_do(name, content, kind, remedy, tmp_path):
    path = write(tmp_path, name, content)

    with pytest.raises(ValueError, match=kind) as caught:
        read(path)

    assert str(path) in str(caught.value)
    assert remedy in str(caught.value)


def test_a_database_is_named(tmp_path):
    path = write(tmp_path, "a.db", sqlite(tmp_path))

    with pytest.raises(ValueError, match=r"SQLite database, not text. Export"):
        read(path)


@pytest.mark.parametrize(
    "content",
    [
        "PK is a code. ORCHIDS grow. GGUF GIF8 BZh",
        "ORCHIDS grow here",
        "BZhello",
        "GGUF is a format",
        "\x1b[31mred\x1b[0m and\x0cform feed",
        "a null \x00 in long text " + "word " * 300,
        "\u65e5\u672c\u8a9e" * 3000,
        "\u0420\u0443\u0441\u0441\u043a\u0438\u0439 " * 2000,
    ],
)
def test_text_that_looks_like_something_else_is_text(content, tmp_path):
    assert "".join(read(write(tmp_path, "a.txt", content))) == content


@pytest.mark.parametrize("name", ["a.parquet", "A.PARQUET", "a.Parquet.gz"])
def test_parquet_of_any_spelling_goes_to_its_reader(name, tmp_path):
    path = write(tmp_path, name, b"PAR1" + bytes(range(128, 256)) + b"PAR1")

    with pytest.raises(ValueError, match=r"is not a Parquet file that can be read"):
        read(path)


def test_compressed_parquet_says_to_uncompress_it(tmp_path):
    path = write(tmp_path, "a.parquet.gz", gzip.compress(b"PAR1" + bytes(50)))

    with pytest.raises(ValueError, match="Uncompress it first"):
        read(path)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.JSONL.GZ", ".jsonl"), ("a.txt.zst", ".txt"), ("a.gz", ""), ("a", ""), ("b.tar.gz", ".tar"), (".gz", "")],
)
def test_the_suffix_that_counts_is_the_one_before_a_compression(name, suffix):
    assert format_suffix(name) == suffix


def test_a_folder_of_mixed_files_reads_what_is_text_and_names_the_rest(tmp_path, quiet):
    folder = tmp_path / "mixed"
    folder.mkdir()
    write(folder, "1.TXT", "plain text")
    write(folder, "2.jsonl.gz", gzip.compress(b'{"text": "zipped line"}\n'))
    write(folder, "3.json", json.dumps([{"text": "in an array"}]))
    write(folder, "4.Md", codecs.BOM_UTF8 + b"# marked")
    write(folder, "config.json", json.dumps({"name": "metadata", "version": 3}, indent=1))
    write(folder, "model.bin.index.json", json.dumps({"weight_map": {}}))
    write(folder, "x.PNG", b"\x89PNG")
    write(folder, "y.png", b"\x89PNG")
    write(folder, "Makefile", "all:")
    os.symlink(folder / "gone.txt", folder / "link.txt")
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "elsewhere", "z.txt", "not asked for")
    os.symlink(tmp_path / "elsewhere", folder / "linked")
    os.symlink(folder / "1.TXT", folder / "5.txt")

    source = open_source(folder, progress=quiet)

    assert [text for _, text in source.documents()] == [
        "plain text",
        "zipped line",
        "in an array",
        "# marked",
        "plain text",
    ]
    assert quiet.lines == [
        f"reading 5 files of {folder}, leaving out 2 .json without 'text', 2 .png, 1 broken links, 1 linked folders, "
        "1 no suffix"
    ]


def test_a_foreign_file_in_a_folder_is_found_before_anything_is_encoded(tmp_path):
    write(tmp_path, "a.txt", "words")
    write(tmp_path, "z.txt", "words".encode("utf-16"))

    with pytest.raises(ValueError, match=r"z.txt is text in UTF-16"):
        open_source(tmp_path, progress=lambda line: None)


def test_a_file_that_vanishes_or_changes_meanwhile_is_an_error(tmp_path):
    gone, kept = write(tmp_path, "a.txt", "words"), write(tmp_path, "b.txt", "more")
    source = open_source(tmp_path, progress=lambda line: None)
    kept.write_text("other words")
    with pytest.raises(ValueError, match=r"changed while it was read. Start again"):
        list(source.documents())

    source = open_source(tmp_path, progress=lambda line: None)
    gone.unlink()
    with pytest.raises(FileNotFoundError, match=r"a.txt is gone since .* was listed. Start again"):
        list(source.documents())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_is_told_to_be_written_into_a_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(ValueError, match=r"neither a file nor a folder.*Write it into a file"):
        open_source(tmp_path / "pipe")


@pytest.mark.parametrize("name", ["data/missing.JSONL", "data/missing.txt.gz", "data/missing.bin", "data/missing.csv"])
def test_a_missing_file_is_never_looked_for_on_the_hub(name):
    with pytest.raises(FileNotFoundError, match="is neither a corpus"):
        open_source(name)


def test_a_dataset_of_a_gzipped_upper_case_file_is_that_of_the_plain_one(tmp_path, prose, quiet):
    rows = "".join(json.dumps({"text": text}) + "\n" for text in prose(120)).encode()
    plain, packed = write(tmp_path, "a.jsonl", rows), write(tmp_path, "B.NDJSON.GZ", gzip.compress(rows))

    fingerprints = {
        Dataset.open(
            prepare(path, tmp_path / path.name[0], tokenizer="byte", validation_fraction=0.2, progress=quiet)
        ).fingerprint
        for path in (plain, packed)
    }

    assert len(fingerprints) == 1
