"""How do the series of a run reach TensorBoard?"""

from pathlib import Path
from typing import Any

__all__ = ["TensorBoardWriter"]


class TensorBoardWriter:
    """Writes the points of the record's series to an event file.

    Args:
        directory: Where the event file goes.
        first_step: The first step to come; what an interrupted run wrote from there on is hidden.

    Raises:
        ModuleNotFoundError: TensorBoard is not installed.
    """

    def __init__(self, directory: Path, *, first_step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "execution.tensorboard needs TensorBoard. Run: pip install 'logclock[tensorboard]', or leave it off."
            ) from error
        self._writer: Any = SummaryWriter(str(directory), purge_step=first_step)

    def add_point(self, series: str, point: dict[str, float | None]) -> None:
        """Write one point of a series, `step` and values by name, each under `SERIES/NAME`."""
        step = point["step"]
        for name, value in point.items():
            if name != "step" and value is not None:
                self._writer.add_scalar(f"{series}/{name}", value, global_step=step)

    def close(self) -> None:
        """Close the event file."""
        self._writer.close()
