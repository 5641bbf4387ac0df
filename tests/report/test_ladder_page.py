import dataclasses
import html
import math
import re
from html.parser import HTMLParser

import matplotlib.image
import numpy as np
import pytest
from ladders import LAWS, SIZES, Invented

from logclock.analysis import LadderMultiplier, analyse_ladder
from logclock.report import ladder_headline, ladder_table, render_ladder_report, write_ladder_report
from logclock.report.drawing import STAND_INS
from logclock.report.export import light_colours
from logclock.report.ladder_figures import efficiency_drawing, residual_drawings
from logclock.report.ladder_tables import (
    fit_table,
    hold_out_table,
    ladder_cost_table,
    ladder_run_table,
    lr_rule_table,
    lr_table,
    rung_table,
    size_table,
    summary_table,
    trend_table,
)
from logclock.report.ladder_wording import ladder_methods, ladder_setting, ladder_title

FORMS = ["saturated", "power"]


@pytest.fixture(scope="module")
def result():
    return analyse_ladder(Invented().records(), forms=FORMS, num_samples=100)


@pytest.fixture(scope="module")
def folder(result, tmp_path_factory):
    out = tmp_path_factory.mktemp("ladder") / "deep"
    assert write_ladder_report(result, out) == out / "report.html"
    return out


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "report.html").read_text()


class Texts(HTMLParser):
    """Collects the texts, and raises where an element is not closed in its order."""

    def __init__(self):
        super().__init__()
        self.open, self.texts, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in {"meta", "br"}:
            self.open.append(tag)
        self.links += [value for key, value in attrs if key in ("href", "src", "xlink:href")]

    def handle_startendtag(self, tag, attrs):
        self.links += [value for key, value in attrs if key in ("href", "src", "xlink:href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data.replace("\u2212", "-").replace("\u00d7", "x").strip())


def texts_of(page):
    parser = Texts()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser


def column(table, heading):
    at = [i for i, name in enumerate(table.columns) if name == heading]
    return [row[at[0]] for row in table.rows]


def test_the_page_is_well_formed_and_needs_nothing_from_outside(page):
    found = texts_of(page)

    assert page.startswith("<!DOCTYPE html>")
    assert all(link.startswith("#") for link in found.links)
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids)) > 0
    assert not re.search(r"https?://|@import|url\((?!#)|<script|<img", page)


def test_the_page_shows_the_verdict_and_every_table(result, page):
    texts = set(texts_of(page).texts)

    assert ladder_headline(result) in texts
    tables = (summary_table, rung_table, size_table, fit_table, hold_out_table, lr_rule_table, lr_table)
    for table in (make(result) for make in (*tables, ladder_cost_table, ladder_run_table)):
        assert {cell for row in (table.columns, *table.rows) for cell in row if cell} <= texts


def test_the_page_traces_its_numbers(result, page):
    for record in result.records:
        assert record.record_hash in page
        assert record.provenance["rule_hash"] in page
    assert "0123456789abcdef" in page
    assert "2026-11-24T02:00:00+00:00, 2026-11-24T08:30:00+00:00" in page


def test_the_same_result_gives_the_same_page(result, page):
    assert render_ladder_report(result) == page


def test_every_figure_of_the_page_is_a_file_of_two_kinds(folder, page):
    names = {path.stem for path in (folder / "figures").iterdir()}

    assert names == {
        "efficiency",
        "ladder-difference",
        "ladder-lr",
        "residuals-power",
        "residuals-saturated",
        *(f"lr-{size}" for size in SIZES),
    }
    assert {path.name for path in (folder / "figures").iterdir()} == {f"{n}.{k}" for n in names for k in ("png", "svg")}
    assert page.count("<svg") == len(names)


def test_a_figure_file_stands_alone_in_the_colours_of_the_light_page(folder):
    import xml.etree.ElementTree

    svg = (folder / "figures" / "efficiency.svg").read_text()

    xml.etree.ElementTree.fromstring(svg)
    assert "var(" not in svg
    assert "currentColor" not in svg
    for name in ("--series-0", "--series-1", "--series-2", "--ink", "--page"):
        assert light_colours()[name] in svg


