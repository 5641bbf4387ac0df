"""How many directions do hidden states use, on frequent and on rare tokens, and what does rounding the weights cost?

Shape suffixes: B batch, L sequence, D width of a state.
"""

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from logclock.analysis.diagnosis import BITS, QuantizedLoss, StatesFacts
from logclock.analysis.spectra import CLASSES, Covariance, hard_rank, soft_rank, token_classes
from logclock.data import Dataset
from logclock.models.decoder import Block, Decoder
from logclock.train.config import RunConfig
from logclock.train.evaluate import ValidationSet
from logclock.train.passes import Passes
from logclock.train.quantization import hidden_matrices, rounded_rows

__all__ = ["classes_of_dataset", "quantized_losses", "states_facts", "validation_loss"]

CPU = torch.device("cpu")
CHUNK = 2**20
"""Training tokens counted at a time."""

Take = Callable[[str, str, Tensor], None]
"""Is given place, kind and states of every layer in each forward pass."""


def classes_of_dataset(dataset: Dataset) -> np.ndarray:
    """Return the class of every token id, by its frequency among all training tokens."""
    counts = np.zeros(dataset.vocab_size, dtype=np.int64)
    for start in range(0, len(dataset.train), CHUNK):
        tokens = dataset.train.read(start, min(CHUNK, len(dataset.train) - start))
        counts += np.bincount(tokens, minlength=dataset.vocab_size)
    return token_classes(counts)


def validation_loss(model: nn.Module, dataset: Dataset, config: RunConfig) -> float:
    """Return the validation loss on the tokens on which the run measured it, in float32 on the CPU."""
    found = ValidationSet(dataset, config).evaluate(model, cross_entropy=Passes(model).cross_entropy, device=CPU)
    model.eval()
    return found.loss


def states_facts(model: Decoder, dataset: Dataset, config: RunConfig, *, max_tokens: int) -> list[StatesFacts]:
    """Return the ranks of the states in every layer, by class of the token at their position.

    Two places a layer: after the non-linearity of the feed-forward part, which is what spectral scaling laws are about,
    and what the layer leaves in the residual stream.

    Args:
        model: Trained.
        dataset: Its training tokens say how frequent a token is, its validation tokens are read.
        config: How they are cut into batches.
        max_tokens: About how many are read.
    """
    classes = torch.from_numpy(classes_of_dataset(dataset))
    found: dict[tuple[str, str], list[Covariance]] = {}
    chosen: list[Tensor] = []

    def take(place: str, kind: str, states_BLD: Tensor) -> None:
        states = states_BLD.flatten(0, 1).double().numpy()
        own = found.setdefault((place, kind), [Covariance(states.shape[1]) for _ in CLASSES])
        for number, covariance in enumerate(own):
            covariance.add(states[chosen[0].numpy() == number])

    with torch.no_grad(), _watched(model, take):
        for inputs_BL in _inputs(dataset, config, max_tokens):
            chosen[:] = [classes[inputs_BL].flatten()]
            model(inputs_BL)
    facts = []
    for (place, kind), own in found.items():
        together = Covariance(len(own[0].mean))
        for covariance in own:
            together.merge(covariance)
        for name, covariance in zip((*CLASSES, "all"), (*own, together), strict=True):
            values = covariance.eigenvalues() if covariance.count > 1 else np.zeros(1)
            facts.append(
                StatesFacts(
                    place=place,
                    kind=kind,
                    token_class=name,
                    width=len(covariance.mean),
                    num_tokens=covariance.count,
                    soft_rank=soft_rank(values),
                    hard_rank=hard_rank(values),
                )
            )
    return facts


def quantized_losses(model: nn.Module, dataset: Dataset, config: RunConfig, *, max_tokens: int) -> list[QuantizedLoss]:
    """Return what rounding the hidden matrices after training does to the validation loss and to the last layer.

    Raises:
        ValueError: The model has no hidden matrix.
    """
    found = []
    for bits in BITS:
        rounded = copy.deepcopy(model)
        with torch.no_grad():
            for param in hidden_matrices(rounded).values():
                param.copy_(rounded_rows(param, bits))
        error = _output_error(model, rounded, dataset, config, max_tokens) if isinstance(model, Decoder) else None
        loss = validation_loss(rounded, dataset, config)
        found.append(QuantizedLoss(bits=bits, loss=loss, output_error=error))
    return found


def _output_error(model: nn.Module, rounded: nn.Module, dataset: Dataset, config: RunConfig, max_tokens: int) -> float:
    """Return the mean of norm(dh)^2 / norm(h)^2 over tokens, h what the last layer leaves in the residual stream."""
    last: dict[nn.Module, Tensor] = {}
    errors = []
    with torch.no_grad(), _watched(model, _keep(last, model)), _watched(rounded, _keep(last, rounded)):
        for inputs_BL in _inputs(dataset, config, max_tokens):
            model(inputs_BL), rounded(inputs_BL)
            change_BL = (last[rounded] - last[model]).square().sum(-1)
            errors.append((change_BL / last[model].square().sum(-1)).flatten())
    return torch.cat(errors).mean().item()


def _keep(last: dict[nn.Module, Tensor], model: nn.Module) -> Take:
    def take(place: str, kind: str, states_BLD: Tensor) -> None:
        if kind == "output":
            last[model] = states_BLD.double()  # that of the last layer comes last

    return take


@contextmanager
def _watched(model: nn.Module, take: Take) -> Iterator[None]:
    """Hand what each layer computes to `take` while the context lasts."""
    handles = []
    for number, block in enumerate(module for module in model.modules() if isinstance(module, Block)):

        def before_out(module: nn.Module, inputs: tuple[Tensor], number: int = number) -> None:
            take(f"blocks.{number}.feed_forward", "feed-forward", inputs[0])

        def after(module: nn.Module, inputs: object, output: Tensor, number: int = number) -> None:
            take(f"blocks.{number}.output", "output", output)

        handles += [block.feed_forward.out.register_forward_pre_hook(before_out), block.register_forward_hook(after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _inputs(dataset: Dataset, config: RunConfig, max_tokens: int) -> Iterator[Tensor]:
    """Yield the inputs of the first validation batches, at least one."""
    per_batch = config.evaluation.batch_size * config.data.sequence_length
    batches = ValidationSet(dataset, config).batches()
    for inputs_BL, _ in itertools.islice(batches, max(1, max_tokens // per_batch)):
        yield inputs_BL
