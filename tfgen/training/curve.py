"""The training curve: bits/dim against epochs, drawn again while the training goes on."""

import time

import matplotlib.figure

from tfgen.files import write_atomically
from tfgen.training.loop import Watcher

FILE = "curve.png"
SECONDS_BETWEEN_CURVES = 30.0


class Curve(Watcher):
    """Draws the curve after validations, every half minute at most.

    Args:
        path: of the picture.
    """

    def __init__(self, path):
        self._path = path

    def began(self, loop):
        self._drawn = time.monotonic()

    def recorded(self, loop, record):
        now = time.monotonic()
        if "val_bits_per_dim" in record and now - self._drawn >= SECONDS_BETWEEN_CURVES:
            draw(loop.history, self._path)
            self._drawn = now


def draw(history, path):
    """Write the picture of a history, whole or not at all."""
    write_atomically(path, lambda file: figure(history).savefig(file, format="png"))


def figure(history):
    """bits/dim against epochs, a `matplotlib.figure.Figure`.

    Args:
        history: of a `tfgen.training.loop.Loop`.
    """
    drawing = matplotlib.figure.Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = drawing.subplots()
    for key, label in (("bits_per_dim", "train"), ("val_bits_per_dim", "validation")):
        points = [(record["epoch"], record[key]) for record in history if key in record]
        if points:
            axes.plot(*zip(*points, strict=True), label=label)
    axes.set(xlabel="epoch", ylabel="bits/dim")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return drawing
