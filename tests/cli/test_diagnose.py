"""Does `logclock diagnose` go from what is typed to a page, and say what is wrong with a wrong request?"""

import pytest
import torch
from safetensors.torch import save_file

from logclock.cli import main
from logclock.train import run_directory, train


@pytest.fixture(scope="module")
def out(tiny_run, tiny_data_root, tmp_path_factory):
    path = tmp_path_factory.mktemp("diagnosed")
    for optimizer in ("adamw", "muon"):
        train(tiny_run(spec=_spec(optimizer), steps=4), out=path, data_root=tiny_data_root)
    return path


def _spec(name):
    from logclock.recipes import get_variant

    return get_variant(name).build(4, lr=1e-3)


def test_runs_and_a_foreign_file_come_on_one_page(out, tiny_data_root, tmp_path, capsys):
    foreign = tmp_path / "other-model.safetensors"
    save_file({"model.layers.0.mlp.up.weight": torch.eye(8, dtype=torch.bfloat16), "norm": torch.ones(8)}, foreign)
    page = tmp_path / "page.html"
    command = ["diagnose", f"{out}:adamw", f"{out}:muon", str(foreign), "--out", str(page)]

    code = main([*command, "--data-root", str(tiny_data_root), "--tokens", "512"])

    told = capsys.readouterr().out
    assert code == 0
    assert f"report: {page}" in told
    assert "Diagnosis of adamw, muon, other-model" in page.read_text()
    assert "model.layers.0.mlp.up.weight" in page.read_text()
    assert "other-model: a file has no data" in page.read_text()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{out}", "is a whole study"),
        ("{out}:lion", "no run is called 'lion'"),
        ("{out}/nothing.safetensors", "no run and no file at"),
        ("{out}/bad.safetensors", "is no safetensors file, or damaged"),
        ("{out}/vectors.safetensors", "has no weight matrix"),
    ],
)
def test_a_wrong_request_is_told_in_a_line_and_leaves_no_page(out, tmp_path, capsys, text, problem):
    (out / "bad.safetensors").write_bytes(b"abc")
    save_file({"gain": torch.ones(3)}, out / "vectors.safetensors")
    page = tmp_path / "page.html"

    code = main(["diagnose", text.format(out=out), "--out", str(page)])

    told = capsys.readouterr().err
    assert code == 2
    assert problem in told
    assert not page.exists()


def test_a_folder_of_a_run_does(out, tiny_run, tiny_data_root, tmp_path):
    folder = run_directory(out, tiny_run(spec=_spec("muon"), steps=4))

    code = main(["diagnose", str(folder), "--out", str(tmp_path / "p.html"), "--data-root", str(tiny_data_root)])

    assert code == 0
    assert "Diagnosis of muon" in (tmp_path / "p.html").read_text()
