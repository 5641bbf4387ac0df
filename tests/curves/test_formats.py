"""From a file of another program to the verdict, format by format. The numbers are those of conftest."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from logclock.curves import FORMATS, Reading, find_sources, import_runs, read_source

STEPS = (100, 200, 300)
LOSSES = {"adamw": (4.0, 3.5, 3.2), "adana": (3.9, 3.4, 3.1)}


def imported(out, *sources, **reading):
    return import_runs(sources, out, Reading(**reading))


def only(path, **columns):
    ((source, format),) = find_sources([path])
    return read_source(source, format, columns)


def test_a_chart_that_was_downloaded_from_wandb(tmp_path, write_csv, check_verdict):
    names = [f"{label} - val/loss{end}" for label in LOSSES for end in ("", "__MIN", "__MAX")]
    rows = [[step, *[LOSSES[label][i] for label in LOSSES for _ in range(3)]] for i, step in enumerate(STEPS)]
    path = write_csv("wandb_export.csv", ["Step", *names], *rows)

    records = imported(tmp_path / "out", path)

    check_verdict(records)
    assert [record.provenance["imported_format"] for record in records] == ["wandb-csv"] * 2
    assert [record.provenance["imported_run"] for record in records] == ["adamw", "adana"]


def test_two_charts_of_wandb_with_one_loss_each_make_one_run_each(tmp_path, write_csv, check_verdict):
    for name, metric, shift in (("val.csv", "val/loss", 0.0), ("train.csv", "train/loss", -0.2)):
        rows = [[step, *(LOSSES[label][i] + shift for label in LOSSES)] for i, step in enumerate(STEPS)]
        write_csv(f"charts/{name}", ["Step", *(f"{label} - {metric}" for label in LOSSES)], *rows)

    records = imported(tmp_path / "out", tmp_path / "charts")

    check_verdict(records)
    assert len(records) == 2
    assert records[0].train["loss"] == pytest.approx([3.8, 3.3, 3.0])
    assert records[0].provenance["imported_from"].count(" + ") == 1


def test_a_history_of_wandb_counts_by_the_trainers_step_and_not_by_its_calls_to_log(
    tmp_path, write_lines, check_verdict
):
    for label, losses in LOSSES.items():
        entries = [
            {"_step": i, "train/global_step": step, "eval/loss": loss, "gradients": {"_type": "histogram"}}
            for i, (step, loss) in enumerate(zip(STEPS, losses, strict=True))
        ]
        write_lines(f"runs/{label}-s3.jsonl", *entries)

    records = imported(tmp_path / "out", tmp_path / "runs")

    check_verdict(records)
    assert [(record.label, record.seed) for record in records] == [("adamw", 3), ("adana", 3)]


def test_a_history_of_wandb_as_parquet(tmp_path, check_verdict):
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for label, losses in LOSSES.items():
        table = pa.table({"_step": list(STEPS), "val/loss": list(losses), "media": [{"a": 1}] * 3})
        parquet.write_table(table, tmp_path / f"{label}.parquet")

    records = imported(tmp_path / "out", tmp_path / "adamw.parquet", tmp_path / "adana.parquet")

    check_verdict(records)


def test_folders_of_event_files_that_tensorboard_writes(tmp_path, check_verdict):
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    for label, losses in LOSSES.items():
        with SummaryWriter(str(tmp_path / "tb" / f"{label}-s0")) as writer:
            for step, loss in zip(STEPS, losses, strict=True):
                writer.add_scalar("train/loss", loss + 0.1, step)
                writer.add_scalar("eval/loss", loss, step)
                writer.add_scalar("lr", 3e-4, step)
                writer.add_scalar("global_step", 7 * step, step)  # a scalar, whatever it is called
                writer.add_text("config", "{}", step)

    records = imported(tmp_path / "out", tmp_path / "tb")

    found = check_verdict(records)
    assert [row.peak_lr for row in found.rows] == [3e-4, 3e-4]
    assert records[0].provenance["imported_columns"] == (
        "loss = train/loss, lr = lr, step = step, validation_loss = eval/loss"
    )


def test_event_files_of_a_resumed_run_are_one_run_and_the_later_one_counts(tmp_path):
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    for name, points in ((".1", [(100, 4.0), (200, 9.0)]), (".2", [(150, 3.7), (300, 3.2)])):
        with SummaryWriter(str(tmp_path / "adamw"), filename_suffix=name) as writer:
            for step, loss in points:
                writer.add_scalar("loss", loss, step)

    (curve,) = only(tmp_path / "adamw")

    assert curve.series["loss"].finite == [(100, 4.0), (150, 3.7), (300, 3.2)]
    assert curve.notes == ("loss goes back 1 time (the run was resumed): 1 row gave way to what came later.",)


def test_an_event_file_that_is_damaged_is_an_error_and_one_that_was_cut_off_a_note(tmp_path):
    pytest.importorskip("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(tmp_path / "adamw")) as writer:
        for step in range(5):
            writer.add_scalar("loss", 3.0, step)
    (path,) = (tmp_path / "adamw").iterdir()
    whole = path.read_bytes()

    path.write_bytes(whole[:-3])
    (curve,) = only(path)
    path.write_bytes(whole[:60] + b"\xff" + whole[61:])
    with pytest.raises(ValueError, match=r"events\.out\.tfevents\S+, event \d: damaged, or no event file"):
        only(path)

    assert curve.last_step == 3
    assert "is cut off in event 6" in curve.notes[0]


def test_the_state_that_hugging_faces_trainer_saves(tmp_path, check_verdict):
    callbacks = pytest.importorskip("transformers.trainer_callback")
    for label, losses in LOSSES.items():
        for saved, steps in (("checkpoint-200", STEPS[:2]), ("checkpoint-300", STEPS)):
            history = [{"loss": 9.0, "grad_norm": 1.0, "learning_rate": 2e-4, "epoch": 0.1, "step": 50}]
            for step, loss in zip(steps, losses, strict=False):
                history += [{"loss": loss + 0.1, "learning_rate": 1e-4, "epoch": 0.2, "step": step}]
                history += [{"eval_loss": loss, "eval_runtime": 1.0, "epoch": 0.2, "step": step}]
            history += [{"train_loss": 99.0, "train_runtime": 5.0, "step": steps[-1]}]  # the mean over the whole run
            folder = tmp_path / "hf" / label / saved
            folder.mkdir(parents=True)
            state = callbacks.TrainerState(log_history=history, max_steps=300, global_step=steps[-1])
            state.save_to_json(str(folder / "trainer_state.json"))

    records = imported(tmp_path / "out", tmp_path / "hf")

    found = check_verdict(records)
    assert [row.peak_lr for row in found.rows] == [2e-4, 2e-4]
    assert records[0].train["loss"] == pytest.approx([9.0, 4.1, 3.6, 3.3])


def test_the_metrics_of_lightnings_csv_logger(tmp_path, write_csv, check_verdict):
    # as its documentation shows it: a row for each call, with empty cells for what was not logged
    for label, losses in LOSSES.items():
        rows = []
        for step, loss in zip(STEPS, losses, strict=True):
            rows += [[0, 6e-4, step, loss + 0.1, ""], [0, "", step, "", loss]]
        write_csv(
            f"lightning_logs/{label}/version_0/metrics.csv",
            ["epoch", "lr-AdamW", "step", "train_loss", "val_loss"],
            *rows,
        )

    records = imported(tmp_path / "out", tmp_path / "lightning_logs", label="{optimizer}/version_{_}")

    found = check_verdict(records)
    assert [row.peak_lr for row in found.rows] == [6e-4, 6e-4]
    assert records[0].provenance["imported_format"] == "lightning-csv"


def test_the_log_of_nanogpt_says_parameters_and_tokens_too(tmp_path, write_lines, check_verdict):
    for label, losses in LOSSES.items():
        lines = ["tokens per iteration will be: 491,520", "number of parameters: 123.59M", "num decayed: 50"]
        for step, loss in zip(STEPS, losses, strict=True):
            lines.append(f"step {step}: train loss {loss - 0.1:.4f}, val loss {loss:.4f}")
            lines.append(f"iter {step}: loss {loss + 0.05:.4f}, time 402.13ms, mfu 31.20%")
        write_lines(f"logs/{label}.log", *lines)

    records = imported(tmp_path / "out", tmp_path / "logs")

    found = check_verdict(records)
    assert records[0].train["loss"] == pytest.approx([4.05, 3.55, 3.25])
    assert records[0].model["total_params"] == 123_590_000
    assert records[0].train["tokens"][-1] == 300 * 491_520
    assert found.convention == "compute_6d_per_token"


@pytest.mark.parametrize(
    ("format", "line"),
    [
        ("llm.c", "s:{step} tel:{loss:.4f}"),
        ("build-nanogpt", "{step} val {loss:.4f}"),
        ("modded-nanogpt", "step:{step}/300 val_loss:{loss:.4f} train_time:100ms step_avg:1.00ms"),
    ],
)
def test_text_logs_of_the_nanogpt_family(tmp_path, write_lines, check_verdict, format, line):
    for label, losses in LOSSES.items():
        lines = ["import torch", 'print0(f"step:{step}/{train_steps} val_loss:{val_loss:.4f}")', "=" * 80]
        lines += [line.format(step=step, loss=loss) for step, loss in zip(STEPS, losses, strict=True)]
        write_lines(f"logs/{label}.txt", *lines)

    records = imported(tmp_path / "out", tmp_path / "logs")

    check_verdict(records)
    assert {record.provenance["imported_format"] for record in records} == {format}


def test_the_screen_of_llm_c_has_the_validation_loss_without_a_step(tmp_path, write_lines):
    path = write_lines(
        "adamw.log",
        "val loss 11.009",
        "step    1/19560 | loss 10.95 (+nanz)| norm 15.3 (+nanz)| lr 8.57e-07 | 3056.36 ms | 52.1% bf16 MFU | 9 tok/s",
        "step    2/19560 | loss 10.80 (+0.1z)| norm 12.1 (-1.2z)| lr 1.71e-06 | 3000.00 ms | 52.1% bf16 MFU | 9 tok/s",
        "val loss 10.75",
    )

    (curve,) = only(path)

    assert curve.series["validation_loss"].finite == [(0, 11.009), (2, 10.75)]
    assert curve.series["loss"].finite == [(1, 10.95), (2, 10.8)]
    assert curve.series["lr"].finite == [(1, 8.57e-07), (2, 1.71e-06)]
    assert curve.facts["total_steps"] == 19560


def test_main_log_of_llm_c_has_learning_rate_and_norm(write_lines):
    path = write_lines("main.log", "s:0 tel:11.0", "s:1 trl:10.9 lr:0.000002 norm:15.3", "s:250 eval:0.2853")

    (curve,) = only(path)

    assert curve.series["lr"].finite == [(1, 2e-6)]
    assert curve.series["grad_norm"].finite == [(1, 15.3)]
    assert curve.last_step == 250


def test_a_plain_csv_with_a_map_of_its_columns(tmp_path, write_csv, check_verdict):
    rows = [
        [label, 7, step, loss] for label, losses in LOSSES.items() for step, loss in zip(STEPS, losses, strict=True)
    ]
    path = write_csv("all.csv", ["method", "rng", "n", "ce"], *rows)

    records = imported(tmp_path / "out", path, columns={"step": "n", "validation_loss": "ce", "seed": "rng"})

    check_verdict(records)
    assert {record.seed for record in records} == {7}


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_other_delimiters_and_a_byte_order_mark(tmp_path, delimiter):
    path = tmp_path / "adamw.csv"
    path.write_bytes(b"\xef\xbb\xbf" + f"step{delimiter}loss\r\n10{delimiter}3.5\r\n".encode())

    (curve,) = only(path)

    assert curve.series["loss"].finite == [(10, 3.5)]


def test_one_kind_of_source_in_a_folder_or_an_error_that_names_both(tmp_path, write_csv, write_lines):
    write_csv("run/metrics.csv", ["step", "loss"], [1, 2.0])
    write_lines("run/trainer_state.json", json.dumps({"log_history": [{"step": 1, "loss": 2.0}]}))

    with pytest.raises(ValueError, match=r"several kinds of sources.*csv \(.*metrics.csv\), trainer-state.*--format"):
        find_sources([tmp_path / "run"])

    assert find_sources([tmp_path / "run"], format="csv") == [(tmp_path / "run" / "metrics.csv", "csv")]


def test_what_is_no_run_is_named_with_what_is_known(tmp_path, write_lines):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty holds no run that is known\. Known formats: tensorboard: "):
        find_sources([tmp_path / "empty"])
    with pytest.raises(ValueError, match=r"notes\.log looks like no run that is known\. Say which with --format"):
        find_sources([write_lines("notes.log", "hello")])
    with pytest.raises(ValueError, match=r"unknown format 'wandb'\. Did you mean 'wandb-csv'"):
        find_sources([tmp_path], format="wandb")
    with pytest.raises(FileNotFoundError, match="no file or folder nowhere"):
        find_sources([Path("nowhere")])


@pytest.mark.parametrize(
    ("module", "extra", "name"), [("pyarrow", "hub", "a.parquet"), ("tensorboard", "tensorboard", "")]
)
def test_without_the_reader_the_error_names_the_extra(tmp_path, monkeypatch, module, extra, name):
    path = tmp_path / (name or "events.out.tfevents.1")
    path.write_bytes(b"x")
    for loaded in [key for key in sys.modules if key.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(ModuleNotFoundError, match=rf"pip install 'logclock\[{extra}\]'"):
        only(path)


def test_reading_files_needs_neither_pandas_nor_polars_nor_pyarrow_nor_tensorboard_nor_torch():
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}; import logclock.curves\n"
        "print(sorted({'pandas', 'polars', 'pyarrow', 'tensorboard', 'torch'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_every_format_says_what_writes_it():
    assert all(known.description for known in FORMATS.values())
