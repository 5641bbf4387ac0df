"""What did the probes see of an optimizer, and how does it look as a table?"""

import dataclasses
import math
import textwrap
from typing import Literal

__all__ = ["Conformance", "ProbeResult"]

WIDTH = 100
"""Characters of a line of the text table."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What one probe saw.

    Args:
        probe: Its name.
        status: Whether the optimizer passes, fails, or is not asked, because the question has no meaning for it.
        seen: One sentence: what was seen, or why the question has no meaning.
        amount: How far off a failing optimizer is, as a fraction of the movement of its weights, if that is a number.
    """

    probe: str
    status: Literal["pass", "fail", "not applicable"]
    seen: str
    amount: float | None = None

    @property
    def cell(self) -> str:
        """One word for the result, `ok`, `-` or `x`, or how far off it is."""
        if self.status != "fail":
            return "ok" if self.status == "pass" else "-"
        if self.amount is None:
            return "x"
        if math.isnan(self.amount):
            return "NaN"
        percent = 100 * self.amount
        if percent > 1000:
            return "> 1000 %"
        return f"{percent:.0f} %" if percent >= 9.5 else f"{percent:.1g} %"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Conformance:
    """What all probes saw of an optimizer; `str()` is a table, `markdown()` the same for a page.

    Args:
        name: Of the optimizer.
        settings: Hyperparameters that it was probed with, as text.
        results: One per probe, in the order of `PROBES`.
        torch: Version of torch.
    """

    name: str
    settings: dict[str, str]
    results: tuple[ProbeResult, ...]
    torch: str

    @property
    def failures(self) -> tuple[ProbeResult, ...]:
        """The results that are failures."""
        return tuple(result for result in self.results if result.status == "fail")

    @property
    def conforms(self) -> bool:
        """Whether no probe failed."""
        return not self.failures

    def __getitem__(self, probe: str) -> ProbeResult:
        """Return the result of a probe."""
        for result in self.results:
            if result.probe == probe:
                return result
        raise ValueError(f"no result of a probe {probe!r}; there are {', '.join(r.probe for r in self.results)}.")

    @property
    def heading(self) -> str:
        """The optimizer, its settings and the version of torch."""
        settings = ", ".join(f"{name}={value}" for name, value in self.settings.items())
        return f"{self.name}({settings}), torch {self.torch}"

    @property
    def summary(self) -> str:
        """How many probes passed, failed and were not asked."""
        counted = {"pass": 0, "fail": 0, "not applicable": 0}
        for result in self.results:
            counted[result.status] += 1
        return f"{counted['pass']} passed, {counted['fail']} failed, {counted['not applicable']} not applicable"

    def __str__(self) -> str:
        """Return the table as text."""
        names = max([len(result.probe) for result in self.results], default=0) + 2
        margin = names + 6
        lines = [self.heading, ""]
        for result in self.results:
            cell = {"pass": "ok", "fail": "FAIL", "not applicable": "-"}[result.status]
            told = textwrap.wrap(result.seen, WIDTH - margin) or [""]
            lines.append(f"{result.probe:<{names}}{cell:<6}{told[0]}")
            lines += [" " * margin + more for more in told[1:]]
        return "\n".join([*lines, "", self.summary])

    def markdown(self) -> str:
        """Return the table as Markdown."""
        rows = [f"| `{r.probe}` | {r.cell} | {_escaped(r.seen)} |" for r in self.results]
        return "\n".join(
            [_escaped(self.heading), "", "| probe | result | seen |", "|---|---|---|", *rows, "", self.summary]
        )


def _escaped(text: str) -> str:
    """Return text that Markdown shows as it is."""
    for sign in "\\`*_<>|$[]":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