def test_a_png_has_the_colours_of_the_labels_and_none_of_the_stand_ins(folder):
    image = matplotlib.image.imread(folder / "figures" / "efficiency.png")
    colours = np.unique(np.rint(255 * image[..., :3]).astype(int).reshape(-1, 3), axis=0)
    pixels = set(map(tuple, colours.tolist()))

    def rgb(colour):
        return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))

    assert {rgb(light_colours()[f"--series-{i}"]) for i in range(3)} <= pixels
    assert not {rgb(stand_in) for stand_in in STAND_INS} & pixels


def test_the_efficiency_figure_draws_the_numbers_of_the_result(result):
    left, right = efficiency_drawing(result).figure.axes
    points = {line.get_label(): line for line in left.get_lines() if line.get_marker() == "o"}

    for label in ("adana", "muon"):
        # moved sideways by a few percent, so that bars do not cover each other
        assert list(points[label].get_xdata()) == pytest.approx([size.compute for size in result.sizes], rel=0.1)
        assert list(points[label].get_ydata()) == [cell.multiplier.value for cell in result.cells_of(label)]
    losses = [list(line.get_ydata()) for line in right.get_lines() if line.get_marker() == "s"]
    assert losses == [[cell.loss for cell in result.cells_of(label)] for label in result.labels]
    assert left.get_ylabel() == "compute multiplier"
    assert right.get_ylabel() == "final loss (nats per token)"


def test_multipliers_and_losses_do_not_overlap(result):
    left, right = efficiency_drawing(result).figure.axes

    def height(axes, value):
        low, high = axes.get_ylim()
        return (value - low) / (high - low)

    lowest = min(
        height(left, cell.multiplier.interval[0]) for label in ("adana", "muon") for cell in result.cells_of(label)
    )
    highest = max(height(right, cell.loss) for cell in result.cells.values())
    assert 0 < highest < min(lowest, height(left, 1.0)) < 1


def test_an_interval_many_times_as_wide_as_the_points_is_cut_and_says_so(result):
    cell = result.cells["adana", "8"]
    wide = dataclasses.replace(cell.multiplier, interval=(0.001, 1000.0))
    cells = {**result.cells, ("adana", "8"): dataclasses.replace(cell, multiplier=wide)}

    drawing = efficiency_drawing(dataclasses.replace(result, cells=cells))

    left, _ = drawing.figure.axes
    marks = {line.get_marker(): line.get_ydata()[0] for line in left.get_lines() if line.get_marker() in ("v", "^")}
    low, high = left.get_ylim()
    assert low < marks["v"] < 1 < marks["^"] < high < 10
    assert "A triangle marks a bar that goes on beyond it" in drawing.caption
    assert "triangle" not in efficiency_drawing(result).caption


@pytest.mark.parametrize(("count", "num_bands"), [(3, 3), (4, 0)])
def test_laws_have_bands_as_long_as_these_do_not_hide_one_another(count, num_bands):
    labels = ("adamw", *(f"other-{i}" for i in range(count)))
    laws = dict.fromkeys(labels, LAWS["adamw"])
    records = Invented(optimizers=labels, laws=laws).records()

    drawing = efficiency_drawing(analyse_ladder(records, forms=["power"], num_samples=20))

    assert len(drawing.figure.axes[0].collections) == num_bands
    assert ("its intervals are in the table" in drawing.caption) == (num_bands == 0)


def test_the_summary_states_difference_verdict_and_multipliers(result):
    table = summary_table(result)

    assert column(table, "optimizer") == ["adamw", "adana", "muon"]
    assert column(table, "verdict") == ["baseline", "better", "better"]
    multiplier = result.cells["adana", "8"].multiplier
    low, high = multiplier.interval
    assert column(table, "multiplier at 8")[1] == f"{multiplier.value:.2f}x ({low:.2f} to {high:.2f})"
    difference = result.differences["adana"]
    assert column(table, "difference [95 % interval]")[1].startswith(f"{difference.mean:+.4f} [")
    fitted = result.fit.multiplier("adana", "adamw", result.sizes[-1].compute)
    assert column(table, "by the fitted laws at 8")[1].startswith(f"{fitted:.2f}x (")


def test_the_fit_table_has_the_law_of_the_curves_first(result):
    table = fit_table(result)

    assert column(table, "law") == ["saturated"] * 3 + ["power"] * 3
    assert column(table, "floor a")[3] == "-"
    law = result.fit.laws["adamw"]
    low, high = result.fit.interval("adamw", lambda law: law.terms[0][1], confidence=0.9)
    assert column(table, "exponents")[0] == f"{law.terms[0][1]:.4f} [{low:.4f}, {high:.4f}]"


