"""The progress of training in the terminal."""

from __future__ import annotations

import datetime
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.text import Text

from tfgen.training.callbacks import LoopCallback, Record
from tfgen.training.durations import words

LINES_PER_LOG = 10
SECONDS_BETWEEN_LINES = 600.0
SECONDS_BETWEEN_UPDATES = 0.25
SECONDS_UNTIL_ESTIMATE = 10.0


class ProgressBar(LoopCallback):
    """A bar with bits/dim, images/s and the remaining time; plain lines without a terminal.

    Args:
        console: a `rich.console.Console`.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self._console = console or Console()
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]:.1f}/{task.fields[epochs]:.1f}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._record: Record = {}

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        loop = self.loop
        self._epochs = loop.total_steps / loop.stream.steps_per_epoch
        self._task = self._bar.add_task(
            "", total=loop.total_steps, epoch=loop.epoch, epochs=self._epochs, figures=""
        )
        self._first_step = self._line_step = loop.step
        self._record = loop.history[-1] if loop.history else {}
        self._timed = self._estimated = False
        self._start = self._shown_at = self._line_at = time.monotonic()
        self._bar.start()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        now = time.monotonic()
        if not self._timed:  # The first step traces the graph.
            self._timed, self._first_step, self._start = True, self.loop.step, now
        if not self._estimated and now - self._start >= SECONDS_UNTIL_ESTIMATE:
            self._print_estimate(now - self._start)
        if now - self._shown_at < SECONDS_BETWEEN_UPDATES:
            return
        self._shown_at = now
        figures = self._figures(self.loop.running_bits_per_dim)
        if self._console.is_terminal:
            self._bar.update(
                self._task, completed=self.loop.step, epoch=self.loop.epoch, figures=figures
            )
        elif now - self._line_at >= SECONDS_BETWEEN_LINES:
            self._print_line(figures)

    def on_record(self, record: Record) -> None:
        self._record = {**self._record, **record}
        if self._console.is_terminal:
            return
        step, total = self.loop.step, self.loop.total_steps
        interval = max(1, total // LINES_PER_LOG)
        if step // interval > self._line_step // interval or step == total:
            self._print_line(self._figures(record["bits_per_dim"]))

    def on_save_error(self, error: OSError) -> None:
        reason = error.strerror or error
        self._print(f"step {self.loop.step:,}: no checkpoint: {reason}; trying again later")

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        self._bar.stop()

    def _print_estimate(self, seconds):
        self._estimated = True
        done = self.loop.step - self._first_step
        if done:
            left = seconds / done * (self.loop.total_steps - self.loop.step)
            self._print(f"about {words(left)} of training left, by the time of {done:,} steps")

    def _print_line(self, figures):
        self._line_step, self._line_at = self.loop.step, time.monotonic()
        self._print(f"epoch {self.loop.epoch:.4g}/{self._epochs:.4g}: {figures}")

    def _print(self, text):
        self._console.print(Text(text), soft_wrap=True)

    def _figures(self, bits):
        text = f"{bits:.3f} bits/dim"
        if "val_bits_per_dim" in self._record:
            text += f" (validation {self._record['val_bits_per_dim']:.3f})"
        done = self.loop.step - self._first_step
        if not done:
            return text
        per_step = (time.monotonic() - self._start) / done
        remaining = round(per_step * (self.loop.total_steps - self.loop.step))
        text += f", {self.loop.stream.batch_size / per_step:,.0f} images/s"
        return text + (f", {datetime.timedelta(seconds=remaining)} left" if remaining else "")
