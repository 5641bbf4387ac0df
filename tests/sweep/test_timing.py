import pytest

from logclock.sweep import measure_costs
from logclock.sweep.timing import StopAfter, time_run


def test_a_few_steps_tell_what_a_long_run_will_take(tiny_run, tiny_data_root):
    short = tiny_run("evaluation.interval=100", steps=1000)
    long = tiny_run("evaluation.interval=100", "model.heads=8", steps=100_000)

    costs = measure_costs([short, long, short], num_jobs=2, data_root=tiny_data_root)

    assert [(cost.num_steps, cost.num_evaluations) for cost in costs] == [(1000, 10), (100_000, 1000), (1000, 10)]
    assert all(cost.step_seconds > 0 and cost.evaluation_seconds > 0 and cost.start_seconds > 0 for cost in costs)
    short_work, long_work, _ = (cost.seconds - cost.start_seconds for cost in costs)
    assert long_work > 30 * short_work  # a hundred times the steps, each at least as long
    assert all(cost.load >= 1.0 for cost in costs)


def test_a_timing_leaves_nothing_of_the_runs_behind(tiny_run, tiny_data_root, tmp_path):
    config = tiny_run("execution.checkpoint_interval=1", steps=1000)

    cost = time_run(config, directory=tmp_path / "run", data_root=str(tiny_data_root), start_seconds=2.0)

    assert cost.num_steps == 1000
    assert cost.start_seconds > 2.0


def test_a_run_shorter_than_the_timing_is_timed_too(tiny_run, tiny_data_root):
    (cost,) = measure_costs([tiny_run(steps=12)], num_jobs=4, data_root=tiny_data_root)

    assert cost.num_steps == 12
    assert cost.step_seconds > 0


def test_a_run_of_one_step_is_timed_too(tiny_run, tiny_data_root):
    (cost,) = measure_costs([tiny_run(steps=1)], num_jobs=1, data_root=tiny_data_root)

    assert cost.step_seconds > 0


def test_a_run_that_cannot_start_is_an_error_that_says_why(tiny_run, tiny_data_root):
    with pytest.raises(RuntimeError, match=r"a run that was to be timed failed: .*nowhere.* does not exist"):
        measure_costs([tiny_run("data.dataset=nowhere")], num_jobs=1, data_root=tiny_data_root)


def test_the_load_is_elapsed_over_cpu_time():
    stop = StopAfter(2)
    stop._marks = [(10.0, 1.0), (14.0, 3.0)]

    assert stop.load(num_threads=1) == 2.0
    assert stop.load(num_threads=2) == 4.0
    assert stop.first_seconds(9.5) == 0.5
