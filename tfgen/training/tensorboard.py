"""Logs of training for TensorBoard, and its history as a table."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfgen.evaluation import pictures
from tfgen.files import PathLike, write_atomically
from tfgen.optimizers import averaged_weights
from tfgen.training.callbacks import LoopCallback, Record

HISTORY = "history.csv"
SECONDS_BETWEEN_PICTURES = 300.0


class TensorBoard(LoopCallback):
    """Scalars at each record, a grid of samples every few minutes, and the recipe.

    In addition, `history.csv` contains all records up to the last checkpoint. Keras' `TensorBoard`
    and `CSVLogger` count epochs from the start of the process; this callback counts steps, and the
    table has no duplicate rows after training was resumed.

    Args:
        directory: directory of the logs.
        recipe: YAML text of the recipe.
    """

    def __init__(self, directory: PathLike, recipe: str) -> None:
        super().__init__()
        self._directory, self._recipe = Path(directory), recipe
        self._writers: dict[str, tf.summary.SummaryWriter] = {}

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        self._start, self._start_step = time.monotonic(), self.loop.step
        self._pictured_at = self._start
        with self._writer("train").as_default(step=self.loop.step):
            tf.summary.text("recipe", f"```yaml\n{self._recipe}\n```")

    def on_record(self, record: Record) -> None:
        now, step = time.monotonic(), record["step"]
        with self._writer("train").as_default(step=step):
            tf.summary.scalar("bits_per_dim", record["bits_per_dim"])
            tf.summary.scalar("learning_rate", record["learning_rate"])
            images = (step - self._start_step) * self.loop.stream.batch_size
            tf.summary.scalar("images_per_second", images / (now - self._start))
        if "val_bits_per_dim" not in record:
            return
        with self._writer("validation").as_default(step=step):
            tf.summary.scalar("bits_per_dim", record["val_bits_per_dim"])
        is_last = step == self.loop.total_steps
        if is_last or now - self._pictured_at >= SECONDS_BETWEEN_PICTURES:
            self._write_samples(step)

    def on_save(self) -> None:
        for writer in self._writers.values():
            writer.flush()
        if self.loop.history:
            write_history(self._directory / HISTORY, self.loop.history)

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _write_samples(self, step):
        self._pictured_at = time.monotonic()
        with averaged_weights(self.model.optimizer, required=False):
            grid = np.asarray(pictures.samples(self.model))
        grid = grid[..., None] if grid.ndim == 2 else grid
        with self._writer("train").as_default(step=step):
            tf.summary.image("samples", grid[None])

    def _writer(self, split):
        if split not in self._writers:
            self._writers[split] = tf.summary.create_file_writer(str(self._directory / split))
        return self._writers[split]


def write_history(path: PathLike, history: Iterable[Record]) -> None:
    """Write the records of training as a table; a missing `val_bits_per_dim` is left empty."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ["step", "epoch", "bits_per_dim", "val_bits_per_dim", "learning_rate"]

    def write(temporary):
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(history)

    write_atomically(path, write)


def read_history(path: PathLike) -> list[Record]:
    """The records that `write_history` wrote."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    numbers = [{key: float(value) for key, value in row.items() if value} for row in rows]
    return [{**row, "step": int(row["step"])} for row in numbers]
