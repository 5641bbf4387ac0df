import dataclasses
import json

import pytest

from logclock.config import from_dict, override, to_dict
from logclock.train import RunConfig, identity, run_id


def test_a_config_survives_json(tiny_run):
    config = tiny_run("grad_clip=null", "execution.num_threads=2")

    assert from_dict(RunConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_the_identity_reads_back_as_the_same_run(tiny_run):
    config = tiny_run("execution.num_threads=2", "execution.checkpoint_interval=7")

    assert run_id(from_dict(RunConfig, identity(config))) == run_id(config)


@pytest.mark.parametrize(
    "assignment",
    [
        "execution.device=auto",
        "execution.num_threads=2",
        "execution.compile_model=true",
        "execution.checkpoint_interval=3",
        "execution.tensorboard=true",
    ],
)
def test_how_a_run_is_executed_does_not_change_its_id(tiny_run, assignment):
    assert run_id(tiny_run(assignment)) == run_id(tiny_run())


@pytest.mark.parametrize(
    "assignment",
    [
        "model.heads=4",
        "data.dataset=other",
        "data.batch_size=8",
        "data.sequence_length=16",
        "optimizer.lr=1e-3",
        "optimizer.kappa=0.9",
        "lr_schedule.final=0.2",
        "seed=1",
        "grad_clip=null",
        "accumulation_steps=2",
        "z_loss=1e-4",
        "precision=bfloat16",
        "quantization=8",
        "backend=foreach",
        "evaluation.interval=5",
        "evaluation.batches=null",
        "log_interval=6",
    ],
)
def test_whatever_changes_the_record_changes_the_id(tiny_run, assignment):
    assert run_id(tiny_run(assignment)) != run_id(tiny_run())


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("total_steps=0", "total_steps must be >= 1, got 0"),
        ("seed=-1", "seed must be >= 0"),
        ("grad_clip=0", "grad_clip must be > 0 and finite, or None, got 0.0"),
        ("accumulation_steps=3", "accumulation_steps must divide data.batch_size = 4, got 3"),
        ("z_loss=-1", "z_loss must be >= 0"),
        ("log_interval=0", "log_interval must be >= 1"),
        ("data.batch_size=0", "batch_size must be >= 1 sequence"),
        ("data.sequence_length=0", "sequence_length must be >= 1 token"),
        ("data.dataset=", "data.dataset must name a prepared dataset"),
        ("evaluation.interval=0", "interval must be >= 1 update"),
        ("evaluation.batches=0", "batches must be >= 1 or None"),
        ("evaluation.batch_size=0", "batch_size must be >= 1"),
        ("execution.num_threads=0", "num_threads must lie between 1 and 1024"),
        ("execution.num_threads=100000000000", "num_threads must lie between 1 and 1024"),
        ('data.dataset="a\\u0000b"', "data.dataset must name a prepared dataset"),
        ("seed=-1", "seed must be >= 0 and below 2.64, got -1"),
        ("seed=18446744073709551616", "seed must be a whole number of 64 bits"),
        ("grad_clip=inf", "grad_clip must be a finite number, got inf"),
        ("z_loss=NaN", "z_loss must be a finite number, got nan"),
        ("optimizer.lr=1e400", "optimizer.lr must be a finite number, got inf"),
        ("lr_schedule.final=-inf", "lr_schedule.final must be a finite number, got -inf"),
        ("execution.checkpoint_interval=0", "checkpoint_interval must be >= 1 update or None"),
        ("execution.device=tpu", "execution.device must be one of 'auto', 'cuda', 'mps', 'cpu', got 'tpu'"),
        ("precision=float16", "precision must be one of"),
        ("quantization=2", "quantization must be one of 8, 4"),
        ("total_steps=12", "lr_schedule.total_steps must equal total_steps = 12, got 24.*--steps"),
        ("optimizer.kapa=1", "unknown path 'optimizer.kapa'. Did you mean 'kappa'"),
    ],
)
def test_values_out_of_range_are_named(tiny_run, assignment, message):
    config = tiny_run()

    with pytest.raises(ValueError, match=message):
        override(config, [assignment])


@pytest.mark.parametrize("assignment", ["seed=zero", "data.batch_size=1.5", "execution.compile_model=3", "model=7"])
def test_values_of_the_wrong_type_are_type_errors(tiny_run, assignment):
    with pytest.raises(TypeError, match=assignment.split("=")[0]):
        tiny_run(assignment)


def test_tokens_per_step_count_predicted_tokens(tiny_run):
    assert tiny_run().tokens_per_step == 4 * 32


def test_every_field_is_documented():
    import ast
    import inspect

    from logclock.train import config as module

    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.ClassDef):
            fields = {f.name for f in dataclasses.fields(getattr(module, node.name))}
            pairs = zip(node.body, node.body[1:], strict=False)
            documented = {
                first.target.id
                for first, second in pairs
                if isinstance(first, ast.AnnAssign) and isinstance(second, ast.Expr)
            }
            assert documented == fields


@pytest.mark.parametrize("steps", [2**24, 2**24 + 1, 10**12])
def test_more_updates_than_the_optimizers_count_are_refused_when_planned(tiny_run, steps):
    with pytest.raises(
        ValueError, match=rf"total_steps must be below 2\^24 = 16,777,216, .*got {steps}.*larger batches"
    ):
        tiny_run(steps=steps)


def test_the_largest_countable_number_of_updates_is_a_plan(tiny_run):
    assert tiny_run(steps=2**24 - 1).total_steps == 16_777_215


def test_the_largest_seed_of_64_bits_is_taken(tiny_run):
    assert tiny_run(f"seed={2**64 - 1}").seed == 18_446_744_073_709_551_615
