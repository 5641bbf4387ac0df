"""What does the process do that an executor starts for one run?"""

import sys
import traceback
from pathlib import Path

from logclock.config import from_dict
from logclock.config.faults import BUG, explain
from logclock.config.files import read_json
from logclock.sweep.workers import ELSEWHERE, JOB, PROGRESS
from logclock.train import RunConfig, exit_code, train
from logclock.train.checkpoint import InUseError
from logclock.train.progress import FileDisplay

__all__ = ["main"]


def main(directory: str, parent: str | None = None) -> int:
    """Make the run whose order lies in a directory and return the exit code.

    Args:
        directory: Of the run.
        parent: Process id whose end stops the run too; None watches no process.
    """
    order = read_json(Path(directory) / JOB, advice="Give the command again that starts the run.")
    config: RunConfig = from_dict(RunConfig, order.pop("config"))
    display = FileDisplay(Path(directory) / PROGRESS)
    try:
        watched = None if parent is None else int(parent)
        return exit_code(train(config, display=display, parent=watched, **order))
    except InUseError as error:
        display.message(str(error))
        return ELSEWHERE
    except Exception as error:
        fault = explain(error)
        if fault.code == BUG:
            traceback.print_exc()
        display.message(f"error: {fault.text}")
        return fault.code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
