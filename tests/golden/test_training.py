"""Did a change alter a trajectory? Forty steps of a tiny model per optimizer, with every loss to full digits.

`losses.json` was written by the code itself; it guards against change, other tests against error. A change that is
meant belongs under Numerics in the changelog; `LOGCLOCK_WRITE_GOLDEN=1 pytest tests/golden` writes the file anew.
"""

import dataclasses
import json
import os
from pathlib import Path

import pytest

from logclock.recipes import VARIANTS
from logclock.train import Optimizers, train

GOLDEN = Path(__file__).with_name("losses.json")

# Changing every initial weight by one float32 ulp moves these losses by at most 2e-6 over the forty steps (measured),
# and another CPU's kernels round no worse than that. Five times as much leaves room. A change of 1 % in the learning
# rate, kappa, delta, ema1 or the weight decay moves them by 4e-4 or more; the clips do not act in so few steps.
RELATIVE = 1e-5

DECOMPOSED = ("soap", "kl-soap", "kl-shampoo", "shampoo", "splus", "cosmos", "aro", "fira", "psgd-kron")
RELATIVE_OF = dict.fromkeys(DECOMPOSED, 7e-3)
"""SOAP's bases are eigenvectors, whose directions hang on the last bits where eigenvalues are close: one ulp moves its
losses by 1.3e-3. Likewise for whatever else decomposes matrices."""

PEAK_LR = {"adana-undamped": 5e-4, "simplified-ademamix": 5e-5, "scaled-adam": 3e-2}
"""Instead of the fixture's 5e-3, at which an undamped gain makes steps so long that one ulp becomes 6e-3; a sum of a
hundred gradients would make longer ones still, and ScaledAdam's rate is relative."""


@pytest.mark.parametrize("optimizer", VARIANTS)
def test_losses_are_those_of_the_golden_run(tiny_run, tiny_data_root, tmp_path, optimizer):
    pair = VARIANTS[optimizer].build(40, lr=PEAK_LR.get(optimizer, 5e-3))
    if hasattr(pair.hidden, "iteration_dtype"):  # bfloat16 products differ between processors
        pair = Optimizers(dataclasses.replace(pair.hidden, iteration_dtype="float32"), pair.rest)
    config = tiny_run("log_interval=1", "evaluation.interval=20", spec=pair, steps=40)

    record = train(config, out=tmp_path, data_root=tiny_data_root)

    losses = {"train": record.train["loss"], "validation": record.validation["loss"]}
    if os.environ.get("LOGCLOCK_WRITE_GOLDEN"):
        written = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
        GOLDEN.write_text(json.dumps(written | {optimizer: losses}, indent=1, sort_keys=True) + "\n")
    golden = json.loads(GOLDEN.read_text())[optimizer]
    relative = RELATIVE_OF.get(optimizer, RELATIVE)
    assert losses["train"] == pytest.approx(golden["train"], rel=relative)
    assert losses["validation"] == pytest.approx(golden["validation"], rel=relative)


def test_the_file_has_no_run_that_is_not_made():
    assert set(json.loads(GOLDEN.read_text())) == set(VARIANTS)
