"""Which records belong together, and may they be compared?"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from logclock.config import closest
from logclock.records import RunRecord

__all__ = [
    "MISSING",
    "Study",
    "check_equal",
    "check_rule",
    "choose_baseline",
    "cite",
    "differing_paths",
    "flatten",
    "gather",
    "known_lr",
    "peak_lr",
    "phases_of",
    "planned_steps",
    "tokens_per_step",
]

PHASES = ("main", "sweep", "former")
OLDER_NAMES = {"tune": "sweep"}
"""What phases were called in records of before the first release."""
MISSING = "-"

OPTIMIZERS = ("optimizer", "rest_optimizer", "tables_lr_factor")
"""The parts of a configuration in which runs of a comparison are meant to differ."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """Runs that may be compared: same data, same model, same length, one version of each rule.

    Args:
        baseline: The label that the others are compared with.
        main: The runs of the comparison by label, ascending in seed; the baseline comes first.
        sweep: The runs of the learning-rate sweep by label, in the order of `main`; empty without a sweep.
    """

    baseline: str
    main: Mapping[str, tuple[RunRecord, ...]]
    sweep: Mapping[str, tuple[RunRecord, ...]]

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """All runs, those of the comparison first."""
        return tuple(record for phase in (self.main, self.sweep) for runs in phase.values() for record in runs)

    def finished(self, label: str) -> dict[int, RunRecord]:
        """Return the runs of a label that reached a finite final validation loss, by seed."""
        return {
            record.seed: record
            for record in self.main[label]
            if record.status == "finished" and record.metrics.get("final_validation_loss") is not None
        }


def gather(records: Iterable[RunRecord], *, baseline: str | None = None) -> Study:
    """Sort records into a study, refusing what must not be merged.

    `tags["phase"]` says what a run is for: `main` (also without the tag), `sweep`, or `main,sweep` for a run of the
    sweep that is the main run of its seed too; `former`, which no table counts, for a main run at a setting that a
    wider sweep has beaten since. Of several records of one run the last counts, as in a ledger.

    Args:
        records: The records, e.g. `Ledger(path).records()`.
        baseline: A label. Otherwise the one that `tags["baseline"]` names, otherwise the first label.

    Raises:
        ValueError: There is no main run, the baseline is unknown, a label has a seed twice, or records differ in
            dataset, model, number of steps, tokens per step, or (within a label) in the rule or its settings.
    """
    kept = {(phase, record.run_id): record for record in records for phase in phases_of(record)}
    phases: dict[str, dict[str, list[RunRecord]]] = {phase: {} for phase in PHASES}
    for (phase, _), record in kept.items():
        phases[phase].setdefault(record.label, []).append(record)
    if not phases["main"]:
        raise ValueError(
            f"got {len(kept)} records, none of them a main run. A comparison needs records with "
            "tags['phase'] == 'main'; was the study interrupted during its sweep? Start it again to go on."
        )
    name = choose_baseline(baseline, kept.values(), list(phases["main"]))
    order = [name, *(label for label in phases["main"] if label != name)]
    order_sweep = [label for label in order if label in phases["sweep"]]
    order_sweep += [label for label in phases["sweep"] if label not in order]
    study = Study(
        baseline=name,
        main={label: tuple(sorted(phases["main"][label], key=lambda record: record.seed)) for label in order},
        sweep={label: tuple(phases["sweep"][label]) for label in order_sweep},
    )
    _check(study)
    return study


def phases_of(record: RunRecord) -> tuple[str, ...]:
    """Return what a run is for: `main`, `sweep`, both, or nothing any more (`former`)."""
    given = (phase.strip() for phase in record.tags.get("phase", "main").split(","))
    phases = tuple(OLDER_NAMES.get(phase, phase) for phase in given)
    unknown = sorted(set(phases) - set(PHASES))
    if unknown:
        raise ValueError(
            f"{cite(record)}: tags['phase'] must be one of {', '.join(PHASES)}, got {unknown[0]!r}. "
            "Leave such records out of the comparison."
        )
    return phases


def planned_steps(record: RunRecord) -> int:
    """Return T, the updates that the run was configured for (a diverged run made fewer)."""
    steps: int = _from_config(record, "total_steps")
    return steps


def peak_lr(record: RunRecord) -> float:
    """Return the peak learning rate that the optimizer was configured with."""
    lr: float = _from_config(record, "optimizer", "lr")
    return lr


def known_lr(record: RunRecord) -> float | None:
    """Return the peak learning rate, or None for a run of another program whose log does not say it."""
    if record.is_imported and record.config["optimizer"]["lr"] is None:
        return None
    return peak_lr(record)


def flatten(data: Any, *, prefix: str = "") -> dict[str, str]:
    """Return nested plain data as dotted paths with short texts, sorted by path.

    Examples:
        >>> flatten({"b": {"y": 1e-3, "x": [1, 2]}, "a": None})
        {'a': 'null', 'b.x': '[1, 2]', 'b.y': '0.001'}
    """
    if not isinstance(data, Mapping) or not data:
        return {prefix: data if isinstance(data, str) else json.dumps(data, sort_keys=True)}
    flat: dict[str, str] = {}
    for key in sorted(data):
        flat |= flatten(data[key], prefix=f"{prefix}.{key}" if prefix else str(key))
    return dict(sorted(flat.items()))


def differing_paths(configs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the dotted paths at which configurations differ, sorted."""
    flat = [flatten(config) for config in configs]
    paths = sorted({path for one in flat for path in one})
    return [path for path in paths if len({one.get(path, MISSING) for one in flat}) > 1]


