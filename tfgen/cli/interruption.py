"""SIGINT and SIGTERM: a command that receives one ends, and says so."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

SECONDS_UNTIL_REPEATED = 0.05
NAMES = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated"}


class SignalError(KeyboardInterrupt):
    """The command was ended by a signal.

    Attributes:
        exit_code: the exit code of the program: 128 plus the number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(NAMES[signal.Signals(number)])
        self.exit_code = 128 + number


@contextlib.contextmanager
def honoured() -> Iterator[None]:
    """Within the context, SIGINT and SIGTERM raise `SignalError`, so that clean-up code runs.

    Python discards an exception where it cannot be passed on, such as in a destructor or a callback
    of a library. The signal is then repeated a moment later, and at the end of the context at the
    latest, so that none is lost. The context has no effect outside the main thread, because other
    threads cannot handle signals.

    Raises:
        SignalError: a signal was received.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    timers: list[threading.Timer] = []

    def stop(number, frame):
        received.append(number)
        raise SignalError(number)

    def unraisable(event):
        if isinstance(event.exc_value, SignalError):
            number = event.exc_value.exit_code - 128
            timer = threading.Timer(SECONDS_UNTIL_REPEATED, _send, [number])
            timer.daemon = True
            timer.start()
            timers.append(timer)
        elif not _is_repeated_by_hdf5(event.exc_value):
            hooks[0](event)

    def excepthook(kind, error, traceback):
        if not _is_repeated_by_hdf5(error):
            hooks[1](kind, error, traceback)

    hooks = sys.unraisablehook, sys.excepthook
    before = {number: signal.signal(number, stop) for number in NAMES}
    sys.unraisablehook, sys.excepthook = unraisable, excepthook
    try:
        yield
        if received:
            raise SignalError(received[0])
    finally:
        for timer in timers:
            timer.cancel()
        sys.unraisablehook, sys.excepthook = hooks
        for number, handler in before.items():
            signal.signal(number, handler)


def _send(number):
    """Send a signal to the main thread, whose waiting it ends."""
    thread = threading.main_thread().ident
    if hasattr(signal, "pthread_kill") and thread is not None:
        signal.pthread_kill(thread, number)
    else:
        signal.raise_signal(number)


def _is_repeated_by_hdf5(error):
    """Whether HDF5 reports, as it closes a file, an error of writing that was raised already."""
    return isinstance(error, RuntimeError) and str(error).startswith("Can't decrement id ref count")


def leave_to_the_system() -> None:
    """Let signals end the process at once, when there is nothing left to clean up.

    While Python shuts down, it would print the exception of a handler and end with code 0.
    """
    if threading.current_thread() is threading.main_thread():
        for number in NAMES:
            signal.signal(number, signal.SIG_DFL)
