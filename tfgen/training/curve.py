"""The training curve: bits/dim against epochs, redrawn during training."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib.figure

from tfgen.files import PathLike, write_atomically
from tfgen.training.callbacks import LoopCallback

FILE = "curve.png"
SECONDS_BETWEEN_CURVES = 30.0


class Curve(LoopCallback):
    """Draws the curve after a validation, at most every 30 seconds.

    Args:
        path: path of the picture.
    """

    def __init__(self, path: PathLike) -> None:
        super().__init__()
        self._path = Path(path)

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self._drawn_at = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        now = time.monotonic()
        if "val_bits_per_dim" in (logs or {}) and now - self._drawn_at >= SECONDS_BETWEEN_CURVES:
            draw(self.loop.history, self._path)
            self._drawn_at = now


def draw(history: Iterable[Mapping[str, Any]], path: PathLike) -> None:
    """Draw a history and write the picture atomically."""
    write_atomically(path, lambda file: figure(history).savefig(file, format="png"))


def figure(history: Iterable[Mapping[str, Any]]) -> matplotlib.figure.Figure:
    """Bits/dim against epochs.

    Args:
        history: the history of a `tfgen.training.loop.Loop`.
    """
    drawing = matplotlib.figure.Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = drawing.subplots()
    history = list(history)
    for key, label in (("bits_per_dim", "train"), ("val_bits_per_dim", "validation")):
        points = [(record["epoch"], record[key]) for record in history if key in record]
        if points:
            axes.plot(*zip(*points, strict=True), label=label)
    axes.set(xlabel="epoch", ylabel="bits/dim")
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(frameon=False)
    return drawing
