"""The network of couplings on vectors."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from tfgen.networks.precision import policy


def coupling_mlp(
    input_shape: Sequence[int],
    output_channels: int,
    *,
    width: int = 512,
    dtype: str = "float32",
    name: str = "network",
) -> keras.Model:
    """Two hidden ReLU layers and a linear layer that starts at zero, like Glow's for images.

    Shapes: `[N, C] -> [N, output_channels]`.

    Args:
        input_shape: (C,).
        output_channels: units of the last layer.
        width: units of the two hidden layers.
        dtype: dtype of the computation; the weights have at least float32.
        name: name of the network.

    Source: Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2016 (1605.08803),
    section 3.3, with Glow's zero initialization (1807.03039, section 3.3).

    Example:

    >>> import numpy as np
    >>> from tfgen.networks import coupling_mlp
    >>> network = coupling_mlp((3,), 6, width=8)
    >>> float(np.abs(network(np.ones((1, 3), "float32"))).max())
    0.0
    """
    precision = policy(dtype)

    def dense(units, **options):
        return keras.layers.Dense(units, dtype=precision, **options)

    return keras.Sequential(
        [
            keras.Input(input_shape, dtype=precision.compute_dtype),
            dense(width, activation="relu", kernel_initializer="he_normal", name="hidden_0"),
            dense(width, activation="relu", kernel_initializer="he_normal", name="hidden_1"),
            dense(output_channels, kernel_initializer="zeros", name="output"),
        ],
        name=name,
    )
