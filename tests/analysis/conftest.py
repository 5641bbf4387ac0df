"""Records made by hand, so that every expected number can be computed on paper."""

import pytest

from logclock.records import RunRecord


def make_record(label="adamw", *, seed=0, steps=(100, 200, 300, 400), losses=(5.0, 4.6, 4.3, 4.1), lr=1e-3, **changes):
    """Return a finished run of 400 steps of 10 tokens; keywords replace whole fields of the record."""
    tokens = [10 * step for step in steps]
    fields = {
        "config": {
            "total_steps": 400,
            "seed": seed,
            "optimizer": {"name": label, "lr": lr},
            "model": {"width": 8},
        },
        "seed": seed,
        "label": label,
        "tags": {"study": "compare", "phase": "main"},
        "status": "finished",
        "reason": None,
        "model": {
            "non_embedding_params": 100,
            "total_params": 200,
            "compute_6p_per_token": 600,
            "compute_6d_per_token": 900,
        },
        "data": {"fingerprint": "data-a", "vocab_size": 256},
        "provenance": {"rule_hash": f"rule-{label}", "torch": "2.13.0", "device": "cpu"},
        "train": {
            "step": list(steps),
            "tokens": tokens,
            "loss": list(losses),
            "lr": [lr] * len(steps),
            "grad_norm": [1.0] * len(steps),
        },
        "validation": {
            "step": list(steps),
            "tokens": tokens,
            "loss": list(losses),
            "bits_per_byte": [None if loss is None else loss / 2 for loss in losses],
        },
        "schedules": {"step": list(steps), "lr": [lr] * len(steps), "ema1": [0.1] * len(steps)},
        "metrics": {
            "final_validation_loss": losses[-1],
            "final_bits_per_byte": None if losses[-1] is None else losses[-1] / 2,
            "final_step": steps[-1],
        },
        "cost": {
            "step_seconds": 0.01,
            "optimizer_step_seconds": 0.002,
            "tokens_per_second": 1000.0,
            "optimizer_state_bytes": 1600.0,
        },
    }
    return RunRecord(**(fields | changes))


@pytest.fixture
def record():
    """The function that makes a record."""
    return make_record


@pytest.fixture
def diverged():
    """The function that makes a record of a run that stopped at step 200 with a loss that was not finite."""

    def make(label="adana", *, seed=0, lr=1e-3, **changes):
        return make_record(
            label,
            seed=seed,
            lr=lr,
            steps=(100, 200),
            losses=(5.0, None),
            status="diverged",
            reason="step 200: loss is nan",
            **changes,
        )

    return make
