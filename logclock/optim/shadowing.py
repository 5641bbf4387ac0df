"""Does a schedule that was given to an optimizer reach any of its groups, or has a host written numbers over it?"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from logclock.schedules import Schedule

__all__ = ["refuse_lost_schedules"]


def refuse_lost_schedules(params: Iterable[Any], given: Mapping[str, Any], owner: str) -> Iterable[Any]:
    """Return what was given as `params`, read once; raise if a schedule of the constructor would reach no parameter.

    Hugging Face's Trainer builds an optimizer class with groups that hold `args.weight_decay`, 0 by default, whatever
    its `optimizer_cls_and_kwargs` say: the schedule would be lost without a word.

    A group with an algorithm of its own was made for it and is not looked at. Neither is a model without anything to
    decay, whose groups `param_groups` made: named parameters, all with a decay of 0.

    Args:
        params: Tensors, pairs or groups.
        given: Hyperparameters of the constructor.
        owner: The optimizer's class.

    Raises:
        ValueError: Every group with parameters has a number of its own where the constructor was given a schedule.
    """
    if isinstance(params, Iterator):
        params = list(params)
    if not isinstance(params, list | tuple):
        return params
    groups = [group for group in params if isinstance(group, Mapping) and "algorithm" not in group]
    groups = [group for group in groups if not _is_empty(group.get("params"))]
    if not groups or not all(isinstance(group, Mapping) for group in params):
        return params
    for name, value in given.items():
        own = [group.get(name) for group in groups]
        if not _is_schedule(value) or not all(isinstance(number, int | float) for number in own):
            continue
        if not (name == "weight_decay" and not any(own) and all(_is_named(group["params"]) for group in groups)):
            raise ValueError(
                f"{name} was given to {owner} as a schedule, which no parameter would follow: every group has a number "
                f"of its own, {', '.join(f'{number:g}' for number in dict.fromkeys(own))}. Put the schedule into the "
                f"groups, as logclock.param_groups(model, {name}=...) does. In Hugging Face's Trainer, which writes "
                "TrainingArguments.weight_decay into the groups of an optimizer class, give "
                f"optimizer_cls_and_kwargs=(logclock.OptimizerFactory, {{'lr': ..., {name!r}: ...}}). If the numbers "
                f"are meant, leave {name} out."
            )
    return params


def _is_schedule(value: Any) -> bool:
    """Return whether a value is a schedule, or its plain data."""
    return isinstance(value, Schedule) or (isinstance(value, Mapping) and "kind" in value)


def _is_named(params: Any) -> bool:
    """Return whether a group has pairs of names and parameters, as those of `param_groups`."""
    return isinstance(params, list | tuple) and all(isinstance(param, tuple) for param in params)


def _is_empty(params: Any) -> bool:
    """Return whether a group has no parameters; an iterator is not looked into."""
    return isinstance(params, list | tuple | set) and not params
