"""Does the page of diagnoses show several models side by side, escape what it is given, and say what is missing?"""

import dataclasses
import re

import pytest

from logclock.analysis.diagnosis import (
    Diagnosis,
    MatrixFacts,
    QuantizedLoss,
    StateFacts,
    StatesFacts,
    UpdateFacts,
)
from logclock.report.diagnosis_page import diagnosis_headline, loss_table, render_diagnosis, write_diagnosis

EVIL = '<script>alert("1")</script> & $x$'


def matrix(name, **changes):
    facts = {
        "shape": (4, 2),
        "singular_values": (2.0, 1.0),
        "soft_rank": 1.65,
        "hard_rank": 1.47,
        "kurtosis": 3.25,
        "max_to_median": 4.5,
        "errors": {8: 1e-5, 4: 0.0072},
    }
    return MatrixFacts(name=name, **(facts | changes))


def states(place, token_class, width, soft, hard):
    return StatesFacts(
        place=place,
        kind="feed-forward",
        token_class=token_class,
        width=width,
        num_tokens=5000,
        soft_rank=soft,
        hard_rank=hard,
    )


def diagnosis(label, **changes):
    made = Diagnosis(
        label=label,
        group=label,
        source="runs/x",
        facts={"weights": f"runs/{label}"},
        matrices=(matrix("blocks.0.w"), matrix("blocks.1.w", kurtosis=7.125)),
        states=(states("blocks.0.feed_forward", "head", 64, 11.0, 6.0),),
        loss=2.0,
        quantized=(
            QuantizedLoss(bits=8, loss=2.0001, output_error=1e-6),
            QuantizedLoss(bits=4, loss=2.125, output_error=0.01),
        ),
        optimizer_state=(
            StateFacts(parameter="blocks.0.w", state="tau", zeros=0.25, mean=0.125, quantiles=(0.0, 0.1, 0.4)),
        ),
        updates=(UpdateFacts(parameter="blocks.0.w", ratio=0.0015, weight_norm=12.0),),
        updates_at=4001,
    )
    return dataclasses.replace(made, **changes)


def cells(page, name):
    """The cells of every table row of a name."""
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page)
    return [re.findall(r"<td[^>]*>(.*?)</td>", row) for head, row in rows if head == name]


def test_every_question_has_its_numbers_on_the_page():
    rows = cells(render_diagnosis([diagnosis("a")]), "blocks.0.w")

    assert rows == [
        ["4 x 2", "1.65", "1.47"],
        ["2", "1", "-"],
        ["3.25", "4.5"],
        ["1e-5", "7.2e-3"],
        ["25 %"],
        ["0.125", "0", "0.1", "0.4"],
        ["1.5e-3", "12"],
    ]


def test_models_stand_side_by_side_and_what_they_share_stands_once():
    other = diagnosis("b", matrices=(matrix("blocks.0.w", soft_rank=1.25), matrix("blocks.1.w")))
    page = render_diagnosis([diagnosis("a"), other])

    assert cells(page, "blocks.0.w")[0] == ["4 x 2", "1.47", "1.65", "1.25"]
    headings = re.findall(r"<th[^>]*>([^<]*)</th>", page)
    assert headings[:5] == ["matrix", "shape", "hard rank", "a: soft rank", "b: soft rank"]


def test_models_with_other_names_meet_in_the_medians_over_layers():
    page = render_diagnosis([diagnosis("a"), diagnosis("b", matrices=(matrix("blocks.0.w", kurtosis=5.0),))])

    assert ["3.25", "5", "4.5", "4.5"] not in cells(page, "blocks.*.w")
    assert ["4.5", "3.25", "5"] in cells(page, "blocks.*.w")
    assert "<summary>All 2, one by one</summary>" in page


def test_a_table_that_only_some_models_have_says_whose_it_is():
    page = render_diagnosis([diagnosis("a"), diagnosis("b", updates=(), updates_at=None)])

    assert ">a: change / weight</th>" in page
    assert ">change / weight</th>" in render_diagnosis([diagnosis("a")])


def test_every_string_is_escaped():
    one = diagnosis(
        EVIL,
        facts={EVIL: EVIL},
        matrices=(matrix(EVIL),),
        states=(states(EVIL, "head", 64, 11.0, 6.0),),
        optimizer_state=(StateFacts(parameter=EVIL, state=EVIL, zeros=0.0, mean=0.0, quantiles=(0.0, 0.0, 0.0)),),
        updates=(UpdateFacts(parameter=EVIL, ratio=None, weight_norm=0.0),),
        missing={"data": EVIL, "updates": EVIL},
        warnings=(EVIL,),
    )

    page = render_diagnosis([one, diagnosis("b")])

    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 10


def test_a_page_needs_nothing_outside_itself(tmp_path):
    path = write_diagnosis([diagnosis("a"), diagnosis("b")], tmp_path / "new" / "page.html")

    page = path.read_text()
    assert not re.findall(r'(?:src|href)="(?!#)', page)
    assert page.count("<svg ") == 1  # one kind of matrix
    assert page == render_diagnosis([diagnosis("a"), diagnosis("b")])


def test_what_is_not_known_is_said_with_its_reason():
    bare = diagnosis(
        "file",
        states=(),
        loss=None,
        quantized=(),
        optimizer_state=(),
        updates=(),
        updates_at=None,
        missing={"data": "no data", "quantized": "no loss", "optimizer": "no state", "updates": "no checkpoint"},
    )

    page = render_diagnosis([bare])

    for reason in ("no data", "no loss", "no state", "no checkpoint"):
        assert f'<p class="setting">file: {reason}.</p>' in page
    assert (
        diagnosis_headline([bare]) == "Rounding to 4 bits changes a typical matrix, in squared norm, by: file 7.2e-3."
    )
    assert loss_table([bare]).rows == (("file", "-", "-", "-", "1e-5", "-", "-", "7.2e-3"),)


def test_the_headline_says_what_four_bits_cost():
    headline = diagnosis_headline([diagnosis("a"), diagnosis("b", loss=2.25)])

    assert headline == (
        "Rounding the hidden matrices to 4 bits changes the validation loss: a +0.1250 nats, b -0.1250 nats."
    )


def test_runs_of_one_label_and_several_widths_have_exponents():
    runs = [
        diagnosis(
            f"adamw ({width})",
            group="adamw",
            states=(states("blocks.0.feed_forward", "tail", width, 2 * width**0.75, width**0.5),),
        )
        for width in (64, 128, 256)
    ]

    page = render_diagnosis(runs)

    assert ["tail", "64, 128, 256", "0.75", "0.50", "0.25"] in cells(page, "adamw")
    assert "Growth with the width" not in render_diagnosis(runs[:1])


def test_ranks_from_few_tokens_come_with_a_warning():
    few = dataclasses.replace(states("blocks.0.feed_forward", "head", 64, 11.0, 6.0), num_tokens=100)

    page = render_diagnosis([diagnosis("a", states=(few,))])

    assert "a: 1 of 1 ranks of hidden states come from fewer than 2 tokens a channel" in page
    assert "fewer than" not in render_diagnosis([diagnosis("a")])


@pytest.mark.parametrize("values", [(), (0.0, 0.0), (1.0, 0.0)])
def test_degenerate_matrices_have_a_page(values):
    odd = matrix(
        "w",
        singular_values=values,
        soft_rank=None,
        kurtosis=None,
        max_to_median=float("inf"),
        errors={8: None, 4: None},
    )

    page = render_diagnosis([diagnosis("a", matrices=(odd,))])

    assert ["-", "infinite"] in cells(page, "w")
