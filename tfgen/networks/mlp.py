"""The multilayer perceptron of the VAE's encoder and decoder."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from tfgen.networks.precision import policy


def mlp(
    input_size: int,
    output_size: int,
    *,
    widths: Sequence[int] = (500,),
    activation: str = "tanh",
    dtype: str = "float32",
    name: str = "network",
) -> keras.Model:
    """A multilayer perceptron with a linear last layer.

    Shapes: `[N, input_size] -> [N, output_size]`.

    Args:
        input_size: number of inputs.
        output_size: number of outputs.
        widths: units of each hidden layer.
        activation: Keras name of the hidden layers' activation.
        dtype: dtype of the computation; the weights have at least float32.
        name: name of the network.

    Source: Kingma and Welling, Auto-Encoding Variational Bayes, 2013 (1312.6114), appendix C:
    one hidden tanh layer of 500 units for MNIST.

    Example:

    >>> from tfgen.networks import mlp
    >>> mlp(64, 10, widths=(32,)).count_params()
    2410
    """
    precision = policy(dtype)
    hidden = [
        keras.layers.Dense(width, activation=activation, dtype=precision, name=f"hidden_{number}")
        for number, width in enumerate(widths)
    ]
    return keras.Sequential(
        [
            keras.Input((input_size,), dtype=precision.compute_dtype),
            *hidden,
            keras.layers.Dense(output_size, dtype=precision, name="output"),
        ],
        name=name,
    )
