"""Metrics that a model reports itself, with their direction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import keras
import tensorflow as tf

# Keras' callbacks look for the direction of a metric only among compiled metrics.
from keras.src.trainers.compile_utils import CompileMetrics


class ReportedMetrics(CompileMetrics):
    """Metrics that are means over the examples of an epoch; lower values are better.

    Keras' `EarlyStopping`, `ModelCheckpoint` and `ReduceLROnPlateau` find out from a metric's
    direction whether to look for the lowest or the highest value, so they need no `mode=`.

    Args:
        names: names of the means, in the order in which they are reported.

    Example:

    >>> from tfgen.fitting.reported_metrics import ReportedMetrics
    >>> reported = ReportedMetrics(["loss"])
    >>> reported.update({"loss": [1.0, 3.0]})
    >>> float(reported.result()["loss"]), reported.metrics[0]._direction
    (2.0, 'down')
    """

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(None, None, name="reported")
        self._means = [keras.metrics.Mean(name=name) for name in names]
        for mean in self._means:
            mean._direction = "down"
        self.built = True

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return self._means

    def update(self, values: Mapping[str, tf.Tensor]) -> None:
        """Add values, one for each image `[N]`, to the means of the same names."""
        for mean in self._means:
            mean.update_state(values[mean.name])

    def reset_state(self) -> None:
        for mean in self._means:
            mean.reset_state()

    def result(self) -> dict[str, tf.Tensor]:
        """The means by name."""
        return {mean.name: mean.result() for mean in self._means}
