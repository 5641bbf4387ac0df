import json
import os
import stat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logclock.config.files import dump_json, parse_json, read_json, replacing, write_whole

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=10,
)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(PLAIN)
def test_what_json_can_say_is_read_as_the_standard_library_does(data):
    text = dump_json(data, purpose="a test")

    assert parse_json(text) == parse_json(text.encode()) == json.loads(text)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.binary(max_size=40) | st.text('[]{}",:0e1nulNaIfity\\', max_size=40).map(lambda text: text.encode()))
def test_any_bytes_are_data_or_a_value_error(content):
    try:
        data = parse_json(content)
    except ValueError:
        return
    assert parse_json(json.dumps(data, allow_nan=False)) == data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": [1, NaN]}', r"a\[1\] is nan"),
        (b'{"a": {"b": 1e999}}', r"a\.b is inf"),
        (b'{"a": [-1.5E+0400]}', r"a\[0\] is -inf"),
        (b'{"a": ' + b"1" * 290 + b"e99}", "a is inf"),
        (b'{"a": -1' + b"0" * 400 + b".0}", "a is -inf"),
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' stands twice"),
        (b"[" * 65 + b"]" * 65, "nested more than 64 deep"),
        (b'{"a":' * 100_000, "nested more than 64 deep"),
        ('{"a": 1}'.encode("utf-16"), "looks like UTF-16, not UTF-8"),
        (b'{"a": "\xe9"}', "byte 7 is 0xe9, not UTF-8"),
        (b"PK\x03\x04", "looks like a zip archive"),
        (b"\x1f\x8b\x08", "looks like gzip"),
        (b"", "Expecting value"),
        (b"1" * 5000, "Exceeds the limit"),
    ],
)
def test_what_would_break_something_later_is_refused(content, message):
    with pytest.raises(ValueError, match=message):
        parse_json(content)


@pytest.mark.parametrize(
    "text", ["[" * 64 + "]" * 64, '{"brackets": "' + "[{" * 500 + '"}', '["' + '\\"[' * 200 + '"]']
)
def test_brackets_in_strings_and_ordinary_nesting_are_no_depth(text):
    assert parse_json(text) == json.loads(text)


def test_a_byte_order_mark_is_skipped(tmp_path):
    (tmp_path / "x.json").write_bytes(b"\xef\xbb\xbf" + b'{"a": 1}')

    assert read_json(tmp_path / "x.json", advice="") == {"a": 1}


@pytest.mark.parametrize(
    ("text", "kind"), [("[1]", "a list"), ('"x"', "a string"), ("3", "a number"), ("null", "null")]
)
def test_a_file_must_hold_an_object(tmp_path, text, kind):
    path = tmp_path / "x.json"
    path.write_text(text)

    with pytest.raises(ValueError, match=rf"x\.json must hold a JSON object, got {kind}\. Do that\."):
        read_json(path, advice="Do that.")


def test_a_directory_is_an_error_of_the_system(tmp_path):
    with pytest.raises(IsADirectoryError):
        read_json(tmp_path, advice="")


def test_a_file_appears_whole_with_the_usual_permissions(tmp_path):
    path = tmp_path / "page.html"
    umask = os.umask(0o027)
    try:
        write_whole(path, b"new")
    finally:
        os.umask(umask)

    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["page.html"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, OSError(28, "No space left on device")])
def test_an_error_leaves_the_old_file_and_no_other(tmp_path, error):
    path = tmp_path / "page.html"
    path.write_text("old")

    def write():
        with replacing(path) as file:
            file.write(b"half")
            raise error

    with pytest.raises(error if isinstance(error, type) else type(error)) as caught:
        write()

    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["page.html"]
    if isinstance(caught.value, OSError):
        assert str(caught.value) == f"[Errno 28] No space left on device: '{path}'"


def test_a_directory_in_the_way_leaves_no_partial_file(tmp_path):
    (tmp_path / "page.html").mkdir()

    with pytest.raises(IsADirectoryError, match=r"page\.html'$"):
        write_whole(tmp_path / "page.html", b"new")

    assert os.listdir(tmp_path) == ["page.html"]
