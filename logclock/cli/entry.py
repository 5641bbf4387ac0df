"""How does the command line start, and what does a person see of an error?"""

import os
import select
import sys
import traceback
from collections.abc import Sequence
from typing import TextIO

from logclock.config.faults import explain

__all__ = ["main"]

DEBUG = "--debug"

PIPE_CLOSED = 141
"""What a shell reports of a program that SIGPIPE ended, as `yes | head` does."""

DESCRIPTION = """Optimizers, schedules and evidence for logarithmic-time training of language models.

Exit codes: 0 done; 1 a run failed, or this machine could not do it (disk full, out of memory); 2 the request is wrong,
or a file that it names cannot be used; 3 the run diverged; 70 a bug in logclock; 130 stopped by a signal, with
checkpoints; 141 the reader of the output has gone.

--debug, anywhere on the line, shows the traceback of an error as well."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; `DESCRIPTION` says which there are.

    Args:
        arguments: What follows the name of the program; that of this process if None.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    _open_streams()
    try:
        try:
            return _run([argument for argument in given if argument != DEBUG])
        finally:
            _flush()  # here, where a full disk or a closed pipe can still be told; not as Python ends
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError as error:
        if _is_output_gone():
            _drop_output()
            return PIPE_CLOSED
        return _tell(error, is_debugging=DEBUG in given)
    except Exception as error:
        return _tell(error, is_debugging=DEBUG in given)


def _run(arguments: list[str]) -> int:
    try:
        import tyro
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("the command line needs tyro. Run: pip install 'logclock[bench]'.") from error
    from logclock.cli.commands import COMMANDS, DATA_COMMANDS
    from logclock.cli.plrf import PLRF_COMMANDS

    commands, prog = COMMANDS, "logclock"
    groups = {"data": DATA_COMMANDS, "plrf": PLRF_COMMANDS}
    if arguments and arguments[0] in groups:
        commands, prog, arguments = groups[arguments[0]], f"logclock {arguments[0]}", arguments[1:]
    code: int | None = tyro.extras.subcommand_cli_from_dict(
        commands,
        prog=prog,
        description=DESCRIPTION,
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return code or 0


def _flush() -> None:
    try:
        sys.stdout.flush()
    except OSError as error:
        error.filename = "standard output"
        raise


def _tell(error: Exception, *, is_debugging: bool) -> int:
    """Write an error to the standard error stream and return its exit code."""
    fault = explain(error)
    shown = "".join(traceback.format_exception(error)) if is_debugging else ""
    try:
        print(f"{shown}logclock: error: {fault.text}", file=sys.stderr, flush=True)
        sys.stdout.flush()
    except OSError:  # nobody reads, or the disk is full
        _drop_output()
    return fault.code


def _open_streams() -> None:
    """Let every text be written: a stream may be closed (`>&-`), or of an encoding that lacks a character of ours."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  as long as the process lives
        elif getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _is_output_gone() -> bool:
    """Return whether it is the output that lost its reader, and not a pipe or a socket of something else."""
    return any(_is_reader_gone(stream) for stream in (sys.stdout, sys.stderr))


def _is_reader_gone(stream: TextIO) -> bool:
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):  # in memory
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(events & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, events in poll.poll(0))


def _drop_output() -> None:
    """Lead what is still in the buffers to nowhere, so that Python does not complain about it as it ends."""
    with open(os.devnull, "w") as nowhere:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except OSError:
                os.dup2(nowhere.fileno(), stream.fileno())
