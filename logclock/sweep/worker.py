"""What does the process do that the executor starts for one run?"""

import json
import sys
from pathlib import Path

from logclock.config import from_dict
from logclock.train import RunConfig, exit_code, run_directory, train
from logclock.train.progress import FileDisplay

__all__ = ["main"]


def main(path: str) -> int:
    """Make the run that a job file describes and return the exit code."""
    order = json.loads(Path(path).read_text())
    config: RunConfig = from_dict(RunConfig, order.pop("config"))
    display = FileDisplay(run_directory(order["out"], config) / "progress.json")
    return exit_code(train(config, display=display, **order))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
