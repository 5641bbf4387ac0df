"""How do runs spread over the machines of a Ray cluster?"""

import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from logclock.sweep.workers import Ending, Worker, spawn
from logclock.train.config import ExecutionConfig, RunConfig

__all__ = ["RayExecutor"]

STOPPED = 130
"""Exit code of a run that was told to stop; one that had not begun has the same."""

CONNECT_SECONDS = 10
"""How long to wait for a cluster to take a connection; Ray itself tries for minutes."""


class RayExecutor:
    """Processes on the machines of a Ray cluster, each supervised by an actor that holds its cores.

    The study's directory and the data root must be the same path on every machine (a shared file system), and logclock
    must be installed there. An actor starts the same process as on one machine, so records, logs, checkpoints and
    claims are the same; a process whose actor or machine is lost counts as killed and is tried again elsewhere. A
    context manager, which disconnects at the end.

    Args:
        address: The cluster's, e.g. `10.0.0.1:6379`; `auto` finds the one that this machine belongs to.

    Raises:
        ModuleNotFoundError: The extra `ray` is not installed.
        RuntimeError: There is no cluster at the address.
    """

    def __init__(self, address: str = "auto") -> None:
        self._ray = _import_ray()
        try:
            _check_listening(address)
            self._ray.init(address=address, log_to_driver=False, logging_level="warning", configure_logging=False)
        except OSError as error:
            raise RuntimeError(
                f"no Ray cluster answers at {address!r}. Start one with `ray start --head`, and `ray start "
                "--address=HOST:PORT` on each further machine."
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._ray.shutdown()

    def default_num_jobs(self, configs: Sequence[RunConfig]) -> int:
        """Return how many of these runs fit on the cluster at a time, by cores and accelerators."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        fitting = []
        for needed in (self._resources(config.execution) for config in configs):
            each = [
                min(int(node.get(name, 0) // amount) for name, amount in needed.items() if amount) for node in nodes
            ]
            fitting.append(sum(each))
            if not fitting[-1]:
                raise ValueError(
                    f"a run needs {needed} on one machine, the Ray cluster has machines with "
                    f"{', '.join(str({name: node.get(name, 0) for name in needed}) for node in nodes) or 'nothing'}. "
                    "Give the run fewer threads or the cluster a larger machine."
                )
        return min(fitting, default=1)

    def start(self, directory: Path, execution: ExecutionConfig) -> Worker:
        """Start a process under an actor, as soon as the cluster has room for it."""
        needed = self._resources(execution)
        actor = self._ray.remote(Supervisor).options(
            num_cpus=needed["CPU"], num_gpus=needed["GPU"], max_concurrency=2, max_restarts=0
        )
        return RayWorker(self._ray, actor.remote(), directory, execution.num_threads)

    def _resources(self, execution: ExecutionConfig) -> dict[str, int]:
        """Return what a run holds; `auto` takes an accelerator if the cluster has any."""
        has_gpus = self._ray.cluster_resources().get("GPU", 0) > 0
        uses_gpu = execution.device == "cuda" or (execution.device == "auto" and has_gpus)
        return {"CPU": execution.num_threads, "GPU": int(uses_gpu)}


class RayWorker:
    """A process under an actor.

    Args:
        ray: The module.
        actor: Handle of a `Supervisor`.
        directory: Of the run.
        num_threads: Of the process.
    """

    def __init__(self, ray: Any, actor: Any, directory: Path, num_threads: int) -> None:
        self._ray, self._actor = ray, actor
        self._result = actor.run.remote(str(directory), num_threads)

    def poll(self) -> Ending | None:
        """Return how the process ended, or None while it lives or waits for room."""
        done, _ = self._ray.wait([self._result], timeout=0)
        if not done:
            return None
        try:
            code: int = self._ray.get(self._result)
        except self._ray.exceptions.RayActorError as error:
            return Ending(code=None, cause=f"was lost with its Ray actor ({type(error).__name__})")
        self.kill()  # the actor has nothing left to do and would keep its cores
        return Ending.of(code)

    def stop(self) -> None:
        """Send SIGTERM through the actor."""
        self._actor.stop.remote()

    def kill(self) -> None:
        """End the actor, and the process with it."""
        self._ray.kill(self._actor)


class Supervisor:
    """The actor: starts one process, waits for it, and can stop it meanwhile."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._end: Callable[[], None] | None = None
        self._is_stopped = False

    def run(self, directory: str, num_threads: int) -> int:
        """Start the process of a run and return its exit code."""
        with self._lock:
            if self._is_stopped:
                return STOPPED
            process = spawn(Path(directory), num_threads)
            self._end = process.terminate
        return process.wait()

    def stop(self) -> None:
        """Ask the process to end with a checkpoint, or not to begin."""
        with self._lock:
            self._is_stopped = True
            if self._end is not None:
                self._end()


def _check_listening(address: str) -> None:
    """Raise an OSError if nobody listens at `HOST:PORT` or `ray://HOST:PORT`; other forms are for Ray to read."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()


def _import_ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("runs on a Ray cluster need ray. Run: pip install 'logclock[ray]'.") from error
    return ray
