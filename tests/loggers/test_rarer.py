"""Lines of a log are many at first and rarer later."""

from ptft.loggers.rarer import Rarer


def lines(interval, seconds):
    """How many lines are due in so many seconds, asked every `interval`."""
    now = [0.0]
    rarer = Rarer(lambda: now[0])
    count = 0
    while now[0] < seconds:
        now[0] += interval
        count += rarer.due()
    return count


def test_a_nights_log_has_some_hundred_lines():
    assert 200 < lines(1.0, 8 * 3600) < 500
    assert 300 < lines(0.05, 8 * 3600) < 700


def test_a_short_run_says_every_line():
    assert lines(1.0, 45) == 45
    assert lines(0.01, 0.4) == 40
