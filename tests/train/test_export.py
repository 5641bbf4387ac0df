import pytest
import torch

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
