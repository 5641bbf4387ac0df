"""How is the worth of verdicts written?"""

from logclock.analysis.calibration import KINDS, Calibration, Rate
from logclock.report.tables import Table

__all__ = ["calibration_table"]


def calibration_table(calibration: Calibration) -> Table:
    """Return one row per kind of verdict: how often it is wrong without an effect, and right with one."""
    rows = tuple(
        (kind, KINDS[kind], _percent(rate), _percent(calibration.power[kind]))
        for kind, rate in calibration.false_positives.items()
    )
    columns = ("verdict", "what it says", "false positives", f"power at {calibration.effect:g} nats")
    return Table(columns=columns, rows=rows, numeric=frozenset({2, 3}))


def _percent(rate: Rate) -> str:
    return f"{100 * rate.value:.1f} % (+-{100 * rate.error:.1f})"
