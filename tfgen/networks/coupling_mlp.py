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

    The biases of the hidden layers start uniformly in +-1 / sqrt(number of inputs): with biases of
    zero and a single input all units of the first layer would have their kinks at 0.

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

    def hidden(inputs, name):
        return keras.layers.Dense(
            width,
            activation="relu",
            kernel_initializer="he_normal",
            bias_initializer=spread_biases(inputs),
            dtype=precision,
            name=name,
        )

    return keras.Sequential(
        [
            keras.Input(input_shape, dtype=precision.compute_dtype),
            hidden(input_shape[0], "hidden_0"),
            hidden(width, "hidden_1"),
            keras.layers.Dense(
                output_channels, kernel_initializer="zeros", dtype=precision, name="output"
            ),
        ],
        name=name,
    )


def spread_biases(inputs: int) -> keras.initializers.Initializer:
    """Biases uniform in +-1 / sqrt(inputs), for a layer with that number of inputs."""
    limit = inputs**-0.5
    return keras.initializers.RandomUniform(-limit, limit)
