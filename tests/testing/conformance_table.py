"""The generated part of docs/conformance.md: `python tests/testing/conformance_table.py`, a few minutes, writes it.

Peers that are not installed keep the rows that the page has.
"""

import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pytest
from testing.peers import PEERS
from testing.test_ours import SUBJECTS, subject

from logclock.testing import PROBES, check_optimizer

PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"
NAMES = [probe.name for probe in PROBES if not probe.needs_ranks]


def part(title):
    """Match a generated part of the page."""
    return re.compile(rf"(?<=<!-- generated: {title} -->\n).*?(?=<!-- end -->)", re.DOTALL)


def probe_table():
    """The table of all probes, from their declarations."""
    lines = ["| probe | what a conforming optimizer does | why |", "|---|---|---|"]
    for probe in PROBES:
        threads = " ".join(f"[{'/'.join(t.split('/')[3:5])}#{t.rsplit('/', 1)[1]}]({t})" for t in probe.threads)
        lines.append(f"| `{probe.name}` | {probe.purpose} | {probe.why} {threads} |".replace("  ", " "))
    return "\n".join(lines) + "\n"


def row(name, build, settings):
    """One line of the table of results: what fails, and what is not applicable."""
    found = check_optimizer(build, settings, probes=NAMES, timeout=300)
    failing = [r.probe if r.amount is None else f"{r.probe} ({r.cell})" for r in found.failures]
    passed = sum(result.status == "pass" for result in found.results)
    asked = sum(result.status != "not applicable" for result in found.results)
    return f"| `{name}` | {passed} of {asked} | {', '.join(failing) or 'none'} |"


def rows_of(text):
    """The rows that a table has, by name."""
    return {match[1]: match[0] for match in re.finditer(r"^\| `([^`]+)` \|.*\|$", text, re.MULTILINE)}


def peer_rows(names=tuple(PEERS)):
    """The rows of the peers that can be imported."""
    rows = {}
    for name in names:
        try:
            build = PEERS[name].build()
        except pytest.skip.Exception:
            continue
        rows[name] = row(name, build, {"lr": 1e-2})
    return rows


def our_rows(names=tuple(SUBJECTS)):
    return {name: row(name, *subject(name)) for name in names}


def write(title, rows):
    text = PAGE.read_text()
    old = rows_of(part(title).search(text)[0])
    kept = [rows.get(name, old.get(name)) for name in {**dict.fromkeys(PEERS if title == "peers" else SUBJECTS)}]
    lines = ["| optimizer | passed | failing |", "|---|---|---|", *filter(None, kept)]
    PAGE.write_text(part(title).sub(lambda _: "\n".join(lines) + "\n", text, count=1))


def main():
    """Write all three tables, row by row, so that what is done stays when it is stopped."""
    PAGE.write_text(part("probes").sub(lambda _: probe_table(), PAGE.read_text(), count=1))
    for name in PEERS:
        write("peers", peer_rows([name]))
    for name in SUBJECTS:
        write("ours", our_rows([name]))


if __name__ == "__main__":
    main()
