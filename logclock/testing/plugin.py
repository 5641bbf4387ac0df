"""The pytest plugin: a test that asks an optimizer every probe, one test item per probe.

    @pytest.mark.check_optimizer(MyOptimizer, {"lr": 1e-3})
    def test_my_optimizer(probe_result):
        assert probe_result.status == "pass", probe_result.seen

A probe that has no meaning for the optimizer is skipped with its reason. `known={"dcp-peek": "why"}` marks failures
that are known as expected: the test fails when they are gone.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest

__all__ = ["probe_result", "pytest_configure", "pytest_generate_tests"]

MARKER = "check_optimizer"


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker."""
    config.addinivalue_line(
        "markers",
        f"{MARKER}(build, settings=None, *, probes=None, ranks=None, shapes=None, timeout=60, known=None): ask an "
        "optimizer class or factory every probe of logclock.testing; known maps probes that fail to reasons",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one item of each probe of a test that uses `probe_result`."""
    if "probe_result" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker(MARKER)
    if marker is None or not marker.args:
        raise pytest.UsageError(
            f"{metafunc.definition.nodeid} uses probe_result and names no optimizer. Mark it with "
            f"@pytest.mark.{MARKER}(MyOptimizer, {{'lr': 1e-3}})."
        )
    request = _Request(*marker.args, **marker.kwargs)
    items = [
        pytest.param(
            (request, name),
            id=name,
            marks=[pytest.mark.xfail(reason=request.known[name], strict=True)] if name in request.known else [],
        )
        for name in request.names()
    ]
    metafunc.parametrize("probe_result", items, indirect=True)


class _Request:
    """What a marker asks for."""

    def __init__(
        self,
        build: Any,
        settings: Mapping[str, Any] | None = None,
        *,
        probes: Iterable[str] | None = None,
        ranks: int | None = None,
        known: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        self.build = build
        self.settings = settings
        self.probes = None if probes is None else list(probes)
        self.ranks = ranks
        self.known = dict(known or {})
        self.options = options

    def names(self) -> list[str]:
        """Return the probes to ask."""
        from logclock.testing.conformance import chosen

        names = [probe.name for probe in chosen(self.probes, with_ranks=self.ranks is not None)]
        for name in self.known:
            if name not in names:
                raise pytest.UsageError(f"known names a probe {name!r} that is not asked: {', '.join(names)}.")
        return names


@pytest.fixture
def probe_result(request: pytest.FixtureRequest) -> Any:
    """The result of one probe of the optimizer that the test's marker names."""
    from logclock.testing import check_optimizer

    asked, name = request.param
    found = check_optimizer(asked.build, asked.settings, probes=[name], ranks=asked.ranks, **asked.options)
    result = found[name]
    if result.status == "not applicable":
        pytest.skip(result.seen)
    return result
