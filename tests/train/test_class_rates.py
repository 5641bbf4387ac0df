"""Does a run give its tables a rate of their own, say so in its record and keep the names of runs without one?"""

import dataclasses

import pytest

from logclock.analysis import compare
from logclock.config import from_dict, override, to_dict
from logclock.recipes import VARIANTS, get_recipe, get_variant, micro
from logclock.recipes.variants.variant import class_rate_axis
from logclock.records import Ledger
from logclock.report.tables import result_table
from logclock.schedules import AdaptiveWarmupPlan
from logclock.sweep import Axis, Trial
from logclock.sweep.search import configure, with_lr_multiplier
from logclock.train import RunConfig, run_id, train
from logclock.train.config import identity
from logclock.train.loop import build_optimizer, group_names


def groups_of(config):
    """Peak learning rate by the name of the group."""
    model = config.model.build(seed=0)
    optimizer = build_optimizer(config, model)
    names = group_names(config, model, optimizer)
    return {name: group["peak_lr"] for name, group in zip(names, optimizer.param_groups, strict=True)}


def test_unset_it_is_no_part_of_a_run(tiny_run):
    plain = tiny_run()

    assert "tables_lr_factor" not in identity(plain)
    assert run_id(tiny_run(tables_lr_factor=1.0)) == run_id(plain)
    assert run_id(tiny_run(tables_lr_factor=4.0)) != run_id(plain)
    assert from_dict(RunConfig, to_dict(tiny_run(tables_lr_factor=4.0))).tables_lr_factor == 4.0


def test_every_class_has_its_peak(tiny_run):
    lr = tiny_run().optimizer.lr

    assert groups_of(tiny_run()) == {"decay": lr, "no_decay": lr}
    assert groups_of(tiny_run(tables_lr_factor=4.0)) == {"decay": lr, "head": 4 * lr, "no_decay": 4 * lr}


def test_mup_scales_head_and_hidden_weights_on_top(tiny_run):
    config = tiny_run("model.mup_base_width=8", tables_lr_factor=4.0)  # of width 16
    lr = config.optimizer.lr

    assert groups_of(config) == {"decay": lr / 2, "head": 2 * lr, "no_decay": 4 * lr}
    plain = dataclasses.replace(config, tables_lr_factor=None)
    assert groups_of(plain) == {"decay": lr / 2, "no_decay": lr}


def test_a_learning_rate_sweep_keeps_the_ratio(tiny_run):
    faster = with_lr_multiplier(tiny_run(tables_lr_factor=4.0), 2.0)

    assert faster.tables_lr_factor == 4.0
    assert groups_of(faster)["no_decay"] == 4 * faster.optimizer.lr


@pytest.mark.parametrize("factor", [0.0, -1.0, float("inf")])
def test_a_ratio_is_positive_and_finite(tiny_run, factor):
    with pytest.raises(ValueError, match="tables_lr_factor must be > 0 and finite, or None"):
        tiny_run(tables_lr_factor=factor)


def test_beside_another_optimizer_for_the_rest_it_is_refused(tiny_run):
    with pytest.raises(ValueError, match=r"tables_lr_factor must be None beside a rest_optimizer, got 4\.0\..*rest_op"):
        tiny_run(optimizer="muon", tables_lr_factor=4.0)


@pytest.mark.parametrize("schedule", [None, AdaptiveWarmupPlan(end_loss=5.0)])
def test_rates_of_all_classes_follow_the_schedule(tiny_run, tiny_data_root, tmp_path, schedule):
    config = tiny_run(tables_lr_factor=4.0, lr_schedule=schedule)

    record = train(config, out=tmp_path, data_root=tiny_data_root)

    hidden, head, tables = (record.schedules[f"{name}/lr"] for name in ("decay", "head", "no_decay"))
    assert record.config["tables_lr_factor"] == 4.0
    assert max(hidden) > 2 * min(hidden)
    assert head == tables
    assert head == pytest.approx([4 * lr for lr in hidden], rel=1e-5)
    # independent decay is s(t) lambda(t), whatever the peak of the group
    removed = record.schedules.get("decay/decay", record.schedules.get("decay"))
    assert removed == record.schedules["head/decay"]


def test_tables_move_by_the_ratio_and_hidden_matrices_as_before(tiny_run):
    """One update of Adam is lr times a sign: exact but for eps."""
    moved = {}
    for factor in (None, 4.0):
        config = tiny_run(optimizer="adamw", tables_lr_factor=factor)
        model = config.model.build(seed=0)
        optimizer = build_optimizer(config, model)
        before = {name: param.detach().clone() for name, param in model.named_parameters()}
        for param in model.parameters():
            param.grad = param.detach().sign() + 2.0
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.0
        optimizer.step()
        moved[factor] = {
            name: float((param - before[name]).detach().abs().mean()) for name, param in model.named_parameters()
        }

    ratios = {name: moved[4.0][name] / size for name, size in moved[None].items()}
    is_table = {name for name in ratios if "norm" in name or "embed" in name or "head" in name}
    assert 0 < len(is_table) < len(ratios)
    assert all(ratio == pytest.approx(4.0 if name in is_table else 1.0, rel=1e-3) for name, ratio in ratios.items())


def test_the_report_says_it_where_it_is_set(tiny_run, tiny_data_root, tmp_path):
    for label, factor in (("plain", None), ("split", 4.0)):
        for seed in (0, 1):
            config = tiny_run(f"seed={seed}", tables_lr_factor=factor, steps=10)
            train(config, out=tmp_path, label=label, data_root=tiny_data_root)

    comparison = compare(Ledger(tmp_path / "ledger.jsonl").records())

    cells = {row[0]: row[1] for row in result_table(comparison).rows}
    assert cells == {"plain": "5e-3", "split": "5e-3 (tables x4)"}
    assert not any("tables_lr_factor" in warning for warning in comparison.warnings)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_is_searched_over_the_same_ratios_where_it_is_asked_for(name):
    run, variant = micro(name), get_variant(name)

    before, after = variant.search_space(run), variant.search_space(run, class_rates=True)

    (axis,) = [axis for axis in after if axis.path in ("tables_lr_factor", "rest_optimizer.lr")]
    assert [axis.path for axis in before if axis.path == "tables_lr_factor"] == []
    assert {axis.path for axis in after} - {axis.path for axis in before} <= {axis.path}
    for ratio in (4, 10):
        text = str(ratio) if run.optimizers.rest is None else f"x{ratio}"
        assert text in axis.values
        tried = configure(run, Trial(multiplier=1.0).with_setting(axis.path, text))
        if run.optimizers.rest is None:
            assert tried.tables_lr_factor == ratio
        else:
            assert tried.optimizers.rest.lr == pytest.approx(ratio * run.optimizers.rest.lr)


def test_a_search_leaves_out_the_ratio_that_a_run_has():
    run = override(micro("adana"), ["tables_lr_factor=4"])

    assert get_variant("adana").search_space(run, class_rates=True)[-1].values == ("10",)
    assert class_rate_axis(run) == Axis(path="tables_lr_factor", values=("4", "10"))
    assert get_recipe("micro")("adana") == micro("adana")
