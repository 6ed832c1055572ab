"""What a training writes for TensorBoard, and its log as a table."""

import csv
import time

import numpy as np
import tensorflow as tf

from tfgen.evaluation import pictures
from tfgen.files import write_atomically
from tfgen.optimizers import averaged_weights
from tfgen.training.loop import Watcher

HISTORY = "history.csv"
SECONDS_BETWEEN_PICTURES = 300.0


class TensorBoard(Watcher):
    """Scalars at each record, a grid of samples now and then, and the recipe.

    Beside them `history.csv` holds all records as of the last checkpoint.

    Args:
        folder: of the logs.
        recipe: YAML text of the recipe.
    """

    def __init__(self, folder, recipe):
        self._folder, self._recipe = folder, recipe
        self._writers = {}

    def began(self, loop):
        self._start, self._start_step = time.monotonic(), loop.step
        self._pictured = self._start
        with self._writer("train").as_default(step=loop.step):
            tf.summary.text("recipe", f"```yaml\n{self._recipe}\n```")

    def recorded(self, loop, record):
        now = time.monotonic()
        step = record["step"]
        with self._writer("train").as_default(step=step):
            tf.summary.scalar("bits_per_dim", record["bits_per_dim"])
            tf.summary.scalar("learning_rate", record["learning_rate"])
            images = (loop.step - self._start_step) * loop.stream.batch_size
            tf.summary.scalar("images_per_second", images / (now - self._start))
        if "val_bits_per_dim" not in record:
            return
        with self._writer("validation").as_default(step=step):
            tf.summary.scalar("bits_per_dim", record["val_bits_per_dim"])
        if now - self._pictured >= SECONDS_BETWEEN_PICTURES or step == loop.total_steps:
            self._sample(loop)

    def saved(self, loop):
        for writer in self._writers.values():
            writer.flush()
        if loop.history:
            write_history(self._folder / HISTORY, loop.history)

    def ended(self, loop):
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _sample(self, loop):
        self._pictured = time.monotonic()
        with averaged_weights(loop.model.optimizer, required=False):
            grid = np.asarray(pictures.samples(loop.model))
        grid = grid[..., None] if grid.ndim == 2 else grid
        with self._writer("train").as_default(step=loop.step):
            tf.summary.image("samples", grid[None])

    def _writer(self, split):
        if split not in self._writers:
            self._writers[split] = tf.summary.create_file_writer(str(self._folder / split))
        return self._writers[split]


def write_history(path, history):
    """The records of a training as a table: `val_bits_per_dim` is empty where there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ["step", "epoch", "bits_per_dim", "val_bits_per_dim", "learning_rate"]

    def write(temporary):
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(history)

    write_atomically(path, write)


def read_history(path):
    """The records that `write_history` wrote."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    numbers = [{key: float(value) for key, value in row.items() if value} for row in rows]
    return [{**row, "step": int(row["step"])} for row in numbers]
