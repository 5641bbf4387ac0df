"""What does a search of learning rates say by itself, before anything was run at its winners?"""

import dataclasses
import json
from collections.abc import Iterable, Mapping

from logclock.analysis.compare import Sweep, edge_warnings, sweep_of
from logclock.analysis.lr_rules import LrCurvature, LrTrial, lr_curvature
from logclock.analysis.study import check_equal, check_rule, phases_of, planned_steps
from logclock.records import RunRecord

__all__ = ["SearchResult", "analyse_search", "is_search_alone"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class SearchResult:
    """The learning rates that were tried, and where the loss is lowest.

    Args:
        sweeps: One per label, in order of first appearance.
        curvatures: The parabola through each sweep; None where it shows no minimum.
        warnings: What makes the search less certain than it looks, in sentences.
        records: Its runs.
    """

    sweeps: tuple[Sweep, ...]
    curvatures: Mapping[str, LrCurvature | None]
    warnings: tuple[str, ...]
    records: tuple[RunRecord, ...]


def is_search_alone(records: Iterable[RunRecord]) -> bool:
    """Return whether every record belongs to a search and none to a comparison, so that there is nothing to compare."""
    phases = [phases_of(record) for record in records if record.tags.get("phase") != "ladder"]
    return bool(phases) and all(phase == ("sweep",) for phase in phases)


def analyse_search(records: Iterable[RunRecord]) -> SearchResult:
    """Analyse a search of learning rates by its records.

    Raises:
        ValueError: No run belongs to a search, or runs differ in dataset, model or length, or within a label in the
            rule.
    """
    kept = tuple(record for record in records if "sweep" in phases_of(record))
    if not kept:
        raise ValueError("no record belongs to a search: none has tags['phase'] == 'sweep'.")
    check_equal(kept, "dataset fingerprint", lambda record: record.data.get("fingerprint"), "dataset")
    check_equal(kept, "model", lambda record: json.dumps(record.model, sort_keys=True), "model")
    check_equal(kept, "total_steps", planned_steps, "run length")
    by_label: dict[str, list[RunRecord]] = {}
    for record in kept:
        by_label.setdefault(record.label, []).append(record)
    for group in by_label.values():
        check_rule(group)
    sweeps = tuple(sweep_of(label, group) for label, group in by_label.items())
    return SearchResult(
        sweeps=sweeps,
        curvatures={
            sweep.label: lr_curvature([LrTrial(lr=p.peak_lr, loss=p.final_validation_loss) for p in sweep.points])
            for sweep in sweeps
        },
        warnings=tuple(edge_warnings(sweeps)),
        records=kept,
    )
