import dataclasses

import pytest

from logclock.config import from_dict
from logclock.records import Ledger, RunRecord
from logclock.train import RunConfig, exit_code, open_dataset, run_id
from logclock.train.record import completed, ended, new_record


@pytest.fixture
def fresh(tiny_run, tiny_data_root):
    config = tiny_run()
    return new_record(config, open_dataset(config, root=tiny_data_root), tags={"phase": "main"})


def test_a_new_record_says_what_will_run(fresh, tiny_run):
    assert (fresh.label, fresh.status, fresh.seed, fresh.tags) == ("adana", "running", 0, {"phase": "main"})
    assert fresh.run_id == run_id(tiny_run())
    assert from_dict(RunConfig, fresh.config).total_steps == 24
    # P = 12 d^2 L with d = 16, L = 1; D = P + 2 d V with V = 257.
    assert fresh.model["non_embedding_params"] == 3072
    assert fresh.model["total_params"] == 3072 + 2 * 16 * 257
    assert fresh.model["compute_6p_per_token"] == 6 * 3072
    assert fresh.model["compute_6d_per_token"] == 6 * (3072 + 16 * 257)
    assert fresh.data["vocab_size"] == 257
    for key in ("logclock", "torch", "python", "platform", "device", "num_threads", "rule_hash", "command", "started"):
        assert fresh.provenance[key]
    assert fresh.provenance["ended"] is None


def test_a_record_survives_the_ledger(fresh, tmp_path):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    record = ended(fresh, status="diverged", reason="because")

    ledger.append(record)

    assert ledger.records() == [record]
    assert record.provenance["ended"] >= record.provenance["started"]


@pytest.mark.parametrize(
    ("status", "is_complete"), [("finished", True), ("diverged", True), ("failed", False), ("running", False)]
)
def test_finished_and_diverged_runs_are_not_made_again(fresh, tmp_path, status, is_complete):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert completed(ledger.record(fresh.config), fresh) is None

    ledger.append(dataclasses.replace(fresh, status=status))

    assert (completed(ledger.record(fresh.config), fresh) is not None) == is_complete


@pytest.mark.parametrize("part", ["provenance", "data"])
def test_another_rule_or_other_data_make_it_another_run(fresh, tmp_path, part):
    key = {"provenance": "rule_hash", "data": "fingerprint"}[part]
    ledger = Ledger(tmp_path / "ledger.jsonl")
    old = dataclasses.replace(fresh, status="finished", **{part: getattr(fresh, part) | {key: "old"}})

    ledger.append(old)

    assert completed(ledger.record(fresh.config), fresh) is None


def test_exit_codes(fresh: RunRecord):
    codes = {s: exit_code(dataclasses.replace(fresh, status=s)) for s in ("finished", "failed", "diverged", "running")}

    assert codes == {"finished": 0, "failed": 1, "diverged": 3, "running": 130}
