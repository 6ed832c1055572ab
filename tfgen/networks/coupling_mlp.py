"""The network inside couplings on vectors."""

import keras

from tfgen.networks.precision import policy


def coupling_mlp(input_shape, outputs, *, width=512, dtype="float32", name="network"):
    """Two hidden ReLU layers and a last one that starts at zero, as in Glow's network for images.

    Shapes: `[N, C] -> [N, outputs]`.

    Args:
        input_shape: (C,).
        outputs: numbers of the result.
        width: units of the two hidden layers.
        dtype: in which the layers are computed; weights are kept in float32, or in float64 for
            float64.
        name: of the network.

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
            dense(outputs, kernel_initializer="zeros", name="output"),
        ],
        name=name,
    )