def test_the_residuals_of_every_law_have_its_test_of_fit(result):
    captions = {drawing.name: drawing.caption for drawing in residual_drawings(result)}

    # the invented losses have a floor
    assert result.fit.lack_of_fit().p_value > 0.01 > result.fits["power"].lack_of_fit().p_value
    for form, fit in result.fits.items():
        assert f"Lack of fit: p = {fit.lack_of_fit().p_value:.2g}." in captions[f"residuals-{form}"]


def test_edges_are_marked_in_table_and_warnings(result):
    edges = [cell for cell in result.cells.values() if cell.is_best_on_edge]

    marked = [cell for cell in column(rung_table(result), "best lr") if cell.endswith("(edge)")]
    assert len(marked) == len(edges) > 0


def test_costs_are_listed_by_size_and_in_all(result):
    table = ladder_cost_table(result)

    assert column(table, "size") == [*SIZES, "all"] * 3
    whole = next(row for row in table.rows if row[:2] == ("adana", "all"))
    assert whole[2] == "20"
    assert float(whole[3]) == pytest.approx(result.cost["adana"].hours, abs=0.005)


def test_the_text_form_has_tables_and_notes(result):
    text = ladder_table(result)

    assert "by the fitted laws at 8" in text
    assert "note: Size" in text
    assert all(line == line.rstrip() for line in text.splitlines())


def test_the_headline_ranks_by_the_mean_and_states_the_margin_of_the_winner(result):
    sentence = ladder_headline(result)

    first, second = sorted(("adana", "muon"), key=lambda label: result.differences[label].mean)
    assert sentence.startswith(f"{first} beats adamw by 0.05")
    assert f"; {second} beats adamw by 0.05" in sentence
    low, high = (-bound for bound in reversed(result.differences[second].interval))
    assert f"{second} beats adamw by {-result.differences[second].mean:.4f} nats ({low:.4f} to {high:.4f})" in sentence
    assert "nats on average over 5 sizes (95 % interval 0.04" in sentence  # said once, of the first
    first, last = (result.cells["adana", size].multiplier.value for size in ("2", "8"))
    assert f"a compute multiplier of {first:.2f} at size 2 and {last:.2f} at size 8" in sentence


def test_growth_is_said_only_where_a_test_shows_it(result):
    shown = {label: (trends.nats.is_shown, trends.multiplier.is_shown) for label, trends in result.trends.items()}
    said = dict(
        zip(column(trend_table(result), "optimizer"), column(trend_table(result), "grows with size"), strict=True)
    )

    # adana's invented law gains in nats with size, muon's loses: exponents 0.104 and 0.095 against 0.100
    assert {label: said[label] for label, (nats, multiplier) in shown.items() if not (nats or multiplier)} == {
        label: "not shown" for label, flags in shown.items() if not any(flags)
    }
    assert all("grows" in said[label] or "falls" in said[label] for label, flags in shown.items() if any(flags))
    for label, trends in result.trends.items():
        row = next(row for row in trend_table(result).rows if row[0] == label)
        low, high = trends.nats.interval
        assert row[1] == f"{trends.nats.slope:+.4f} [{low:+.4f}, {high:+.4f}]"
        assert row[3] == "5"
        # the largest size lies below the baseline's last run, so its multiplier is extended and enters no slope
        assert row[6] == "4"


def test_a_constant_gain_is_not_said_to_grow():
    laws = Invented().laws
    floor, coefficient, *rest = laws["adamw"]
    ladder = Invented(
        optimizers=("adamw", "ahead"), laws={"adamw": laws["adamw"], "ahead": (floor - 0.05, coefficient, *rest)}
    )

    result = analyse_ladder(ladder.records(), forms=[])

    assert "the gain grows in nats" not in ladder_headline(result)
    assert not result.trends["ahead"].nats.is_shown


