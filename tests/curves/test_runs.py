"""Curves become records: budgets, losses, seeds, sweeps, ladders, and a ledger that is whole or not there."""

import dataclasses
import hashlib
import json
import math

import pytest

from logclock.analysis import analyse_ladder, compare
from logclock.curves import Facts, Reading, import_runs
from logclock.curves.smoothing import smoothed, standard_error
from logclock.records import Ledger


@pytest.fixture
def runs(write_csv):
    """A function that writes a CSV of step and val_loss, or of other columns."""

    def write(name, losses, steps=(100, 200, 300), column="val_loss"):
        return write_csv(name, ["step", column], *zip(steps, losses, strict=True))

    return write


def test_a_record_says_where_it_came_from_and_is_none_of_ours(tmp_path, runs, own_record):
    path = runs("adamw-s1.csv", (4.0, 3.5, 3.2))

    (record,) = import_runs([path], tmp_path / "out", Reading())

    assert record.is_imported
    assert not own_record.is_imported
    assert record.config["source"] == "imported"
    provenance = record.provenance
    assert provenance["imported_from"] == str(path)
    assert provenance["imported_format"] == "csv"

    assert provenance["imported_digest"] == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert (record.label, record.seed, provenance["imported_seed"]) == ("adamw", 1, "said")


def test_a_pattern_comes_before_a_flag_and_a_flag_before_a_column(tmp_path, write_csv):
    path = write_csv("adamw-s5.csv", ["step", "loss", "seed", "params"], [10, 3.0, 1, 7], [20, 2.9, 1, 7])

    reading = Reading(label="{optimizer}-s{seed}", facts=Facts(seed=3, params=9.0))
    (record,) = import_runs([path], tmp_path / "out", reading)

    assert record.seed == 5
    assert record.model["total_params"] == 9


def test_with_two_seeds_a_verdict_has_an_interval(tmp_path, runs):
    for label, seed, last in (("adamw", 0, 3.2), ("adamw", 1, 3.22), ("adana", 0, 3.1), ("adana", 1, 3.11)):
        runs(f"r/{label}-s{seed}.csv", (4.0, 3.5, last))

    found = compare(import_runs([tmp_path / "r"], tmp_path / "out", Reading()))

    difference = found.row("adana").difference
    assert difference.mean == pytest.approx((-0.10 - 0.11) / 2)
    # sd of (-0.10, -0.11) is 0.00707; over sqrt 2 it is 0.005, times t(0.975, 1) = 12.706
    assert difference.interval == pytest.approx((-0.105 - 0.06353, -0.105 + 0.06353), abs=1e-4)


def test_runs_of_other_lengths_are_refused_and_the_flag_that_settles_it_is_named(tmp_path, runs):
    long = runs("adamw.csv", (4.0, 3.5, 3.2, 3.0), steps=(100, 200, 300, 400))
    short = runs("adana.csv", (3.9, 3.4), steps=(100, 200))

    with pytest.raises(ValueError, match=r"total_steps of main runs differs.*--total-steps says how many were planned"):
        import_runs([long, short], tmp_path / "out", Reading())
    assert not (tmp_path / "out").exists()
    records = import_runs([long, short], tmp_path / "out", Reading(facts=Facts(total_steps=400)))

    assert [record.status for record in records] == ["finished", "failed"]
    assert records[1].reason == f"{short} ends at step 200 of 400"
    assert compare(records).row("adana").verdict == "no finished run"
    with pytest.raises(ValueError, match=r"adamw\.csv, run 'adamw': the log goes on to step 400, beyond the 300"):
        import_runs([long], tmp_path / "out", Reading(facts=Facts(total_steps=300)))


def test_logs_that_end_within_one_interval_of_each_other_have_one_length(tmp_path, runs):
    first = runs("adamw.csv", (4.0, 3.5, 3.2), steps=(100, 200, 300))
    second = runs("adana.csv", (3.9, 3.4, 3.1), steps=(99, 199, 299))

    records = import_runs([first, second], tmp_path / "out", Reading())

    assert [record.config["total_steps"] for record in records] == [300, 300]
    warnings = compare(records).warnings
    assert "The last losses are at different steps: 300 (adamw seed 0); 299 (adana seed 0)." in " ".join(warnings)


