"""Which language models can be trained, how large are they, and what loss do they minimise?"""

from logclock.models.base import ModelConfig
from logclock.models.enoki import Enoki, EnokiConfig
from logclock.models.loss import LossParts, language_model_loss
from logclock.models.sizes import ModelSize

__all__ = ["Enoki", "EnokiConfig", "LossParts", "ModelConfig", "ModelSize", "language_model_loss"]
