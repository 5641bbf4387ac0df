import dataclasses
import hashlib
import html
import os
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from logclock.analysis import compare
from logclock.records import Ledger, RunRecord
from logclock.report import cost_table, headline, render_report, result_table, write_report

VOID = {"meta", "link", "br", "hr", "img", "input", "wbr"}


class Outline(HTMLParser):
    """Collects texts and attributes, and raises where an element is not closed in its order."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.ids, self.links, self.texts = [], [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.ids += [value for key, value in attrs if key == "id"]
        self.links += [value for key, value in attrs if key in ("href", "src", "xlink:href", "srcset", "action")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style",):
            self.texts.append(data.replace("\u2212", "-").replace("\u00d7", "x"))


def _outline(page):
    outline = Outline()
    outline.feed(page)
    outline.close()
    assert outline.open == []
    return outline


@pytest.fixture(scope="module")
def page(study):
    return render_report(study)


def test_the_page_is_well_formed_with_unique_ids(page):
    outline = _outline(page)

    assert page.startswith("<!DOCTYPE html>")
    assert len(outline.ids) == len(set(outline.ids)) > 0
    assert outline.tags.count("svg") == 12  # 4 curves, 2 costs, 1 sweep, 5 schedules
    assert outline.tags.count("h1") == 1


def test_the_page_needs_nothing_from_outside(page):
    outline = _outline(page)

    assert all(link.startswith("#") for link in outline.links)
    assert set(outline.links) <= {f"#{name}" for name in outline.ids}
    assert not {"script", "link", "img", "iframe", "object"} & set(outline.tags)
    assert not re.search(r"https?://|@import|url\((?!#)", page)


def test_the_page_shows_the_verdict_and_every_cell_of_the_tables(study, page):
    comparison = compare(study)
    texts = {text.strip() for text in _outline(page).texts}

    assert headline(comparison) in texts
    for table in (result_table(comparison), cost_table(comparison)):
        assert {cell for row in (table.columns, *table.rows) for cell in row} <= texts


def test_the_page_traces_its_numbers(study, page):
    text = " ".join(_outline(page).texts)

    for record in study:
        assert record.record_hash in text
        assert record.provenance["rule_hash"] in text
    for fact in ("git_commit", "548a2f2c0ffee", "2.13.0+cpu", "Linux-6.1-x86_64", "num_threads", "3f6c1d0a9be24471"):
        assert fact in text
    assert "logclock compare adamw adana dana-star-mk4 --recipe demo" in text
    assert "2026-11-22T06:10:00Z, 2026-11-22T07:38:00Z" in text  # seeds 0 and 100


def test_lost_runs_are_shown_with_step_and_reason(page):
    assert "diverged: step 2300: training loss is nan" in page
    assert "diverged: step 1400: training loss is nan" in page


def test_the_configuration_is_split_into_shared_and_different(page):
    section = page[page.index("<h2>Configuration") : page.index("<h2>Methods")]
    table, shared = section.split("<details>")

    assert "optimizer.kappa" in table
    assert "optimizer.lr" in table
    assert "optimizer.eps" not in table
    assert "<dt>optimizer.eps</dt><dd>1e-08</dd>" in shared
    assert "<dt>seed</dt><dd>0, 1, 2</dd>" in shared
    assert "optimizer.kappa" not in shared


def test_all_text_is_escaped(one_seed):
    hostile = "<script>alert('x')</script> & \"$y$\""
    records = [one_seed[0], dataclasses.replace(one_seed[1], label=hostile, reason=hostile)]
    records[1].config["note"] = hostile

    page = render_report(records, title=hostile)

    assert "<script" not in page
    assert html.escape(hostile) in page
    _outline(page)


def test_a_page_without_sweep_has_no_such_section(one_seed):
    page = render_report(one_seed)

    assert "<h2>Learning rate" not in page
    assert "Every learning rate tried" not in page
    assert "the spread over seeds is unknown" in page


def test_title_baseline_and_minimum_effect_are_arguments(one_seed):
    page = render_report(one_seed, title="A title", baseline="adana", minimum_effect=0.02)

    assert "<title>A title</title>" in page
    assert "adamw ended" in page
    assert "at least 0.02 nats" in page


def _reversed(data):
    """Return the same data with every dict in the opposite order."""
    return {key: _reversed(data[key]) for key in reversed(data)} if isinstance(data, dict) else data


def test_the_order_of_keys_does_not_matter(study, page):
    shuffled = [RunRecord.from_dict(_reversed(record.to_dict())) for record in study]
    assert list(shuffled[0].config) != list(study[0].config)

    assert render_report(shuffled) == page


def test_another_process_rebuilds_the_same_bytes_from_the_ledger(study, page, tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for record in study:
        ledger.append(record)
    code = (
        "import sys; from logclock.records import Ledger; from logclock.report import write_report\n"
        f"write_report(Ledger({str(ledger.path)!r}).records(), sys.argv[1])\n"
        "print('torch' in sys.modules)"
    )

    printed, hashes = [], []
    for seed in ("1", "2"):
        target = tmp_path / f"new-{seed}" / "report.html"
        environment = os.environ | {"PYTHONHASHSEED": seed, "TZ": f"UTC+{seed}"}
        done = subprocess.run(
            [sys.executable, "-c", code, str(target)], env=environment, capture_output=True, text=True, check=True
        )
        printed.append(done.stdout.strip())
        hashes.append(hashlib.sha256(target.read_bytes()).hexdigest())

    assert hashes == [hashlib.sha256(page.encode()).hexdigest()] * 2
    assert printed == ["False", "False"]


def test_writing_returns_the_path_and_replaces_an_old_page(one_seed, tmp_path):
    target = tmp_path / "deep" / "report.html"

    assert write_report(one_seed, str(target)) == target
    first = target.read_bytes()
    write_report(one_seed, target)

    assert target.read_bytes() == first
    assert first.decode() == render_report(one_seed)


def test_mixed_records_are_refused_before_anything_is_written(one_seed, tmp_path):
    foreign = dataclasses.replace(one_seed[1], data={"fingerprint": "another"})

    with pytest.raises(ValueError, match="dataset fingerprint differs"):
        write_report([one_seed[0], foreign], tmp_path / "report.html")

    assert list(tmp_path.iterdir()) == []


def test_importing_the_room_loads_neither_torch_nor_matplotlib():
    code = "import sys, logclock.report; print(sorted({'torch', 'matplotlib', 'rich'} & sys.modules.keys()))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
