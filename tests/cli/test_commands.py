import json

import pytest

from logclock.cli import main
from logclock.config import from_dict
from logclock.models import ModelConfig
from logclock.recipes import RECIPES, VARIANTS
from logclock.records import Ledger
from logclock.rules import Spec
from logclock.schedules import Schedule
from logclock.train import RunConfig, load_model, run_id

TINY = [
    "data.dataset=tiny-byte-257",
    "data.batch_size=4",
    "data.sequence_length=32",
    "model.vocab_size=257",
    "model.head_dim=8",
    "evaluation.batches=2",
    "evaluation.batch_size=4",
    "evaluation.interval=10",
]


def test_list_names_every_registered_thing(capsys):
    assert main(["list"]) == 0

    shown = capsys.readouterr().out.splitlines()
    described = {line.split()[0] for line in shown if line.startswith("  ") and len(line.split()) > 1}
    assert {*Spec.family, *VARIANTS, *Schedule.family, *ModelConfig.family, *RECIPES} <= described
    assert {"essentials", "stdlib", "synthetic"} <= described


def test_list_says_paper_and_memory_and_what_may_stand_around(capsys):
    assert main(["list"]) == 0

    lines = capsys.readouterr().out.splitlines()

    def line(title, name):
        (start,) = [number for number, text in enumerate(lines) if text.startswith(title)]
        return next(text for text in lines[start + 1 :] if text.startswith(f"  {name} "))

    assert line("optimizers (algorithms", "adamw").endswith("[arXiv:1711.05101; state 8 bytes per parameter]")
    assert line("optimizers (algorithms", "lion").endswith("state 4 bytes per parameter]")
    # exp_avg and exp_avg_sq, and four matrices of a side squared: six numbers of 4 bytes
    assert line("optimizers (algorithms", "soap").endswith("state 24 bytes per parameter of a square matrix]")
    # two averages of 1024 x 256 for a matrix of 1024 x 1024: half a number of 4 bytes
    assert line("optimizers (algorithms", "apollo").endswith(
        "state 2 bytes per parameter of a square matrix with a side of 1024]"
    )
    assert line("wrappers", "schedule_free").endswith("[state 4 bytes per parameter]")
    assert line("wrappers", "cautious").endswith("[state 0 bytes per parameter]")
    assert line("apply stages", "hyperball").endswith("[state 0 bytes per parameter]")
    assert line("optimizers of recipes", "adana-undamped").endswith("does the gain need damping?")


COMPOSED = ("optimizer.apply=cautious", 'optimizer.wrappers=["cautious", {"name": "clip_rms", "bound": 2}]')


def test_show_takes_and_prints_what_stands_around_an_optimizer(capsys):
    assert main(["show", "--set", *COMPOSED]) == 0
    lines = capsys.readouterr().out.splitlines()

    assert "optimizer.apply.name=cautious_decay" in lines
    (wrappers,) = [line.partition("=")[2] for line in lines if line.startswith("optimizer.wrappers=")]
    assert json.loads(wrappers) == [{"name": "cautious", "floor": 0.001}, {"name": "clip_rms", "bound": 2.0}]
    assert main(["show", "--set", "optimizer.apply=cautious", f"optimizer.wrappers={wrappers}"]) == 0
    assert capsys.readouterr().out.splitlines() == lines


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optimizer.apply=cautius", "unknown apply stage 'cautius'. Did you mean 'cautious_decay'"),
        ('optimizer.wrappers=["cautios"]', "unknown wrapper 'cautios'. Did you mean 'cautious'"),
    ],
)
def test_an_unknown_option_is_answered_with_the_closest(capsys, assignment, message):
    assert main(["show", "--set", assignment]) == 2
    assert message in capsys.readouterr().err


