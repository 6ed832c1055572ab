"""The convolutional network of Glow's couplings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfgen.networks.precision import policy


def convolutional(
    input_shape: Sequence[int],
    output_channels: int,
    *,
    width: int = 512,
    dtype: str = "float32",
    name: str = "network",
) -> keras.Model:
    """Glow's network: 3x3 convolution, ReLU, 1x1 convolution, ReLU, 3x3 convolution.

    The last convolution starts at zero, so that the network starts as the constant 0.

    Shapes: `[N, H, W, C] -> [N, H, W, output_channels]`.

    Args:
        input_shape: (H, W, C).
        output_channels: channels of the last convolution.
        width: channels of the two hidden layers.
        dtype: dtype of the computation; the weights have at least float32.
        name: name of the network.

    Source: Kingma and Dhariwal, Glow, 2018 (1807.03039), section 5.

    Example:

    >>> import numpy as np
    >>> from tfgen.networks import convolutional
    >>> network = convolutional((4, 4, 2), 6, width=8)
    >>> float(np.abs(network(np.ones((1, 4, 4, 2), "float32"))).max())
    0.0
    """
    precision = policy(dtype)

    def convolution(filters, **options):
        return keras.layers.Conv2D(filters, 3, padding="same", dtype=precision, **options)

    return keras.Sequential(
        [
            keras.Input(input_shape, dtype=precision.compute_dtype),
            convolution(width, activation="relu", kernel_initializer="he_normal", name="hidden_0"),
            PointwiseConvolution(
                width,
                activation="relu",
                kernel_initializer="he_normal",
                dtype=precision,
                name="hidden_1",
            ),
            convolution(output_channels, kernel_initializer="zeros", name="output"),
        ],
        name=name,
    )


@keras.saving.register_keras_serializable(package="tfgen")
class PointwiseConvolution(keras.layers.Conv2D):
    """A 1x1 convolution computed as one matrix product over all pixels.

    It has the weights and the result of `keras.layers.Conv2D(filters, 1)`, and is faster on a CPU.

    Shapes: `[N, H, W, C] -> [N, H, W, filters]`.

    Args:
        filters: number of output channels.
        options: arguments of `keras.layers.Conv2D`, except kernel size, strides, dilation, groups
            and `use_bias`; there is always a bias.
    """

    def __init__(self, filters: int, **options: Any) -> None:
        super().__init__(filters, 1, **options)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["kernel_size"]
        return config

    def call(self, images: tf.Tensor) -> tf.Tensor:
        channels = images.shape[-1]
        kernel = tf.reshape(tf.convert_to_tensor(self.kernel), [channels, self.filters])
        values = tf.matmul(tf.reshape(images, [-1, channels]), kernel)
        values = self.activation(tf.nn.bias_add(values, tf.convert_to_tensor(self.bias)))
        return tf.reshape(values, [-1, *images.shape[1:-1], self.filters])
