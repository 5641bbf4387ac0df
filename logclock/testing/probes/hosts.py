"""Do schedulers, gradient scalers and the compiler find what they expect?"""

from typing import Any

import torch

from logclock.testing.probe import Broken, NotApplicable, probe
from logclock.testing.subject import Subject, copies, is_same, set_gradients, shift

__all__ = ["grad_scaler", "recompiles", "tensor_lr"]

CLOSE = 1e-3
"""Of the movement: a float32 learning rate in place of a float64 one may change that much through matrix steps."""


@probe(
    "tensor-lr",
    purpose="A learning rate that is a tensor, filled in place by a scheduler down to 0, gives the steps of a number.",
    why="What keeps the peak learning rate by reference sees it move, and divides 0 by 0 at the end of the schedule.",
    threads=("pytorch/pytorch#120934", "pytorch/pytorch#133898"),
)
def tensor_lr(subject: Subject) -> str:
    """Run a schedule that ends at 0 both ways."""
    total = 5
    results = []
    for is_tensor in (False, True):
        params = subject.params()
        start = copies(params)
        if is_tensor:
            optimizer = subject.optimizer_with(params, "lr", torch.tensor(subject.lr))
        else:
            optimizer = subject.optimizer(params)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0 - min(step, total) / total)
        for number in range(total + 1):  # the last one at learning rate 0
            set_gradients(params, number)
            subject.step(optimizer)
            scheduler.step()
        results.append(params)
    by_number, by_tensor = results
    off = shift(by_tensor, by_number, start)
    if off > CLOSE:
        raise Broken("With a tensor as learning rate and a scheduler, the steps are others than with a number.", off)
    how = f"to {off:.0e} of the movement" if off else "bit for bit"
    return f"A tensor as learning rate gives the steps of a number, {how}."


@probe(
    "grad-scaler",
    purpose="A gradient scaler skips a step with infinite gradients and unscales the others.",
    why="float16 training overflows every few thousand steps.",
)
def grad_scaler(subject: Subject) -> str:
    """Scale, overflow, and scale again."""
    scaled, usual = subject.params(), subject.params()
    start = copies(scaled)
    optimizer, other = subject.optimizer(scaled), subject.optimizer(usual)
    scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    for number in range(4):
        before = copies(scaled)
        factor = scaler.scale(torch.ones(())).item()
        set_gradients(scaled, number, scale=factor)
        if number == 2:
            assert scaled[0].grad is not None
            scaled[0].grad.fill_(float("inf"))
        scaler.step(optimizer)
        scaler.update()
        if number == 2:
            if not is_same(scaled, before):
                raise Broken("A step with infinite gradients is not skipped.")
            continue
        set_gradients(usual, number)
        subject.step(other)
    off = shift(scaled, usual, start)
    if off > CLOSE:
        raise Broken("Under a gradient scaler the steps are others.", off)
    return "A step with infinite gradients is skipped, and the others are unscaled."


@probe(
    "recompiles",
    purpose="torch.compile(optimizer.step) runs, and compiles nothing more from the fourth step on.",
    why="A step count that is a Python number is a constant of the graph: every step compiles anew.",
    threads=("pytorch/pytorch#133898", "pytorch/pytorch#130467"),
)
def recompiles(subject: Subject) -> str:
    """Count what is compiled in steps 4 to 8: the state is there, and every number has had a second value."""
    import torch._dynamo

    torch._dynamo.reset()
    torch._dynamo.config.recompile_limit = 64  # beyond it the compiler gives up in silence
    compiled: list[int] = []
    current = 0

    def count(graph: Any, inputs: Any) -> Any:
        compiled.append(current)
        return graph.forward

    params = subject.params()
    optimizer = subject.optimizer(params)
    start = copies(params)
    step: Any = torch.compile(optimizer.step, backend=count)
    for current in range(1, 9):
        set_gradients(params, current)
        step()
    late = sorted({number for number in compiled if number >= 4})
    if late:
        raise Broken(f"{len(late)} of the steps 4 to 8 compile anew.")
    if is_same(params, start):
        raise NotApplicable("Its first updates move nothing.")
    return "Steps 4 to 8 compile nothing." if compiled else "The compiler leaves the step alone."
