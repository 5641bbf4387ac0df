"""What are the weights before the first update?"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from logclock.models.scale_vectors import ScaleVector

__all__ = ["constant_std_init", "mup_factor", "scaled_gpt_init"]


def mup_factor(*, width: int, base_width: int | None) -> float:
    """Return base_width / width, by which the maximal update parametrization scales what depends on the width.

    A model of the base width is the same with and without it, and wider ones keep its best learning rate: under Adam,
    weights whose inputs grow with the width move by lr base_width / width per update, all others by lr; the head starts
    smaller by the root of the factor, and an embedding as large as at the base width.

    Args:
        width: d.
        base_width: Of the model whose settings are known to be good; None is no such parametrization, a factor of 1.

    References: Yang et al. 2022, arXiv:2203.03466, table 8.
    """
    return 1.0 if base_width is None else base_width / width


def scaled_gpt_init(
    model: nn.Module,
    *,
    residual_outputs: Iterable[nn.Linear],
    num_layers: int,
    seed: int,
    head: nn.Module | None = None,
    mup_factor: float = 1.0,
) -> None:
    """Fill all parameters by the scheme "ScaledGPT".

    Normal with mean 0 and variance 1 / fan_in for a linear map, the output head included; 1 / width for an embedding;
    1 / (2 fan_in L) for the maps that write to the residual stream, of which there are two per layer. Norm gains are 1.

    Args:
        model: As in `initialize`.
        residual_outputs: The maps that write to the residual stream.
        num_layers: L.
        seed: As in `initialize`.
        head: The output head, whose variance is multiplied by `mup_factor`.
        mup_factor: As the function returns it; the variance of the embedding is divided by it.
    """
    writers = set(residual_outputs)

    def variance(module: nn.Linear | nn.Embedding) -> float:
        if isinstance(module, nn.Embedding):
            return 1 / module.embedding_dim / mup_factor
        plain = 1 / (module.in_features * (2 * num_layers if module in writers else 1))
        return plain * mup_factor if module is head else plain

    initialize(model, variance=variance, seed=seed)


def constant_std_init(
    model: nn.Module,
    *,
    std: float,
    residual_outputs: Iterable[nn.Linear],
    num_layers: int,
    seed: int,
    mup_factor: float = 1.0,
) -> None:
    """Fill all parameters by GPT-2's scheme: one standard deviation whatever the width.

    Normal with mean 0 and standard deviation `std`, and std / sqrt(2 L) for the maps that write to the residual stream,
    of which there are two per layer. Norm gains are 1.

    Args:
        model: As in `initialize`.
        std: 0.02 in GPT-2 and most of what followed.
        residual_outputs: The maps that write to the residual stream.
        num_layers: L.
        seed: As in `initialize`.
        mup_factor: As the function returns it; the variance of every map is multiplied by it, and a table that is
            embedding and head keeps its own.
    """
    writers = set(residual_outputs)

    def variance(module: nn.Linear | nn.Embedding) -> float:
        plain = std**2 / (2 * num_layers if module in writers else 1)
        return plain if isinstance(module, nn.Embedding) else plain * mup_factor

    initialize(model, variance=variance, seed=seed)


@torch.no_grad()
def initialize(model: nn.Module, *, variance: Callable[[nn.Linear | nn.Embedding], float], seed: int) -> None:
    """Fill the matrices with normal numbers of mean 0 and norm gains with 1.

    Args:
        model: Built of Linear, Embedding and norm layers, without biases. Filled in place; only on the `meta` device,
            where there is nothing to fill, it is left as it is.
        variance: Of the weights of a module.
        seed: The weights are a function of it and of the shapes. They are drawn on the CPU in module order, so they do
            not depend on the device, and from their own generator, so the global one is not touched.

    Raises:
        TypeError: The model has a parameter that the scheme does not cover.
    """
    generator = torch.Generator(device="cpu").manual_seed(seed)
    for name, module in model.named_modules():
        for parameter_name, param in module.named_parameters(recurse=False):
            if isinstance(module, nn.Linear | nn.Embedding) and parameter_name == "weight":
                _fill_normal(param, variance=variance(module), generator=generator)
            elif isinstance(module, ScaleVector) or (
                isinstance(module, nn.LayerNorm | nn.RMSNorm) and parameter_name == "weight"
            ):
                param.fill_(1)
            else:
                raise TypeError(
                    f"the scheme covers weights of Linear, Embedding, LayerNorm and RMSNorm, got "
                    f"{name}.{parameter_name} of {type(module).__name__}. Give the new kind of parameter an initial "
                    "value in models/init.py."
                )


def _fill_normal(param: Tensor, *, variance: float, generator: torch.Generator) -> None:
    if param.is_meta:
        return
    draw = torch.empty(param.shape, dtype=torch.float32, device="cpu")
    param.copy_(draw.normal_(0, variance**0.5, generator=generator))
