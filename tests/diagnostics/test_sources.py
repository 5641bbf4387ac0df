"""Is the model found that a person means, and is it said what to write where there is none, or are several?"""

import shutil

import pytest

from logclock.diagnostics.sources import named_sources


def test_a_run_is_named_by_folder_label_or_run_id(study):
    out, runs = study
    _, record, folder = runs["adana"]

    for text in (str(folder), f"{out}:adana", f"{out}/ledger.jsonl:adana", f"{out}:{record.run_id[:8]}"):
        (source,) = named_sources((text,))
        assert (source.path, source.label, source.record.run_id) == (folder, "adana", record.run_id)


def test_models_of_the_same_name_are_told_apart(study, tmp_path):
    _, runs = study
    _, record, folder = runs["adana"]
    shutil.copytree(folder, tmp_path / "adana")
    files = [folder / "final.safetensors", tmp_path / "adana" / "final.safetensors"]

    labels = [source.label for source in named_sources(tuple(map(str, files)))]

    assert labels == [f"final ({record.run_id})", "final (adana)"]


def test_a_run_without_a_ledger_is_called_by_its_folder(study, tmp_path):
    shutil.copytree(study[1]["adana"][2], tmp_path / "mine")

    (source,) = named_sources((str(tmp_path / "mine"),))

    assert (source.label, source.record) == ("mine", None)


def test_a_whole_study_is_no_model_and_its_runs_are_listed(study):
    out, runs = study

    with pytest.raises(ValueError, match=r"is a whole study. Name one of its runs as .*:ENTRY; it has 3: ") as caught:
        named_sources((str(out),))

    assert all(record.run_id in str(caught.value) for _, record, _ in runs.values())


def test_an_unknown_entry_and_an_ambiguous_one_are_refused(study):
    out, _ = study

    with pytest.raises(ValueError, match=r"no run is called 'sgd'. Name one by its run id; it has 3"):
        named_sources((f"{out}:sgd",))
    with pytest.raises(ValueError, match=r"no run is called ''"):
        named_sources((f"{out}:",))


def test_what_is_no_model_is_refused(study, tmp_path):
    _, runs = study
    folder = runs["adana"][2]
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")

    with pytest.raises(ValueError, match=r"no model was given. Give a run's folder OUT/runs/RUN_ID"):
        named_sources(())
    with pytest.raises(FileNotFoundError, match=r"no run and no file at /nowhere/at/all. Give a run's folder"):
        named_sources(("/nowhere/at/all",))
    with pytest.raises(ValueError, match=r"was given 2 times. Give each model once"):
        named_sources((str(folder), f"{folder}/"))
    with pytest.raises(ValueError, match=r"is no run of logclock. Give its files one by one: model.safetensors"):
        named_sources((str(tmp_path),))
    with pytest.raises(ValueError, match=r"is a folder with neither config.json, ledger.jsonl nor"):
        named_sources((str(folder.parent),))
