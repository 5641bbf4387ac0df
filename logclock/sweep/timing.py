"""How long will runs take on this machine? A few steps of each, in processes like those that will make the runs."""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from logclock.config import from_dict, to_dict
from logclock.sweep.workers import KEEP_MEMORY, check_num_jobs
from logclock.train.config import RunConfig
from logclock.train.device import choose_device, torch_settings
from logclock.train.evaluate import ValidationSet
from logclock.train.loop import open_dataset, run_steps
from logclock.train.passes import Passes
from logclock.train.progress import QuietDisplay
from logclock.train.record import new_record
from logclock.train.stop import StopRequest

__all__ = ["RunCost", "measure_costs"]

TIMED_STEPS = 25
"""Of which the first few warm up (`train.timing`); the median of the rest counts."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunCost:
    """What a run takes, by a short timing.

    Args:
        start_seconds: Until the first step: the process, its imports, the model.
        step_seconds: Of one update, median.
        evaluation_seconds: Of one evaluation.
        num_steps: Of the run.
        num_evaluations: Of the run.
        load: Elapsed over CPU time per thread while the steps were timed; well above 1 on a machine that is busy with
            something else, and then the times are too long by about this factor for the same machine at rest.
    """

    start_seconds: float
    step_seconds: float
    evaluation_seconds: float
    num_steps: int
    num_evaluations: int
    load: float

    @property
    def seconds(self) -> float:
        """Of the whole run."""
        steps, evaluations = self.num_steps * self.step_seconds, self.num_evaluations * self.evaluation_seconds
        return self.start_seconds + steps + evaluations


def measure_costs(configs: Sequence[RunConfig], *, num_jobs: int, data_root: str | Path | None = None) -> list[RunCost]:
    """Time a few steps and an evaluation of every run, `num_jobs` of them at once, as they will share the machine.

    Args:
        configs: The runs.
        num_jobs: Processes at a time.
        data_root: Where datasets lie that are given by name.

    Raises:
        RuntimeError: A run that was to be timed failed.
        ValueError: `num_jobs` is less than 1.
    """
    check_num_jobs(num_jobs)
    with tempfile.TemporaryDirectory(prefix="logclock-timing-") as directory:
        shares = [configs[first::num_jobs] for first in range(min(num_jobs, len(configs)))]
        processes = [_start(share, Path(directory) / str(n), data_root) for n, share in enumerate(shares)]
        try:
            texts = [process.communicate()[0] for process in processes]
        finally:
            for process in processes:
                process.kill()
                process.wait()
    for process, text in zip(processes, texts, strict=True):
        if process.returncode != 0:
            raise RuntimeError(f"a run that was to be timed failed: {text.strip().splitlines()[-1:]}.")
    costs: dict[int, RunCost] = {}
    for first, text in enumerate(texts):
        for place, cost in enumerate(json.loads(text.splitlines()[-1])):
            costs[first + place * num_jobs] = from_dict(RunCost, cost)
    return [costs[place] for place in range(len(configs))]


def time_run(config: RunConfig, *, directory: Path, data_root: str | None, start_seconds: float) -> RunCost:
    """Make the first steps of a run, and a batch of its evaluation, and return what the whole would take."""
    dataset = open_dataset(config, root=data_root)
    few = dataclasses.replace(
        config,
        evaluation=dataclasses.replace(config.evaluation, interval=config.total_steps),
        execution=dataclasses.replace(config.execution, checkpoint_interval=None, tensorboard=False),
    )
    began = time.perf_counter()
    with torch_settings(config):
        stop = StopAfter(TIMED_STEPS)
        record = run_steps(
            few, new_record(few, dataset), dataset=dataset, directory=directory, stop=stop, display=QuietDisplay()
        )
        evaluation_seconds = _time_evaluation(config, data_root)
    # A run that ends while the timer warms up has no median; its first step bounds the others.
    step_seconds = record.cost["step_seconds"] or stop.first_seconds(began)
    return RunCost(
        start_seconds=start_seconds + stop.first_seconds(began),
        step_seconds=step_seconds,
        evaluation_seconds=evaluation_seconds,
        num_steps=config.total_steps,
        num_evaluations=-(-config.total_steps // config.evaluation.interval),
        load=stop.load(config.execution.num_threads),
    )


class StopAfter(StopRequest):
    """Ends a run after a number of steps, noting when they were made.

    Args:
        num_steps: How often the loop may ask before the answer is yes.
    """

    def __init__(self, num_steps: int) -> None:
        super().__init__()
        self._num_steps = num_steps
        self._marks: list[tuple[float, float]] = []

    @property
    def reason(self) -> str | None:
        """Note the time and return None until the steps are made."""
        if len(self._marks) < self._num_steps:  # afterwards the loop asks once more, after writing a checkpoint
            self._marks.append((time.perf_counter(), time.process_time()))
        return "the end of the timing" if len(self._marks) >= self._num_steps else None

    def first_seconds(self, began: float) -> float:
        """Return how long after `began` the first step was made."""
        return self._marks[0][0] - began

    def load(self, num_threads: int) -> float:
        """Return elapsed over CPU time per thread, between the first and the last step."""
        (wall_first, cpu_first), (wall_last, cpu_last) = self._marks[0], self._marks[-1]
        used = cpu_last - cpu_first
        return max(1.0, (wall_last - wall_first) * num_threads / used) if used > 0 else 1.0


def _time_evaluation(config: RunConfig, data_root: str | None) -> float:
    """Return the seconds of one evaluation, from its first batches."""
    dataset = open_dataset(config, root=data_root)
    num_batches = sum(1 for _ in ValidationSet(dataset, config).batches())
    few = min(num_batches, 2)
    device = choose_device(config.execution.device)
    model = config.model.build(seed=config.seed).to(device)
    short = ValidationSet(
        dataset, dataclasses.replace(config, evaluation=dataclasses.replace(config.evaluation, batches=few))
    )
    passes = Passes.of(config, model, device)
    seconds = []
    for _ in range(2):  # the first one warms up
        began = time.perf_counter()
        short.evaluate(model, cross_entropy=passes.cross_entropy, device=device)
        seconds.append(time.perf_counter() - began)
    return min(seconds) * num_batches / few


def _start(configs: Sequence[RunConfig], directory: Path, data_root: str | Path | None) -> "subprocess.Popen[str]":
    directory.mkdir()
    order = {
        "configs": [to_dict(config) for config in configs],
        "data_root": None if data_root is None else str(Path(data_root).expanduser().absolute()),
        "launched": time.time(),
    }
    (directory / "order.json").write_text(json.dumps(order))
    return subprocess.Popen(
        [sys.executable, "-m", "logclock.sweep.timing", str(directory)],
        env=KEEP_MEMORY | os.environ | {"OMP_NUM_THREADS": str(configs[0].execution.num_threads)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def main(directory: str) -> int:
    """Time the runs of an order and print what they cost as a line of JSON."""
    order = json.loads((Path(directory) / "order.json").read_text())
    start_seconds = time.time() - order["launched"]
    costs = []
    for number, data in enumerate(order["configs"]):
        config: RunConfig = from_dict(RunConfig, data)
        place = Path(directory) / str(number)
        costs.append(time_run(config, directory=place, data_root=order["data_root"], start_seconds=start_seconds))
    print(json.dumps([to_dict(cost) for cost in costs]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
