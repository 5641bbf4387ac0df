"""How does somebody load a trained model later?"""

import json
import os
from pathlib import Path

from torch import nn

from logclock.config import from_dict
from logclock.config.files import write_whole
from logclock.models import ModelConfig
from logclock.train.config import RunConfig, identity

__all__ = ["export_model", "load_model"]

WEIGHTS = "final.safetensors"


def export_model(model: nn.Module, config: RunConfig, directory: Path) -> Path:
    """Write `final.safetensors`; beside it lies `config.json`, which says what model the weights belong to."""
    from safetensors.torch import save

    path = directory / WEIGHTS
    # Copies, because the format refuses tensors that share memory, as those of modules with a tied parameter do.
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    write_config(config, directory)
    write_whole(path, save(tensors, metadata={"format": "pt"}), durable=True)
    return path


def write_config(config: RunConfig, directory: Path) -> None:
    """Write `config.json`, the run's identity, for people and for `load_model`."""
    directory.mkdir(parents=True, exist_ok=True)
    write_whole(directory / "config.json", (json.dumps(identity(config), indent=2) + "\n").encode(), durable=True)


def load_model(directory: str | os.PathLike[str]) -> nn.Module:
    """Return the trained model of a run's directory, on the CPU and in evaluation mode.

    Args:
        directory: `OUT/runs/RUN_ID`, which holds `config.json` and `final.safetensors`.

    Raises:
        FileNotFoundError: The run has not finished, or this is not a run's directory.
    """
    from safetensors.torch import load_file

    directory = Path(directory)
    for name in ("config.json", WEIGHTS):
        if not (directory / name).is_file():
            raise FileNotFoundError(
                f"{directory} has no {name}. A run writes its weights when it finishes; directories of runs are "
                "OUT/runs/RUN_ID."
            )
    config = json.loads((directory / "config.json").read_text())
    model_config: ModelConfig = from_dict(ModelConfig, config["model"], path="model")
    model = model_config.build(seed=0)
    model.load_state_dict(load_file(directory / WEIGHTS))
    return model.eval()
