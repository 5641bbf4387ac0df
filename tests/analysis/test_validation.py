import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
from ladders import Invented

from logclock.analysis import analyse_ladder, compare
from logclock.analysis.validation import TOKEN_SD, sampling_error, validation_tokens

BLOCKS = Path(__file__).parents[2] / "experiments" / "2026-11-27-validation-error" / "blocks.csv"
SET = {"evaluation": {"batches": 16, "batch_size": 32, "interval": 61}, "data": {"sequence_length": 64}}


def evaluated(record, **changes):
    return dataclasses.replace(record, config=record.config | SET | changes)


def test_the_set_is_as_large_as_the_configuration_says(record):
    assert validation_tokens(evaluated(record())) == 16 * 32 * 64
    assert validation_tokens(record()) is None
    whole = evaluated(record(), evaluation={"batches": None, "batch_size": 32})
    assert validation_tokens(whole) is None
    assert validation_tokens(dataclasses.replace(whole, data={"validation_tokens": 141_033})) == 141_033


def test_the_error_is_that_of_the_smallest_set(record):
    small = {"evaluation": {"batches": 4, "batch_size": 32, "interval": 1}}

    found = sampling_error([evaluated(record()), evaluated(record(seed=1), **small)])

    assert found == pytest.approx(TOKEN_SD / math.sqrt(4 * 32 * 64))


def test_an_unknown_set_has_no_error_that_could_be_stated(record):
    assert sampling_error([evaluated(record()), record(seed=1)]) == 0.0
    assert sampling_error([]) == 0.0


def test_the_spread_per_token_is_what_was_measured():
    """What is left of the blocks' mean differences when the part that differs between seeds is taken off."""
    rows = list(csv.DictReader(BLOCKS.read_text().splitlines()))
    pairs = np.array([[float(row[f"adana {seed}"]) - float(row[f"adamw {seed}"]) for seed in range(3)] for row in rows])

    rest = pairs - pairs.mean(axis=0) - pairs.mean(axis=1, keepdims=True) + pairs.mean()
    of_seeds = (rest**2).sum() / ((len(rows) - 1) * 2)
    systematic = pairs.mean(axis=1).var(ddof=1) - of_seeds / 3

    tokens = 34 * 64
    assert round(math.sqrt(systematic * tokens), 1) == TOKEN_SD


def with_halves(record, *, selection, held_out, tokens=70_000):
    metrics = {"selection_loss": selection, "held_out_loss": held_out, "held_out_tokens": tokens}
    return dataclasses.replace(record, metrics=record.metrics | metrics | {"held_out_bits_per_byte": held_out / 2})


def test_one_half_chooses_and_the_other_is_reported():
    """In each half another rate is lowest; the choice is that of the first, the number that of the second."""
    records = []
    for r in Invented(noise=0.0, seeds=(0, 1)).records():
        loss, factor = r.metrics["final_validation_loss"], float(r.tags["lr_multiplier"])
        selection = loss - (0.5 if factor == 2 else 0.0)
        records.append(with_halves(r, selection=selection, held_out=loss + 1.0))

    result = analyse_ladder(records, forms=[], num_samples=0)

    assert result.is_held_out
    for cell in result.cells.values():
        assert cell.best.lr_multiplier == "2"
        assert cell.losses[0] > cell.best.loss + 1.0
    assert result.sampling_error == pytest.approx(TOKEN_SD / math.sqrt(70_000))


def test_runs_without_halves_are_compared_as_before_and_said_to_be_mixed():
    records = Invented(seeds=(0, 1)).records()
    mixed = [with_halves(r, selection=9.0, held_out=9.0) if i % 2 else r for i, r in enumerate(records)]

    result = analyse_ladder(mixed, forms=[], num_samples=0)

    before = analyse_ladder(records, forms=[], num_samples=0)
    assert not result.is_held_out
    assert {key: cell.losses for key, cell in result.cells.items() if cell.best == before.cells[key].best} == {
        key: before.cells[key].losses for key, cell in result.cells.items() if cell.best == before.cells[key].best
    }
    assert any("runs have a loss on held-out tokens; all are compared on" in w for w in result.warnings)


def test_a_comparison_reports_the_held_out_half(record):
    losses = {("adamw", 0): 4.0, ("adamw", 1): 4.1, ("adana", 0): 3.9, ("adana", 1): 3.8}
    records = [
        with_halves(record(label, seed=seed), selection=7.0, held_out=loss) for (label, seed), loss in losses.items()
    ]

    found = compare(records)

    assert found.is_held_out
    assert found.row("adana").final_validation_loss == pytest.approx(3.85)
    assert found.row("adana").bits_per_byte == pytest.approx(1.925)
    assert found.row("adana").difference.mean == pytest.approx(-0.2)
