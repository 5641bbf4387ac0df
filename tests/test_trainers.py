"""Do the examples of other people's trainers run as they stand in the documentation, and go on bitwise?"""

import copy
import csv
import importlib.util
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from logclock import ADANA, AdamW, OptimizerFactory, log_time_decay

EXAMPLES = Path(__file__).parents[1] / "examples" / "trainers"
HOSTS = {
    "hugging_face": ("transformers", "accelerate"),
    "peft_adapters": ("transformers", "peft"),
    "accelerate_loop": ("accelerate",),
    "lightning_module": ("lightning",),
    "titan_container": (),
    "torchrun_ddp": (),
}

pytestmark = pytest.mark.filterwarnings("ignore")  # of other people's packages, which change with every version


def example(name):
    """Return the module of an example, or skip the test where its host is not installed."""
    for host in HOSTS[name]:
        pytest.importorskip(host)
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assert_same_weights(model, other):
    for (name, one), two in zip(model.state_dict().items(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two), name


def assert_same_state(optimizer, other):
    one, two = optimizer.state_dict(), other.state_dict()
    assert one["param_groups"] == two["param_groups"]
    assert one["state"].keys() == two["state"].keys()
    for index, state in one["state"].items():
        for name, value in state.items():
            assert torch.equal(value, two["state"][index][name]), name


def test_every_example_is_short_and_tested():
    lines = {path.stem: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}

    assert lines.keys() == HOSTS.keys()
    assert max(lines.values()) <= 60


# ----- Hugging Face


@pytest.mark.parametrize("choice", ["lion", "adana", "muon"])
def test_hugging_faces_trainer_goes_on_bitwise(tmp_path, choice):
    module = example("hugging_face")
    whole = module.train(str(tmp_path / "whole"), choice)
    shutil.copytree(tmp_path / "whole" / "checkpoint-4", tmp_path / "resumed" / "checkpoint-4")

    resumed = module.train(str(tmp_path / "resumed"), choice)

    assert [entry["step"] for entry in resumed.state.log_history if "loss" in entry] == list(range(1, 9))
    assert_same_weights(resumed.model, whole.model)
    assert_same_state(resumed.optimizer, whole.optimizer)
    groups = whole.optimizer.param_groups
    assert sum(len(group["params"]) for group in groups) == len(list(whole.model.parameters()))
    expected = {"lion": ["lion", "lion"], "adana": ["adana", "adana"], "muon": ["muon", "adana", "adana"]}[choice]
    assert [group["algorithm"] for group in groups] == expected


def test_hugging_faces_log_has_the_decay_of_the_moment(tmp_path):
    module = example("hugging_face")
    trainer = module.train(str(tmp_path), "adana")

    logged = [entry["weight_decay"] for entry in trainer.state.log_history if "loss" in entry]
    assert logged == [4.0 / (1 + t) for t in range(1, 9)]  # omega / (T / 10 + t), T / 10 at least one update
    assert all(isinstance(decay, float) for decay in logged)


@pytest.mark.parametrize(
    ("decay", "settings", "message"),
    [
        (0.0, {"weight_decay": log_time_decay(4.0, offset=10)}, r"no parameter would follow.*OptimizerFactory"),
        (0.1, {"weight_decay": log_time_decay(4.0, offset=10)}, r"no parameter would follow.*OptimizerFactory"),
        (0.1, {}, r"would erase the weights.*TrainingArguments\.weight_decay.*OptimizerFactory"),
    ],
)
def test_a_class_of_independent_decay_does_not_take_hugging_faces_number_without_a_word(
    tmp_path, decay, settings, message
):
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    arguments = transformers.TrainingArguments(str(tmp_path), weight_decay=decay, report_to=[])
    chosen = (ADANA, {"lr": 1e-3, **settings})
    trainer = transformers.Trainer(nn.Linear(3, 2), arguments, optimizer_cls_and_kwargs=chosen)

    with pytest.raises(ValueError, match=message):
        trainer.create_optimizer()


# ----- the factory


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 4), nn.Linear(4, 7, bias=False))


