import dataclasses

import pytest
import torch
from torch import nn

from logclock.models import LlamaConfig, ModelConfig, ModelSize, Qwen3Config
from logclock.train import load_model
from logclock.train.export import export_model


def test_a_trained_model_can_be_loaded(tiny_run, tmp_path):
    config = tiny_run()
    model = config.model.build(seed=3)
    export_model(model, config, tmp_path)

    loaded = load_model(tmp_path)

    tokens = torch.arange(20)[None]
    assert not loaded.training
    assert torch.equal(loaded(tokens), model(tokens))


@pytest.mark.parametrize("kind", [Qwen3Config, LlamaConfig])
def test_a_trained_model_of_every_family_can_be_loaded(tiny_run, tmp_path, kind):
    config = dataclasses.replace(tiny_run(), model=kind(heads=2, head_dim=8, num_layers=1, vocab_size=257))
    model = config.model.build(seed=3)
    export_model(model, config, tmp_path)

    loaded = load_model(tmp_path)

    tokens = torch.arange(20)[None]
    assert torch.equal(loaded(tokens), model(tokens))


class TiedByModules(nn.Module):
    """A user's model, tied as is usual: the head's parameter is the embedding's."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embedding.weight


def test_modules_that_share_a_parameter_do_not_break_the_export(tiny_run, tmp_path):
    @ModelConfig.family.register("tied-by-modules")
    @dataclasses.dataclass(frozen=True, kw_only=True)
    class TiedConfig(ModelConfig):
        def build(self, *, seed):
            torch.manual_seed(seed)
            return TiedByModules()

        def size(self):
            return ModelSize(non_embedding_params=0, total_params=28, num_layers=0, width=4, vocab_size=7)

    try:
        config = dataclasses.replace(tiny_run(), model=TiedConfig())
        model = config.model.build(seed=3)
        export_model(model, config, tmp_path)

        loaded = load_model(tmp_path)
    finally:
        del ModelConfig.family.members["tied-by-modules"]

    assert loaded.head.weight is loaded.embedding.weight
    assert torch.equal(loaded.head.weight, model.head.weight)


def test_weights_open_with_safetensors_alone(tiny_run, tmp_path):
    from safetensors import safe_open

    config = tiny_run()
    model = config.model.build(seed=3)

    path = export_model(model, config, tmp_path)

    with safe_open(path, framework="pt") as weights:
        assert set(weights.keys()) == set(model.state_dict())


def test_a_directory_without_a_finished_run_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no config.json. A run writes its weights when it finishes"):
        load_model(tmp_path)
