"""Does the optimizer take the same steps under FSDP2, and go on from a distributed checkpoint?"""

from typing import Any

import torch
from torch import nn

from logclock.testing.probe import Broken, probe
from logclock.testing.subject import SHAPES, Subject, set_gradients, shift

__all__ = ["sharded_resume", "sharded_step"]

SHARDED_SHAPES = ((6, 4), (7, 5), (1, 5), (5,))
"""Sides that two ranks do not divide, and one row, of which the second rank has nothing."""

ROUNDING = 1e-4


class Weights(nn.Module):
    """A module that is its parameters."""

    def __init__(self, params: list[nn.Parameter]) -> None:
        super().__init__()
        for i, param in enumerate(params):
            self.register_parameter(f"weight{i}", param)


def _params(subject: Subject) -> list[nn.Parameter]:
    if subject.shapes != SHAPES and not subject.takes_matrices_only:
        return subject.params()
    shapes = [shape for shape in SHARDED_SHAPES if len(shape) == 2 or not subject.takes_matrices_only]
    return subject.params(shapes=shapes)


def _sharded(subject: Subject, ranks: int) -> tuple[nn.Module, Any]:
    """Return a module sharded over all ranks, and its optimizer."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    module = Weights(_params(subject))
    fully_shard(module, mesh=init_device_mesh("cpu", (ranks,)))
    return module, subject.optimizer(list(module.parameters()))


def _train_sharded(subject: Subject, module: nn.Module, optimizer: Any, steps: range) -> None:
    """Take steps with the gradients of the whole run, each rank with its shards of them."""
    from torch.distributed.tensor import distribute_tensor

    for number in steps:
        whole = _params(subject)
        set_gradients(whole, number)
        for param, one in zip(module.parameters(), whole, strict=True):
            assert one.grad is not None
            sharded: Any = param
            param.grad = distribute_tensor(one.grad, sharded.device_mesh, sharded.placements)
        subject.step(optimizer)


def _gathered(module: nn.Module) -> list[torch.Tensor]:
    sharded: list[Any] = [param.detach() for param in module.parameters()]
    return [param.full_tensor() for param in sharded]


@probe(
    "sharded-step",
    purpose="Under FSDP2, five steps are those of the unsharded run.",
    why="A norm or a matrix product over a shard is not that of the tensor.",
    threads=("pytorch/pytorch#134212", "vllm-project/speculators#821"),
    needs_ranks=True,
)
def sharded_step(subject: Subject, ranks: int, folder: str) -> str:
    """Take them both ways."""
    module, optimizer = _sharded(subject, ranks)
    _train_sharded(subject, module, optimizer, range(5))
    whole = _params(subject)
    subject.run(subject.optimizer(whole), whole, range(5))
    off = shift(_gathered(module), whole, _params(subject))
    if off > ROUNDING:
        raise Broken(f"Over {ranks} ranks, five steps are not those of the unsharded run.", off)
    return f"Over {ranks} ranks, five steps are those of the unsharded run."


@probe(
    "sharded-resume",
    purpose="Under FSDP2, a distributed checkpoint is saved and loaded, and the run goes on.",
    why="Sharded runs have no other checkpoint.",
    threads=("microsoft/dion#18", "facebookresearch/schedule_free#32"),
    needs_ranks=True,
)
def sharded_resume(subject: Subject, ranks: int, folder: str) -> str:
    """Save, load into fresh objects, and compare three more steps."""
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.state_dict import (
        get_model_state_dict,
        get_optimizer_state_dict,
        set_model_state_dict,
        set_optimizer_state_dict,
    )

    module, optimizer = _sharded(subject, ranks)
    _train_sharded(subject, module, optimizer, range(4))
    start = _gathered(module)
    dcp: Any = checkpoint
    dcp.save(
        {"model": get_model_state_dict(module), "optimizer": get_optimizer_state_dict(module, optimizer)},
        checkpoint_id=folder,
    )
    twin, loaded = _sharded(subject, ranks)
    saved: dict[str, Any] = {"model": get_model_state_dict(twin), "optimizer": get_optimizer_state_dict(twin, loaded)}
    dcp.load(saved, checkpoint_id=folder)
    set_optimizer_state_dict(twin, loaded, saved["optimizer"])
    set_model_state_dict(twin, saved["model"])
    subject.train(loaded)
    _train_sharded(subject, module, optimizer, range(4, 7))
    _train_sharded(subject, twin, loaded, range(4, 7))
    off = shift(_gathered(twin), _gathered(module), start)
    if off > 0:
        raise Broken("After a checkpoint was loaded without an error, the next three steps are others.", off)
    return f"Over {ranks} ranks, three steps after loading are those of the run that went on."
