"""SIGINT and SIGTERM while a training runs: a request to stop at the next step."""

import contextlib
import signal
import threading


class StoppedError(KeyboardInterrupt):
    """A training that was asked to stop, and was saved.

    Attributes:
        exit_code: for the shell: 128 and the signal's number.
    """

    def __init__(self, message, number):
        super().__init__(message)
        self._number = number
        self.exit_code = 128 + number

    def with_message(self, message):
        return StoppedError(message, self._number)


class Request:
    """Whether a signal has come.

    Attributes:
        number: of the signal; None before.
    """

    number = None


@contextlib.contextmanager
def deferred():
    """Signals are noted, not obeyed; the second one interrupts at once.

    Outside the main thread, which alone may handle signals, nothing changes.

    Example:

    >>> import os, signal
    >>> from tfgen.training import signals
    >>> with signals.deferred() as request:
    ...     os.kill(os.getpid(), signal.SIGTERM)
    ...     request.number == signal.SIGTERM
    True
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
