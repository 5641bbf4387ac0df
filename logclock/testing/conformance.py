"""Does an optimizer do what trainers, schedulers and checkpoints take for granted? Ask every probe and tell."""

import contextlib
import dataclasses
import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch

from logclock.config.registry import suggestion
from logclock.testing.isolation import Crash, answers
from logclock.testing.probe import Broken, NotApplicable, Probe
from logclock.testing.ranks import ask_on_ranks
from logclock.testing.results import Conformance, ProbeResult
from logclock.testing.subject import MATRICES, SHAPES, Subject

__all__ = ["ask", "check_optimizer", "chosen", "name_of"]

TIMEOUT = 60.0

LONGEST = 300
"""Characters of an error's text in a result."""

LOADED_BY_TORCH = (
    "torch._dynamo",
    "torch._dynamo.repro.after_dynamo",
    "torch.export._trace",
    "torch.distributed.checkpoint.state_dict",
)
"""What torch imports when the probes need it: once here costs less than once in every forked process."""


def check_optimizer(
    build: Callable[..., Any],
    settings: Mapping[str, Any] | None = None,
    *,
    probes: Iterable[str] | None = None,
    ranks: int | None = None,
    shapes: Sequence[tuple[int, ...]] | None = None,
    timeout: float = TIMEOUT,
    name: str | None = None,
) -> Conformance:
    """Ask any `torch.optim.Optimizer` what its users count on.

    Every probe runs on small tensors on the CPU, in a forked process: a crash, a hang, a print or a changed setting of
    the optimizer is its result and does not reach the caller. A probe that raises fails with the text of the error.

    Args:
        build: A class or a factory `(params, **settings) -> optimizer`.
        settings: Keywords for it. A learning rate of 0.01 is added if it takes one.
        probes: Names of those to ask; all of `PROBES` if None.
        ranks: On how many processes of this machine the sharded probes run; they are left out if None. `build` must be
            importable by name then.
        shapes: Of the parameters; two matrices and a vector if None, or matrices only if it takes no vectors.
        timeout: Seconds after which a probe has failed.
        name: For the table; that of `build` if None.

    Returns:
        One result per probe. `print` it for a table; `failures` lists what is wrong.

    Raises:
        ValueError: Unknown probe; fewer than two ranks.
        TypeError: `build` cannot be called.

    Examples:
        >>> found = check_optimizer(torch.optim.AdamW, probes=["unknown-argument", "dcp-peek"])
        >>> [result.cell for result in found.results]
        ['ok', '14 %']
    """
    if not callable(build):
        raise TypeError(f"build must be an optimizer class or a function of parameters, got {type(build).__name__}.")
    if ranks is not None and ranks < 2:
        raise ValueError(f"ranks must be at least 2, got {ranks}. Leave it out to ask nothing of several ranks.")
    if timeout <= 0:
        raise ValueError(f"timeout must be a positive number of seconds, got {timeout}.")
    asked = chosen(probes, with_ranks=ranks is not None)
    given = dict(settings or {})
    results = _ask_all(build, given, asked, shapes, timeout, ranks)
    shown = {key: _shown(value) for key, value in given.items()}
    return Conformance(name=name or name_of(build), settings=shown, results=tuple(results), torch=torch.__version__)


def name_of(build: Callable[..., Any]) -> str:
    """Return what a class or factory is called, with its package."""
    home = (getattr(build, "__module__", None) or "").partition(".")[0]
    own = getattr(build, "__qualname__", None) or type(build).__name__
    if isinstance(build, functools.partial):
        return name_of(build.func)
    return f"{home}.{own.rpartition('<locals>.')[2]}" if home else own


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def chosen(names: Iterable[str] | None, *, with_ranks: bool) -> list[Probe]:
    """Return the probes of these names, in the order of the table.

    Raises:
        ValueError: There is no such probe, or it needs ranks and there are none.
    """
    from logclock.testing.probes import PROBES

    if names is None:
        return [probe for probe in PROBES if with_ranks or not probe.needs_ranks]
    wanted = list(names)
    known = [probe.name for probe in PROBES]
    for name in wanted:
        if name not in known:
            raise ValueError(f"unknown probe {name!r}.{suggestion(name, known)} Known: {', '.join(known)}.")
    alone = [probe.name for probe in PROBES if probe.name in wanted and probe.needs_ranks]
    if alone and not with_ranks:
        raise ValueError(f"{' and '.join(alone)} must be asked on several ranks. Give ranks=2.")
    return [probe for probe in PROBES if probe.name in wanted]


