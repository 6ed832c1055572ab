"""SIGINT and SIGTERM during training: requests to stop after the current steps."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


class StoppedError(KeyboardInterrupt):
    """Training was stopped by a signal and saved.

    Attributes:
        exit_code: the exit code of the program: 128 plus the number of the signal.
    """

    def __init__(self, message: object, number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class Request:
    """Whether a signal was received.

    Attributes:
        number: number of the signal; None before one was received.
    """

    number: int | None = None


@contextlib.contextmanager
def deferred() -> Iterator[Request]:
    """Within the context, the first signal is only recorded; a second one interrupts immediately.

    If the context ends without an exception, such as a `StoppedError`, a recorded signal is raised
    again, now that the earlier handlers are in place. This has no effect outside the main thread,
    because other threads cannot handle signals.

    Example:

    >>> import os, signal
    >>> from tfgen.training import signals
    >>> try:
    ...     with signals.deferred() as request:
    ...         os.kill(os.getpid(), signal.SIGTERM)
    ...         if request.number == signal.SIGTERM:
    ...             raise signals.StoppedError("saved", request.number)
    ... except signals.StoppedError as error:
    ...     print(error)
    saved
    """
    request = Request()

    def note(number, frame):
        if request.number is not None:
            raise KeyboardInterrupt
        request.number = number

    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if request.number is not None:
        signal.raise_signal(request.number)
