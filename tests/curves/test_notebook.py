"""Curves in memory: frames of any library, figures as matplotlib objects."""

import subprocess
import sys

import numpy as np
import pytest

import logclock

COLUMNS = {
    "optimizer": ["adamw"] * 3 + ["adana"] * 3,
    "step": [100, 200, 300] * 2,
    "val_loss": [4.0, 3.5, 3.2, 3.9, 3.4, 3.1],
}


def arrays():
    return {name: np.array(column) for name, column in COLUMNS.items()}


def pandas_frame():
    return pytest.importorskip("pandas").DataFrame(COLUMNS)


def polars_frame():
    return pytest.importorskip("polars").DataFrame(COLUMNS)


def arrow_table():
    return pytest.importorskip("pyarrow").table(COLUMNS)


@pytest.mark.parametrize("frame", [lambda: COLUMNS, arrays, pandas_frame, polars_frame, arrow_table])
def test_a_frame_of_any_library_gives_the_verdict(frame, check_verdict):
    found = logclock.compare_curves(frame())

    check_verdict(found.records)
    assert found.verdict.startswith("adana ended 0.1000 nats below adamw (3.1000 against 3.2000)")
    assert "of the steps" in found.verdict
    assert found.records[0].provenance["imported_format"] == "frame"


def test_losses_that_a_pandas_frame_leaves_out_were_not_logged():
    pandas = pytest.importorskip("pandas")
    rows = [(10, 3.0, None), (10, None, 3.1), (20, 2.5, None), (20, None, 2.6)]
    frame = pandas.DataFrame(rows, columns=["step", "loss", "val_loss"]).assign(run="a")

    (record,) = logclock.compare_curves(frame).records

    assert record.status == "finished"
    assert record.train["loss"] == [3.0, 2.5]
    assert record.validation["loss"] == [3.1, 2.6]


def test_figures_are_matplotlibs_in_the_colours_of_the_page():
    figure_type = pytest.importorskip("matplotlib.figure").Figure

    figures = logclock.compare_curves(COLUMNS).figures

    assert list(figures) == ["validation", "validation-late", "difference"]
    assert all(isinstance(figure, figure_type) for figure in figures.values())
    lines = {line.get_label(): line.get_color() for line in figures["validation"].axes[0].lines}
    assert set(lines) == {"adamw", "adana"}
    assert not any(str(color).startswith("#0400") for color in lines.values())


def test_a_ladder_in_memory_has_laws_and_figures():
    rows = [
        (label, params, step, 4.0 * (params / 1e7) ** -0.1 * better + (300 - step) / 300)
        for label, better in (("adamw", 1.0), ("adana", 0.98))
        for params in (1e7, 4e7, 1.6e8)
        for step in (100, 200, 300)
    ]
    frame = dict(zip(("label", "params", "step", "val_loss"), map(list, zip(*rows, strict=True)), strict=True))

    found = logclock.compare_curves(frame, tokens_per_step="1k")

    assert [size.name for size in found.result.sizes] == ["10M", "40M", "160M"]
    assert found.result.sizes[0].compute == 6 * 1e7 * 300e3
    assert {"efficiency", "ladder-difference"} <= set(found.figures)
    assert "saturated" in found.result.fits or "power" in found.result.fits


def test_it_shows_itself_and_writes_a_page(tmp_path):
    found = logclock.compare_curves(COLUMNS | {"optimizer": ["<script>x</script>"] * 3 + ["b & c"] * 3})

    page = found.write_report(tmp_path / "a.html").read_text()

    assert "<script>" not in page + found._repr_html_()
    assert "&lt;script&gt;x&lt;/script&gt;" in page
    assert str(found).endswith(found.verdict)


@pytest.mark.parametrize(
    ("frame", "error", "message"),
    [
        ([1, 2], TypeError, r"takes a pandas or polars frame.*got list\. A file is read by `logclock import`"),
        ({"step": [1, 2], "loss": [1.0]}, ValueError, r"equally long, and 'loss' has 1 rows, 'step' 2"),
        ({"step": 5, "loss": [1.0]}, TypeError, "is not iterable|one dimension"),
        (
            {"step": [1, "x"], "loss": [1.0, 2.0]},
            ValueError,
            r"the frame, row 2: the step \(step\) is 'x', not a number",
        ),
        ({"step": [1, 2], "loss": [1.0, [2.0]]}, ValueError, r"the frame, row 2: loss is '?\[2\.0\]'?, not a number"),
        ({}, ValueError, "the frame has no rows"),
        ({"step": [], "loss": []}, ValueError, "the frame has no rows"),
        ({"step": [2, 1], "loss": [1.0, 1.0]}, ValueError, "the frame, row 2: the step goes back from 2 to 1"),
    ],
)
def test_a_frame_that_is_none_is_an_error_that_names_the_row(frame, error, message):
    with pytest.raises(error, match=message):
        logclock.compare_curves(frame)


def test_columns_are_named_where_their_names_are_not_known():
    frame = {"method": ["a"] * 2 + ["b"] * 2, "n": [1, 2, 1, 2], "ce": [2.0, 1.0, 2.0, 0.9]}

    found = logclock.compare_curves(frame, columns={"step": "n", "validation_loss": "ce"}, baseline="b")

    assert found.result.row("a").difference.mean == pytest.approx(0.1)
    with pytest.raises(ValueError, match=r"no column 'ces' for loss\. Did you mean 'ce'\? It has: method, n, ce"):
        logclock.compare_curves(frame, columns={"loss": "ces"})


def test_it_loads_neither_torch_nor_matplotlib_before_figures_are_asked_for():
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}; import logclock\n"
        f"logclock.compare_curves({COLUMNS!r}).verdict\n"
        "print(sorted({'torch', 'matplotlib', 'pandas'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
