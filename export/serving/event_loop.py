"""An event loop in a thread of its own."""

import asyncio
import threading

import uvloop


class EventLoop:
    """Runs coroutines for threads that are not its own.

    Args:
        name: of the thread.

    Attributes:
        loop: the `asyncio` event loop.

    Example:

    >>> import asyncio
    >>> from tfgen.export.serving.event_loop import EventLoop
    >>> runner = EventLoop("example")
    >>> runner.run(asyncio.sleep(0, result=3))
    3
    >>> runner.close()
    """

    def __init__(self, name):
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True, name=name)
        self._thread.start()

    def run(self, coroutine):
        """The result of a coroutine, waited for in the thread that calls."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def close(self):
        """Stop, and end the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
