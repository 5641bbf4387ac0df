import sysconfig
from pathlib import Path

import pytest

from logclock.data.stdlib import read_stdlib


@pytest.fixture
def library(tmp_path, prose):
    """A library of three modules, with tests and a file in another encoding."""
    root = tmp_path / "lib"
    (root / "package" / "tests").mkdir(parents=True)
    (root / "test").mkdir()
    first, second, third = prose(3)
    (root / "a.py").write_text(f'"""{first}"""\n')
    (root / "package" / "b.py").write_bytes(f"# -*- coding: latin-1 -*-\n# caf\xe9 {second}\n".encode("latin-1"))
    (root / "package" / "__init__.py").write_text("")
    (root / "package" / "tests" / "c.py").write_text(third)
    (root / "test" / "d.py").write_text(third)
    (root / "broken.py").write_bytes(b"\xff\xfe" + third.encode())
    return root


def test_sources_are_read_by_their_encoding_and_tests_are_left_out(library):
    documents = read_stdlib(directory=library)

    assert {document.id for document in documents} == {"stdlib/a.py", "stdlib/package/b.py"}
    assert any("# caf\xe9" in document.text for document in documents)
    assert {document.license for document in documents} == {"PSF-2.0"}


def test_a_limit_is_kept(library):
    sizes = [len(document.text.encode()) for document in read_stdlib(directory=library)]

    limited = read_stdlib(directory=library, limit_bytes=max(sizes))

    assert len(limited) == 1


def test_a_library_without_sources_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"no Python sources below .* 'synthetic'"):
        read_stdlib(directory=tmp_path)


def test_the_running_python_has_megabytes_of_sources():
    documents = read_stdlib()
    by_id = {document.id: document.text for document in documents}

    assert sum(len(text) for text in by_id.values()) > 5_000_000
    path = Path(sysconfig.get_path("stdlib"), "textwrap.py")
    assert by_id["stdlib/textwrap.py"] == path.read_text()
    assert not any("/test/" in id_ or "/tests/" in id_ for id_ in by_id)