def test_two_runs_of_one_name_are_an_error_with_both_sources(tmp_path, runs):
    runs("a/adamw.csv", (3.0, 2.0, 1.0))
    runs("b/adamw.csv", (3.0, 2.0, 1.0))

    with pytest.raises(ValueError, match=r"two runs are called 'adamw': .*a/adamw\.csv.* and .*b/adamw\.csv.*--label"):
        import_runs([tmp_path / "a", tmp_path / "b"], tmp_path / "out", Reading())


def test_validation_is_not_compared_with_training(tmp_path, runs):
    one, other = runs("adamw.csv", (3.0, 2.0, 1.0)), runs("adana.csv", (3.0, 2.0, 1.0), column="loss")

    with pytest.raises(ValueError, match=r"adana\.csv, run 'adana' has no validation loss, and 1 of 2 runs have one"):
        import_runs([one, other], tmp_path / "out", Reading())
    import_runs([one], tmp_path / "out", Reading())
    with pytest.raises(
        ValueError, match=r"loss that is compared differs: .*validation.*training, mean over the last 5 %"
    ):
        import_runs([other], tmp_path / "out", Reading())


def test_smoothing_averages_each_window_once():
    points = [(10 * i, float(i)) for i in range(1, 21)]

    assert smoothed(points, total_steps=200, window=0.25) == [(50, 3.0), (100, 8.0), (150, 13.0), (200, 18.0)]
    assert smoothed([(0, 9.0), (3, 1.0)], total_steps=4, window=0.5) == [(2, 9.0), (4, 1.0)]


def test_the_error_of_a_mean_is_the_scatter_about_a_line():
    # residuals of +-1 about a line of slope 0 that a line through the four cannot take up: +1 -1 -1 +1
    points = [(1, 3.0), (2, 1.0), (3, 1.0), (4, 3.0)]

    assert standard_error(points, total_steps=4, window=1.0) == pytest.approx(math.sqrt(4 / 2 / 4))
    assert standard_error(points[:3], total_steps=3, window=1.0) is None


def test_without_validation_the_end_of_the_training_loss_is_compared_and_its_noise_is_said(tmp_path, runs):
    steps = tuple(range(10, 410, 10))
    noise = (0.02, -0.02, -0.02, 0.02)
    for label, level in (("adamw", 3.0), ("adana", 2.9)):
        for seed in (0, 1):
            losses = [level + 0.01 * seed * (label == "adana") + noise[i % 4] for i in range(40)]
            runs(f"r/{label}-s{seed}.csv", losses, steps=steps, column="train/loss")

    records = import_runs([tmp_path / "r"], tmp_path / "out", Reading(window=0.1))
    found = compare(records)

    assert found.loss_name == "training loss, averaged"
    assert found.row("adana").difference.mean == pytest.approx(-0.095)
    assert records[0].validation["step"] == [40, 80, 120, 160, 200, 240, 280, 320, 360, 400]
    # four points with residuals of 0.02 about a line: sqrt(4 * 0.0004 / 2 / 4) = 0.01414; 2 sqrt 2 of it is 0.04
    assert records[0].metrics["smoothing_error"] == pytest.approx(math.sqrt(0.0016 / 8))
    (said,) = [
        warning for warning in found.warnings if "training loss, mean over the last 10 % of the steps" in warning
    ]
    assert "a standard error of up to 0.014 nats" in said
    assert "a difference of less than 0.04 may be noise" in said


