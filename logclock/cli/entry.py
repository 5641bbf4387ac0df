"""How does the command line start, and what does a person see of an error?"""

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import logclock

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Codes: 0 done; 1 a run failed; 2 the request was wrong; 3 the run diverged; 130 stopped by a signal.

    Args:
        arguments: What follows the name of the program; that of this process if None.
    """
    try:
        return _run(sys.argv[1:] if arguments is None else list(arguments))
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if not _is_about_the_request(error):
            raise
        print(f"logclock: error: {error}", file=sys.stderr)
        return 2


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
        description="Optimizers, schedules and evidence for logarithmic-time training of language models.",
        args=arguments,
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return code or 0


def _is_about_the_request(error: Exception) -> bool:
    """Tell a message of ours to the user from an accident: ours comes from a `raise` statement in this package."""
    if not isinstance(error, ValueError | TypeError | FileNotFoundError | ModuleNotFoundError | RuntimeError):
        return False
    frame = traceback.extract_tb(error.__traceback__)[-1]
    is_inside = Path(frame.filename).is_relative_to(Path(logclock.__file__).parent)
    return is_inside and (frame.line or "").startswith("raise ")
