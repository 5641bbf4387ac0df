import pytest

from logclock.train import progress
from logclock.train.progress import (
    FileDisplay,
    LiveDisplay,
    PlainDisplay,
    QuietDisplay,
    Reading,
    open_display,
    read_progress,
)

FULL = Reading(step=50, total_steps=100, loss=3.25, validation_loss=3.5, tokens_per_second=12345.6, seconds_left=3725.0)


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

    monkeypatch.setattr(progress.time, "monotonic", lambda: Clock.now)
    return Clock


@pytest.mark.parametrize(
    ("reading", "text"),
    [
        (FULL, "step 50/100  loss 3.2500  val 3.5000  12,346 tok/s  1:02:05 left"),
        (Reading(step=0, total_steps=100), "step 0/100"),
        (Reading(step=100, total_steps=100, loss=1.0, seconds_left=0.0), "step 100/100  loss 1.0000"),
        (Reading(step=1, total_steps=2, seconds_left=61.4), "step 1/2  1:01 left"),
    ],
)
def test_a_line_says_what_is_known(reading, text):
    assert reading.text() == text


def test_plain_lines_come_at_intervals_and_at_the_end(clock, capsys):
    display = PlainDisplay()
    for second, step in [(0, 0), (4, 10), (9.9, 20), (10, 30), (12, 40), (13, 100), (14, 100)]:
        clock.now = float(second)
        display.show("a", Reading(step=step, total_steps=100))
    display.message("note")

    assert capsys.readouterr().out == "a: step 0/100\na: step 30/100\na: step 100/100\nnote\n"


def test_every_run_has_its_own_interval(clock, capsys):
    display = PlainDisplay()
    display.show("a", Reading(step=0, total_steps=100))
    clock.now = 5.0
    display.show("b", Reading(step=0, total_steps=100))

    assert capsys.readouterr().out == "a: step 0/100\nb: step 0/100\n"


def test_quiet_means_messages_only(capsys):
    with QuietDisplay() as display:
        display.show("a", FULL)
        display.message("note")

    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "note\n")


def test_a_file_carries_the_reading_to_another_process(tmp_path, clock):
    path = tmp_path / "progress.json"
    assert read_progress(path) is None
    display = FileDisplay(path)

    display.show("a", FULL)
    assert read_progress(path) == FULL
    clock.now = 0.1
    display.show("a", Reading(step=60, total_steps=100))
    assert read_progress(path) == FULL  # too soon
    display.show("a", Reading(step=100, total_steps=100))
    assert read_progress(path) == Reading(step=100, total_steps=100)


def test_the_live_table_has_a_line_per_run(capsys):
    with LiveDisplay() as display:
        display.show("first [run]", FULL)
        display.show("second", Reading(step=0, total_steps=10))
        display.show("first [run]", Reading(step=100, total_steps=100, loss=2.0))
        display.message("a [message]")

    shown = capsys.readouterr().out
    for text in ("first [run]", "second", "step 100/100", "a [message]"):
        assert text in shown


def test_auto_is_plain_without_a_terminal(capsys):
    assert isinstance(open_display("auto"), PlainDisplay)
    assert isinstance(open_display("live"), LiveDisplay)
    assert isinstance(open_display("quiet"), QuietDisplay)


def test_a_missing_rich_names_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rich.progress", None)

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'logclock\[bench\]'"):
        open_display("live")


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"step": "x", "total_steps": 3}', '{"other": 1}'])
def test_a_damaged_progress_file_is_no_reading(tmp_path, content):
    (tmp_path / "progress.json").write_text(content)

    assert read_progress(tmp_path / "progress.json") is None


def test_a_reader_that_has_gone_is_noted_and_costs_nothing_more(monkeypatch):
    class Gone:
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

    display = PlainDisplay()
    monkeypatch.setattr("sys.stdout", Gone())
    assert not display.is_cut_off

    display.message("nobody hears this")

    assert display.is_cut_off
