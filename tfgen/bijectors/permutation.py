"""Fixed permutation of the channels."""

import numpy as np
import tensorflow as tf

from tfgen.bijectors.base import FlowBijector, Weights, image_or_vector_shape
from tfgen.errors import InputError


class Permutation(FlowBijector):
    """A fixed reordering of the channels: the alternative to the 1x1 convolution.

    Equations, with p a permutation of 0..C-1:

    - inverse: z[..., c] = x[..., p[c]]
    - forward: x[..., p[c]] = z[..., c]
    - both log-determinants are 0

    Shapes: `[..., H, W, C] -> [..., H, W, C]`, or `[..., C] -> [..., C]`; log-determinants `[...]`
    in nats.

    Args:
        event_shape: (H, W, C) of the data, or (C,) of vectors.
        kind: "shuffle", drawn at random once and saved with the weights, or "reverse".
        seed: of the shuffle; by default NumPy's global one, which `keras.utils.set_random_seed`
            sets.
        dtype: of the data.
        name: of the bijector.

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
        self, event_shape, *, kind="shuffle", seed=None, dtype="float32", name="permutation"
    ):
        parameters = dict(locals())
        channels = image_or_vector_shape(event_shape, name)[-1]
        if kind == "shuffle":
            generator = np.random if seed is None else np.random.default_rng(seed)
            order = generator.permutation(channels)
        elif kind == "reverse":
            order = np.arange(channels)[::-1]
        else:
            raise InputError(f"{name}: kind must be 'shuffle' or 'reverse', got {kind!r}")
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


def reordered(values, order, axis):
    """The values in another order along an axis.

    Its gradient is the values' gradient in the inverse order: faster than that of `tf.gather`,
    which must expect an index twice.
    """
    order = tf.convert_to_tensor(order)  # The gradient of a `tf.cond` cannot read a variable.

    @tf.custom_gradient
    def compute(values):
        def gradient(of_result):
            return tf.gather(of_result, tf.math.invert_permutation(order), axis=axis)

        return tf.gather(values, order, axis=axis), gradient

    return compute(values)