def test_several_learning_rates_of_a_label_are_a_sweep_and_the_best_is_its_main_run(tmp_path, runs):
    for lr, last in (("0.001", 3.3), ("0.002", 3.2), ("0.004", 3.4)):
        runs(f"r/adamw-{lr}.csv", (4.0, 3.5, last))
    runs("r/adana-0.001.csv", (4.0, 3.4, 3.1))

    found = compare(import_runs([tmp_path / "r"], tmp_path / "out", Reading(label="{optimizer}-{lr}")))

    assert found.row("adamw").peak_lr == 0.002
    assert found.row("adana").difference.mean == pytest.approx(-0.1)
    (sweep,) = found.sweeps
    assert [(point.peak_lr, point.final_validation_loss) for point in sweep.points] == [
        (0.001, 3.3),
        (0.002, 3.2),
        (0.004, 3.4),
    ]
    assert any("whether those of adana were tuned" in warning for warning in found.warnings)
    assert any("Unequal sweep budgets" in warning for warning in found.warnings)


def test_logged_learning_rates_with_nearly_one_peak_are_one_setting(tmp_path, write_csv):
    # a sampled history misses the peak of a schedule by a little
    for seed, peak in ((0, 6.00e-4), (1, 5.97e-4)):
        write_csv(f"r/adamw-s{seed}.csv", ["step", "val_loss", "lr"], [100, 4.0, peak], [200, 3.0, 1e-5])

    records = import_runs([tmp_path / "r"], tmp_path / "out", Reading())

    assert [record.config["optimizer"]["lr"] for record in records] == [6.00e-4, 6.00e-4]
    assert len(compare(records).row("adamw").finished) == 2


def test_several_sizes_are_a_ladder_with_compute_of_six_times_parameters_times_tokens(tmp_path, runs):
    # The baseline's losses lie on L = 4 (C / C0)^-0.1; the other is as good at a third less compute at every size.
    for size, params in (("10M", 1e7), ("40M", 4e7), ("160M", 1.6e8)):
        loss = 4.0 * (params / 1e7) ** -0.1
        runs(f"r/adamw-s0-{size}.csv", (loss + 1, loss + 0.5, loss))
        runs(f"r/adana-s0-{size}.csv", (loss + 1, loss + 0.5, loss * 1.5**-0.1))

    reading = Reading(label="{optimizer}-s{seed}-{size}", facts=Facts(tokens_per_step=1000.0))
    result = analyse_ladder(import_runs([tmp_path / "r"], tmp_path / "out", reading), num_samples=0)

    assert [size.compute for size in result.sizes] == [6 * 1e7 * 3e5, 6 * 4e7 * 3e5, 6 * 1.6e8 * 3e5]
    assert [cell.multiplier.value for cell in result.cells_of("adana")] == pytest.approx([1.5, 1.5, 1.5])
    assert result.fits["power"].laws["adamw"].terms[0][1] == pytest.approx(0.1, abs=1e-3)
    assert result.lr_rules == {}


@pytest.mark.parametrize(
    ("facts", "lacking"),
    [(Facts(), "--tokens-per-step"), (Facts(tokens_per_step=10.0), None)],
)
def test_a_ladder_without_its_compute_is_refused(tmp_path, runs, facts, lacking):
    for size in ("10M", "20M"):
        runs(f"r/adamw-{size}.csv", (4.0, 3.5, 3.2))

    reading = Reading(label="{optimizer}-{size}", facts=facts)
    if lacking is None:
        assert {r.tags["phase"] for r in import_runs([tmp_path / "r"], tmp_path / "o", reading)} == {"ladder"}
        return
    with pytest.raises(ValueError, match=rf"several sizes are a ladder.*does not say {lacking}\. Give it"):
        import_runs([tmp_path / "r"], tmp_path / "o", reading)


def test_imports_add_up_and_the_same_source_again_replaces_itself(tmp_path, runs):
    one, other = runs("adamw.csv", (4.0, 3.5, 3.2)), runs("adana.csv", (4.0, 3.5, 3.1))
    out = tmp_path / "out"

    import_runs([one], out, Reading(facts=Facts(lr=1e-3)))
    import_runs([other], out, Reading(facts=Facts(lr=1e-3)))
    records = import_runs([one], out, Reading(facts=Facts(lr=2e-3)))

    assert [(record.label, record.config["optimizer"]["lr"]) for record in records] == [
        ("adana", 1e-3),
        ("adamw", 2e-3),
    ]
    assert Ledger(out / "ledger.jsonl").records() == records
    assert sorted(path.name for path in out.iterdir()) == ["ledger.jsonl"]


