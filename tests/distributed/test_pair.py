"""Does a job that goes wrong on one rank end with its reason, and does the next one run?"""

import pytest
from distributed import pair_jobs as jobs
from distributed.pair import Pair


@pytest.mark.slow  # every failure costs two new processes
@pytest.mark.parametrize(
    ("job", "error", "message"),
    [
        (jobs.raise_on_rank_1, RuntimeError, "(?s)rank 1 failed.*ValueError: the reason of rank 1"),
        (jobs.die_on_rank_1, RuntimeError, "the process of rank 1 died|rank 0 failed"),
        (jobs.wait_for_a_rank_that_never_comes, TimeoutError, "no answer from rank 0"),
    ],
)
def test_a_failure_names_its_reason_and_the_next_job_runs(job, error, message):
    pair = Pair()
    try:
        assert pair.run(jobs.add_ranks, 5) == [[5, 6], [5, 6]]
        with pytest.raises(error, match=message):
            pair.run(job, timeout=2)
        assert not pair._processes
        assert pair.run(jobs.add_ranks, 7) == [[7, 8], [7, 8]]
    finally:
        pair.close()