def test_show_prints_assignments_that_set_takes(capsys):
    assert main(["show", "--optimizer", "adamw", "--steps", "100"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()

    assert "total_steps=100" in lines
    assert "optimizer.name=adamw" in lines
    assert first.startswith("# run ")
    # Taken back, they make it the same run. The tags come first: they decide which fields there are.
    tags = [line for line in lines if line.split("=")[0].endswith((".kind", ".name"))]
    assert main(["show", "--optimizer", "adamw", "--steps", "100", "--seed", "7", "--set", *tags, *lines]) == 0
    assert capsys.readouterr().out.splitlines()[0] == first


def test_show_json_is_a_config_file(capsys, tmp_path):
    assert main(["show", "--json", "--set", "optimizer.kappa=0.9", "execution.num_threads=2"]) == 0
    text = capsys.readouterr().out
    path = tmp_path / "run.json"
    path.write_text(text)

    config = from_dict(RunConfig, json.loads(text))
    assert (config.optimizer.kappa, config.execution.num_threads) == (0.9, 2)
    assert main(["show", "--json", "--config", str(path)]) == 0
    assert capsys.readouterr().out == text


def test_a_file_that_is_no_config_is_an_error(capsys, tmp_path):
    path = tmp_path / "run.json"
    path.write_text("{")
    assert main(["show", "--config", str(path)]) == 2
    assert "is not JSON" in capsys.readouterr().err

    path.write_text('{"sede": 1}')
    assert main(["show", "--config", str(path)]) == 2
    assert "unknown key 'sede'. Did you mean 'seed'" in capsys.readouterr().err


@pytest.fixture
def train_command(tmp_path, tiny_data_root):
    def make(*extra: str, settings: tuple[str, ...] = ()) -> list[str]:
        places = ["--out", str(tmp_path / "out"), "--data-root", str(tiny_data_root)]
        return ["train", "--heads", "2", *places, *extra, "--set", *TINY, *settings]

    return make


def test_train_makes_a_run_and_says_where_it_is(capsys, train_command, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/usr/bin/logclock", "train", "--out", "two words"])

    assert main(train_command("--steps", "20", "--progress", "plain")) == 0

    (record,) = Ledger(tmp_path / "out" / "ledger.jsonl").records()
    shown = capsys.readouterr().out
    assert "adana: step 20/20" in shown
    assert f"adana: finished, validation loss {record.metrics['final_validation_loss']:.4f}" in shown
    assert str(tmp_path / "out" / "runs" / record.run_id) in shown
    assert record.provenance["command"] == "logclock train --out 'two words'"


def test_a_trained_composition_is_named(capsys, train_command, tmp_path):
    assert main(train_command("--steps", "20", "--progress", "quiet", settings=COMPOSED)) == 0

    (record,) = Ledger(tmp_path / "out" / "ledger.jsonl").records()
    assert record.label == "adana+cautious+clip_rms+cautious_decay"
    assert "adana+cautious+clip_rms+cautious_decay: finished" in capsys.readouterr().out
    assert record.config["optimizer"]["apply"] == {"name": "cautious_decay"}
    assert record.schedules["cautious.floor"] == [0.001]


@pytest.mark.parametrize("kind", ["qwen3", "llama"])
def test_a_run_can_take_another_model(train_command, tmp_path, kind):
    command = train_command(
        "--steps", "20", "--progress", "quiet", settings=(f"model.kind={kind}", "model.num_layers=1")
    )

    assert main(command) == 0

    (record,) = Ledger(tmp_path / "out" / "ledger.jsonl").records()
    loaded = load_model(tmp_path / "out" / "runs" / record.run_id)
    config = from_dict(ModelConfig, record.config["model"])
    assert sum(p.numel() for p in loaded.parameters()) == record.model["total_params"] == config.size().total_params
    assert record.metrics["final_validation_loss"] < record.train["loss"][0]


def test_train_from_a_file_is_the_same_run(capsys, train_command, tmp_path, tiny_data_root):
    main(["show", "--json", "--heads", "2", "--steps", "20", "--set", *TINY])
    path = tmp_path / "run.json"
    path.write_text(capsys.readouterr().out)

    code = main(["train", "--config", str(path), "--out", str(tmp_path), "--data-root", str(tiny_data_root)])

    assert code == 0
    (record,) = Ledger(tmp_path / "ledger.jsonl").records()
    assert record.run_id == run_id(from_dict(RunConfig, json.loads(path.read_text())))


def test_a_diverged_run_is_exit_code_3(capsys, train_command):
    code = main(train_command("--steps", "20", "--progress", "quiet", settings=("optimizer.lr=1e30", "grad_clip=null")))

    assert code == 3
    assert "adana: diverged, the training loss was nan at step" in capsys.readouterr().out


def test_train_goes_on_or_starts_over(capsys, train_command):
    main(train_command("--steps", "20", "--progress", "plain"))
    capsys.readouterr()

    assert main(train_command("--steps", "20", "--progress", "plain")) == 0
    assert "has finished before; nothing to do" in capsys.readouterr().out
    assert main(train_command("--steps", "20", "--progress", "plain", "--no-resume")) == 0
    assert "adana: step 0/20" in capsys.readouterr().out


def test_data_prepare_makes_a_dataset_that_a_run_finds_by_name(capsys, tmp_path):
    source = tmp_path / "text"
    source.mkdir()
    for number in range(30):
        (source / f"{number}.txt").write_text(f"Text number {number} about {number * number} things. " * 20)
    root = ["--data-root", str(tmp_path / "root")]

    code = main(["data", "prepare", str(source), "mine", "--tokenizer", "byte", "--validation-fraction", "0.3", *root])

    assert code == 0
    assert (tmp_path / "root" / "datasets" / "mine" / "dataset.json").is_file()
    settings = [*TINY[1:], "data.dataset=mine"]
    out = ["--out", str(tmp_path / "out")]
    assert main(["train", "--steps", "5", "--heads", "2", *out, *root, "--set", *settings]) == 0


def test_data_get_builds_a_corpus_and_list_knows_it(capsys, tmp_path):
    assert main(["data", "get", "synthetic", "--limit-bytes", "200000", "--data-root", str(tmp_path)]) == 0
    assert main(["data", "list", "--data-root", str(tmp_path)]) == 0

    assert "synthetic" in capsys.readouterr().out
