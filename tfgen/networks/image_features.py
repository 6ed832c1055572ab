"""What a conditional flow is told of an image."""

import keras

from tfgen.networks.precision import policy


def image_features(input_shape, channels, *, width=64, dtype="float32", name="features"):
    """Two 3x3 convolutions with ReLU.

    Shapes: `[N, H, W, C] -> [N, H, W, channels]`.

    Args:
        input_shape: (H, W, C).
        channels: of the result.
        width: channels between the two.
        dtype: in which the convolutions are computed; weights are kept in float32 at least.
        name: of the network.

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
            convolution(channels, "output"),
        ],
        name=name,
    )
