"""Does a run with one optimizer for hidden matrices and one for the rest train, resume and say so?"""

import dataclasses

import pytest
import torch

from logclock.algorithms import AdamwSpec, MuonSpec, NormsgdSpec
from logclock.config import from_dict, to_dict
from logclock.sweep import with_lr_multiplier
from logclock.train import RunConfig, run_id, train
from logclock.train.config import identity
from logclock.train.loop import build_optimizer


@pytest.mark.parametrize("optimizer", ["muon", "muon-adana", "soap"])
def test_each_parameter_is_updated_by_its_own_algorithm(tiny_run, optimizer):
    config = tiny_run(optimizer=optimizer)
    model = config.model.build(seed=0)

    groups = build_optimizer(config, model).param_groups

    algorithms = {name: group["algorithm"] for group in groups for name in group["param_names"]}
    assert {algorithms[name] for name in algorithms if name.startswith("blocks.") and "norm" not in name} == {
        to_dict(config.optimizer)["name"]
    }
    assert algorithms["embedding.weight"] == algorithms["head.weight"] == to_dict(config.rest_optimizer)["name"]
    assert {group["peak_lr"] for group in groups} == {config.optimizer.lr, config.rest_optimizer.lr}


@pytest.mark.parametrize("optimizer", ["muon", "soap", "normsgd"])
def test_a_stopped_run_ends_as_if_it_had_not_been_stopped(tiny_run, tiny_data_root, tmp_path, optimizer):
    config = tiny_run("execution.checkpoint_interval=7", optimizer=optimizer)
    whole = train(config, out=tmp_path / "whole", data_root=tiny_data_root)

    class Crash(Exception):
        pass

    from logclock.train.progress import QuietDisplay

    class Crashing(QuietDisplay):
        def show(self, name, reading):
            if reading.step == 15:
                raise Crash

    with pytest.raises(Crash):
        train(config, out=tmp_path / "cut", data_root=tiny_data_root, display=Crashing())
    resumed = train(config, out=tmp_path / "cut", data_root=tiny_data_root)

    assert resumed.train == whole.train
    assert resumed.validation == whole.validation


def test_the_compiled_backend_runs_the_rest_and_stacks_the_matrices(tiny_run):
    config = tiny_run("backend=compiled", optimizer="muon")

    groups = build_optimizer(config, config.model.build(seed=0)).param_groups

    assert [group["backend"] for group in groups] == ["foreach", "compiled", "compiled"]


def test_a_whole_tensor_rule_for_everything_needs_no_rest(tiny_run):
    config = tiny_run("backend=compiled", spec=NormsgdSpec())

    groups = build_optimizer(config, config.model.build(seed=0)).param_groups

    assert {(group["algorithm"], group["backend"]) for group in groups} == {("normsgd", "foreach")}


def test_a_matrix_optimizer_without_a_rest_is_refused_before_anything_runs(tiny_run):
    with pytest.raises(ValueError, match=r"rest_optimizer must take embeddings, head and vectors.*--set rest_opt"):
        tiny_run(spec=MuonSpec())
    with pytest.raises(ValueError, match="rest_optimizer must take embeddings"):
        tiny_run(spec=MuonSpec(), rest_optimizer=MuonSpec())


def test_both_learning_rates_are_swept(tiny_run):
    config = tiny_run(spec=MuonSpec(lr=0.02), rest_optimizer=AdamwSpec(lr=1e-3))

    faster = with_lr_multiplier(config, 2.0)

    assert (faster.optimizer.lr, faster.rest_optimizer.lr) == (0.04, 2e-3)


def test_the_rest_is_part_of_the_identity_and_its_absence_is_not(tiny_run):
    one, other = tiny_run(optimizer="muon"), tiny_run(optimizer="muon-adana")

    assert run_id(one) != run_id(other)
    assert "rest_optimizer" not in identity(tiny_run())
    assert from_dict(RunConfig, to_dict(one)) == one


def test_the_record_cites_both_rules(tiny_run, tiny_data_root, tmp_path):
    config = dataclasses.replace(tiny_run(optimizer="muon"), total_steps=24)
    record = train(config, out=tmp_path, data_root=tiny_data_root)

    rules = [type(spec).rule.source_hash for spec in (config.optimizer, config.rest_optimizer)]
    assert record.provenance["rule_hash"] == "+".join(rules)
    assert record.label == "muon"
    assert record.metrics["final_validation_loss"] < record.validation["loss"][0]
    assert torch.isfinite(torch.tensor(record.train["loss"])).all()