def choose_baseline(given: str | None, records: Iterable[RunRecord], labels: list[str]) -> str:
    """Return the label to compare with: the one given, else the one that tags name, else the first."""
    tagged = sorted({record.tags["baseline"] for record in records if "baseline" in record.tags})
    if given is None and len(tagged) > 1:
        raise ValueError(f"the records name {len(tagged)} baselines: {', '.join(tagged)}. Say which: baseline=...")
    name = given if given is not None else (tagged[0] if tagged else labels[0])
    if name not in labels:
        matches = closest(name, labels)
        hint = f" Did you mean {matches[0]!r}?" if matches else ""
        raise ValueError(f"the baseline {name!r} has no main run.{hint} Labels with main runs: {', '.join(labels)}.")
    return name


def _check(study: Study) -> None:
    """Raise for records that would silently mix what must be kept apart."""
    check_equal(study.records, "dataset fingerprint", lambda record: record.data.get("fingerprint"), "dataset")
    check_equal(study.records, "loss that is compared", lambda record: record.config.get("loss"), "loss")
    check_equal(study.records, "model", lambda record: json.dumps(record.model, sort_keys=True), "model")
    for phase, by_label in (("main", study.main), ("sweep", study.sweep)):
        together = [record for group in by_label.values() for record in group]
        check_equal(together, f"total_steps of {phase} runs", planned_steps, "run length")
        with_series = [record for record in together if record.train.get("step")]
        check_equal(with_series, f"tokens per step of {phase} runs", tokens_per_step, "batch size")
    for label in {**study.main, **study.sweep}:
        group = [*study.main.get(label, ()), *study.sweep.get(label, ())]
        check_rule(group)
    for runs in study.main.values():
        _check_settings(runs)


def check_equal(records: Sequence[RunRecord], what: str, value: Callable[[RunRecord], Any], split_by: str) -> None:
    """Raise a ValueError if records differ in what must be equal for a comparison."""
    for record in records[1:]:
        ours, theirs = value(records[0]), value(record)
        if ours != theirs:
            raise ValueError(
                f"{what} differs: {cite(records[0])} has {ours}, {cite(record)} has {theirs}. "
                f"Such runs cannot be compared; give the records of one {split_by} only, or use a ledger for each."
            )


def check_rule(group: list[RunRecord]) -> None:
    """Raise a ValueError if runs of one label were made with different versions of its rule."""
    first, *rest = group
    for record in rest:
        old, new = first.provenance.get("rule_hash"), record.provenance.get("rule_hash")
        if old != new:
            raise ValueError(
                f"the rule of {first.label!r} changed between records: {cite(first)} has rule_hash {old}, "
                f"{cite(record)} has {new}. Old and new curves must not be merged; run the old ones again, "
                "or leave their records out."
            )


def _check_settings(group: tuple[RunRecord, ...]) -> None:
    """Main runs of one label may differ in the seed, not in the optimizer."""
    seeds: dict[int, RunRecord] = {}
    for record in group:
        changed = [
            path
            for path in differing_paths([group[0].config, record.config])
            if path.split(".")[0] in OPTIMIZERS and "seed" not in path
        ]
        if changed:
            raise ValueError(
                f"main runs of {record.label!r} differ in {', '.join(changed)}: {cite(group[0])}, {cite(record)}. "
                "They are not seeds of one setting; give each setting its own label."
            )
        if record.seed in seeds:
            raise ValueError(
                f"{record.label!r} has two main runs of seed {record.seed}: {cite(seeds[record.seed])}, "
                f"{cite(record)}. Keep one, or give them different labels."
            )
        seeds[record.seed] = record


def tokens_per_step(record: RunRecord) -> float | None:
    """Return the batch size in tokens; None for a run of another program whose log does not say it."""
    steps, tokens = record.train["step"][-1], record.train["tokens"][-1]
    if record.is_imported and (not steps or tokens is None):
        return None
    if not steps or tokens is None:
        raise ValueError(f"{cite(record)}: the train series ends without a step or token count.")
    return tokens / steps


def _from_config(record: RunRecord, *keys: str) -> Any:
    value: Any = record.config
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            raise ValueError(
                f"{cite(record)}: the configuration has no {'.'.join(keys)!r}. Known at the top: "
                f"{', '.join(sorted(record.config))}."
            )
        value = value[key]
    return value


def cite(record: RunRecord) -> str:
    """Name a record in an error."""
    return f"{record.label} seed {record.seed} (record {record.record_hash})"
