import pytest
import torch
from contract.cases import CASES
from distributed.pair import Pair


@pytest.fixture(scope="session")
def pair():
    """Two ranks for the whole session."""
    two_ranks = Pair()
    yield two_ranks
    two_ranks.close()


@pytest.fixture(params=sorted(name for name, case in CASES.items() if case.is_elementwise))
def name(request):
    """Every registered optimizer with an elementwise rule in turn; test_whole_tensor.py has the others."""
    return request.param


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
