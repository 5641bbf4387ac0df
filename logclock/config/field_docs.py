"""What does a field mean? The docstring that stands under it in the source of its dataclass."""

import ast
import functools
import inspect
import itertools
import textwrap
import types
from collections.abc import Mapping

__all__ = ["field_docs"]


@functools.cache
def field_docs(cls: type) -> Mapping[str, str]:
    """Return the docstrings of a dataclass's fields by name, those of its bases included.

    A field that is declared again without a docstring keeps that of the base. Without source there are none.
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        try:
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        except (OSError, TypeError, SyntaxError, ValueError):
            continue
        assert isinstance(definition, ast.ClassDef)
        body = definition.body
        for field, text in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _is_text(text):
                assert isinstance(text, ast.Expr)
                assert isinstance(text.value, ast.Constant)
                found[field.target.id] = inspect.cleandoc(str(text.value.value))
    return types.MappingProxyType(found)


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
