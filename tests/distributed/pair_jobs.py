"""Jobs that go wrong, for the test of the pair itself."""

import os

import torch.distributed as dist


def add_ranks(rank, number):
    sums = [None, None]
    dist.all_gather_object(sums, rank + number)
    return sums


def raise_on_rank_1(rank):
    """Raise on one rank while the other waits for it."""
    if rank == 1:
        raise ValueError("the reason of rank 1")
    dist.barrier()


def die_on_rank_1(rank):
    if rank == 1:
        os._exit(3)
    dist.barrier()


def wait_for_a_rank_that_never_comes(rank):
    if rank == 0:
        dist.barrier()
