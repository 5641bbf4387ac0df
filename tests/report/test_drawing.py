import re
import xml.etree.ElementTree as ElementTree

import matplotlib
import pytest

from logclock.report.drawing import INK, axes_grid, draw, settings, standalone, styles


def _drawing(name="sample", **changes):
    with settings():
        figure, (axes,) = axes_grid()
        axes.plot([1, 2, 3], [1, 4, 9], color=styles(["a", "b"])["b"].color, label="cost in $ and $ <&>", marker="o")
        axes.set(xlabel="step", ylabel="loss", xlim=(1.5, 2.5))
        axes.legend()
        return draw(figure, name=name, title="A title", caption="")


def test_a_drawing_refers_to_nothing_outside_the_page():
    svg = _drawing().svg

    assert svg.startswith("<svg viewBox=")
    assert svg.endswith("</svg>")
    assert "http" not in svg
    assert "metadata" not in svg
    assert all(target.startswith("#sample-") for target in re.findall(r'href="([^"]*)"', svg))


def test_ids_are_those_that_are_used_and_carry_the_name():
    svg = _drawing().svg

    ids = re.findall(r' id="([^"]*)"', svg)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
    assert set(ids) == used
    assert len(ids) == len(set(ids)) > 0
    assert not set(ids) & set(re.findall(r' id="([^"]*)"', _drawing("other").svg))


def test_the_last_bits_of_a_number_do_not_reach_the_markup():
    """What two processors disagree in: one unit in the last place of every coordinate."""
    with settings():
        figures = []
        for nudge in (0.0, 2e-16):
            figure, (axes,) = axes_grid()
            axes.plot([1 + nudge, 2, 3], [1 / 3, 4 / 7 * (1 + nudge), 9.1], marker="o")
            axes.set(xlim=(1.5 * (1 + nudge), 2.5), ylim=(0.1, 7 * (1 + nudge)))
            figures.append(draw(figure, name="sample", title="A title", caption=""))

    assert figures[0].svg == figures[1].svg
    assert not re.search(r' (?:d|transform|x|y)="[^"]*\.\d{3}', figures[0].svg)


def test_colours_and_type_are_those_of_the_page():
    svg = _drawing().svg

    assert "var(--series-1)" in svg
    assert "currentColor" in svg
    assert INK not in svg
    assert "DejaVu" not in svg
    assert "var(--sans)" in svg


def test_a_drawing_can_be_a_file_of_its_own_in_the_colours_of_the_page():
    svg = standalone(_drawing())

    root = ElementTree.fromstring(svg)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    defined = set(re.findall(r"(--[\w-]+):", svg))
    assert set(re.findall(r"var\((--[\w-]+)\)", svg)) <= defined
    assert "prefers-color-scheme: dark" in svg
    assert svg.count("http") == 1  # the name of the format, which is no address


def test_text_is_escaped_and_not_read_as_mathematics():
    assert "cost in $ and $ &lt;&amp;&gt;" in _drawing().svg


def test_the_users_matplotlib_settings_neither_matter_nor_change():
    plain = _drawing()

    with matplotlib.rc_context({"lines.linewidth": 9.0, "font.size": 30.0}):
        assert _drawing() == plain
        assert matplotlib.rcParams["lines.linewidth"] == 9.0


def test_every_label_has_a_look_of_its_own():
    labels = [f"label{i}" for i in range(20)]

    looks = styles(labels)

    assert len({(look.color, look.dashes) for look in looks.values()}) == 20
    assert looks["label0"].index == 0
    assert [look.index for look in looks.values()].count(0) == 1


@pytest.mark.parametrize("num_labels", [2, 5])
def test_a_label_keeps_its_look_when_others_follow(num_labels):
    labels = [f"label{i}" for i in range(10)]

    assert styles(labels[:num_labels]).items() <= styles(labels).items()
