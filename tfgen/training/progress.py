"""What a training shows in the terminal."""

import time

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

LINES_OF_A_LOG = 10
SECONDS_BETWEEN_UPDATES = 0.25


class ProgressBar(keras.callbacks.Callback):
    """A bar with bits/dim, images/s and the time left; plain lines where there is no terminal.

    Args:
        epochs: number of passes.
        images: images in a pass.
        console: a `rich.console.Console`.
    """

    def __init__(self, epochs, images, console=None):
        super().__init__()
        self._epochs = epochs
        self._images = images
        self._console = console or Console()
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("", total=epochs, epoch=1, epochs=epochs, figures="")

    def on_train_begin(self, logs=None):
        self._bar.start()

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        self._start = self._shown = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        now = time.perf_counter()
        if now - self._shown < SECONDS_BETWEEN_UPDATES:
            return
        self._shown = now
        done = (batch + 1) / self.params["steps"]
        self._show(self._epoch + done, self._figures(logs, done * self._images))

    def on_epoch_end(self, epoch, logs=None):
        figures = self._figures(logs, self._images)
        self._show(epoch + 1, figures)
        every = max(1, self._epochs // LINES_OF_A_LOG)
        if not self._console.is_terminal and (epoch + 1) % every == 0:
            self._console.print(f"epoch {epoch + 1}/{self._epochs}: {figures}", soft_wrap=True)

    def close(self):
        """Take the bar away, also after an error."""
        self._bar.stop()

    def _show(self, completed, figures):
        epoch = min(int(completed) + 1, self._epochs)
        self._bar.update(self._task, completed=completed, epoch=epoch, figures=figures)

    def _figures(self, logs, images):
        text = f"{float(logs['bits_per_dim']):.3f} bits/dim"
        if "val_bits_per_dim" in logs:
            text += f" (validation {logs['val_bits_per_dim']:.3f})"
        return f"{text}, {images / (time.perf_counter() - self._start):,.0f} images/s"
