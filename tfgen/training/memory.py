"""How much memory a training will need on a device, before it is started."""

import dataclasses

import numpy as np
import tensorflow as tf

STEPS = 8  # of a measurement: which operations meet differs from step to step


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on one device.

    Attributes:
        weights: of the model.
        optimizer: its state.
        step: what a step needs besides, at most: activations, gradients, temporaries.
    """

    weights: int
    optimizer: int
    step: int

    @property
    def total(self):
        return self.weights + self.optimizer + self.step


def estimate(model, images):
    """The memory of a training whose steps see some number of images on each device.

    A step's own memory is measured with a quarter and with half of the images, and continued along
    the straight line through both: right within some 20 % where it is hundreds of MiB. That of a
    small model is what happened to be held at the same time.

    Args:
        model: compiled; it takes a few steps, so it is of no use afterwards.
        images: on one device at a step.

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
    step = most_held(model, more)
    if few < more:
        step += max(0, step - most_held(model, few)) / (more - few) * (images - more)
    step = max(step, sum(map(_bytes, model.trainable_weights)))  # Their gradients at least.
    return Memory(
        weights=sum(map(_bytes, model.weights)),
        optimizer=sum(map(_bytes, model.optimizer.variables)),
        step=round(step),
    )


def most_held(model, images):
    """Bytes that a step with so many images holds at the most, besides the variables."""
    device = "GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"
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
