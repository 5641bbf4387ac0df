from logclock.config.codec import from_dict, override, to_dict
from logclock.models import EnokiConfig, ModelConfig


def test_a_model_config_survives_the_way_through_plain_data():
    config = EnokiConfig(heads=2, head_dim=16, vocab_size=256)

    data = to_dict(config)

    assert data == {
        "kind": "enoki",
        "heads": 2,
        "head_dim": 16,
        "num_layers": None,
        "vocab_size": 256,
        "rope_theta": 10000.0,
    }
    assert from_dict(ModelConfig, data) == config


def test_the_kind_alone_with_its_required_fields_names_a_model():
    assert from_dict(ModelConfig, {"kind": "enoki", "heads": 6}) == EnokiConfig(heads=6)


def test_an_override_of_the_depth_is_typed_by_the_field():
    assert override(EnokiConfig(heads=6), ["num_layers=2"]).depth == 2
