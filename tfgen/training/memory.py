"""An estimate of the memory that training needs on a device."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from tfgen.models.base import GenerativeModel

STEPS = 8  # Steps per measurement: which operations run at the same time varies.


@dataclasses.dataclass(frozen=True)
class Memory:
    """Memory on one device, in bytes.

    Attributes:
        weights: the model's weights.
        optimizer: the optimizer's state.
        step: the maximum that a step needs in addition: activations, gradients, temporaries;
            None where TensorFlow does not count the memory of a device, such as CPUs on which it
            runs without oneDNN.
    """

    weights: int
    optimizer: int
    step: int | None

    @property
    def total(self) -> int | None:
        """The sum of all three, if they are known."""
        return None if self.step is None else self.weights + self.optimizer + self.step


def estimate(model: GenerativeModel, images: int) -> Memory:
    """The memory of training with a given number of images per step on each device.

    A step's own memory is measured with a quarter and with half of the images and extrapolated
    linearly, with an error of about 20 % if it is hundreds of MiB. For a small model it depends
    on which temporaries exist at the same time.

    Args:
        model: a compiled model. It takes a few steps, so do not use it afterwards.
        images: number of images per step on one device.

    Example:

    >>> import tfgen
    >>> from tfgen.training.memory import estimate
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> model.compile(tfgen.optimizers.Adam())
    >>> found = estimate(model, 64)
    >>> found.weights == 4 * model.count_params(), found.optimizer > 2 * found.weights
    (True, True)
    """
    few, more = max(1, images // 4), max(1, images // 2)
    step: float | None = None
    if is_counted():
        step = peak_bytes(model, more)
        if few < more:
            step += max(0, step - peak_bytes(model, few)) / (more - few) * (images - more)
        step = max(step, sum(map(_bytes, model.trainable_weights)))  # At least the gradients.
    return Memory(
        weights=sum(map(_bytes, model.weights)),
        optimizer=sum(map(_bytes, model.optimizer.variables)),
        step=None if step is None else round(step),
    )


def is_counted() -> bool:
    """Whether TensorFlow counts the memory that is allocated on the device."""
    try:
        tf.config.experimental.get_memory_info(_device())
    except ValueError:
        return False
    return True


def peak_bytes(model: GenerativeModel, images: int) -> int:
    """The peak memory in bytes of a step with `images` images, without the variables."""
    device = _device()
    batch = tf.zeros([images, *model.image_shape], tf.uint8)
    labels = tf.zeros([images], tf.int32) if model.num_classes else None
    step = tf.function(lambda: tf.reduce_sum(model.gradient_step(batch, labels)), autograph=False)
    step()
    tf.config.experimental.reset_memory_stats(device)
    before = tf.config.experimental.get_memory_info(device)["current"]
    for _ in range(STEPS):
        step()
    return tf.config.experimental.get_memory_info(device)["peak"] - before


def _bytes(variable):
    return int(np.prod(variable.shape)) * tf.as_dtype(variable.dtype).size


def _device():
    return "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"
