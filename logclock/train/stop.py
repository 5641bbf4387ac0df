"""Has somebody asked this run to stop, and how does it end in order?"""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

from logclock.train.progress import Display

__all__ = ["StopRequest", "stop_on_signal"]

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Why a run should end after the step it is in.

    Args:
        parent: Process id of the executor that started this process; its death is a reason too, so that no orphan
            keeps a core busy.
        display: Where progress shows; when its reader has gone, as a pager that was quit, that is a reason too.
    """

    def __init__(self, *, parent: int | None = None, display: Display | None = None) -> None:
        self.parent, self.display = parent, display
        self.signal_name: str | None = None

    @property
    def reason(self) -> str | None:
        """What happened, or None to go on."""
        if self.signal_name is not None:
            return self.signal_name
        if self.parent is not None and os.getppid() != self.parent:
            return f"the end of the process {self.parent} that started it"
        if self.display is not None and self.display.is_cut_off:
            return "the end of the program that read its output"
        return None


@contextlib.contextmanager
def stop_on_signal(*, parent: int | None = None, display: Display | None = None) -> Iterator[StopRequest]:
    """Note the first SIGTERM or SIGINT instead of dying from it; a second one acts as if this were not here.

    Outside the main thread Python delivers no signals, and only the parent is watched.

    Args:
        parent: As in `StopRequest`.
        display: As in `StopRequest`.
    """
    request = StopRequest(parent=parent, display=display)
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    previous = {number: signal.getsignal(number) for number in SIGNALS}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def note(number: int, frame: object) -> None:
        request.signal_name = signal.Signals(number).name
        restore()

    for number in SIGNALS:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
