"""Are a run's losses, hidden states, optimizer state and next update what an independent computation gives?"""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from logclock.data import prepare
from logclock.diagnostics import diagnose
from logclock.recipes import get_variant
from logclock.train import load_model, open_dataset, run_directory, train
from logclock.train.evaluate import ValidationSet


@pytest.fixture(scope="module")
def found(study, tiny_data_root):
    out, _ = study
    labels = ("adamw", "adana", "dana-star")
    told = []
    result = diagnose(tuple(f"{out}:{label}" for label in labels), data_root=tiny_data_root, message=told.append)
    assert len(told) == 3
    return dict(zip(labels, result, strict=True))


def test_the_loss_is_the_one_in_the_record(study, found):
    for label in ("adamw", "adana"):
        record = study[1][label][1]
        assert found[label].loss == pytest.approx(record.metrics["final_validation_loss"], abs=1e-6)


def test_the_loss_after_rounding_is_that_of_a_model_rounded_by_hand(study, found, tiny_data_root):
    config, _, folder = study[1]["adana"]
    model = load_model(folder)
    with torch.no_grad():
        for name, param in model.named_parameters():
            if name.startswith("blocks.") and param.dim() == 2:
                step = np.abs(param.numpy()).max(axis=1, keepdims=True) / 7
                param.copy_(torch.from_numpy(step * np.rint(param.numpy() / step)))
        batches = ValidationSet(open_dataset(config, root=tiny_data_root), config).batches()
        losses = [(functional.cross_entropy(model(x).flatten(0, 1), y.flatten()), len(x)) for x, y in batches]

    four = {each.bits: each for each in found["adana"].quantized}[4]
    expected = sum(loss.item() * count for loss, count in losses) / sum(count for _, count in losses)
    assert four.loss == pytest.approx(expected, abs=1e-5)
    assert 0 < four.output_error < 1
    assert {each.bits: each.output_error for each in found["adana"].quantized}[8] < four.output_error / 50  # (127/7)^2


def test_ranks_of_hidden_states_are_those_of_numpys_covariance(study, found, tiny_data_root):
    config, _, folder = study[1]["adana"]
    model, dataset = load_model(folder), open_dataset(config, root=tiny_data_root)
    counts = np.bincount(dataset.train[:], minlength=257)
    order = sorted(range(257), key=lambda token: (-counts[token], token))
    running = np.cumsum(counts[order]) / counts.sum()
    tail = {token for token, share in zip(order, running, strict=True) if share > 0.67}
    states, tokens = [], []
    model.blocks[0].feed_forward.into.register_forward_hook(
        lambda module, inputs, output: states.append(functional.gelu(output).flatten(0, 1))
    )
    with torch.no_grad():
        for inputs, _ in ValidationSet(dataset, config).batches():
            model(inputs)
            tokens += inputs.flatten().tolist()

    chosen = torch.cat(states).numpy()[[token in tail for token in tokens]]
    values = np.clip(np.linalg.eigvalsh(np.cov(chosen.astype(float), rowvar=False)), 0, None)
    shares = values[values > 0] / values.sum()
    (one,) = [
        each for each in found["adana"].states if (each.place, each.token_class) == ("blocks.0.feed_forward", "tail")
    ]
    assert (one.num_tokens, one.width) == (len(chosen), 64)
    assert one.soft_rank == pytest.approx(np.exp(-np.sum(shares * np.log(shares))), rel=1e-4)  # float32 states
    assert one.hard_rank == pytest.approx(1 / np.sum(shares**2), rel=1e-4)


def test_all_tokens_are_those_of_the_three_classes(found):
    counts = {(each.place, each.token_class): each.num_tokens for each in found["adamw"].states}

    for place in ("blocks.0.feed_forward", "blocks.0.output"):
        parts = [counts[place, name] for name in ("head", "mid", "tail")]
        assert min(parts) > 0
        assert counts[place, "all"] == sum(parts)


def test_a_finished_run_says_that_it_has_no_checkpoint(found):
    assert "deletes them when it finishes" in found["adamw"].missing["updates"]
    assert found["adamw"].optimizer_state == ()


def test_states_of_a_stopped_run_are_those_of_its_checkpoint(study, found):
    folder = study[1]["dana-star"][2]
    saved = torch.load(folder / "checkpoints" / "step-00000008.pt", weights_only=True)
    index = saved["optimizer"]["param_groups"][0]["param_names"].index("blocks.0.feed_forward.out.weight")
    tau = saved["optimizer"]["state"][saved["optimizer"]["param_groups"][0]["params"][index]]["tau"].double().numpy()

    states = {(each.parameter, each.state): each for each in found["dana-star"].optimizer_state}

    one = states["blocks.0.feed_forward.out.weight", "tau"]
    assert (one.mean, one.zeros) == (pytest.approx(tau.mean()), np.mean(tau == 0))
    assert one.quantiles == pytest.approx(tuple(np.quantile(tau, (0.1, 0.5, 0.9))))
    assert states["embedding.weight", "exp_avg"].zeros > 0.5  # most of the 257 bytes never occur
    assert not any(each.state == "step" for each in found["dana-star"].optimizer_state)


