import dataclasses
import json

import pytest

from logclock.records import SCHEMA_VERSION, RunRecord, content_hash


def through_json(record):
    return RunRecord.from_dict(json.loads(json.dumps(record.to_dict())))


def test_a_record_survives_json(record):
    assert through_json(record()) == record()


def test_the_plain_data_hold_every_field_and_the_version(record):
    data = record().to_dict()

    assert data["schema_version"] == SCHEMA_VERSION == 1
    assert set(data) == {f.name for f in dataclasses.fields(RunRecord)}
    assert data["train"] == {"step": [1, 2], "loss": [5.25, None]}


def test_a_run_is_identified_by_its_configuration_alone(record):
    assert record().run_id == content_hash(record().config)
    assert record(status="failed", reason="out of memory", metrics={}).run_id == record().run_id
    assert record(seed=1).run_id != record().run_id


def test_a_record_is_cited_by_all_it_holds(record):
    hashes = {
        record().record_hash,
        record(label="other").record_hash,
        record(metrics={"final_validation_loss": 4.6}).record_hash,
        record(provenance={"torch": "2.12.0"}).record_hash,
    }

    assert len(hashes) == 4
    assert record().record_hash == content_hash(record().to_dict())


def test_hashes_survive_json(record):
    # Series are floats once read: 1 becomes 1.0.
    again = through_json(record())

    assert again.record_hash == record().record_hash
    assert again.run_id == record().run_id


def test_a_record_cannot_be_changed(record):
    with pytest.raises(dataclasses.FrozenInstanceError):
        record().status = "failed"


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_a_record_of_another_layout_is_refused(record, version):
    data = record().to_dict() | {"schema_version": version}

    with pytest.raises(
        ValueError, match=rf"^record has schema_version {version!r}, this logclock reads 1\. Read it with"
    ):
        RunRecord.from_dict(data)


def test_a_record_without_a_version_is_refused(record):
    data = record().to_dict()
    del data["schema_version"]

    with pytest.raises(ValueError, match="record has schema_version None"):
        RunRecord.from_dict(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"step": [1], "loss": ["5.0"]}}, r"train\.loss\[0\] must be a number"),
        ({"train": {"step": 1}}, r"train\.step must be a list, got 1"),
        ({"tags": {"study": 3}}, r"tags\.study must be a string, got 3"),
        ({"seed": 1.5}, r"seed must be a whole number, got 1\.5"),
        ({"metrics": {"x": "low"}}, r"metrics\.x must be a number"),
        ({"lable": "x"}, r"unknown key 'lable'\. Did you mean 'label'"),
    ],
)
def test_a_malformed_record_is_named_by_its_path(record, changes, message):
    with pytest.raises(TypeError, match=message):
        RunRecord.from_dict(record().to_dict() | changes)


def test_a_status_outside_the_list_is_refused(record):
    with pytest.raises(
        ValueError, match="status must be one of 'running', 'finished', 'diverged', 'failed', got 'done'"
    ):
        RunRecord.from_dict(record().to_dict() | {"status": "done"})


def test_a_missing_field_is_named(record):
    data = record().to_dict()
    del data["cost"]

    with pytest.raises(TypeError, match=r"^RunRecord lacks 'cost'\.$"):
        RunRecord.from_dict(data)
