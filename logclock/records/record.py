"""What is written down about one training run?"""

import dataclasses
from typing import Any, Literal

from logclock.config import from_dict, to_dict
from logclock.records.hashing import content_hash

__all__ = ["SCHEMA_VERSION", "RunRecord", "Series", "Status"]

SCHEMA_VERSION = 1

Status = Literal["running", "finished", "diverged", "failed"]

Series = dict[str, list[float | None]]
"""Columns of equal length, the first of them `step`; None stands for a value that was not finite."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Everything that figures and tables may use of one run, as plain data.

    Args:
        config: The resolved configuration, as `to_dict` writes it.
        seed: Seed of initialisation and data order.
        label: What a table calls this run, e.g. the optimizer's name.
        tags: Free short strings by which a study finds its runs, e.g. `{"study": "compare", "phase": "sweep"}`.
        status: How the run stands; `diverged` and `failed` come with a `reason`.
        reason: Why the run ended early, with the step; None for a good end.
        model: Sizes and compute by convention: `non_embedding_params`, `total_params`, `compute_6p_per_token`, ...
        data: Fingerprint of the dataset, `vocab_size`, tokens in each split.
        provenance: `logclock`, `git_commit`, `git_dirty`, `torch`, `python`, `platform`, `device`, `num_threads`,
            `rule_hash`, `sources` (a hash by part of the package that decides numbers), `numbers_hash` (over all that
            decides numbers: configuration, data, sources, versions), `command`, `started`, `ended` (UTC, ISO 8601);
            with an adaptive warm-up `handover_reason`; `accepted_changes` of a run that went on under another version.
            A run of another program has `imported_from`, `imported_run`, `imported_format`, `imported_digest`,
            `imported_columns`, `imported_notes`, `imported_seed` and `imported_lr` instead.
        train: Series `step`, `tokens`, `loss` (mean over the logging interval, nats per token), `lr`, `grad_norm`.
        validation: Series `step`, `tokens`, `loss` (nats per token), `bits_per_byte`.
        schedules: Series `step`, about evenly in ln(step), and the learning rate and every scalar of every parameter
            group: NAME if all groups agree, else GROUP/NAME. One value stands for all steps where nothing changes.
            Records of earlier versions have the first group's scalars at every logging interval.
        metrics: Final numbers: `final_validation_loss`, `final_bits_per_byte`, `final_train_loss`, `final_step`, ...;
            of the whole validation set `selection_loss` (first half), `held_out_loss`, `held_out_bits_per_byte` and
            `held_out_tokens` (second half), which older records lack; with an adaptive warm-up `handover_step` and
            `handover_loss`.
        cost: `wall_seconds`, `step_seconds` (median), `tokens_per_second`, `optimizer_step_seconds` (median),
            `optimizer_state_bytes`, `peak_memory_bytes`.
        schema_version: Version of this layout.
    """

    config: dict[str, Any]
    seed: int
    label: str
    tags: dict[str, str]
    status: Status
    reason: str | None
    model: dict[str, Any]
    data: dict[str, Any]
    provenance: dict[str, Any]
    train: Series
    validation: Series
    schedules: Series
    metrics: dict[str, float | None]
    cost: dict[str, float | None]
    schema_version: int = SCHEMA_VERSION

    @property
    def run_id(self) -> str:
        """The hash of the configuration (which holds the seed): equal runs have equal ids."""
        return content_hash(self.config)

    @property
    def is_imported(self) -> bool:
        """Whether another program made the run, so that most of a configuration is unknown."""
        return "imported_from" in self.provenance

    @property
    def record_hash(self) -> str:
        """The hash of the whole record, by which figures and tables cite it."""
        return content_hash(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain data."""
        data: dict[str, Any] = to_dict(self)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "RunRecord":
        """Read a record, checking its layout.

        Raises:
            ValueError: The record was written by a newer version of logclock.
            TypeError: A key is missing, unknown, or of the wrong type.
        """
        version = data.get("schema_version")
        if version != SCHEMA_VERSION:
            writer = data.get("provenance")
            name = writer.get("logclock") if isinstance(writer, dict) else None
            raise ValueError(
                f"record has schema_version {version!r}, this logclock reads {SCHEMA_VERSION}. "
                f"Read it with the logclock version named in its provenance{f', {name}' if name else ''}."
            )
        record: RunRecord = from_dict(cls, data)
        return record