def test_multipliers_stand_in_both_conventions_and_extended_ones_are_marked(result):
    table = rung_table(result)

    for row, cell in zip(
        table.rows[5:], [c for label in ("adana", "muon") for c in result.cells_of(label)], strict=True
    ):
        cells = dict(zip(table.columns, row, strict=True))
        for heading, found in (("multiplier (6 P + 6 V d)", cell.multiplier), ("by 6 P", cell.multiplier_beside)):
            low, high = found.interval
            mark = "*" if found.is_extended else ""
            assert cells[heading] == f"{found.value:.2f}x ({low:.2f} to {high:.2f}){mark}"
    assert any(w.startswith("Size 8: the baseline's line is extended beyond its runs for the") for w in result.warnings)


def test_no_difference_is_said_in_these_words():
    laws = Invented().laws
    twins = Invented(optimizers=("adamw", "twin"), laws={"adamw": laws["adamw"], "twin": laws["adamw"]})

    result = analyse_ladder(twins.records(), forms=[])

    assert "twin shows no difference to adamw on average over 5 sizes" in ladder_headline(result)
    assert column(summary_table(result), "verdict") == ["baseline", "no difference"]


def test_one_seed_is_no_victory():
    result = analyse_ladder(dataclasses.replace(Invented(), seeds=(0,)).records(), forms=[])

    sentence = ladder_headline(result)

    assert "beats" not in sentence
    assert "with one seed, so the spread is unknown" in sentence


def test_setting_and_title_say_what_was_trained(result):
    assert ladder_title(result) == "2 optimizers against adamw, 156 k to 1.7 M parameters"
    setting = ladder_setting(result)
    assert "5 sizes from 24,576 to 1,179,648 non-embedding parameters" in setting
    assert "20 tokens per parameter at size 2 and 20 at 8; 60 runs, seeds 0, 1; tuned track." in setting


def test_methods_name_the_convention_and_its_trap(result):
    text = " ".join(ladder_methods(result))

    assert "6 P per token" in text
    assert "Leaves out the output head" in text
    assert "delta 0.001" in text


@pytest.mark.parametrize(
    "ladder",
    [
        dataclasses.replace(Invented(), sizes=("4",)),
        dataclasses.replace(Invented(), sizes=("2", "4")),
        dataclasses.replace(Invented(), optimizers=("adamw",)),
        dataclasses.replace(Invented(), grid=(1.0,), seeds=(0,)),
    ],
    ids=["one size", "two sizes", "one optimizer", "no search, one seed"],
)
def test_small_ladders_have_a_page_too(ladder):
    result = analyse_ladder(ladder.records(), num_samples=20, forms=FORMS)

    page = render_ladder_report(result)

    texts_of(page)
    assert not re.search(r"\bnan\b", page)
    assert len(set(summary_table(result).columns)) == len(summary_table(result).columns)
    ends = {"2": "156 k", "8": "1.7 M", "4": "410 k"}
    first, last = (ends[result.sizes[i].name] for i in (0, -1))
    assert ladder_title(result).endswith(
        f", {first} parameters" if first == last else f", {first} to {last} parameters"
    )


def test_diverged_runs_are_marked_and_named():
    records = [
        dataclasses.replace(r, status="diverged", reason="step 3: loss is nan", metrics={})
        if r.tags["lr_multiplier"] == "2"
        else r
        for r in Invented().records()
        if r.tags["lr_multiplier"] != "2" or r.seed == 0
    ]

    page = render_ladder_report(analyse_ladder(records, forms=[], num_samples=0))

    assert "Crosses: runs that did not finish." in page
    assert "diverged: step 3: loss is nan" in page


def test_all_text_is_escaped():
    hostile = "<b>&\"'"
    ladder = Invented(optimizers=("adamw", hostile), laws=Invented().laws | {hostile: Invented().laws["adana"]})

    page = render_ladder_report(analyse_ladder(ladder.records(), forms=[]), title=hostile)

    assert hostile not in page
    assert html.escape(hostile) in page
    texts_of(page)


def test_a_multiplier_without_interval_has_no_bar(result):
    cells = {
        key: dataclasses.replace(
            cell, multiplier=cell.multiplier and LadderMultiplier(value=1.5, interval=None, by_seed={})
        )
        for key, cell in result.cells.items()
    }
    bare = dataclasses.replace(result, cells=cells)

    left, _ = efficiency_drawing(bare).figure.axes

    assert all(len(line.get_xdata()) != 2 or line.get_linestyle() == "None" for line in left.get_lines()[1:])
    assert not any(math.isnan(value) for line in left.get_lines() for value in line.get_ydata())
