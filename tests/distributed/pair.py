"""How do tests run functions on two ranks? One pair of processes, started once, that takes jobs until it is closed.

A job is a function importable by name, called as `function(rank, *arguments)` on both ranks at once with the gloo
process group ready. It returns plain picklable data (no DTensor).
"""

import datetime
import os
import pickle
import socket
import tempfile
import time
import traceback
import warnings
from multiprocessing import connection, get_context
from pathlib import Path

WORLD_SIZE = 2
COLLECTIVE_TIMEOUT = datetime.timedelta(seconds=60)


class Pair:
    """Two processes on this machine, one thread each, that meet through a file and talk over the loopback interface.

    After a job that fails or is late both processes are killed (the other rank may wait in a collective for ever) and
    the next job gets a new pair.
    """

    def __init__(self):
        self._processes, self._pipes, self._directory = [], [], None

    def run(self, function, *arguments, timeout=120.0):
        """Return what the function returned on rank 0 and on rank 1.

        Raises:
            RuntimeError: It raised on a rank (the traceback is in the message) or a process died.
            TimeoutError: It took longer than `timeout` seconds.
        """
        if not self._processes:
            self._start()
        try:
            for pipe in self._pipes:
                pipe.send((function, arguments))
            return self._answers(time.monotonic() + timeout)
        except BaseException:
            self.kill()
            raise

    def close(self):
        """Let the processes leave their process group, then make sure that they are gone."""
        for pipe in self._pipes:
            try:
                pipe.send(None)
            except OSError:  # it died before
                continue
        for process in self._processes:
            process.join(timeout=10)
        self.kill()

    def kill(self):
        for process in self._processes:
            process.kill()
            process.join()
        for pipe in self._pipes:
            pipe.close()
        if self._directory is not None:
            self._directory.cleanup()
        self._processes, self._pipes, self._directory = [], [], None

    def _start(self):
        context = get_context("spawn")
        self._directory = tempfile.TemporaryDirectory(prefix="logclock-ranks-")
        meeting_point = Path(self._directory.name) / "store"
        for rank in range(WORLD_SIZE):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, str(meeting_point), theirs), daemon=True)
            process.start()
            theirs.close()  # so that a dead process reads as the end of the pipe
            self._processes.append(process)
            self._pipes.append(ours)

    def _answers(self, deadline):
        answers = {}
        while len(answers) < WORLD_SIZE:
            waiting = [pipe for rank, pipe in enumerate(self._pipes) if rank not in answers]
            ready = connection.wait(waiting, timeout=max(deadline - time.monotonic(), 0))
            if not ready:
                late = [rank for rank in range(WORLD_SIZE) if rank not in answers]
                raise TimeoutError(f"no answer from rank {' and '.join(map(str, late))} in time.")
            for pipe in ready:
                rank = self._pipes.index(pipe)
                try:
                    succeeded, answer = pickle.loads(pipe.recv_bytes())
                except EOFError:
                    raise RuntimeError(f"the process of rank {rank} died.") from None
                if not succeeded:
                    raise RuntimeError(f"rank {rank} failed:\n{answer}")
                answers[rank] = answer
        return [answers[rank] for rank in range(WORLD_SIZE)]


def _serve(rank, meeting_point, pipe):
    """Run jobs in a process of its own until None arrives or the parent is gone."""
    os.environ["GLOO_SOCKET_IFNAME"] = next(name for _, name in socket.if_nameindex() if name.startswith("lo"))
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    store = dist.FileStore(meeting_point, WORLD_SIZE)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=WORLD_SIZE, timeout=COLLECTIVE_TIMEOUT)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            break
        if job is None:
            break
        function, arguments = job
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                warnings.filterwarnings("ignore", "torch.distributed is disabled")  # said when one rank saves alone
                warnings.filterwarnings("ignore", ".*torch.jit.*", DeprecationWarning)  # from inside torch.compile
                warnings.filterwarnings(
                    "ignore", ".*half a unit in the last place of a weight is lost"
                )  # 16-bit weights
                answer = (True, function(rank, *arguments))
            payload = pickle.dumps(answer)
        except Exception:
            payload = pickle.dumps((False, traceback.format_exc()))
        pipe.send_bytes(payload)
    dist.destroy_process_group()