def _ask_all(
    build: Callable[..., Any],
    settings: Mapping[str, Any],
    asked: Sequence[Probe],
    shapes: Sequence[tuple[int, ...]] | None,
    timeout: float,
    ranks: int | None,
) -> list[ProbeResult]:
    from logclock.testing.probes import PROBES

    for module in LOADED_BY_TORCH:
        with contextlib.suppress(ImportError):  # of another version of torch: it loads what it has when it needs it
            importlib.import_module(module)
    first = PROBES[0]
    found, subject = _first_step(build, settings, shapes, first, timeout)
    results: dict[str, ProbeResult] = {first.name: found}
    rest = [probe for probe in asked if probe is not first]
    if found.status == "fail":
        reason = f"It does not take steps: see `{first.name}`."
        others = [ProbeResult(probe=probe.name, status="not applicable", seen=reason) for probe in rest]
        return [found, *others]  # also where the first one was not asked: the others give no other reason
    alone = [probe for probe in rest if not probe.needs_ranks]
    tasks = [functools.partial(ask, probe, subject) for probe in alone]
    for probe, answer in zip(alone, answers(tasks, timeout=timeout), strict=True):
        results[probe.name] = _told(probe, answer)
    together = [probe.name for probe in rest if probe.needs_ranks]
    if together and ranks is not None:
        for result in ask_on_ranks(subject, together, ranks=ranks, timeout=timeout):
            results[result.probe] = result
    return [results[probe.name] for probe in asked]


def _first_step(
    build: Callable[..., Any],
    settings: Mapping[str, Any],
    shapes: Sequence[tuple[int, ...]] | None,
    first: Probe,
    timeout: float,
) -> tuple[ProbeResult, Subject]:
    """Return the result of the first probe with the first shapes that the optimizer takes."""
    subjects = [
        Subject(build, settings, tried) for tried in ((SHAPES, MATRICES) if shapes is None else (tuple(shapes),))
    ]
    found = []
    for subject in subjects:
        (answer,) = answers([functools.partial(ask, first, subject)], timeout=timeout)
        found.append(_told(first, answer))
        if found[-1].status == "pass":
            if subject.shapes is MATRICES:
                seen = f"{found[-1].seen} It is asked with matrices only: a vector raises an error."
                found[-1] = dataclasses.replace(found[-1], seen=seen)
            return found[-1], subject
    return found[0], subjects[0]


def _told(probe: Probe, answer: ProbeResult | Crash) -> ProbeResult:
    if isinstance(answer, Crash):
        return ProbeResult(probe=probe.name, status="fail", seen=str(answer))
    return answer


def ask(probe: Probe, subject: Subject, *others: Any) -> ProbeResult:
    """Return what a probe says of an optimizer, whatever the optimizer does; `others` are arguments on a rank."""
    try:
        return ProbeResult(probe=probe.name, status="pass", seen=probe.ask(subject, *others))
    except Broken as broken:
        return ProbeResult(probe=probe.name, status="fail", seen=_line(str(broken)), amount=broken.amount)
    except NotApplicable as reason:
        return ProbeResult(probe=probe.name, status="not applicable", seen=_line(str(reason)))
    except BaseException as error:  # SystemExit and KeyboardInterrupt of a stranger are crashes like others
        return ProbeResult(probe=probe.name, status="fail", seen=_line(f"It raises {_described(error)}"))


def _described(error: BaseException) -> str:
    text = str(error).strip()
    place = ""
    frames = inspect.getinnerframes(error.__traceback__) if error.__traceback__ else []
    if not text and frames:
        place = f" in {frames[-1].function}"
    return f"{type(error).__name__}{place}{f': {text}' if text else ''}"


def _line(text: str) -> str:
    """Return text on one line, not too long."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
