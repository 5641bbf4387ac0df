"""The command line: `logclock COMMAND`, also as `python -m logclock`."""

from logclock.cli.entry import main

__all__ = ["main"]
