"""What is written down about the cost of an optimizer's step: a line of JSON each, in a file beside the ledger."""

import dataclasses
import json
from pathlib import Path

from logclock.config import from_dict, to_dict

__all__ = ["StepCost", "append_step_cost", "read_step_costs"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepCost:
    """An optimizer's step beside the baseline's, on the same parameters in the same process.

    Args:
        label: The optimizer.
        baseline: What it was timed beside.
        step_ratio: Its time over the baseline's: median over pairs of blocks of steps, one right after the other.
        step_seconds: Of its step, median over the blocks.
        baseline_seconds: Of the baseline's.
        num_pairs: How many pairs of blocks there were.
        state_bytes: Size of its state.
        num_params: Parameters that were updated.
        rule_hash: Version of its rule; a line of another version is measured again.
        device: Where it ran.
        torch: Version of torch.
    """

    label: str
    baseline: str
    step_ratio: float
    step_seconds: float
    baseline_seconds: float
    num_pairs: int
    state_bytes: int
    num_params: int
    rule_hash: str
    device: str
    torch: str

    @property
    def state_bytes_per_param(self) -> float:
        """Size of the state over the number of parameters."""
        return self.state_bytes / self.num_params


def append_step_cost(path: Path, cost: StepCost) -> None:
    """Add a line to a file, which is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(to_dict(cost), sort_keys=True) + "\n")


def read_step_costs(path: Path) -> dict[str, StepCost]:
    """Return the last line of every optimizer by its label; nothing if there is no file."""
    if not path.exists():
        return {}
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            data = json.loads(line)
        except json.JSONDecodeError:  # cut off by a crash; it is measured again
            continue
        cost: StepCost = from_dict(StepCost, data)
        found[cost.label] = cost
    return found
