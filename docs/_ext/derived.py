"""What on the pages of optimizers is written by nobody? Hyperparameters, state, memory and lists, from the specs.

Directives: `hyperparameters NAME` and `memory NAME` for an optimizer, `option-fields NAME` for an apply stage or a
wrapper, `optimizers` for the table of all, `optimizer-classes` for their entries in the API.
"""

import re
from collections.abc import Iterable
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import logclock.optim  # registers the optimizers of this package
from logclock.optim.completion import BETAS
from logclock.optim.signatures import (
    FieldRow,
    field_rows,
    spellings_of,
    state_bytes_per_element,
    state_rows,
)
from logclock.rules import Apply, Spec, State, Wrapper

assert logclock.optim

BETA_NAMES = {
    "ema1": "beta1",
    "ema2": "beta2",
    "ema_slow": "beta3",
}
"""What torch calls 1 minus a weight of the newest sample."""

OPTION_LINKS = {
    "an apply stage": "[apply stage](around.md#how-an-update-meets-the-weights)",
    "a list of wrappers": "list of [wrappers](around.md#what-stands-around-a-direction)",
}


def own_specs() -> dict[str, type[Spec]]:
    """Return the specs of this package by name, in alphabetical order; installed ones have pages elsewhere."""
    members = Spec.family.members
    return {
        name: members[name]
        for name in sorted(members)
        if members[name].__module__.startswith("logclock.")
    }


def table(heading: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table."""
    cells = [list(heading), ["---" for _ in heading], *map(list, rows)]
    return "\n".join(
        f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"
        for row in cells
    )


def prose(text: str) -> str:
    """Return the text of a docstring as Markdown: code stays code, other signs stay what they are."""
    parts = text.split("`")
    for i in range(0, len(parts), 2):  # outside of code
        for sign in "*_<>$":
            parts[i] = parts[i].replace(sign, "\\" + sign)
    return "`".join(parts)


def quoted(values: str) -> str:
    """Return allowed values with those that are strings as code."""
    return re.sub(r"'[\w-]+'", lambda match: f"`{match[0]}`", values)


def fields(rows: Iterable[FieldRow]) -> str:
    """Return hyperparameters as a Markdown table."""
    return table(
        ("field", "default", "values", "what it does"),
        (
            (
                f"`{row.name}`",
                f"`{row.default}`",
                OPTION_LINKS.get(row.values, prose(quoted(row.values))),
                prose(row.documentation),
            )
            for row in rows
        ),
    )


def hyperparameters(spec: type[Spec]) -> str:
    """Return the table of a spec's fields, and what torch's names for some of them are."""
    text = fields(field_rows(spec))
    spellings = []
    for spelling in spellings_of(spec):
        names = [BETA_NAMES[ema] for ema in BETAS[spelling]]
        written = f"betas=({', '.join(names)})" if spelling == "betas" else spelling
        emas = [f"`{ema} = 1 - {BETA_NAMES[ema]}`" for ema in BETAS[spelling]]
        spellings.append(f"`{written}` for {' and '.join(emas)}")
    if spellings:
        text += (
            f"\n\nThe betas of torch are understood too: {'; '.join(spellings)}."
        )
    return text


def linked(reference: str) -> str:
    """Return a reference with what is on arXiv as links."""
    return re.sub(r"arXiv:(\S+\d)", r"[\g<0>](https://arxiv.org/abs/\1)", reference)


def states_of(option: Any) -> dict[str, State]:
    """Return the states of an apply stage or wrapper, under their names in a parameter's state."""
    return {
        name: state
        for step in option.steps()
        for name, state in zip(step.state_names, step.states, strict=True)
    }


def states(declared: dict[str, State]) -> str:
    """Return declared states as a Markdown table."""
    return table(
        ("state", "shape", "starts at", "storage format"),
        (
            (f"`{row.name}`", row.shape, row.start, prose(row.formats))
            for row in state_rows(declared)
        ),
    )


def memory(spec: type[Spec]) -> str:
    """Return what a spec keeps, in a sentence and a table."""
    declared: dict[str, State] = default_of(spec).rule.states
    if not declared:
        return "None but `step`, a counter."
    has_sides = any(not isinstance(s.shape, str) for s in declared.values())
    of = " of a square matrix" if has_sides else ""
    if any(state.has_rank for state in declared.values()):
        of = " of an n x n matrix, with r the rank"
    sentence = f"{state_bytes_per_element(declared)} bytes per float32 parameter{of}, and `step`, a counter."
    return f"{sentence}\n\n{states(declared)}"


def default_of(spec: Any) -> Spec:
    """Return a spec with its defaults."""
    result: Spec = spec()
    return result


def all_optimizers() -> str:
    """Return the table of the optimizers of this package."""
    rows = []
    for name, cls in own_specs().items():
        spec = default_of(cls)
        declared = spec.rule.states
        rows.append(
            (
                f"[`{name}`]({name}.md)",
                f"`{cls.class_name}`",
                ", ".join(f"`{state}`" for state in declared),
                state_bytes_per_element(declared),
                f"{spec.decay_coupling}, {spec.decay_order}",
                "matrices" if cls.matrices_only else "any",
                linked(cls.paper),
            )
        )
    heading = ("name", "class", "state", "bytes", "decay", "takes", "from")
    return table(heading, rows)


def option(name: str) -> str:
    """Return fields and states of an apply stage or a wrapper as Markdown."""
    family = Apply.family if name in APPLY_NAMES else Wrapper.family
    cls: Any = family.get(name)
    rows, declared = field_rows(cls), states_of(cls())
    parts = [fields(rows)] if rows else []
    parts += [states(declared)] if declared else []
    return "\n\n".join(parts or ["It has no hyperparameters and no state."])


APPLY_NAMES = tuple(Apply.family)


class Derived(SphinxDirective):
    """A directive whose content is Markdown that a function writes."""

    optional_arguments = 1
    writer: Any

    def run(self) -> list[nodes.Node]:
        """Return what the written Markdown stands for."""
        text = type(self).writer(*self.arguments)
        container = nodes.Element()
        lines = StringList(text.splitlines(), source=self.env.docname)
        self.state.nested_parse(lines, self.content_offset, container)
        return list(container.children)


class Hyperparameters(Derived):
    """`hyperparameters NAME`."""

    writer = staticmethod(lambda name: hyperparameters(Spec.family.get(name)))


class Memory(Derived):
    """`memory NAME`."""

    writer = staticmethod(lambda name: memory(Spec.family.get(name)))


class OptionFields(Derived):
    """`option-fields NAME`."""

    writer = staticmethod(option)


class Optimizers(Derived):
    """`optimizers`."""

    writer = staticmethod(all_optimizers)


class OptimizerClasses(Derived):
    """`optimizer-classes`, within `eval-rst`."""

    writer = staticmethod(
        lambda: "\n".join(
            f".. autoclass:: {spec.class_name}" for spec in own_specs().values()
        )
    )


DIRECTIVES = {
    "hyperparameters": Hyperparameters,
    "memory": Memory,
    "option-fields": OptionFields,
    "optimizers": Optimizers,
    "optimizer-classes": OptimizerClasses,
}


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    for name, directive in DIRECTIVES.items():
        app.add_directive(name, directive)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
