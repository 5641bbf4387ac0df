import hashlib
import json
import sys
import types

import pytest

from logclock.data.corpora import get_corpus
from logclock.data.sources import open_source


def texts_of(source):
    return [text for _, text in source.documents()]


def write_jsonl(path, texts, key="text"):
    path.write_text("".join(json.dumps({"id": number, key: text}) + "\n" for number, text in enumerate(texts)))
    return path


def write_parquet(path, columns):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), path, row_group_size=7)
    return path


@pytest.fixture
def hub(monkeypatch):
    """Replace the package datasets by one that serves rows from a list, or fails; return its control panel."""
    panel = types.SimpleNamespace(rows=[], error=None, calls=[])

    def load_dataset(path, /, **options):
        panel.calls.append((path, options))
        if panel.error is not None:
            raise panel.error
        return iter(panel.rows)

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))
    return panel


def test_a_text_file_comes_in_pieces_that_join_to_the_file(text_file):
    texts = texts_of(open_source(text_file))

    assert "".join(texts) == text_file.read_text()
    assert len(texts) > 50
    assert all(text.endswith("\n\n") for text in texts[:-1])  # cut at blank lines
    assert max(map(len, texts)) < 2_500


def test_a_file_without_blank_lines_is_cut_at_line_ends(tmp_path):
    path = tmp_path / "log.txt"
    path.write_bytes(b"".join(b"line %d has some words\r\n" % number for number in range(3_000)))

    texts = texts_of(open_source(path))

    assert "".join(texts).encode() == path.read_bytes()
    assert len(texts) > 20
    assert all(text.endswith("\r\n") for text in texts)


def test_a_file_of_one_endless_line_is_read_in_bounded_pieces(tmp_path):
    path = tmp_path / "line.txt"
    path.write_text("word " * 200_000)

    texts = texts_of(open_source(path))

    assert "".join(texts) == path.read_text()
    assert max(map(len, texts)) <= 2 * 65536


def test_a_folder_is_read_in_order_and_other_files_are_named(tmp_path, prose, quiet):
    (tmp_path / "b").mkdir()
    first, second, third, fourth, hidden = prose(5)
    (tmp_path / "b" / "two.md").write_text(second)
    (tmp_path / "a.txt").write_text(first)
    write_jsonl(tmp_path / "c.jsonl", [third, fourth])
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.txt").write_text(hidden)
    (tmp_path / "empty.txt").write_text("")

    texts = texts_of(open_source(tmp_path, progress=quiet))

    assert texts == [first, second, third, fourth]
    assert quiet.lines == [f"reading 3 files of {tmp_path}, leaving out 1 .png"]


def test_columns_of_jsonl_and_parquet_are_read(tmp_path, prose):
    texts = prose(20)
    rows = write_jsonl(tmp_path / "rows.jsonl", texts, key="body")
    assert texts_of(open_source(rows, column="body")) == texts

    # The columns of FineWeb; a missing text is no document.
    table = write_parquet(
        tmp_path / "rows.parquet",
        {"text": [*texts, None], "id": [f"<{n}>" for n in range(21)], "token_count": list(range(21))},
    )
    assert texts_of(open_source(table)) == texts


def test_a_corpus_keeps_its_own_split(tmp_path, quiet):
    directory = get_corpus("synthetic", root=tmp_path, limit_bytes=300_000, progress=quiet)
    sides = {
        part: [json.loads(line)["text"] for line in (directory / f"{part}.jsonl").read_bytes().splitlines()]
        for part in ("train", "val")
    }

    documents = list(open_source(directory).documents())

    assert [text for is_validation, text in documents if is_validation] == sides["val"]
    assert [text for is_validation, text in documents if not is_validation] == sides["train"]


def test_the_side_of_a_document_is_its_hash_and_nothing_else(tmp_path, prose):
    texts = prose(400)
    source = open_source(write_jsonl(tmp_path / "a.jsonl", texts * 2), validation_fraction=0.25)

    sides = [{text for held, text in source.documents() if held is side} for side in (True, False)]

    expected = {text for text in texts if int(hashlib.sha256(text.encode()).hexdigest(), 16) / 2**256 < 0.25}
    assert sides[0] == expected
    assert 60 < len(expected) < 140
    assert sides[1] == set(texts) - expected


def test_the_limit_counts_training_bytes(tmp_path, prose):
    path = write_jsonl(tmp_path / "a.jsonl", prose(300))

    limited = list(open_source(path, limit_bytes=20_000, validation_fraction=0.1).documents())

    training = sum(len(text.encode()) for held, text in limited if not held)
    assert 20_000 - 1_000 < training <= 20_000
    assert limited == list(open_source(path, validation_fraction=0.1).documents())[: len(limited)]


