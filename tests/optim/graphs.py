"""A CUDA graph without CUDA: the launches of a step are noted with their arguments, and made again at each replay."""

import contextlib

from triton.runtime.interpreter import InterpretedFunction

from logclock.backends import gpu


class Graph:
    """What a capture records: kernels, grids, arguments. Memory is read again at each replay, numbers are not."""

    def __init__(self):
        self.launches = []

    @contextlib.contextmanager
    def capture(self, monkeypatch):
        """Within the context launches are noted instead of made."""
        made = InterpretedFunction.run

        def note(kernel, *arguments, grid, warmup=False, **keywords):
            if kernel.fn.__name__.startswith(("segment_", "finish", "place", "add_up")):
                self.launches.append((kernel, grid, arguments, keywords))
            else:
                made(kernel, *arguments, grid=grid, warmup=warmup, **keywords)

        with monkeypatch.context() as patch:
            patch.setattr(InterpretedFunction, "run", note)
            patch.setattr(gpu, "is_capturing", lambda: True)
            yield

    def replay(self):
        for kernel, grid, arguments, keywords in self.launches:
            kernel.run(*arguments, grid=grid, warmup=False, **keywords)
