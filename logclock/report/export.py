"""How does a figure of a page become a file of its own, for a README or a talk?"""

import io
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from logclock.config.files import write_whole
from logclock.report.drawing import STAND_INS, Drawing
from logclock.report.page import stylesheet

__all__ = ["export_drawings", "figures_of", "light_colours"]

DOTS_PER_INCH = 200
PROPERTIES = ("color", "edgecolor", "facecolor", "markeredgecolor", "markerfacecolor")


def export_drawings(drawings: Iterable[Drawing], directory: str | os.PathLike[str]) -> list[Path]:
    """Write each drawing as NAME.svg and NAME.png, in the colours of the light page and on its ground."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for drawing in drawings:
        path = directory / f"{drawing.name}.svg"
        write_whole(path, _standalone(drawing).encode())
        _recolour(drawing.figure)
        picture = io.BytesIO()
        drawing.figure.savefig(
            picture,
            format="png",
            dpi=DOTS_PER_INCH,
            facecolor=light_colours()["--page"],
            metadata={"Software": None},
        )
        write_whole(path.with_suffix(".png"), picture.getvalue())
        paths += [path, path.with_suffix(".png")]
    return paths


def figures_of(drawings: Iterable[Drawing]) -> dict[str, Any]:
    """Return the matplotlib figure of each drawing by name, in the colours of the light page and on its ground."""
    found = {}
    for drawing in drawings:
        _recolour(drawing.figure)
        drawing.figure.set_facecolor(light_colours()["--page"])
        found[drawing.name] = drawing.figure
    return found


def light_colours() -> dict[str, str]:
    """Return the variables of the stylesheet's light theme, e.g. `--ink`."""
    theme = re.search(r":root \{(.*?)\}", stylesheet(), re.DOTALL)
    assert theme is not None
    return dict(re.findall(r"(--[\w-]+): ([^;]+);", theme[1]))


def _standalone(drawing: Drawing) -> str:
    """Resolve what the page would, and add what only a file of its own needs."""
    theme = light_colours()
    svg = re.sub(r"var\((--[\w-]+)\)", lambda match: theme[match[1]].replace('"', "'"), drawing.svg)
    svg = svg.replace("currentColor", theme["--ink"])
    left, top, width, height = re.findall(r"[\d.]+", re.search(r'viewBox="([^"]*)"', svg)[1])  # type: ignore[index]
    ground = f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="{theme["--page"]}"/>'
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}pt" height="{height}pt"'
    svg = svg.replace("<svg", opening, 1)
    head = svg.index(">") + 1
    return f"{svg[:head]}{ground}{svg[head:]}\n"


def _recolour(figure: Any) -> None:
    """Give every part of a figure the colour that its stand-in means on the light page."""
    figure.draw_without_rendering()  # makes the ticks, which would otherwise come with stand-ins later
    theme = light_colours()
    meant = {
        stand_in: theme["--ink"] if colour == "currentColor" else theme[colour[4:-1]]
        for stand_in, colour in STAND_INS.items()
    }
    for artist in figure.findobj():
        for name in PROPERTIES:
            getter, setter = getattr(artist, f"get_{name}", None), getattr(artist, f"set_{name}", None)
            if getter is not None and setter is not None:
                _replace(getter(), setter, meant)


def _replace(colour: Any, setter: Any, meant: dict[str, str]) -> None:
    from matplotlib.colors import to_hex, to_rgba, to_rgba_array

    if isinstance(colour, str) and colour in ("none", "auto"):
        return
    rows = to_rgba_array(colour)
    new = [to_rgba(meant[to_hex(row)], alpha=row[3]) if to_hex(row) in meant else tuple(row) for row in rows]
    if [tuple(row) for row in rows] != new:
        setter(new[0] if len(new) == 1 else new)
