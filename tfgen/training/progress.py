"""What a training shows in the terminal."""

import datetime
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from tfgen.training.loop import Watcher

LINES_OF_A_LOG = 10
SECONDS_BETWEEN_LINES = 600.0
SECONDS_BETWEEN_UPDATES = 0.25


class ProgressBar(Watcher):
    """A bar with bits/dim, images/s and the time left; plain lines where there is no terminal.

    Args:
        console: a `rich.console.Console`.
    """

    def __init__(self, console=None):
        self._console = console or Console()
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]:.1f}/{task.fields[epochs]:.1f}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = None
        self._record = {}

    def began(self, loop):
        epochs = loop.total_steps / loop.stream.steps_per_epoch
        if self._task is None:
            self._task = self._bar.add_task(
                "", total=loop.total_steps, epoch=loop.epoch, epochs=epochs, figures=""
            )
        self._first_step = self._line_step = loop.step
        self._record = loop.history[-1] if loop.history else {}
        self._timed = False
        self._start = self._shown = self._line_at = time.monotonic()
        self._bar.start()

    def stepped(self, loop):
        now = time.monotonic()
        if not self._timed:  # The first step traces the graph.
            self._timed, self._first_step, self._start = True, loop.step, now
        if now - self._shown < SECONDS_BETWEEN_UPDATES:
            return
        self._shown = now
        if self._console.is_terminal:
            self._bar.update(
                self._task,
                completed=loop.step,
                epoch=loop.epoch,
                figures=self._figures(loop, self._bits(loop)),
            )
        elif now - self._line_at >= SECONDS_BETWEEN_LINES:
            self._print(loop, self._bits(loop))

    def recorded(self, loop, record):
        self._record = {**self._record, **record}
        if self._console.is_terminal:
            return
        lines = max(1, loop.total_steps // LINES_OF_A_LOG)
        if loop.step // lines > self._line_step // lines or loop.step == loop.total_steps:
            self._print(loop, record["bits_per_dim"])

    def failed_to_save(self, loop, error):
        self._say(f"step {loop.step:,}: no checkpoint: {error.strerror or error}; trying again")

    def ended(self, loop):
        self._bar.stop()

    def _bits(self, loop):
        running = loop.running_bits_per_dim
        return running if running == running else self._record["bits_per_dim"]

    def _print(self, loop, bits):
        self._line_step, self._line_at = loop.step, time.monotonic()
        epochs = loop.total_steps / loop.stream.steps_per_epoch
        self._say(f"epoch {loop.epoch:.4g}/{epochs:.4g}: {self._figures(loop, bits)}")

    def _say(self, text):
        self._console.print(Text(text), soft_wrap=True)

    def _figures(self, loop, bits):
        text = f"{bits:.3f} bits/dim"
        if "val_bits_per_dim" in self._record:
            text += f" (validation {self._record['val_bits_per_dim']:.3f})"
        done = loop.step - self._first_step
        if not done:
            return text
        per_step = (time.monotonic() - self._start) / done
        left = datetime.timedelta(seconds=round(per_step * (loop.total_steps - loop.step)))
        text += f", {loop.stream.batch_size / per_step:,.0f} images/s"
        return text + (f", {left} left" if left else "")
