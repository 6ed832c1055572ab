"""What a training shows in the terminal."""

import time

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINES_OF_A_LOG = 10


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
            TextColumn("epoch"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("training", total=epochs, figures="")

    def on_train_begin(self, logs=None):
        self._bar.start()

    def on_epoch_begin(self, epoch, logs=None):
        self._start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        rate = self._images / (time.perf_counter() - self._start)
        figures = f"{logs['bits_per_dim']:.3f} bits/dim"
        if "val_bits_per_dim" in logs:
            figures += f" (validation {logs['val_bits_per_dim']:.3f})"
        figures += f", {rate:,.0f} images/s"
        self._bar.update(self._task, completed=epoch + 1, figures=figures)
        every = max(1, self._epochs // LINES_OF_A_LOG)
        if not self._console.is_terminal and (epoch + 1) % every == 0:
            self._console.print(f"epoch {epoch + 1}/{self._epochs}: {figures}", soft_wrap=True)

    def close(self):
        """Take the bar away, also after an error."""
        self._bar.stop()
