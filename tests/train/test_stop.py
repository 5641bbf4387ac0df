import os
import signal
import threading

import pytest

from logclock.train.stop import stop_on_signal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_noted_and_nothing_dies(number):
    with stop_on_signal() as stop:
        assert stop.reason is None

        os.kill(os.getpid(), number)

        assert stop.reason == signal.Signals(number).name


def test_the_second_signal_acts_as_it_would_have():
    with stop_on_signal() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.reason == "SIGINT"

        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    with stop_on_signal():
        assert signal.getsignal(signal.SIGTERM) != before[0]

    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_the_end_of_the_parent_is_a_reason():
    with stop_on_signal(parent=os.getppid()) as stop:
        assert stop.reason is None
    with stop_on_signal(parent=os.getpid()) as stop:  # nobody is its own parent
        assert stop.reason == f"the end of the process {os.getpid()} that started it"


def test_other_threads_run_without_handlers():
    seen = []

    def work():
        with stop_on_signal() as stop:
            seen.append(stop.reason)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()

    assert seen == [None]
