import csv
import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest

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
