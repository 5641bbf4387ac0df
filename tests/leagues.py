"""A league that looks like a real one, in a directory: entries, searches, seeds, rungs, step costs. All invented."""

import json
import math
import random

from logclock.records import RunRecord

BASELINE = "adamw"
STEPS = 400
# True loss at the best rate, and the best rate.
LAWS = {
    "adamw": (3.80, 3e-2),
    "muon": (3.70, 3e-2),
    "adana": (3.75, 1e-2),
    "nadamw": (3.80, 3e-2),
    "signum": (4.00, 3e-3),
    "sgd": (4.90, 1.0),
}
GRID = (0.25, 0.5, 1.0, 2.0, 4.0)
RUNGS = {0.25: 4.3, 0.5: 4.0, 2.0: 3.65}
"""Mean loss of the baseline by length; at its own it has that of the league."""


def record(label, *, seed, factor, phase, loss, steps=STEPS, status="finished"):
    lr = LAWS.get(label, (0, 1e-3))[1] * factor
    tokens = 512 * steps
    column = {"step": [steps // 2, steps], "tokens": [tokens // 2, tokens], "loss": [loss + 0.3, loss]}
    finished = status == "finished"
    return RunRecord(
        config={
            "model": {"kind": "enoki", "heads": 2},
            "data": {"dataset": "essentials-bpe-512", "batch_size": 8, "sequence_length": 64},
            "optimizer": {"name": label, "lr": lr},
            "evaluation": {"batches": 16, "batch_size": 32},
            "total_steps": steps,
            "seed": seed,
        },
        seed=seed,
        label=label,
        tags={"study": "league", "baseline": BASELINE, "phase": phase, "lr_multiplier": f"{factor:g}"},
        status=status,
        reason=None if finished else "step 30: loss is nan",
        model={"non_embedding_params": 12288, "total_params": 45056, "compute_6d_per_token": 172032},
        data={"fingerprint": "0123456789abcdef", "vocab_size": 512},
        provenance={"rule_hash": f"rule-{label}", "torch": "2.13.0", "device": "cpu", "logclock": "0.1.0"},
        train=column,
        validation=column,
        schedules={"step": []},
        metrics={
            "final_validation_loss": loss,
            "selection_loss": loss,
            "held_out_loss": loss - 0.1,
            "held_out_tokens": 69632,
            "final_step": steps,
        }
        if finished
        else {"final_step": 30},
        cost={"step_seconds": 0.004, "optimizer_step_seconds": 0.001, "optimizer_state_bytes": 8.0 * 45056},
    )


def searched(label, loss, *, steps=STEPS, edge=0.0, draw=0):
    """Return a search with the first seed and two more seeds at its winner; the true best is `edge` octaves off 1."""

    def run(factor, seed, phase):
        noise = random.Random(f"{draw} {label} {factor} {seed} {steps}").gauss(0, 0.006)
        found = loss + 0.05 * (math.log2(factor) - edge) ** 2 + noise
        return record(label, seed=seed, factor=factor, phase=phase, loss=found, steps=steps)

    trials = {factor: run(factor, 0, "sweep") for factor in GRID}
    best = min(trials, key=lambda factor: trials[factor].metrics["selection_loss"])
    trials[best] = run(best, 0, "main,sweep")
    return [*trials.values(), *(run(best, seed, "main") for seed in (1, 2))]


def write_league(out, *, edges=None, diverging=("dana",), draw=1):
    """Write the ledgers and the step costs of a league, and return its directory.

    Args:
        out: The directory.
        edges: By how many octaves the grid of a label misses.
        diverging: Labels of which no run finishes.
        draw: Of the noise.
    """
    runs = []
    for label, (loss, _) in LAWS.items():
        runs += searched(label, loss, edge=(edges or {}).get(label, 0), draw=draw)
    for label in diverging:
        runs += [record(label, seed=0, factor=f, phase="sweep", loss=9.9, status="diverged") for f in GRID]
    ledgers = {".": runs, "scouting": [record("adamw", seed=0, factor=f, phase="sweep", loss=5) for f in (0.2, 1, 5)]}
    for factor, loss in RUNGS.items():
        ledgers[f"rungs/x{factor:g}"] = searched(BASELINE, loss, steps=int(STEPS * factor))
    for folder, records in ledgers.items():
        path = out / folder / "ledger.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(run.to_dict()) + "\n" for run in records))
    costs = [
        {
            "label": label,
            "baseline": BASELINE,
            "step_ratio": 1.0 + position,
            "step_seconds": 1e-3 * (1 + position),
            "baseline_seconds": 1e-3,
            "num_pairs": 5,
            "state_bytes": 4 * (position + 1) * 1000,
            "num_params": 1000,
            "rule_hash": f"rule-{label}",
            "device": "cpu",
            "torch": "2.13.0",
        }
        for position, label in enumerate(LAWS)
    ]
    (out / "step-costs.jsonl").write_text("".join(json.dumps(cost) + "\n" for cost in costs))
    return out
