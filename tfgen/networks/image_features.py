"""The network that computes the image features on which a flow is conditioned."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from tfgen.networks.precision import policy


def image_features(
    input_shape: Sequence[int],
    output_channels: int,
    *,
    width: int = 64,
    dtype: str = "float32",
    name: str = "features",
) -> keras.Model:
    """Two 3x3 convolutions with ReLU.

    Shapes: `[N, H, W, C] -> [N, H, W, output_channels]`.

    Args:
        input_shape: (H, W, C).
        output_channels: channels of the second convolution.
        width: channels of the first convolution.
        dtype: dtype of the computation; the weights have at least float32.
        name: name of the network.

    Example:

    >>> from tfgen.networks import image_features
    >>> image_features((4, 4, 1), 3, width=8).output_shape
    (None, 4, 4, 3)
    """
    precision = policy(dtype)

    def convolution(filters, name):
        return keras.layers.Conv2D(
            filters,
            3,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            dtype=precision,
            name=name,
        )

    return keras.Sequential(
        [
            keras.Input(input_shape, dtype=precision.compute_dtype),
            convolution(width, "hidden_0"),
            convolution(output_channels, "output"),
        ],
        name=name,
    )
