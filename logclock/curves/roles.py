"""Which column is the step, which the loss, and which names the run?"""

import re
from collections.abc import Iterable, Mapping, Sequence

from logclock.config.registry import suggestion

__all__ = ["NAMES", "ROLES", "SERIES", "columns_of", "normalized", "role_of"]

SERIES = ("loss", "validation_loss", "lr", "grad_norm", "tokens")
"""Roles that have a value per step."""

NAMES = ("run", "label", "seed", "size", "params", "tokens_per_step", "total_steps")
"""Roles that tell runs in one file apart, and say what they are."""

ROLES = ("step", *SERIES, *NAMES)

# In order of preference. A step that a tool counts itself (`_step` of W&B grows with every call to log) comes last.
KNOWN: dict[str, tuple[str, ...]] = {
    "step": (
        *("global_step", "train_global_step", "trainer_global_step", "step", "steps", "iter", "iters", "iteration"),
        *("iterations", "update", "updates", "num_updates", "optimizer_step", "train_step", "training_step", "_step"),
    ),
    "loss": (
        *("loss", "train_loss", "training_loss", "train_loss_step", "loss_step", "loss_train", "lm_loss"),
        *("train_lm_loss", "train_ce_loss", "train_cross_entropy", "cross_entropy", "train_loss_epoch"),
    ),
    "validation_loss": (
        *("val_loss", "validation_loss", "valid_loss", "eval_loss", "dev_loss", "loss_val", "loss_validation"),
        *("loss_valid", "loss_eval", "val_ce_loss", "val_cross_entropy", "val_loss_epoch", "test_loss", "loss_test"),
    ),
    "lr": ("lr", "learning_rate", "train_lr", "train_learning_rate", "optim_lr", "optimizer_lr"),
    "grad_norm": ("grad_norm", "train_grad_norm", "gradient_norm", "total_norm", "norm"),
    "tokens": (
        *("tokens", "num_tokens", "n_tokens", "tokens_seen", "seen_tokens", "total_tokens", "train_tokens"),
        *("consumed_tokens", "tokens_consumed", "num_input_tokens_seen", "train_num_input_tokens_seen"),
    ),
    "run": ("run", "run_name", "run_id", "name", "experiment"),
    "label": ("label", "optimizer", "optim", "optimizer_name", "method"),
    "seed": ("seed", "random_seed"),
    "size": ("size", "model_size"),
    "params": ("params", "parameters", "num_params", "n_params", "num_parameters", "total_params"),
    "tokens_per_step": ("tokens_per_step", "tokens_per_batch", "tokens_per_iter"),
    "total_steps": ("total_steps", "max_steps", "num_iterations", "max_iters"),
}


def normalized(name: str) -> str:
    """Return a column's name as `KNOWN` writes it: `train/loss` and `Train Loss` are `train_loss`."""
    return re.sub(r"[\s/.:\-]+", "_", name.strip().lower())


def role_of(name: str) -> str | None:
    """Return what a column of this name is taken for, or None."""
    plain = normalized(name)
    for role, known in KNOWN.items():
        if plain in known:
            return role
    return "lr" if plain.startswith("lr_") else None  # Lightning's monitor writes lr-AdamW


def columns_of(names: Sequence[str], given: Mapping[str, str], *, where: str) -> dict[str, str]:
    """Return the column of each role that a source has.

    Args:
        names: The columns there are.
        given: Columns by role, as the user said it; they come before known names.
        where: The source, for errors.

    Raises:
        ValueError: A column that was given is not there, or two columns of one name could have a role.
    """
    found: dict[str, str] = {}
    for role, name in given.items():
        if name not in names:
            raise ValueError(
                f"{where}: no column {name!r} for {role}.{suggestion(name, names)} It has: {listed(names)}."
            )
        found[role] = name
    taken = set(found.values())
    for role in ROLES:
        if role in found:
            continue
        ranked = sorted((rank, name) for name in names if name not in taken and (rank := _rank(role, name)) is not None)
        if len(ranked) > 1 and ranked[0][0] == ranked[1][0] and role != "lr":
            raise ValueError(
                f"{where}: both {ranked[0][1]!r} and {ranked[1][1]!r} could be the {role}. Say which: "
                f"--column {role}=NAME."
            )
        if ranked:
            found[role] = ranked[0][1]
    return found


def listed(names: Iterable[str], *, most: int = 20) -> str:
    """Name columns in an error, not more than a person reads."""
    known = [name for name in names if name]
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return (", ".join(known[:most]) or "none") + more


def _rank(role: str, name: str) -> int | None:
    plain, known = normalized(name), KNOWN[role]
    if plain in known:
        return known.index(plain)
    return len(known) if role == "lr" and plain.startswith("lr_") else None
