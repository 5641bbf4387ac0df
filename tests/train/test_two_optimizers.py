"""Does a run with one optimizer for hidden matrices and one for the rest train, resume and say so?"""

import dataclasses

import pytest
import torch

from logclock.algorithms import AdamwSpec, AdanaSpec, MuonSpec, NormsgdSpec
from logclock.config import from_dict, to_dict
from logclock.rules.apply import CautiousDecay
from logclock.rules.wrappers import Cautious
from logclock.sweep import with_lr_multiplier
from logclock.train import Optimizers, RunConfig, load_model, loop, optimizer_name, run_directory, run_id, train
from logclock.train.config import identity
from logclock.train.evaluate import ValidationSet
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


def test_a_rule_of_per_tensor_numbers_for_everything_needs_no_rest(tiny_run):
    config = tiny_run("backend=foreach", spec=NormsgdSpec())

    groups = build_optimizer(config, config.model.build(seed=0)).param_groups

    assert {(group["algorithm"], group["backend"]) for group in groups} == {("normsgd", "foreach")}


def test_a_pair_is_kept_as_two_fields(tiny_run):
    pair = Optimizers(MuonSpec(lr=0.02), AdamwSpec(lr=1e-3))

    config = tiny_run(spec=pair)

    assert (config.optimizer, config.rest_optimizer, config.optimizers) == (pair.hidden, pair.rest, pair)
    assert config == tiny_run(spec=pair.hidden, rest_optimizer=pair.rest)
    assert (to_dict(config)["optimizer"]["name"], to_dict(config)["rest_optimizer"]["name"]) == ("muon", "adamw")
    assert tiny_run(spec=Optimizers(AdamwSpec(lr=1e-3))) == tiny_run(spec=AdamwSpec(lr=1e-3))


def test_a_pair_beside_another_rest_is_refused(tiny_run):
    config = tiny_run(spec=Optimizers(MuonSpec(lr=0.02), AdamwSpec(lr=1e-3)))
    other = Optimizers(MuonSpec(lr=0.02), AdanaSpec(lr=1e-3))

    with pytest.raises(ValueError, match=r"rest_optimizer is AdamwSpec.*has AdanaSpec.*set rest_optimizer=None"):
        dataclasses.replace(config, optimizer=other)
    assert dataclasses.replace(config, optimizer=other, rest_optimizer=None).optimizers == other
    with pytest.raises(ValueError, match="rest_optimizer must take embeddings"):
        tiny_run(spec=Optimizers(MuonSpec()))


def test_the_record_has_the_schedules_of_every_group(tiny_run, tiny_data_root, tmp_path):
    config = tiny_run(optimizer="muon-adana")

    schedules = train(config, out=tmp_path, data_root=tiny_data_root).schedules

    steps, peak = schedules["step"], 5e-3
    s = [config.lr_schedule(t) for t in steps]
    assert schedules["matrix/lr"] == pytest.approx([peak * x for x in s], rel=1e-5)
    assert schedules["decay/lr"] == schedules["no_decay/lr"] == pytest.approx([peak / 3 * x for x in s], rel=1e-5)
    assert schedules["decay/gain"] == pytest.approx([(1 + t) ** 0.15 for t in steps], rel=1e-5)
    assert schedules["matrix/decay"] == pytest.approx([x * 4 / 24 for x in s], rel=1e-5)
    assert schedules["no_decay/decay"] == [0.0]
    assert "matrix/gain" not in schedules


def test_the_learning_rate_in_the_record_is_that_of_the_group_whatever_the_decay(tiny_run, tiny_data_root, tmp_path):
    """The scalar `lr` of decay after the update is smaller, and other apply stages have none."""
    spec = AdamwSpec(lr=5e-3, weight_decay=1.0, decay_order="after")

    for out, assignments in (("plain", ()), ("cautious", ("optimizer.apply=cautious",))):
        config = tiny_run(*assignments, spec=spec)
        schedules = train(config, out=tmp_path / out, data_root=tiny_data_root).schedules
        lrs = [5e-3 * config.lr_schedule(t) for t in schedules["step"]]
        assert schedules["lr"] == pytest.approx(lrs, rel=1e-5)


def test_evaluation_and_export_have_the_weights_to_evaluate(tiny_run, tiny_data_root, tmp_path):
    """Schedule-free training stands at y; x is what is measured and exported."""
    config = tiny_run("evaluation.interval=24", optimizer="schedule-free-adamw")
    seen = []

    class Evaluating(ValidationSet):
        def evaluate(self, model, **settings):
            seen.append([param.detach().clone() for param in model.parameters()])
            return super().evaluate(model, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "ValidationSet", Evaluating)
        train(config, out=tmp_path, data_root=tiny_data_root)
    exported = list(load_model(run_directory(tmp_path, config)).parameters())

    trained = config.model.build(seed=config.seed)
    optimizer = build_optimizer(config, trained)
    batches = loop.train_batches(config, loop.open_dataset(config, root=tiny_data_root))
    for step in range(1, 25):
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * config.lr_schedule(step)
        inputs, targets = batches.at(step)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(trained(inputs).flatten(0, 1), targets.flatten()).backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 0.5)
        optimizer.step()
    for param, evaluated, written in zip(trained.parameters(), seen[0], exported, strict=True):
        z = optimizer.state[param]["schedule_free_z"]
        average = (param.detach() - 0.1 * z) / 0.9  # y = (1 - beta) z + beta x
        torch.testing.assert_close(evaluated, average, rtol=1e-3, atol=1e-4)
        assert torch.equal(evaluated, written)
        assert not torch.allclose(param.detach(), average, rtol=1e-3, atol=1e-4)


def test_a_label_names_what_stands_around_an_optimizer():
    cautious = AdamwSpec(lr=1e-3, apply=CautiousDecay(), wrappers=(Cautious(),))

    assert optimizer_name(Optimizers(AdamwSpec(lr=1e-3))) == "adamw"
    assert optimizer_name(Optimizers(cautious)) == "adamw+cautious+cautious_decay"
    assert optimizer_name(Optimizers(MuonSpec(lr=1e-3), AdamwSpec(lr=1e-3))) == "muon"
    assert optimizer_name(Optimizers(MuonSpec(lr=1e-3), cautious)) == "muon (rest adamw+cautious+cautious_decay)"


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

    rules = [spec.rule.source_hash for spec in (config.optimizer, config.rest_optimizer)]
    assert record.provenance["rule_hash"] == "+".join(rules)
    assert record.label == "muon"
    assert record.metrics["final_validation_loss"] < record.validation["loss"][0]
    assert torch.isfinite(torch.tensor(record.train["loss"])).all()