def test_blank_documents_go_and_half_surrogates_become_question_marks(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": " \\n"}\n\n{"text": "a\\ud83d b"}\n{"text": ""}\n')

    assert texts_of(open_source(tmp_path / "a.jsonl")) == ["a? b"]


def test_hub_rows_are_streamed_and_can_be_read_twice(hub, prose):
    texts = prose(30)
    hub.rows = [{"text": text, "id": str(n), "dump": "d", "url": "u"} for n, text in enumerate(texts)]

    source = open_source("HuggingFaceFW/fineweb", subset="sample-10BT", limit_bytes=100_000_000)

    assert hub.calls == []  # opening asks for nothing
    assert texts_of(source) == texts_of(source) == texts
    assert hub.calls[0] == ("HuggingFaceFW/fineweb", {"name": "sample-10BT", "split": "train", "streaming": True})


def test_an_unreachable_hub_is_one_error_that_names_local_alternatives(hub):
    hub.error = ConnectionError("Couldn't reach the Hub\n (OfflineModeIsEnabled)")

    with pytest.raises(
        RuntimeError,
        match=r"cannot stream 'HuggingFaceFW/fineweb'.*Couldn't reach the Hub \(Offline.*Local alternatives.*'stdlib'",
    ):
        texts_of(open_source("HuggingFaceFW/fineweb"))


def test_a_hub_row_without_the_column_lists_the_columns(hub):
    hub.rows = [{"content": "x", "id": 1}]

    with pytest.raises(ValueError, match="owner/name has no text under 'text', only: content, id"):
        texts_of(open_source("owner/name"))


@pytest.mark.parametrize(("package", "name"), [("datasets", "HuggingFaceFW/fineweb"), ("pyarrow", "rows.parquet")])
def test_a_missing_package_names_the_extra(package, name, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    source = name if package == "datasets" else tmp_path / name

    with pytest.raises(ImportError, match=r"pip install 'logclock\[hub\]'"):
        texts_of(open_source(source))


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.txt", b"", {}, "a.txt is empty"),
        ("a.txt", b"caf\xe9 and more words", {}, "a.txt is not UTF-8 text.*iconv"),
        ("a.jsonl", b'{"text": "x"}\n{"text"\n', {}, "a.jsonl, line 2 is not JSON"),
        ("a.jsonl", b'{"body": "x", "id": 1}\n', {}, "a.jsonl, line 1 has no text under 'text', only: body, id"),
        ("a.jsonl", b'{"text": 5}\n', {}, "line 1 has no text under 'text'"),
        ("a.jsonl", b"[1]\n", {}, "line 1 has no text under 'text', only: list"),
        ("a.txt", b"words", {"column": "body"}, "column='body' has no effect on .*a.txt"),
        ("a.txt", b"words", {"subset": "x"}, "subset has no effect on .*a.txt"),
        ("a.txt", b"words", {"limit_bytes": 0}, "limit_bytes must be at least 1, got 0"),
        ("a.txt", b"words", {"validation_fraction": 1.0}, "strictly between 0 and 1, got 1.0"),
    ],
)
def test_unusable_files_and_options_are_one_clear_error(name, content, options, message, tmp_path):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(ValueError, match=message):
        texts_of(open_source(tmp_path / name, **options))


def test_unusable_parquet_files_are_one_clear_error(tmp_path):
    good = write_parquet(tmp_path / "a.parquet", {"body": ["x"], "count": [1]})
    bad = tmp_path / "b.parquet"
    bad.write_bytes(b"not parquet at all")

    with pytest.raises(ValueError, match="has no column 'text', only: body, count"):
        texts_of(open_source(good))
    with pytest.raises(ValueError, match="column 'count' holds int, not text"):
        texts_of(open_source(good, column="count"))
    with pytest.raises(ValueError, match=r"b.parquet is not a Parquet file"):
        texts_of(open_source(bad))


def test_a_folder_without_text_says_what_it_looked_for(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")

    with pytest.raises(ValueError, match=r"holds no text: looked for files ending in .txt.* found 1 others"):
        open_source(tmp_path)


@pytest.mark.parametrize("name", ["no/such/file.txt", "missing.txt", "data/file.txt"])
def test_a_name_that_is_nothing_lists_what_it_could_be(name):
    with pytest.raises(FileNotFoundError, match=f"'{name}' is neither a corpus .essentials, stdlib, synthetic"):
        open_source(name)


def test_a_misspelled_corpus_is_recognised():
    with pytest.raises(FileNotFoundError, match="Did you mean the corpus 'essentials'"):
        open_source("esentials")


def test_a_corpus_takes_no_options_of_other_sources(tmp_path):
    with pytest.raises(ValueError, match="column, validation_fraction has no effect on 'stdlib'"):
        open_source("stdlib", column="x", validation_fraction=0.1, root=tmp_path)


def test_the_description_tells_changed_files_apart(text_file):
    before = open_source(text_file).description
    assert open_source(text_file).description == before

    text_file.write_text(text_file.read_text() + "more")

    assert open_source(text_file).description != before
