"""Run records: the one file format at which training and analysis meet."""

from logclock.records.hashing import content_hash
from logclock.records.ledger import Ledger
from logclock.records.record import SCHEMA_VERSION, RunRecord

__all__ = ["SCHEMA_VERSION", "Ledger", "RunRecord", "content_hash"]
