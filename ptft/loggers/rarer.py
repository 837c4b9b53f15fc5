"""Lines of a log that become rarer, so that a night's is read in a minute."""

from __future__ import annotations

import time
from collections.abc import Callable


class Rarer:
    """Whether a line of its kind is due: the longer it has gone on, the longer it is to the next one.

    With `APART` = 50 all of the first fifty or so are, of a night's log some hundred lines.
    """

    APART = 50
    """The time that has passed is so many times the time between two lines."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.began = self.last = clock()

    def due(self) -> bool:
        now = self.clock()
        if now - self.last < (now - self.began) / self.APART:
            return False
        self.last = now
        return True
