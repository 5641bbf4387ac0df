"""How does a figure become part of a page: the same bytes every time, in the page's own colours and type?"""

import contextlib
import dataclasses
import html
import importlib.resources
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

__all__ = ["FAINT", "INK", "STAND_INS", "Drawing", "Style", "axes_grid", "draw", "settings", "standalone", "styles"]

# Colours in a figure are stand-ins that the page's stylesheet resolves, so one drawing serves light and dark pages.
INK, FAINT = "#010101", "#020202"
NUM_COLOURS = 7
DECIMALS = 2
"""Of coordinates, in points of 1/72 inch."""
STAND_INS = {INK: "currentColor", FAINT: "var(--faint)"} | {
    f"#0400{i:02x}": f"var(--series-{i})" for i in range(NUM_COLOURS)
}
_SETTINGS: Any = {
    "svg.fonttype": "none",  # text stays text: sharp at every size, searchable, in the font of the page
    "font.family": "DejaVu Sans",  # for the layout only; it is wider than the fonts that pages use
    "text.parse_math": False,  # a dollar sign in a label is a dollar sign
    "font.size": 9.0,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "grid.alpha": 0.45,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.minor.width": 0.5,
    "ytick.minor.width": 0.5,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.6,
    "legend.borderaxespad": 0.2,
    "legend.columnspacing": 1.4,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "figure.constrained_layout.use": True,
    "path.simplify": True,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure of a page.

    Args:
        name: Short and unique on the page; prefixes the ids inside the SVG.
        title: Heading.
        caption: What is to be seen and how it was made.
        svg: The markup, without references to anything outside it.
        figure: The matplotlib figure that it was made from.
    """

    name: str
    title: str
    caption: str
    svg: str
    figure: Any = dataclasses.field(repr=False, compare=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Style:
    """How one label looks in every figure and table.

    Args:
        index: Number of its colour; 0 is the neutral one of the baseline.
        color: The stand-in for it inside a figure.
        dashes: Line style, which tells labels apart when there are more of them than colours.
    """

    index: int
    color: str
    dashes: str


def styles(labels: Sequence[str]) -> dict[str, Style]:
    """Give every label its look, by its position; the first is the baseline."""
    looks = {}
    for position, label in enumerate(labels):
        cycle, index = divmod(max(position - 1, 0), NUM_COLOURS - 1)
        index = 0 if position == 0 else index + 1
        looks[label] = Style(index=index, color=f"#0400{index:02x}", dashes=("-", "--", "-.", ":")[cycle % 4])
    return looks


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """Hold matplotlib to its defaults and our settings, whatever the user has configured, and restore them after.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'logclock[bench]'") from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def axes_grid(num_columns: int = 1, *, width: float = 4.7, height: float = 3.1) -> tuple[Any, list[Any]]:
    """Return a figure and its axes, side by side; sizes in inches. To be called within `settings()`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, list(figure.subplots(1, num_columns, squeeze=False)[0])


def draw(figure: Any, *, name: str, title: str, caption: str) -> Drawing:
    """Render a figure as markup that depends on nothing but its content. To be called within `settings()`.

    Coordinates are rounded, so that processors that differ in the last bits of a number write the same markup but for
    one that lies on the edge between two roundings.
    """
    import matplotlib

    buffer = io.StringIO()
    # The salt makes the ids that matplotlib draws from a hash the same in every process.
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return Drawing(name=name, title=title, caption=caption, svg=_inline(buffer.getvalue(), name, title), figure=figure)


def standalone(drawing: Drawing) -> str:
    """Return a drawing as an SVG for documents, in the page's colours, light or dark as the reader prefers."""
    sheet = importlib.resources.files("logclock.report").joinpath("page.css").read_text(encoding="utf-8")
    variables = sheet[: sheet.index("* {")]  # the two :root blocks, which only define colours and type
    style = f"<style>{' '.join(variables.split())} svg {{ color: var(--ink); }}</style>"
    opening, rest = drawing.svg.split(">", 1)
    return f'{opening} xmlns="http://www.w3.org/2000/svg">{style}{rest}\n'


def _with_rounded_numbers(attribute: re.Match[str]) -> str:
    """Round coordinates, whose last digits depend on the processor, to what a screen could show."""
    text = re.sub(
        r"-?\d+\.\d{3,}", lambda number: f"{round(float(number[0]), DECIMALS) + 0.0:.{DECIMALS}f}", attribute[2]
    )
    return f'{attribute[1]}="{text}"'


def _inline(svg: str, name: str, title: str) -> str:
    """Strip what only a file of its own needs, resolve the stand-ins, and make ids unique on the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href=", "href=")
    svg = re.sub(r"(font(?:-family)?: ?[^;\"]*?)'DejaVu Sans'(, ?[-a-z]+)*", r"\1var(--sans)", svg)
    for stand_in, colour in STAND_INS.items():
        svg = svg.replace(stand_in, colour)
    svg = re.sub(r'(?<= )(d|points|transform|x|y|width|height|style)="([^"]*)"', _with_rounded_numbers, svg)
    # matplotlib's ids are hashes of coordinates with all their digits; ours are numbers in order of appearance.
    used = dict.fromkeys(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
    numbers = {old: f"{name}-{position}" for position, old in enumerate(used)}
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{numbers[m[1]]}"' if m[1] in numbers else "", svg)
    svg = re.sub(r'(url\(#|href="#)([^")]+)', lambda m: m[1] + numbers[m[2]], svg)
    head = re.match(r"<svg[^>]*>", svg)
    if head is None:
        raise RuntimeError("matplotlib wrote an SVG without an <svg> element; report this with its version.")
    box = re.search(r'viewBox="[^"]*"', head[0])
    opening = f'<svg {box[0] if box else ""} role="img" aria-label="{html.escape(title)}">'
    return opening + svg[head.end() :].strip()
