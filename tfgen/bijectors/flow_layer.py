"""A bijector as a Keras layer."""

import keras


class FlowLayer(keras.layers.Layer):
    """A bijector that a Keras model can hold like any layer, with its weights.

    Keras finds weights in layers, and a TFP bijector is none: a model that holds one as a plain
    attribute trains nothing of it. Held through this layer its weights are trained, counted and
    saved.

    Equations: call(x) = (z, log |det dz/dx|), the bijector's `inverse_and_log_det`.

    Shapes: `[N, *data_shape] -> [N, *latent_shape], [N]`.

    Args:
        bijector: one of `tfgen.bijectors`.
        name: of the layer; that of the bijector by default.

    Example:

    >>> import keras, tensorflow as tf, tfgen
    >>> flow = tfgen.bijectors.FlowLayer(tfgen.bijectors.GlowStep((4, 4, 2), width=8))
    >>> model = keras.Sequential([keras.layers.Dense(2), flow])
    >>> z, log_det = model(tf.ones([3, 4, 4, 1]))
    >>> z.shape, log_det.shape, len(model.trainable_weights) - 2 == len(flow.trainable_weights)
    (TensorShape([3, 4, 4, 2]), TensorShape([3]), True)
    """

    def __init__(self, bijector, name=None):
        super().__init__(name=name or bijector.name, dtype=bijector.dtype.name)
        self.bijector = bijector
        self._bijector_layers = bijector.layers
        self.built = True

    def call(self, x):
        return self.bijector.inverse_and_log_det(x)
