"""The variables of TensorFlow Probability's objects as weights of a Keras layer."""

from __future__ import annotations

from collections.abc import Iterable

import keras
import tensorflow as tf


class TensorFlowVariables(keras.layers.Layer):
    """A Keras layer whose weights are existing `tf.Variable`s.

    Keras trains and saves only its own variables. Those of this layer are the given ones under
    another type: an assignment to one is an assignment to the other.

    Args:
        variables: variables of TFP bijectors and distributions.
        name: name of the layer.

    Example:

    >>> import tensorflow as tf
    >>> from tfgen.bijectors.tf_variables import TensorFlowVariables
    >>> variable = tf.Variable([1.0, 2.0], name="loc")
    >>> layer = TensorFlowVariables([variable])
    >>> _ = layer.trainable_weights[0].assign([3.0, 4.0])
    >>> variable.numpy().tolist()
    [3.0, 4.0]
    """

    def __init__(self, variables: Iterable[tf.Variable], name: str = "variables") -> None:
        super().__init__(name=name)
        self.values = [_Existing(variable) for variable in variables]
        self.built = True


class _Existing(keras.Variable):
    """A Keras variable around a `tf.Variable`, which Keras would copy."""

    def __init__(self, variable):
        self._existing = variable
        super().__init__(
            lambda shape, dtype: variable,
            shape=variable.shape,
            dtype=variable.dtype.name,
            trainable=variable.trainable,
            name=variable.name.split(":")[0].replace("/", "_"),
        )

    def _initialize_with_initializer(self, initializer):
        self._initialize(self._existing)
