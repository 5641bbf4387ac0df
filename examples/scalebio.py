"""Which of two sources should a model train on? ScaleBiO learns their weights while it trains.

    python examples/scalebio.py

Both sources are sequences of 16 symbols. In one every symbol depends on the one before it, as in the validation data;
in the other a share of the symbols is replaced by chance. ScaleBiO looks for the weights p = softmax(l) of the sources
with which a model that is trained on them does best on the validation data:

    minimize over w and l, maximize over u:   L_val(w) + a (L_train(w; p) - L_train(u; p)),
    L_train(x; p) = sum over sources of p_source L_source(x)

u is a copy of the model that knows the training data only; w feels the validation data too. A source on which w is
better than u agrees with the validation data, so its weight grows. Three gradient steps, no second derivatives:

    u:  along a grad L_train(u; p)
    w:  along a grad L_train(w; p) + grad L_val(w), on the same samples
    l:  along a grad (L_train(w; p) - L_train(u; p)), through the softmax alone

What to expect: the weight of the clean source rises from 0.5 to above 0.9, stays near 0.5 when both sources are alike,
and a model that is trained with the learned weights ends below one with equal weights. What not to expect: the size of
a weight says little, for it goes on moving as fast as the learning rate of l says. The method keeps two models, and its
paper shows fine-tuning only. Its code moves l by Adam; here sources that are alike would then drift apart.

Reference: Pan et al. 2024, arXiv:2406.19976.
"""

import dataclasses

import logclock
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

SYMBOLS, LENGTH, BATCH = 16, 32, 16


@dataclasses.dataclass(frozen=True)
class Source:
    """Sequences of a Markov chain, a share of whose symbols is replaced by chance."""

    chain: Tensor
    noise: float

    def sample(self, generator: torch.Generator, batch: int = BATCH) -> Tensor:
        """Return (batch, LENGTH) symbols."""
        symbol = torch.randint(SYMBOLS, (batch,), generator=generator)
        columns = [symbol]
        for _ in range(LENGTH - 1):
            symbol = torch.multinomial(self.chain[symbol], 1, generator=generator)[:, 0]
            columns.append(symbol)
        clean = torch.stack(columns, dim=1)
        chance = torch.randint(SYMBOLS, clean.shape, generator=generator)
        return torch.where(torch.rand(clean.shape, generator=generator) < self.noise, chance, clean)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Weights of the sources after every step, and the validation loss with them and with equal weights."""

    weights: list[list[float]]
    loss: float
    loss_of_equal_weights: float


def make_model(seed: int) -> nn.Module:
    """Return a model that predicts a symbol from the one before it."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Embedding(SYMBOLS, 24), nn.Linear(24, SYMBOLS))


def loss_on(model: nn.Module, sequences: Tensor) -> Tensor:
    """Return the mean cross-entropy of every symbol but the first."""
    logits = model(sequences[:, :-1])
    return cross_entropy(logits.flatten(0, 1), sequences[:, 1:].flatten())


def learn_weights(
    sources: list[Source],
    validation: Source,
    *,
    steps: int = 200,
    penalty: float = 10.0,
    lr: float = 1e-2,
    lr_weights: float = 0.2,
    seed: int = 0,
) -> list[list[float]]:
    """Run ScaleBiO and return the weights after every step.

    Args:
        sources: What may be trained on.
        validation: What the model should be good at.
        steps: Rounds of the three steps.
        penalty: a: how much the training loss counts beside that on the validation data.
        lr: Learning rate of both models.
        lr_weights: Learning rate of l.
        seed: Of everything.
    """
    generator = torch.Generator().manual_seed(seed)
    u, w = make_model(seed), make_model(seed)
    scores = nn.Parameter(torch.zeros(len(sources)))
    optimizers = [logclock.AdamW(model.parameters(), lr=lr, weight_decay=5e-4) for model in (u, w)]
    optimizers.append(logclock.SGD([scores], lr=lr_weights))  # Adam would make large steps of small differences
    history = []
    for _ in range(steps):
        batches = [source.sample(generator) for source in sources]
        held_out = validation.sample(generator)
        weights = torch.softmax(scores, dim=0)
        losses_u, losses_w = (torch.stack([loss_on(model, batch) for batch in batches]) for model in (u, w))
        for optimizer in optimizers:
            optimizer.zero_grad()
        (penalty * (weights.detach() * losses_u).sum()).backward()
        (penalty * (weights.detach() * losses_w).sum() + loss_on(w, held_out)).backward()
        (penalty * (weights * (losses_w - losses_u).detach()).sum()).backward()
        for optimizer in optimizers:
            optimizer.step()
        history.append(torch.softmax(scores.detach(), dim=0).tolist())
    return history


def train_on(sources: list[Source], weights: list[float], validation: Source, *, steps: int, seed: int) -> float:
    """Train one model with fixed weights of the sources and return its validation loss."""
    generator = torch.Generator().manual_seed(seed + 1)
    model = make_model(seed)
    optimizer = logclock.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        losses = torch.stack([loss_on(model, source.sample(generator)) for source in sources])
        optimizer.zero_grad()
        (torch.tensor(weights) * losses).sum().backward()
        optimizer.step()
    with torch.no_grad():
        return float(loss_on(model, validation.sample(generator, batch=512)))


def run(noises: tuple[float, ...] = (0.0, 0.6), *, steps: int = 200, seed: int = 0) -> Outcome:
    """Learn the weights of sources that differ in their noise alone, and train with them and with equal ones."""
    chain = torch.softmax(2 * torch.randn(SYMBOLS, SYMBOLS, generator=torch.Generator().manual_seed(seed)), dim=1)
    sources, validation = [Source(chain, noise) for noise in noises], Source(chain, 0.0)
    weights = learn_weights(sources, validation, steps=steps, seed=seed)
    equal = [1 / len(noises)] * len(noises)
    losses = [train_on(sources, one, validation, steps=steps, seed=seed) for one in (weights[-1], equal)]
    return Outcome(weights, *losses)


def main() -> None:
    """Print the weights along the way, and what they are good for."""
    outcome = run()
    print("step   clean   noisy")
    for step in range(0, len(outcome.weights), 50):
        clean, noisy = outcome.weights[step]
        print(f"{step + 1:4d}   {clean:.3f}   {noisy:.3f}")
    clean, noisy = outcome.weights[-1]
    print(f"{len(outcome.weights):4d}   {clean:.3f}   {noisy:.3f}")
    print(
        f"validation loss: {outcome.loss:.3f} with these weights, {outcome.loss_of_equal_weights:.3f} with equal ones"
    )


if __name__ == "__main__":
    main()
