import dataclasses
import re

import pytest

from logclock.analysis import compare_study, gather
from logclock.report.figures import cost_drawings, curve_drawings, schedule_drawings, sweep_drawings


def _names(drawings):
    return [drawing.name for drawing in drawings]


def _texts(drawing):
    return re.findall(r"<text[^>]*>([^<]*)</text>", drawing.svg)


@pytest.fixture(scope="module")
def gathered(study):
    return gather(study)


@pytest.fixture(scope="module")
def curves(gathered):
    return {drawing.name: drawing for drawing in curve_drawings(gathered, compare_study(gathered))}


def test_the_curves_have_units_and_a_legend(curves):
    assert list(curves) == ["validation", "validation-late", "difference", "training"]
    assert "validation loss (nats per token)" in _texts(curves["validation"])
    assert "loss minus adamw (nats per token)" in _texts(curves["difference"])
    assert all("step" in _texts(drawing) for drawing in curves.values())
    for label in ("adamw", "adana", "dana-star-mk4"):
        assert label in _texts(curves["validation"])


def test_the_captions_say_what_bands_and_dots_are(curves):
    assert "Band: range over the seeds." in curves["validation"].caption
    assert "Dotted: runs that did not finish." in curves["validation"].caption
    assert "minimum effect of 0.004 nats" in curves["difference"].caption


def test_one_seed_has_no_band(one_seed):
    study = gather(one_seed)

    drawings = curve_drawings(study, compare_study(study))

    assert not any("Band" in drawing.caption or "Dotted" in drawing.caption for drawing in drawings)


def test_without_a_baseline_or_a_challenger_there_is_no_difference(run):
    for records in ([run("adamw")], [run("adamw", diverged_at=1000), run("adana")]):
        study = gather(records)
        assert "difference" not in _names(curve_drawings(study, compare_study(study)))


def test_a_study_in_which_nothing_finished_still_has_curves(run):
    study = gather([run("adamw", diverged_at=1000), run("adana", diverged_at=40)])

    assert _names(curve_drawings(study, compare_study(study))) == ["validation", "validation-late", "training"]


def test_a_run_that_has_not_made_a_step_can_be_drawn(run):
    fresh = dataclasses.replace(run("adana"), status="running", train={}, validation={}, schedules={}, metrics={})
    study = gather([run("adamw"), fresh])

    assert len(curve_drawings(study, compare_study(study))) == 4
    assert schedule_drawings(study)[0].caption.startswith("adana: none")


def test_one_panel_per_schedule_that_some_optimizer_has(gathered, run):
    panels = {drawing.name: drawing for drawing in schedule_drawings(gathered)}

    assert list(panels) == ["schedule-lr", "schedule-ema1", "schedule-ema2", "schedule-gain", "schedule-decay"]
    assert panels["schedule-gain"].caption.startswith("adamw, dana-star-mk4: none")
    assert "ema1(t) = 1 - beta1(t)" in _texts(panels["schedule-ema1"])
    assert "schedule-gain" not in _names(schedule_drawings(gather([run("adamw")])))


def test_schedules_of_several_groups_have_a_line_each_and_constants_are_drawn(run):
    old = run("adamw")
    steps = [1, 10, 100, 1000, 6000]
    series = {
        "step": steps,
        "matrix/lr": [0.01, 0.1, 0.2, 0.2, 0.02],
        "decay/lr": [0.001, 0.01, 0.02, 0.02, 0.002],
        "no_decay/lr": [0.001, 0.01, 0.02, 0.02, 0.002],  # as decay's: one line for both
        "ema1": [0.05],
    }
    study = gather([old, dataclasses.replace(run("adana"), schedules=series)])

    panels = {drawing.name: drawing for drawing in schedule_drawings(study)}

    def lines_of(name):
        (axes,) = panels[name].figure.axes
        return [(list(map(float, line.get_xdata())), list(map(float, line.get_ydata()))) for line in axes.get_lines()]

    assert lines_of("schedule-lr")[1:] == [(steps, series["matrix/lr"]), (steps, series["decay/lr"])]
    assert "adana: a line for each group of parameters." in panels["schedule-lr"].caption
    assert lines_of("schedule-ema1")[1] == (steps, [0.05] * 5)
    assert panels["schedule-ema1"].caption == ""


def test_schedules_that_coincide_alternate_in_dashes(gathered):
    (ema1,) = [drawing for drawing in schedule_drawings(gathered) if drawing.name == "schedule-ema1"]

    dashed = re.findall(
        r"stroke-dasharray: [\d. ,]+; stroke-dashoffset: [\d.]+; stroke: var\(--series-(\d)\)", ema1.svg
    )
    assert dashed == ["2"]  # dana-star-mk4 over adana; adamw has its own constant


def test_the_sweep_marks_the_best_and_the_lost(gathered):
    comparison = compare_study(gathered)

    (drawing,) = sweep_drawings(comparison)

    assert "peak learning rate" in _texts(drawing)
    assert "Runs of 6,000 steps. Ring: the best" in drawing.caption
    assert "Crosses at the top: runs that did not finish." in drawing.caption
    assert {"5e-4", "1e-3", "2e-3"} <= set(_texts(drawing))


def test_a_sweep_of_one_point_or_without_a_finished_run_can_be_drawn(run):
    records = [
        run("adamw"),
        run("adamw", lr=1e-3, phase="sweep"),
        run("adana", lr=1e-3, phase="sweep", diverged_at=1000),
    ]

    assert _names(sweep_drawings(compare_study(gather(records)))) == ["sweep"]


def test_no_sweep_no_drawing(one_seed):
    assert sweep_drawings(compare_study(gather(one_seed))) == []


def test_costs_are_drawn_where_they_were_measured(gathered, one_seed):
    assert _names(cost_drawings(compare_study(gathered))) == ["time", "memory"]
    unmeasured = gather(one_seed[:1])
    assert cost_drawings(compare_study(unmeasured)) == []
