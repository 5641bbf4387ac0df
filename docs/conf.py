"""How is the documentation built? `make docs`, offline: equations become MathML, figures are drawn from the package."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

from logclock import __version__  # noqa: E402

project = "logclock"
author = "logclock contributors"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "myst_parser",
    "mathml",
    "drawing",
    "derived",
    "suggestions",
    "docstrings",
]
exclude_patterns = ["_build", "_ext", "_generated"]
nitpicky = True  # a cross reference that leads nowhere is an error under -W
nitpick_ignore_regex = [
    ("py:.*", r"(torch|nn|collections|pathlib|typing|numpy|os)\..*"),
    ("py:.*", "optional"),
]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

default_role = "code"  # docstrings quote code in single backticks
autodoc_member_order = "bysource"
autodoc_typehints = (
    "none"  # signatures carry them in the source; here they drown the names
)
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [
    ("Deviations", "notes_style"),
    ("References", "notes_style"),
]

html_theme = "furo"
pygments_dark_style = "monokai"
html_title = f"logclock {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