@pytest.mark.parametrize(
    ("optimizer", "changes"),
    [
        ("adana", ("accumulation_steps=2", "quantization=4")),
        ("sophia-g", ()),
        ("muon", ()),
    ],
)
def test_the_next_update_is_the_one_that_training_makes(
    optimizer, changes, tiny_run, tiny_data_root, tmp_path, stop_at
):
    config = tiny_run(*changes, "log_interval=1", steps=30, spec=get_variant(optimizer).build(30, lr=5e-3))
    train(config, out=tmp_path, data_root=tiny_data_root, display=stop_at(10))
    folder = run_directory(tmp_path, config)
    before = torch.load(folder / "checkpoints" / "step-00000010.pt", weights_only=True)["model"]
    (found,) = diagnose((str(folder),), data_root=tiny_data_root)
    train(config, out=tmp_path, data_root=tiny_data_root, display=stop_at(11))
    after = torch.load(folder / "checkpoints" / "step-00000011.pt", weights_only=True)["model"]

    assert found.updates_at == 11
    for one in found.updates:
        old, new = before[one.parameter].double(), after[one.parameter].double()
        assert one.weight_norm == pytest.approx(old.norm().item(), rel=1e-12)
        assert one.ratio == pytest.approx(((new - old).norm() / old.norm()).item(), rel=1e-9), one.parameter
    assert len(found.updates) == len(before)


def test_looking_changes_nothing_in_a_runs_folder(study, tiny_data_root):
    folder = study[1]["dana-star"][2]

    def content():
        return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}

    before = content()
    diagnose((str(folder),), data_root=tiny_data_root)

    assert content() == before


def test_a_run_trained_on_few_bits_is_told_apart(tiny_run, tiny_data_root, tmp_path):
    config = tiny_run("quantization=4", steps=4)
    record = train(config, out=tmp_path, data_root=tiny_data_root)

    (one,) = diagnose((f"{tmp_path}:adana",), data_root=tiny_data_root)

    assert one.warnings == ("adana: trained on weights of 4 bits; `loss` is that of the whole ones",)
    four = {each.bits: each for each in one.quantized}[4]
    assert four.loss == pytest.approx(record.metrics["final_validation_loss"], abs=1e-6)


def test_a_file_has_weights_alone_and_says_so(study):
    folder = study[1]["adana"][2]

    (one,) = diagnose((str(folder / "final.safetensors"),))

    names = {matrix.name for matrix in one.matrices}
    assert "blocks.0.feed_forward.out.weight" in names
    assert (one.loss, one.states, one.quantized, one.updates) == (None, (), (), ())
    assert set(one.missing) == {"data", "quantized", "optimizer", "updates"}


def test_other_data_under_the_same_name_are_refused(study, tmp_path):
    text = tmp_path / "other.jsonl"
    text.write_text("".join(json.dumps({"text": f"other words {i} " * 60}) + "\n" for i in range(60)))
    prepare(
        text,
        tmp_path / "datasets" / "tiny-byte-257",
        tokenizer="byte",
        validation_fraction=0.2,
        progress=lambda line: None,
    )

    with pytest.raises(
        ValueError,
        match=r"adana was trained on tiny-byte-257 with fingerprint .* Give its own with "
        r"--data-root. Without data, give the weights alone: .*final.safetensors",
    ):
        diagnose((f"{study[0]}:adana",), data_root=tmp_path)


def test_data_that_are_not_there_and_a_smaller_vocabulary_are_refused(study, tiny_data_root, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(study[1]["adana"][2], folder)
    with pytest.raises(FileNotFoundError, match=r"run: .*does not exist.* Without data, give the weights alone"):
        diagnose((str(folder),), data_root=tmp_path)

    config = json.loads((folder / "config.json").read_text())
    config["model"]["vocab_size"] = 100
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"run: model.vocab_size is 100, dataset 'tiny-byte-257' has 257 tokens"):
        diagnose((str(folder),), data_root=tiny_data_root)


def test_weights_of_another_model_are_refused(study, tiny_data_root, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(study[1]["adana"][2], folder)
    tensors = load_file(folder / "final.safetensors")
    tensors["head.weight"] = torch.ones(300, 16)
    save_file(tensors, folder / "final.safetensors")

    with pytest.raises(ValueError, match=r"the weights do not fit the model of config.json .*head.weight"):
        diagnose((str(folder),), data_root=tiny_data_root)


def test_a_configuration_that_is_not_ours_and_a_run_without_weights_are_refused(study, tiny_data_root, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(study[1]["adana"][2] / "config.json", folder)
    with pytest.raises(
        FileNotFoundError, match=r"has neither final.safetensors.*nor a checkpoint. Give one that has finished"
    ):
        diagnose((str(folder),), data_root=tiny_data_root)

    (folder / "config.json").write_text('{"hidden_size": 3}')
    with pytest.raises((TypeError, ValueError), match=r"config.json: .*It is no run of this logclock"):
        diagnose((str(folder),), data_root=tiny_data_root)


def test_no_tokens_are_refused(study):
    with pytest.raises(ValueError, match="--tokens must be >= 1, got 0"):
        diagnose((f"{study[0]}:adana",), max_tokens=0)
