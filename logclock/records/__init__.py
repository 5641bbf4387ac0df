"""Run records: the one file format at which training and analysis meet."""

from logclock.records.hashing import content_hash
from logclock.records.ledger import Ledger
from logclock.records.record import SCHEMA_VERSION, RunRecord
from logclock.records.step_cost import StepCost, append_step_cost, read_step_costs

__all__ = [
    "SCHEMA_VERSION",
    "Ledger",
    "RunRecord",
    "StepCost",
    "append_step_cost",
    "content_hash",
    "read_step_costs",
]
