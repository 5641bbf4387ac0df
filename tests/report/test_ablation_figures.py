import re

import pytest

from logclock.analysis import compare
from logclock.report import arm_drawing, horizon_drawing


def texts(drawing):
    return re.findall(r"<text[^>]*>([^<]*)</text>", drawing.svg)


@pytest.fixture(scope="module")
def comparison(study):
    return compare(study)


def test_every_arm_but_the_baseline_has_a_row_and_an_interval(comparison):
    labels = [row.label for row in comparison.rows if row.difference and row.difference.mean is not None]
    assert len(labels) == 2
    order = ["adamw", *reversed(labels), "without a run"]

    drawing = arm_drawing(comparison, question="Who wins?", labels=order)

    assert [text for text in texts(drawing) if text in labels] == labels[::-1]
    assert "final validation loss minus that of adamw, nats (left is better)" in texts(drawing)
    assert drawing.title == "Who wins?"
    assert "95 % intervals" in drawing.caption


def test_one_seed_has_no_interval_and_says_so(one_seed):
    drawing = arm_drawing(compare(one_seed), question="Who wins?", labels=["adamw", "adana"])

    assert "One seed: how far chance moves a point is unknown." in drawing.caption


def test_horizons_are_marked_on_the_axis(comparison):
    drawing = horizon_drawing({5.0: comparison, 20.0: comparison, 160.0: comparison})

    found = texts(drawing)
    assert {"5", "20", "160", "adamw", "adana"} <= set(found)
    assert "training tokens per parameter" in found


def test_the_same_records_give_the_same_bytes(comparison):
    labels = [row.label for row in comparison.rows]
    one, other = (arm_drawing(comparison, question="Who wins?", labels=labels).svg for _ in range(2))

    assert one == other
