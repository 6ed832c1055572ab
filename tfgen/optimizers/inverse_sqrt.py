"""The learning rate of the convergence proof."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from tfgen import checks


@keras.saving.register_keras_serializable(package="tfgen")
class InverseSqrt(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate that falls as one over the square root of the step.

    Equation: α_t = α / √t, with t = 1 for the first step.

    Keras calls a schedule with the number of steps already taken, t - 1; with
    `gradient_accumulation_steps` each call of the optimizer counts. The rate is a float64 scalar.

    Args:
        initial_learning_rate: α, the rate of the first step, ≥ 0.
        name: name of the operations in the graph.

    Raises:
        InputError: a negative rate.

    Source: Kingma & Ba, Adam (arXiv:1412.6980), theorem 4.1.

    Example:

    >>> from tfgen.optimizers import Adam, InverseSqrt
    >>> schedule = InverseSqrt(0.1)
    >>> [float(schedule(steps_taken)) for steps_taken in (0, 3, 99)]
    [0.1, 0.05, 0.01]
    >>> optimizer = Adam(schedule, beta_1_decay=0.999)
    """

    def __init__(self, initial_learning_rate: float, name: str = "inverse_sqrt") -> None:
        super().__init__()
        self.initial_learning_rate = checks.number(
            "initial_learning_rate", initial_learning_rate, 0
        )
        self.name = name

    def __call__(self, step: tf.Tensor | int) -> tf.Tensor:
        with tf.name_scope(self.name):
            t = tf.cast(step, tf.float64) + 1
            return self.initial_learning_rate / tf.sqrt(t)

    def get_config(self) -> dict[str, Any]:
        return {"initial_learning_rate": self.initial_learning_rate, "name": self.name}
