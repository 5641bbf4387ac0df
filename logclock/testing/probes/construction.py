"""Which mistakes does a constructor hear, and which groups does it take?"""

import torch

from logclock.testing.probe import Broken, NotApplicable, probe
from logclock.testing.subject import MATRICES, Subject, copies, is_same, set_gradients

__all__ = ["added_group", "named_parameters", "negative_lr", "swapped_parameters", "unknown_argument"]

MISSPELLED = "weight_decya"


@probe(
    "unknown-argument",
    purpose="An argument that does not exist is an error.",
    why="A misspelled weight_decay is otherwise a run without weight decay.",
)
def unknown_argument(subject: Subject) -> str:
    """Build it with a misspelled argument."""
    try:
        subject.optimizer(subject.params(), **{MISSPELLED: 0.1})
    except Exception as error:
        return f"{MISSPELLED}=0.1 raises {type(error).__name__}."
    raise Broken(f"{MISSPELLED}=0.1 is accepted without a word.")


@probe(
    "negative-lr",
    purpose="A learning rate below 0 is an error.",
    why="A sign lost in a sweep's formula otherwise climbs the loss.",
)
def negative_lr(subject: Subject) -> str:
    """Build it with lr = -1."""
    if not subject.may_take("lr"):
        raise NotApplicable("It has no argument lr.")
    try:
        subject.optimizer(subject.params(), lr=-1.0)
    except Exception as error:
        return f"lr=-1 raises {type(error).__name__}."
    raise Broken("lr=-1 is accepted without a word.")


@probe(
    "named-parameters",
    purpose="Pairs of names and parameters are parameters, and the names are kept.",
    why="Checkpoints by name need the names, and trainers pass model.named_parameters().",
)
def named_parameters(subject: Subject) -> str:
    """Build it from pairs, and compare a step with that of the bare parameters."""
    named, bare = subject.params(), subject.params()
    optimizer = subject.optimizer([(f"layer.{i}", param) for i, param in enumerate(named)])
    subject.run(optimizer, named, range(3))
    subject.run(subject.optimizer(bare), bare, range(3))
    if not is_same(named, bare):
        raise Broken("With names the steps are others than without.")
    kept = [name for group in optimizer.param_groups for name in group.get("param_names", ())]
    if kept != [f"layer.{i}" for i in range(len(named))]:
        raise Broken(f"param_names of the groups are {kept}, not the names that were given.")
    return "Names are kept, and the steps are those without names."


@probe(
    "added-group",
    purpose="add_param_group works after steps, and the new group gets the defaults.",
    why="Layers are unfrozen in the course of a run.",
)
def added_group(subject: Subject) -> str:
    """Add a group after two steps."""
    optimizer, params = subject.trained(2)
    shape = MATRICES[0] if subject.takes_matrices_only else subject.shapes[0]
    added = torch.nn.Parameter(torch.ones(shape))
    optimizer.add_param_group({"params": [added]})
    first, new = optimizer.param_groups[0], optimizer.param_groups[-1]
    missing = sorted(set(first) & set(optimizer.defaults) - set(new))
    if missing:
        raise Broken(f"The new group lacks {', '.join(missing)}, which the first one has by default.")
    before = copies([added])
    subject.run(optimizer, [*params, added], range(2, 5))
    if is_same([added], before):
        raise Broken("The parameters of a group that is added after 2 steps do not move in 3 more.")
    if not bool(added.isfinite().all()):
        raise Broken("The parameters of an added group become NaN or infinite.")
    return "A group that is added after 2 steps trains with the defaults."


@probe(
    "swapped-parameters",
    purpose="Parameters that a host exchanges in the groups before the first step are the ones that train.",
    why="FSDP2 under accelerate puts sharded parameters into the groups after the optimizer was built.",
    threads=("huggingface/accelerate#3855", "huggingface/accelerate#4142"),
)
def swapped_parameters(subject: Subject) -> str:
    """Exchange the parameters, and compare with an optimizer that was built with the new ones."""
    old, new, usual = subject.params(), subject.params(), subject.params()
    optimizer = subject.optimizer(old)
    exchange = dict(zip(map(id, old), new, strict=True))
    for group in optimizer.param_groups:
        group["params"] = [exchange[id(param)] for param in group["params"]]
    before = copies(old)
    for number in range(3):
        set_gradients(old, number)
        set_gradients(new, number)
        subject.step(optimizer)
    subject.run(subject.optimizer(usual), usual, range(3))
    if not is_same(old, before):
        raise Broken("It moves the parameters that are no longer in its groups.")
    if not is_same(new, usual):
        raise Broken("The parameters that are in its groups now take other steps than if it had been built with them.")
    return "The exchanged parameters train as if it had been built with them."
