"""Fixed permutation of the channels."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen import checks
from tfgen.bijectors.base import FlowBijector, image_or_vector_shape
from tfgen.bijectors.weights import Weights

KINDS = ("shuffle", "reverse")


@keras.saving.register_keras_serializable(package="tfgen.bijectors")
class Permutation(FlowBijector):
    """A fixed reordering of the channels, an alternative to a 1x1 convolution.

    Equations, with p a permutation of 0..C-1:

    - inverse: z[..., c] = x[..., p[c]]
    - forward: x[..., p[c]] = z[..., c]
    - both log-determinants are 0

    Shapes: `[..., H, W, C] -> [..., H, W, C]`, or `[..., C] -> [..., C]`; log-determinants `[...]`
    in nats.

    Args:
        event_shape: (H, W, C) of the data, or (C,) of vectors.
        kind: "shuffle", a random order that is saved with the weights, or "reverse".
        seed: seed of the shuffle; by default NumPy's global generator, which
            `keras.utils.set_random_seed` seeds.
        dtype: dtype of the data.
        name: name of the bijector.

    Raises:
        InputError: an unknown kind, an event shape of another rank, or data of another shape.

    Source: Kingma and Dhariwal, Glow, 2018 (1807.03039), section 3.2 and figure 3.

    Example:

    >>> import tensorflow as tf, tfgen
    >>> reverse = tfgen.bijectors.Permutation((1, 1, 3), kind="reverse")
    >>> reverse.inverse(tf.constant([[[[1.0, 2.0, 3.0]]]])).numpy().ravel().tolist()
    [3.0, 2.0, 1.0]
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        kind: str = "shuffle",
        seed: int | None = None,
        dtype: str | tf.DType = "float32",
        name: str = "permutation",
    ) -> None:
        parameters = dict(locals())
        channels = image_or_vector_shape(f"{name}: event_shape", event_shape)[-1]
        order = np.arange(channels)[::-1]
        if checks.choice(f"{name}: kind", kind, KINDS) == "shuffle":
            permutation = (
                np.random.permutation if seed is None else np.random.default_rng(seed).permutation
            )
            order = permutation(channels)
        weights = Weights(dtype=dtype, name=name)
        self._order = weights.add("order", order.astype("int32"), trainable=False, dtype="int32")
        super().__init__(
            event_shape, layers=[weights], dtype=dtype, name=name, parameters=parameters
        )

    def _inverse_with_log_det(self, x):
        return reordered(x, self._order.value, axis=-1), tf.zeros([], x.dtype)

    def _forward_with_log_det(self, z):
        order = tf.math.invert_permutation(self._order.value)
        return reordered(z, order, axis=-1), tf.zeros([], z.dtype)


def reordered(values: tf.Tensor, order: tf.Tensor | tf.Variable, axis: int) -> tf.Tensor:
    """The values in another order along an axis.

    The gradient is gathered in the inverse order, which is faster than the gradient of `tf.gather`,
    where an index may occur twice.
    """
    order = tf.convert_to_tensor(order)  # The gradient of a `tf.cond` cannot read a variable.

    @tf.custom_gradient
    def compute(values):
        def gradient(of_result):
            return tf.gather(of_result, tf.math.invert_permutation(order), axis=axis)

        return tf.gather(values, order, axis=axis), gradient

    return compute(values)