def test_an_import_that_fails_leaves_the_ledger_as_it_was(tmp_path, runs):
    out = tmp_path / "out"
    import_runs([runs("adamw.csv", (4.0, 3.5, 3.2))], out, Reading())
    before = (out / "ledger.jsonl").read_bytes()
    bad = tmp_path / "bad.csv"
    bad.write_text("step,val_loss\n1,x\n")

    with pytest.raises(ValueError, match=r"bad\.csv, line 2"):
        import_runs([runs("adana.csv", (4.0, 3.5, 3.1)), bad], out, Reading())

    assert (out / "ledger.jsonl").read_bytes() == before
    assert [path.name for path in out.iterdir()] == ["ledger.jsonl"]


def test_a_ledger_of_our_own_runs_takes_no_imported_ones(tmp_path, runs, own_record):
    Ledger(tmp_path / "out" / "ledger.jsonl").append(own_record)

    with pytest.raises(ValueError, match=r"holds runs that logclock has trained, such as adamw.*another --out"):
        import_runs([runs("adamw.csv", (4.0, 3.5, 3.2))], tmp_path / "out", Reading())


def test_unknowns_are_named_and_knowns_are_not(tmp_path, write_csv):
    columns = ["step", "val_loss", "lr", "tokens"]
    for label in ("adamw", "adana"):
        write_csv(f"r/{label}-s0.csv", columns, [100, 4.0, 1e-3, 1e6], [200, 3.0, 1e-4, 2e6])
    silent = [write_csv(f"{label}.csv", ["step", "val_loss"], [100, 4.0], [200, 3.0]) for label in ("adamw", "adana")]

    known = compare(import_runs([tmp_path / "r"], tmp_path / "a", Reading(facts=Facts(params=1e6))))
    unknown = compare(import_runs(silent, tmp_path / "b", Reading()))

    assert known.convention == "compute_6d_per_token"
    assert unknown.convention == "steps"
    starts = [warning.split(".")[0].split(",")[0] for warning in unknown.warnings]
    assert starts == [
        "Unknown: tokens per step",
        "Unknown: the learning rates of adamw",
        "Unknown: whether the runs saw the same data in the same order and began with the same weights",
        "Unknown: the seeds of adamw",
        "Unknown: the number of parameters",
    ]
    assert [warning.split(",")[0] for warning in known.warnings] == [
        "Unknown: whether those of adamw",
        "Unknown: whether the runs saw the same data in the same order and began with the same weights. Differences "
        "are paired by seed as if they had; if not",
    ]


def test_a_baseline_that_is_no_label_is_an_error_before_anything_is_written(tmp_path, runs):
    with pytest.raises(ValueError, match=r"the baseline 'adam' has no main run\. Did you mean 'adamw'"):
        import_runs([runs("adamw.csv", (4.0, 3.5, 3.2))], tmp_path / "out", Reading(baseline="adam"))

    assert not (tmp_path / "out").exists()


def test_what_a_reading_does_not_know_is_refused():
    with pytest.raises(ValueError, match=r"--column lss=\.\.\.: unknown meaning\. Known: step, loss"):
        Reading(columns={"lss": "x"})
    with pytest.raises(ValueError, match=r"a share of the training in \(0, 0\.5\], got 0\.9"):
        Reading(window=0.9)


def test_every_record_of_an_import_is_read_back_from_its_line(tmp_path, runs):
    records = import_runs([runs("adamw.csv", (4.0, 3.5, 3.2))], tmp_path / "out", Reading())

    (line,) = (tmp_path / "out" / "ledger.jsonl").read_text().splitlines()

    assert json.loads(line)["provenance"]["imported_run"] == "adamw"
    assert dataclasses.asdict(records[0]) == json.loads(line)
