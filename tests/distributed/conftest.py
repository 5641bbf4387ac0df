import pytest
import torch
from distributed.pair import Pair

from logclock.rules import Spec


@pytest.fixture(scope="session")
def pair():
    """Two ranks for the whole session."""
    two_ranks = Pair()
    yield two_ranks
    two_ranks.close()


@pytest.fixture(params=sorted(Spec.family))
def name(request):
    """Every registered optimizer in turn."""
    return request.param


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
