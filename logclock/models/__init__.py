"""Which language models can be trained, how large are they, and what loss do they minimise?"""

from logclock.models.base import ModelConfig
from logclock.models.decoder import Decoder
from logclock.models.enoki import EnokiConfig
from logclock.models.llama import LlamaConfig
from logclock.models.loss import LossParts, Objective, head_loss, language_model_loss
from logclock.models.osdn import Osdn
from logclock.models.qwen3 import Qwen3Config
from logclock.models.scale_vectors import ScaleVectors
from logclock.models.sizes import ModelSize

__all__ = [
    "Decoder",
    "EnokiConfig",
    "LlamaConfig",
    "LossParts",
    "ModelConfig",
    "ModelSize",
    "Objective",
    "Osdn",
    "Qwen3Config",
    "ScaleVectors",
    "head_loss",
    "language_model_loss",
]
