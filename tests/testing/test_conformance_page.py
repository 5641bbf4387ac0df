"""Is docs/conformance.md what the probes say?"""

import pytest
from testing import conformance_table
from testing.conformance_table import PAGE, part, rows_of
from testing.peers import PEERS
from testing.test_ours import SUBJECTS


def written(title):
    return part(title).search(PAGE.read_text())[0]


def test_the_page_describes_every_probe_as_it_is_declared():
    assert written("probes") == conformance_table.probe_table()


def test_the_page_has_a_row_for_each_of_ours_without_a_failure():
    rows = rows_of(written("ours"))

    assert list(rows) == SUBJECTS
    assert [name for name, row in rows.items() if not row.endswith("| none |")] == []


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", PEERS)
def test_the_row_of_a_peer_is_what_the_probes_say(name):
    rows = conformance_table.peer_rows([name])
    if not rows:
        pytest.skip(f"{name} is not installed")

    assert rows[name] == rows_of(written("peers"))[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", SUBJECTS)
def test_the_row_of_one_of_ours_is_what_the_probes_say(name):
    assert conformance_table.our_rows([name])[name] == rows_of(written("ours"))[name]
