import sys
import types

import pytest

from logclock.train import train
from logclock.train.tensorboard import TensorBoardWriter


@pytest.fixture
def events(monkeypatch):
    """What reached a stand-in for TensorBoard's writer."""
    received = []

    class SummaryWriter:
        def __init__(self, directory, *, purge_step):
            received.append(("open", directory, purge_step))

        def add_scalar(self, name, value, *, global_step):
            received.append((name, value, global_step))

        def close(self):
            received.append(("close",))

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    return received


def test_it_gets_the_series_of_the_record(events, tiny_run, tiny_data_root, tmp_path):
    record = train(tiny_run("execution.tensorboard=true"), out=tmp_path, data_root=tiny_data_root)

    assert events[0] == ("open", str(tmp_path / "runs" / record.run_id / "tensorboard"), 1)
    assert events[-1] == ("close",)
    groups = record.schedules
    for group, decay in (
        ("decay", groups["decay/decay"]),
        ("no_decay", groups["no_decay/decay"] * len(groups["step"])),
    ):
        written = [(step, value) for key, value, step in events[1:-1] if key == f"schedules/{group}/decay"]
        assert written == [(t, pytest.approx(value, rel=1e-5)) for t, value in zip(groups["step"], decay, strict=True)]
    for series in ("train", "validation"):
        columns = getattr(record, series)
        for name in set(columns) - {"step"}:
            written = [(step, value) for key, value, step in events[1:-1] if key == f"{series}/{name}"]
            assert written == list(zip(columns["step"], columns[name], strict=True))


def test_values_that_are_not_numbers_are_left_out(events, tmp_path):
    TensorBoardWriter(tmp_path, first_step=1).add_point("train", {"step": 3, "loss": None, "lr": 0.1})

    assert events[1:] == [("train/lr", 0.1, 3)]


def test_without_tensorboard_the_error_names_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'logclock\[tensorboard\]'"):
        TensorBoardWriter(tmp_path, first_step=1)
