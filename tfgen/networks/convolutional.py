"""The convolutional network inside Glow's couplings."""

import keras

from tfgen.networks.precision import policy


def convolutional(input_shape, output_channels, *, width=512, dtype="float32", name="network"):
    """Glow's network: 3x3 convolution, ReLU, 1x1 convolution, ReLU, 3x3 convolution.

    The last convolution starts at zero, so that the network starts as the constant 0.

    Shapes: `[N, H, W, C] -> [N, H, W, output_channels]`.

    Args:
        input_shape: (H, W, C).
        output_channels: channels of the result.
        width: channels of the two hidden layers.
        dtype: in which the convolutions are computed; weights are kept in float32, or in float64
            for float64.
        name: of the network.

    Source: Kingma and Dhariwal, Glow, 2018 (1807.03039), section 5.

    Example:

    >>> import numpy as np
    >>> from tfgen.networks import convolutional
    >>> network = convolutional((4, 4, 2), 6, width=8)
    >>> float(np.abs(network(np.ones((1, 4, 4, 2), "float32"))).max())
    0.0
    """
    precision = policy(dtype)

    def convolution(filters, kernel_size, **options):
        return keras.layers.Conv2D(filters, kernel_size, padding="same", dtype=precision, **options)

    return keras.Sequential(
        [
            keras.Input(input_shape, dtype=precision.compute_dtype),
            convolution(width, 3, activation="relu", kernel_initializer="he_normal"),
            convolution(width, 1, activation="relu", kernel_initializer="he_normal"),
            convolution(output_channels, 3, kernel_initializer="zeros"),
        ],
        name=name,
    )
