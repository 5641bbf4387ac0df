"""What do published rules and translations of AdamW look like on a page? Written from their declarations.

Directives: `suggestion-rules QUANTITY` for a table of rules, `translated-adamw TARGET` for the code and the notes of
the example of the page.
"""

from typing import Any, get_args

from derived import Derived, linked, prose, table
from sphinx.application import Sphinx

from logclock.cli.suggest import range_text
from logclock.suggestions import RULES, Rule, translate_adamw
from logclock.suggestions.rule import Quantity

EXAMPLE: dict[str, Any] = {
    "lr": 6e-4,
    "betas": (0.9, 0.95),
    "weight_decay": 0.1,
    "total_steps": 100_000,
}
"""The setting that docs/switch.md translates."""


def rules_of(quantity: str) -> str:
    """Return the rules that set a quantity as a Markdown table, and their notes as a list."""
    if quantity not in get_args(Quantity):
        raise ValueError(
            f"no rule sets {quantity!r}. Known: {', '.join(get_args(Quantity))}."
        )
    rules = [rule for rule in RULES if rule.sets == quantity]
    rows = [
        (
            f"`{rule.name}`",
            ", ".join(f"`{name}`" for name in rule.optimizers) or "any",
            prose(rule.gives),
            f"`{rule.formula}`",
            prose(range_text(rule)),
            linked(prose(rule.source)),
        )
        for rule in rules
    ]
    heading = ("rule", "for", "what", "formula", "measured at", "source")
    return "\n\n".join([table(heading, rows), *_notes(rules)])


def _notes(rules: list[Rule]) -> list[str]:
    """Return what the rules rest on; a note that several share is said once, with all their names."""
    owners: dict[str, list[str]] = {}
    for rule in rules:
        for note in rule.notes:
            owners.setdefault(note, []).append(f"`{rule.name}`")
    lines = []
    for note, names in owners.items():
        shown = (
            names if len(names) < 4 else [names[0], "and the others of its kind"]
        )
        lines.append(f"* {', '.join(shown)}: {linked(prose(note))}")
    return ["\n".join(lines)] if lines else []


def translated(target: str) -> str:
    """Return the example in another optimizer: the code, and a table of what each number became."""
    found = translate_adamw(to=target, **EXAMPLE)
    rows = [
        (
            prose(note.setting),
            prose(note.was or "new"),
            prose(note.becomes),
            prose(note.why),
        )
        for note in found.notes
    ]
    return f"```python\n{found.code}\n```\n\n{table(('number', 'was', 'becomes', 'why'), rows)}"


class SuggestionRules(Derived):
    """`suggestion-rules QUANTITY`."""

    writer = staticmethod(rules_of)


class TranslatedAdamw(Derived):
    """`translated-adamw TARGET`."""

    writer = staticmethod(translated)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the directives."""
    app.add_directive("suggestion-rules", SuggestionRules)
    app.add_directive("translated-adamw", TranslatedAdamw)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
