"""The learning rate as a function of the step: warm-up, then decay."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

DECAYS = ("constant", "linear", "cosine", "exponential")


@keras.saving.register_keras_serializable(package="tfgen")
class WarmupDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to the peak, then a decay that ends with the last step.

    Equations, with t = 0, 1, ... the number of previous steps, w = warmup_steps, f = final,
    p = (t - w) / (total_steps - 1 - w) cut to [0, 1]:

    - t < w: peak (t + 1) / w
    - "constant": peak
    - "linear": peak (1 - (1 - f) p)
    - "cosine": peak (f + (1 - f) (1 + cos(pi p)) / 2)
    - "exponential": peak f^p

    The learning rate depends only on the step, so that training can be resumed.

    Args:
        peak: the largest learning rate.
        total_steps: number of training steps.
        warmup_steps: w, 0 for none.
        decay: one of `DECAYS`.
        final: f, the fraction of the peak that remains at the last step.

    Example:

    >>> from tfgen.training.schedule import WarmupDecay
    >>> schedule = WarmupDecay(1e-3, 1001, warmup_steps=0, decay="cosine", final=0.0)
    >>> [round(float(schedule(t)), 6) for t in (0, 500, 1000)]
    [0.001, 0.0005, 0.0]
    """

    def __init__(
        self,
        peak: float,
        total_steps: int,
        *,
        warmup_steps: int = 0,
        decay: str = "constant",
        final: float = 0.01,
    ) -> None:
        self.peak = peak
        self.total_steps = total_steps
        self.warmup_steps = warmup_steps
        self.decay = decay
        self.final = final

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        taken = tf.cast(step, tf.float64)
        after_warmup = max(1, self.total_steps - 1 - self.warmup_steps)
        part = tf.clip_by_value((taken - self.warmup_steps) / after_warmup, 0.0, 1.0)
        rate = self.peak * self._factor(part)
        if not self.warmup_steps:
            return rate
        rising = self.peak * (taken + 1.0) / self.warmup_steps
        return tf.where(taken < self.warmup_steps, rising, rate)

    def _factor(self, part):
        final = self.final
        if self.decay == "linear":
            return 1.0 - (1.0 - final) * part
        if self.decay == "cosine":
            return final + (1.0 - final) * 0.5 * (1.0 + tf.cos(math.pi * part))
        if self.decay == "exponential":
            return tf.exp(math.log(final) * part)
        return tf.ones_like(part)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": self.peak,
            "total_steps": self.total_steps,
            "warmup_steps": self.warmup_steps,
            "decay": self.decay,
            "final": self.final,
        }
