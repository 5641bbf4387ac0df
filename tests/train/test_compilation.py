"""Does a run compile its model when a timing says so, tell why, and stay with the decision after a stop?"""

import time

import pytest
import torch

from logclock.models import Decoder
from logclock.train import compilation, train
from logclock.train.batch_plan import StagedBatch
from logclock.train.progress import QuietDisplay

SECONDS = 0.05


class Listening(QuietDisplay):
    def __init__(self, *, stops_at=None):
        self.messages, self.stops_at = [], stops_at

    def message(self, text):
        self.messages.append(text)

    def show(self, name, reading):
        if reading.step == self.stops_at:
            raise InterruptedError


@pytest.fixture
def make_run(tiny_data_root, tmp_path):
    def make(config, *, out="out", display=None):
        return train(config, out=tmp_path / out, data_root=tiny_data_root, display=display)

    return make


@pytest.fixture
def ways(monkeypatch):
    """Every run is long enough to time; a pass takes a while in the way that a test calls the slow one."""
    told = {"slow": "eager", "compiled": 0, "is_inside": False}
    real = Decoder.hidden

    def hidden(self, tokens):
        if torch.is_grad_enabled() and told["slow"] == "eager" and not told["is_inside"]:
            time.sleep(SECONDS)
        return real(self, tokens)

    def compiled(function):
        told["compiled"] += 1

        def run(tokens):
            told["is_inside"] = True
            try:
                if told["slow"] == "compiled":
                    time.sleep(SECONDS)
                return function(tokens)
            finally:
                told["is_inside"] = False

        return run

    monkeypatch.setattr(compilation, "MIN_SECONDS", 0.0)
    monkeypatch.setattr(Decoder, "hidden", hidden)
    monkeypatch.setattr(torch, "compile", compiled)
    return told


def test_a_short_run_is_neither_timed_nor_compiled(make_run, tiny_run, monkeypatch):
    monkeypatch.setattr(torch, "compile", None)  # would raise if it were called

    record = make_run(tiny_run())

    assert record.provenance["compile_model"] is False
    assert record.provenance["compile_timing"] is None


def test_a_long_run_takes_what_is_faster_and_the_record_says_how_much(make_run, tiny_run, ways):
    display = Listening()

    record = make_run(tiny_run(), display=display)

    timing = record.provenance["compile_timing"]
    assert record.provenance["compile_model"] is True
    assert timing["eager"] >= SECONDS
    assert timing["compiled"] < timing["eager"]
    assert display.messages[-1].endswith(": compiled")


def test_what_is_slower_when_compiled_stays_eager(make_run, tiny_run, ways):
    ways["slow"] = "compiled"

    record = make_run(tiny_run())

    assert record.provenance["compile_model"] is False
    assert ways["compiled"] == 1
    assert record.provenance["compile_timing"]["compiled"] >= SECONDS


def test_a_run_that_goes_on_stays_with_its_decision(make_run, tiny_run, ways):
    config = tiny_run("execution.checkpoint_interval=5", "log_interval=1")
    with pytest.raises(InterruptedError):
        make_run(config, display=Listening(stops_at=7))
    ways["slow"] = "compiled"  # another timing would decide otherwise

    record = make_run(config)

    assert record.status == "finished"
    assert record.provenance["compile_model"] is True
    assert record.provenance["compile_timing"]["eager"] >= SECONDS


def test_a_compiler_that_fails_is_told_and_the_run_is_eager(make_run, tiny_run, ways, monkeypatch):
    def fails(tokens):
        raise RuntimeError("no compiler\nand a long trace")

    monkeypatch.setattr(torch, "compile", lambda function: fails)
    display = Listening()

    record = make_run(tiny_run(), display=display)

    assert record.status == "finished"
    assert record.provenance["compile_model"] is False
    assert display.messages[-1].endswith("eagerly, because it cannot be compiled here: no compiler")


def test_a_timing_changes_no_loss(make_run, tiny_run, ways):
    ways["slow"] = "compiled"
    timed = make_run(tiny_run(), out="timed")

    untimed = make_run(tiny_run("execution.compile_model=false"), out="untimed")

    assert timed.train["loss"] == untimed.train["loss"]
    assert timed.metrics["held_out_loss"] == untimed.metrics["held_out_loss"]


def test_a_batch_that_grows_is_not_compiled_by_itself(make_run, tiny_run, ways):
    record = make_run(tiny_run(steps=24, batch_plan=StagedBatch(factors=(2,), shares=())))

    assert record.provenance["compile_model"] is False
    assert ways["compiled"] == 0
