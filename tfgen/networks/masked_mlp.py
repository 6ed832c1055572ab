"""A masked autoregressive network on vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.networks.coupling_mlp import spread_biases
from tfgen.networks.precision import policy


def masked_mlp(
    dimension: int,
    outputs_per_dimension: int,
    *,
    context_channels: int = 0,
    width: int = 512,
    hidden_layers: int = 2,
    dtype: str = "float32",
    name: str = "network",
) -> keras.Model:
    """A multilayer perceptron whose outputs for dimension i depend on dimensions below i only.

    Equations: every unit has a degree, i for input i of 1..D, 0 for the context, in turn all that
    are below D for hidden units. A hidden unit sees the units of at most its own degree, an output
    for dimension i those of a degree below i.

    The last layer starts at zero, so that the network starts as the constant 0.

    Shapes: `[N, D + K] -> [N, P D]`: the first D outputs belong to dimensions 1..D, and so on.

    Args:
        dimension: D, at least 1.
        outputs_per_dimension: P.
        context_channels: K, of inputs on which every output depends.
        width: units of each hidden layer.
        hidden_layers: number of hidden layers.
        dtype: dtype of the computation; the weights have at least float32.
        name: name of the network.

    Source: Germain, Gregor, Murray and Larochelle, MADE, 2015 (1502.03509), section 4.

    Example:

    >>> from tfgen.networks import masked_mlp
    >>> masked_mlp(3, 2, width=8).output_shape
    (None, 6)
    """
    precision = policy(dtype)
    degrees = [*range(1, dimension + 1), *[0] * context_channels]
    lowest = min(0 if context_channels else 1, dimension - 1)
    layers = []
    for number in range(hidden_layers):
        hidden = [lowest + unit % (dimension - lowest) for unit in range(width)]
        layers.append(
            MaskedDense(
                degrees,
                hidden,
                activation="relu",
                kernel_initializer="he_normal",
                bias_initializer=spread_biases(len(degrees)),
                dtype=precision,
                name=f"hidden_{number}",
            )
        )
        degrees = hidden
    # An output of degree i - 1 in the sense of hidden units sees degrees below i.
    outputs = [*range(dimension)] * outputs_per_dimension
    last = MaskedDense(degrees, outputs, kernel_initializer="zeros", dtype=precision, name="output")
    shape = (dimension + context_channels,)
    return keras.Sequential(
        [keras.Input(shape, dtype=precision.compute_dtype), *layers, last], name=name
    )


@keras.saving.register_keras_serializable(package="tfgen")
class MaskedDense(keras.layers.Dense):
    """A dense layer in which a unit sees only the inputs of at most its own degree.

    Equations: y = activation(x (M * W) + b), with M_jk = 1 if the degree of input j is at most that
    of unit k, and 0 otherwise.

    Shapes: `[..., J] -> [..., K]`.

    Args:
        input_degrees: an integer for each input.
        unit_degrees: an integer for each unit.
        options: arguments of `keras.layers.Dense`, except `units`; there is always a bias.

    Source: Germain, Gregor, Murray and Larochelle, MADE, 2015 (1502.03509), equations 8 to 13.

    Example:

    >>> import numpy as np
    >>> from tfgen.networks.masked_mlp import MaskedDense
    >>> layer = MaskedDense([1, 2], [1, 2], kernel_initializer="ones")
    >>> np.array(layer(np.array([[1.0, 10.0]], "float32")))
    array([[ 1., 11.]], dtype=float32)
    """

    def __init__(
        self, input_degrees: Sequence[int], unit_degrees: Sequence[int], **options: Any
    ) -> None:
        super().__init__(len(unit_degrees), **options)
        self._degrees = (tuple(input_degrees), tuple(unit_degrees))
        self._mask = np.less_equal.outer(*map(np.array, self._degrees))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["units"]
        inputs, units = self._degrees
        return {**config, "input_degrees": list(inputs), "unit_degrees": list(units)}

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        kernel = tf.convert_to_tensor(self.kernel)
        kernel *= tf.constant(self._mask, kernel.dtype)
        return self.activation(tf.matmul(inputs, kernel) + tf.convert_to_tensor(self.bias))
