"""Do the pages say what the declarations say?"""

import importlib.util
import re
import sys
from pathlib import Path

import pytest

from logclock.suggestions import RULES, TARGETS, translate_adamw
from logclock.suggestions.rule import QUANTITIES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def pages():
    """The extension that writes the tables, which needs those of the documentation."""
    pytest.importorskip("sphinx")
    extensions = str(DOCS / "_ext")
    sys.path.insert(0, extensions)
    try:
        spec = importlib.util.spec_from_file_location("suggestion_pages", DOCS / "_ext" / "suggestions.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(extensions)


def rows_of(text):
    return [line for line in text.splitlines() if line.startswith("| ")][2:]


@pytest.mark.parametrize("quantity", QUANTITIES)
def test_every_rule_has_a_row_with_its_source(pages, quantity):
    rules = [rule for rule in RULES if rule.sets == quantity]

    rows = rows_of(pages.rules_of(quantity))

    assert [row.split("`")[1] for row in rows] == [rule.name for rule in rules]
    assert f"```{{suggestion-rules}} {quantity}\n" in (DOCS / "suggest.md").read_text()


def test_a_note_that_rules_share_is_said_once(pages):
    assert pages.rules_of("decay").count("was not confirmed and is assumed") == 1


@pytest.mark.parametrize("to", TARGETS)
def test_a_translation_on_the_page_is_that_of_the_function(pages, to):
    found = translate_adamw(to=to, **pages.EXAMPLE)

    text = pages.translated(to)

    assert f"```python\n{found.code}\n```" in text
    assert len(rows_of(text)) == len(found.notes)
    assert f"```{{translated-adamw}} {to}\n" in (DOCS / "switch.md").read_text()


def test_the_example_of_the_page_is_the_one_that_its_text_speaks_of(pages):
    text = (DOCS / "switch.md").read_text()

    assert "--lr 6e-4 --betas 0.9 0.95 --weight-decay 0.1 --steps 100000" in text
    assert (pages.EXAMPLE["lr"], pages.EXAMPLE["total_steps"]) == (6e-4, 100_000)


def test_the_reading_list_has_a_line_for_each_of_the_46_papers():
    page = (DOCS / "reading-list.md").read_text()
    with_a_place, without = page.split("## Papers without a place")
    rows = {
        part: re.findall(r"^\| (?!paper |---)(.*?) \|", text, re.M)
        for part, text in (("a", with_a_place), ("b", without))
    }

    assert (len(rows["a"]), len(rows["b"])) == (29, 17)
    assert len(set(rows["a"] + rows["b"])) == 46
    named = re.findall(r"`([a-z-]+)`", page[page.index("## Rules that set") : page.index("## Diagnostics")])
    assert {rule.name for rule in RULES} >= set(named)
