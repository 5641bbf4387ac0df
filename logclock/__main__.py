"""Runs the command line as `python -m logclock`."""

import sys

from logclock.cli import main

if __name__ == "__main__":
    sys.exit(main())
