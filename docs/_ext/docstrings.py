"""How do docstrings in plain text become reStructuredText? Equations stay as they are typed."""

import re
from typing import Any

from sphinx.application import Sphinx

SECTIONS = (
    "Args",
    "Returns",
    "Raises",
    "Examples",
    "Example",
    "Yields",
    "Deviations",
    "References",
)
"""Headings of the Google style, whose indented bodies are no equations."""

_SECTION_WITH_TEXT = re.compile(rf"({'|'.join(SECTIONS)}): (\S.*)")


def prepare(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]
) -> None:
    """Make indented equations literal blocks and give one-line sections their heading, before napoleon looks."""
    result: list[str] = []
    paragraph_indent = 0
    in_section = in_literal = False
    for line in lines:
        indent = len(line) - len(line.lstrip())
        one_line = _SECTION_WITH_TEXT.fullmatch(line)
        if one_line:
            result += [f"{one_line[1]}:", f"    {one_line[2]}"]
            in_section, in_literal = True, False
            continue
        if line.strip() and indent == 0:
            if in_literal:
                result.append("")
            in_section, in_literal = (
                line.rstrip(":") in SECTIONS and line.endswith(":"),
                False,
            )
        opens = (
            bool(result) and bool(result[-1].strip()) and indent > paragraph_indent
        )
        if not in_section and not in_literal and opens:
            result += ["", ".. code-block:: text", ""]
            in_literal = True
        if not in_literal and line.strip():
            paragraph_indent = indent
        result.append(line)
    lines[:] = result


def setup(app: Sphinx) -> dict[str, Any]:
    """Run before napoleon, whose priority is 500."""
    app.connect("autodoc-process-docstring", prepare, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