def test_a_factory_decays_what_param_groups_decays():
    schedule = log_time_decay(4.0, offset=10)
    optimizer = OptimizerFactory()(small(), lr=1e-3, weight_decay=schedule, kappa=0.75, clip_norm=1.0)

    assert type(optimizer) is ADANA
    assert [group["param_names"] for group in optimizer.param_groups] == [
        ["1.weight", "2.weight"],
        ["0.weight", "1.bias"],
    ]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [schedule.to_dict(), 0.0]
    assert [group["kappa"] for group in optimizer.param_groups] == [0.75, 0.75]
    assert OptimizerFactory()(small(), lr=1e-3, algorithm="adamw").param_groups[0]["weight_decay"] == 0.01


def test_a_factory_gives_hidden_matrices_their_algorithm():
    muon = {"algorithm": "muon", "lr": 0.02, "weight_decay": 0.1}
    optimizer = OptimizerFactory()(
        small(), lr=1e-3, algorithm=AdamW, weight_decay=0.2, matrices=muon, row_blocks={"1.*": 2}
    )

    found = [(g["algorithm"], g["lr"], g["weight_decay"], g["param_names"]) for g in optimizer.param_groups]
    assert found == [
        ("muon", 0.02, 0.1, ["1.weight"]),
        ("adamw", 1e-3, 0.2, ["2.weight"]),
        ("adamw", 1e-3, 0.0, ["0.weight", "1.bias"]),
    ]
    assert optimizer.param_groups[0]["row_blocks"] == 2


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({}, TypeError, "lr"),
        ({"lr": 1e-3, "weight_decay": 0.1}, ValueError, "would erase the weights"),
        ({"lr": 1e-3, "algorithm": "adanna"}, ValueError, "Did you mean 'adana'"),
        ({"lr": 1e-3, "weight_deca": 0.1}, TypeError, "Did you mean 'weight_decay'"),
        ({"lr": 1e-3, "row_blocks": {"1.*": 2}}, TypeError, "row_blocks cut hidden matrices"),
        ({"lr": 1e-3, "overrides": {"9.*": "decay"}}, ValueError, "match no trainable parameter"),
    ],
)
def test_a_factory_says_what_is_wrong(settings, error, message):
    with pytest.raises(error, match=message):
        OptimizerFactory()(small(), **settings)


# ----- other hosts


@pytest.mark.parametrize("choice", ["adana", "muon"])
def test_adapters_are_trained_and_nothing_else(choice):
    module = example("peft_adapters")
    start = {name: value.clone() for name, value in module.adapted().state_dict().items()}
    whole, optimizer = module.train(choice)
    half, first = module.train(choice, steps=4)
    half, second = module.train(choice, steps=4, model=half, state=first.state_dict())

    assert_same_weights(half, whole)
    assert_same_state(second, optimizer)
    moved = {name for name, value in whole.state_dict().items() if not torch.equal(value, start[name])}
    assert len(moved) == 4
    assert all("lora_" in name for name in moved)
    algorithms = {group["algorithm"] for group in optimizer.param_groups if group["params"]}
    assert algorithms == {choice}


def test_accelerate_goes_on_bitwise(tmp_path):
    module = example("accelerate_loop")
    model, optimizer = module.train()
    module.train(str(tmp_path), steps=4)

    resumed, own = module.train(str(tmp_path), steps=4, resumes=True)

    assert_same_weights(resumed, model)
    assert_same_state(own, optimizer)
    assert {state["step"].item() for state in optimizer.state.values()} == {8.0}
    assert optimizer.param_groups[0]["lr"] == pytest.approx(1e-3)


