import dataclasses

import pytest

from logclock.analysis import gather
from logclock.analysis.study import differing_paths, flatten, peak_lr, planned_steps


def test_labels_keep_their_first_appearance_after_the_baseline(record):
    study = gather([record("adamw"), record("muon"), record("adana")], baseline="adana")

    assert study.baseline == "adana"
    assert list(study.main) == ["adana", "adamw", "muon"]


def test_the_first_label_is_the_baseline_unless_a_tag_or_an_argument_says_otherwise(record):
    tags = {"phase": "main", "baseline": "adana"}
    plain = [record("adamw"), record("adana")]
    tagged = [record("adamw", tags=tags), record("adana", tags=tags)]

    assert gather(plain).baseline == "adamw"
    assert gather(tagged).baseline == "adana"
    assert gather(tagged, baseline="adamw").baseline == "adamw"


def test_two_baselines_named_by_tags_must_be_decided(record):
    records = [record("a", tags={"baseline": "a"}), record("b", tags={"baseline": "b"})]

    with pytest.raises(ValueError, match=r"name 2 baselines: a, b. Say which"):
        gather(records)


def test_a_missing_baseline_is_an_error_with_the_closest_label(record):
    with pytest.raises(
        ValueError, match=r"'adamv' has no main run. Did you mean 'adamw'. Labels with main runs: adamw"
    ):
        gather([record("adamw")], baseline="adamv")


def test_phases_are_told_apart_by_their_tag(record):
    sweep = record("adamw", lr=2e-3, tags={"phase": "sweep"})
    without_tag = record("adana", tags={})

    study = gather([sweep, record("adamw"), without_tag])

    assert [run.record_hash for run in study.sweep["adamw"]] == [sweep.record_hash]
    assert list(study.main) == ["adamw", "adana"]
    assert len(study.records) == 3


def test_one_run_may_serve_both_phases(record):
    both = record("adamw", tags={"phase": "main,sweep"})

    study = gather([both])

    assert study.main["adamw"] == study.sweep["adamw"] == (both,)


def test_an_unknown_phase_is_an_error(record):
    with pytest.raises(ValueError, match=r"tags\['phase'\] must be one of main, sweep, former, got 'timing'"):
        gather([record(tags={"phase": "timing"})])


@pytest.mark.parametrize("phase", [None, "sweep"])
def test_a_study_without_a_main_run_is_an_error(record, phase):
    records = [] if phase is None else [record(tags={"phase": phase})]

    with pytest.raises(ValueError, match="none of them a main run"):
        gather(records)


def test_a_later_record_of_the_same_run_supersedes_the_earlier_one(record, diverged):
    running = dataclasses.replace(record(), status="running")

    study = gather([running, record()])

    assert [run.status for run in study.main["adamw"]] == ["finished"]


def test_only_finished_runs_with_a_loss_count(record, diverged):
    without_loss = record("adana", seed=2, losses=(5.0, 4.6, 4.3, None))

    study = gather([record("adana", seed=1), diverged("adana", seed=0), without_loss])

    assert list(study.finished("adana")) == [1]
    assert [run.seed for run in study.main["adana"]] == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": {"fingerprint": "data-b"}}, "dataset fingerprint differs: .* has data-a, .* has data-b.*one dataset"),
        ({"model": {"compute_6p_per_token": 700}}, "model differs.*700.*one model"),
        ({"config": {"total_steps": 500, "optimizer": {"lr": 1e-3}}}, "total_steps of main runs differs.* 400.* 500"),
        ({"train": {"step": [100], "tokens": [2000], "loss": [5.0]}}, "tokens per step of main runs differs.*batch"),
    ],
)
def test_records_that_cannot_be_compared_are_refused_with_both_cited(record, changes, message):
    old, new = record("adamw"), record("adana", seed=1, **changes)

    with pytest.raises(ValueError, match=message) as caught:
        gather([old, new])

    assert f"adamw seed 0 (record {old.record_hash})" in str(caught.value)
    assert f"adana seed 1 (record {new.record_hash})" in str(caught.value)


@pytest.mark.parametrize("phase", ["main", "sweep"])
def test_a_changed_rule_of_one_label_is_refused(record, phase):
    old = record("adana", seed=0)
    new = record("adana", seed=1, provenance={"rule_hash": "rule-new"}, tags={"phase": phase})

    with pytest.raises(ValueError, match=r"rule of 'adana' changed.*rule-adana.*rule-new.*must not be merged"):
        gather([old, new])


def test_a_sweep_may_be_shorter_than_the_main_runs(record):
    short = {"total_steps": 100, "optimizer": {"lr": 2e-3}}

    study = gather([record("adamw"), record("adamw", config=short, tags={"phase": "sweep"})])

    assert planned_steps(study.sweep["adamw"][0]) == 100


def test_main_runs_of_one_label_with_different_settings_are_refused(record):
    with pytest.raises(ValueError, match=r"main runs of 'adana' differ in optimizer\.lr"):
        gather([record("adana", seed=0, lr=1e-3), record("adana", seed=1, lr=2e-3)])


def test_a_seed_may_occur_once(record):
    again = record("adana", config={"total_steps": 400, "note": "again", "optimizer": {"name": "adana", "lr": 1e-3}})

    with pytest.raises(ValueError, match="'adana' has two main runs of seed 0"):
        gather([record("adana"), again])


def test_a_configuration_without_the_numbers_needed_is_an_error(record):
    with pytest.raises(ValueError, match=r"no 'optimizer\.lr'. Known at the top: optimizer"):
        peak_lr(record(config={"optimizer": {}}))


def test_flat_paths_do_not_depend_on_the_order_of_keys():
    one = {"b": {"y": 1e-3, "x": [1, 2], "z": {}}, "a": "text"}
    other = {"a": "text", "b": {"z": {}, "x": [1, 2], "y": 1e-3}}

    assert list(flatten(one).items()) == list(flatten(other).items())
    assert flatten(one) == {"a": "text", "b.x": "[1, 2]", "b.y": "0.001", "b.z": "{}"}


def test_paths_that_only_one_configuration_has_differ():
    assert differing_paths([{"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 3, "d": 4}}]) == ["b.c", "b.d"]
