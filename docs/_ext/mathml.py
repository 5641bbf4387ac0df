"""How do equations reach the page without a script from another host? As MathML, written when the page is built."""

from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)


def rendered(node: nodes.Element, *, as_block: bool) -> str:
    """Return a formula as MathML; one that cannot be read is a warning that says where it stands."""
    try:
        return tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        logger.warning("formula %r: %s", node.astext(), error, location=node)
        return ""


def visit_inline(translator: Any, node: nodes.Element) -> None:
    """Write an inline formula."""
    translator.body.append(rendered(node, as_block=False))
    raise nodes.SkipNode


def visit_block(translator: Any, node: nodes.Element) -> None:
    """Write a displayed formula."""
    translator.body.append(
        f'<div class="equation">{rendered(node, as_block=True)}</div>\n'
    )
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the renderer under the name `mathml`."""
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