def test_lightning_goes_on_bitwise_and_logs_numbers(tmp_path):
    module = example("lightning_module")
    whole = module.train(tmp_path / "whole")
    module.train(tmp_path / "half", epochs=1)
    resumed = module.train(tmp_path / "resumed", checkpoint=tmp_path / "half" / "last.ckpt")

    assert_same_weights(resumed.model, whole.model)
    assert_same_state(resumed.optimizers[0], whole.optimizers[0])
    with open(Path(whole.logger.log_dir) / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    decays = [float(row["decay/pg1"]) for row in rows if row["decay/pg1"]]
    # omega / (1 + t) of the latest update, which is t - 1 before update t, or 1 before the first
    assert decays == pytest.approx([4 / 2, *(4 / (1 + t) for t in range(1, 8))])
    rates = [float(row["lr-ADANA/pg1"]) for row in rows if row["lr-ADANA/pg1"]]
    assert rates == pytest.approx([1e-2 * (1 - 0.9 * k / 8) for k in range(8)])


def test_lightnings_wrapper_of_an_optimizers_class_steps_and_has_its_groups():
    pytest.importorskip("lightning")
    from lightning.pytorch.core.optimizer import LightningOptimizer

    weight = nn.Parameter(torch.ones(3))
    inner = ADANA([weight], lr=1e-2)
    wrapped = LightningOptimizer(inner)

    assert isinstance(wrapped, ADANA)
    assert wrapped.param_groups is inner.param_groups
    assert wrapped.current_hyperparameters() == inner.current_hyperparameters()


class Mixed:
    """What a host mixes into the class of an optimizer."""


HostADANA = type("HostADANA", (Mixed, ADANA), {})


def test_a_class_that_a_host_derives_is_pickled_copied_saved_and_shown():
    weight = nn.Parameter(torch.ones(3))
    optimizer = HostADANA([weight], lr=1e-2, weight_decay=log_time_decay(4.0, offset=10))
    weight.grad = torch.ones(3)
    optimizer.step()

    for twin in (pickle.loads(pickle.dumps(optimizer)), copy.deepcopy(optimizer)):
        assert type(twin) is HostADANA
        assert_same_state(twin, optimizer)
    assert repr(optimizer).startswith("HostADANA (\nParameter Group 0")
    plain = ADANA([nn.Parameter(torch.ones(3))])
    plain.load_state_dict(optimizer.state_dict())
    assert_same_state(plain, optimizer)


def test_a_container_of_optimizers_saves_and_loads_flat_states():
    module = example("titan_container")

    def parts():
        torch.manual_seed(0)
        first = nn.ModuleDict({"embed": nn.Embedding(7, 4), "hidden": nn.ModuleList([nn.Linear(4, 4)])})
        return [first, nn.ModuleDict({"head": nn.Linear(4, 7)})]

    def steps(parts, optimizers, numbers):
        for number in numbers:
            for part in parts:
                for i, param in enumerate(part.parameters()):
                    param.grad = torch.randn(param.shape, generator=torch.Generator().manual_seed(9 * number + i))
            optimizers.step()

    whole, halves, resumed = parts(), parts(), parts()
    straight = module.OptimizersContainer(whole, lr=1e-2)
    steps(whole, straight, range(8))
    first = module.OptimizersContainer(halves, lr=1e-2)
    steps(halves, first, range(4))
    state = copy.deepcopy(first.state_dict())
    assert state["state.hidden.0.weight.step"] == 4
    for part, other in zip(resumed, halves, strict=True):
        part.load_state_dict(other.state_dict())
    second = module.OptimizersContainer(resumed, lr=1e-2)
    second.load_state_dict(state)
    steps(resumed, second, range(4, 8))

    assert [group["algorithm"] for group in straight.optimizers[0].param_groups] == ["muon", "adana"]
    assert straight.optimizers[1].param_groups[-1]["weight_decay"] == module.DECAY
    for one, other in zip([*resumed, *second.optimizers], [*whole, *straight.optimizers], strict=True):
        (assert_same_weights if isinstance(one, nn.Module) else assert_same_state)(one, other)


def test_two_ranks_of_torchrun_go_on_as_one_process_would(tmp_path):
    """The first half is of one process, which has the groups of the example; the launcher makes the second."""
    module = example("torchrun_ddp")
    torch.manual_seed(0)
    blocks = [nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 1)]
    model = nn.Sequential(*blocks)
    muon = {"algorithm": "muon", "lr": 0.02}
    settings = {"lr": 1e-2, "weight_decay": module.DECAY, "matrices": muon, "overrides": {"4.weight": "decay"}}
    optimizer = OptimizerFactory()(model, **settings)

    for batch in range(8):
        if batch == 4:
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "done": 4}
            torch.save(state, tmp_path / "state.pt")
        inputs = torch.randn(8, 8, generator=torch.Generator().manual_seed(batch))
        optimizer.zero_grad()
        (model(inputs) - inputs.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [*launch, str(EXAMPLES / "torchrun_ddp.py"), str(tmp_path / "state.pt"), "4"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)

    assert done.returncode == 0, done.stderr
    saved = torch.load(tmp_path / "state.pt", weights_only=True)
    assert saved["done"] == 8
    assert {own["step"].item() for own in saved["optimizer"]["state"].values()} == {8.0}
    for name, value in model.state_dict().items():  # a mean of two halves is rounded otherwise than one mean
        torch.testing.assert_close(saved["model"][name], value, rtol=1e-4, atol=1e-5)
