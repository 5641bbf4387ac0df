"""Which class does a user name? One for each algorithm, thin over its spec."""

import inspect
from collections.abc import Iterable
from typing import Any

import torch

from logclock.optim.optimizer import ScheduledOptimizer, signature_of
from logclock.rules import Spec

__all__ = [
    "ADANA",
    "SGD",
    "SOAP",
    "AdEMAMix",
    "AdamW",
    "Dana",
    "DanaMK4",
    "DanaStar",
    "DanaStarMK4",
    "LaProp",
    "Lion",
    "Muon",
    "NAdamW",
    "NormSGD",
    "Signum",
]


class AlgorithmOptimizer(ScheduledOptimizer):
    """Base of the classes that stand for one algorithm; their documentation and signature are those of the spec."""

    def __init_subclass__(cls, algorithm: str) -> None:
        cls.algorithm = algorithm
        spec = Spec.family.get(algorithm)
        cls.__doc__ = spec.__doc__
        own = inspect.signature(cls.__init__).parameters.values()
        cls.__signature__ = signature_of(spec, own)  # type: ignore[attr-defined]

    def __init__(self, params: Iterable[Any], lr: float | torch.Tensor | None = None, **hyperparameters: Any) -> None:
        super().__init__(params, lr=lr, **hyperparameters)


class SGD(AlgorithmOptimizer, algorithm="sgd"):
    pass


class AdamW(AlgorithmOptimizer, algorithm="adamw"):
    def __init__(
        self,
        params: Iterable[Any],
        lr: float | torch.Tensor | None = None,
        *,
        betas: tuple[float, float] | None = None,
        **hyperparameters: Any,
    ) -> None:
        if betas is not None:  # torch's spelling
            if "ema1" in hyperparameters or "ema2" in hyperparameters:
                raise TypeError("give betas or ema1 and ema2 (which are 1 - beta), not both.")
            hyperparameters |= {"ema1": 1 - betas[0], "ema2": 1 - betas[1]}
        super().__init__(params, lr, **hyperparameters)


class NAdamW(AlgorithmOptimizer, algorithm="nadamw"):
    pass


class AdEMAMix(AlgorithmOptimizer, algorithm="ademamix"):
    pass


class LaProp(AlgorithmOptimizer, algorithm="laprop"):
    pass


class Lion(AlgorithmOptimizer, algorithm="lion"):
    pass


class Signum(AlgorithmOptimizer, algorithm="signum"):
    pass


class ADANA(AlgorithmOptimizer, algorithm="adana"):
    pass


class Dana(AlgorithmOptimizer, algorithm="dana"):
    pass


class DanaMK4(AlgorithmOptimizer, algorithm="dana-mk4"):
    pass


class DanaStar(AlgorithmOptimizer, algorithm="dana-star"):
    pass


class DanaStarMK4(AlgorithmOptimizer, algorithm="dana-star-mk4"):
    pass


class Muon(AlgorithmOptimizer, algorithm="muon"):
    pass


class SOAP(AlgorithmOptimizer, algorithm="soap"):
    pass


class NormSGD(AlgorithmOptimizer, algorithm="normsgd"):
    pass
