"""Signals interrupt outside of training, whoever handles errors there, and stop the training inside."""

import contextlib
import os
import signal

import pytest

from ptft.errors import Interrupted, PtftError
from ptft.runtime import signals


def send(name):
    os.kill(os.getpid(), signal.Signals[name])


@pytest.fixture(autouse=True)
def _handlers():
    before = {name: signal.getsignal(signal.Signals[name]) for name in signals.CODES}
    yield
    for name, handler in before.items():
        signal.signal(signal.Signals[name], handler)
    signals._received.clear()


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 143)])
def test_a_signal_is_no_error_that_a_library_might_handle(name, code):
    with pytest.raises(Interrupted) as error, signals.interrupting(), contextlib.suppress(Exception, PtftError):
        send(name)
    assert error.value.exit_code == code


class Swallows:
    def __del__(self):
        send("SIGTERM")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_whose_exception_got_lost_is_known_of_still():
    """What is raised where an object is taken apart is printed and forgotten."""
    stopped = []
    with signals.interrupting():
        Swallows()
        with pytest.raises(Interrupted, match="SIGTERM"):
            signals.check()
        with signals.on_signal(stopped.append):
            pass
    assert stopped == ["SIGTERM"]
    with signals.interrupting():
        signals.check()


def test_the_first_signal_in_training_stops_and_the_second_interrupts():
    stopped = []

    def training():
        with signals.interrupting(), signals.on_signal(stopped.append):
            send("SIGHUP")
            assert stopped == ["SIGHUP"]
            send("SIGTERM")

    with pytest.raises(Interrupted, match="SIGTERM"):
        training()
    assert stopped == ["SIGHUP"]


def test_a_hangup_that_is_ignored_stays_so():
    """As under nohup."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stopped = []
    with signals.interrupting():
        send("SIGHUP")
        with signals.on_signal(stopped.append):
            send("SIGHUP")
        signals.check()
    assert stopped == []
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_what_must_be_done_whole_is_and_then_interrupts():
    done = []

    def whole():
        with signals.held():
            send("SIGTERM")
            done.append("first")
            with signals.held():
                done.append("second")
            done.append("third")

    with signals.interrupting(), pytest.raises(Interrupted, match="SIGTERM") as found:
        whole()
    assert (done, found.value.exit_code) == (["first", "second", "third"], 143)


def test_a_signal_that_waits_is_told_where_signals_interrupt_again_and_only_once():
    with signals.interrupting(), signals.held():
        send("SIGINT")
        with pytest.raises(Interrupted), signals.released():
            signals.check()
        with pytest.raises(Interrupted), signals.released():
            send("SIGINT")
