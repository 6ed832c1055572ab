"""Until when a request is worth computing."""

from __future__ import annotations

import time
from collections.abc import Sequence

from tfgen.export.serving.statuses import ServingError


class Deadline:
    """When an answer is due, and whether a client still waits for it.

    Args:
        at: a time on the clock of `time.monotonic()`; None if the client waits for ever.

    Attributes:
        gone: whether the client has cancelled the request or closed its connection.

    Example:

    >>> from tfgen.export.serving.deadlines import Deadline
    >>> deadline = Deadline()
    >>> deadline.check()
    >>> deadline.gone = True
    >>> deadline.check()
    Traceback (most recent call last):
    ...
    tfgen.export.serving.statuses.ServingError: CANCELLED: The client has gone
    """

    __slots__ = ("at", "gone")

    def __init__(self, at: float | None = None):
        self.at = at
        self.gone = False

    @property
    def late(self) -> bool:
        """Whether the time has passed."""
        return self.at is not None and self.at <= time.monotonic()

    def check(self) -> None:
        """Raise a `ServingError` if nobody waits: CANCELLED or DEADLINE_EXCEEDED."""
        if self.gone:
            raise ServingError("CANCELLED", "The client has gone")
        if self.late:
            raise ServingError("DEADLINE_EXCEEDED", "Deadline exceeded before the answer was ready")


class LatestDeadline(Deadline):
    """That of several requests which are computed together, until nobody waits for any of them."""

    __slots__ = ("_deadlines",)

    def __init__(self, deadlines: Sequence[Deadline]):
        times = [deadline.at for deadline in deadlines if deadline.at is not None]
        super().__init__(max(times) if len(times) == len(deadlines) else None)
        self._deadlines = deadlines

    def check(self) -> None:
        if all(deadline.gone or deadline.late for deadline in self._deadlines):
            self._deadlines[0].check()
