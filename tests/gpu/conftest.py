"""Everything in this folder needs a CUDA device: `make test-gpu`."""

from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent

NEEDS_GPU = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch finds no CUDA device; `make test-gpu` where there is one"
)


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.gpu)
            item.add_marker(NEEDS_GPU)


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)
