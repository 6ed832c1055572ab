"""A masked autoregressive step on vectors."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfgen import checks, networks
from tfgen.bijectors.base import FlowBijector, image_or_vector_shape
from tfgen.bijectors.coupling import LOG_SCALES
from tfgen.errors import InputError


@keras.saving.register_keras_serializable(package="tfgen.bijectors")
class MaskedAutoregressive(FlowBijector):
    """Scales and shifts each value of a vector by a network's outputs for the values before it.

    Equations, with (t_i, r_i) = network(x_1, ..., x_{i-1}) for i = 1..D:

    - inverse: z_i = s_i x_i + t_i, in one pass of the network
    - forward: x_i = (z_i - t_i) / s_i, one i after the other, in D passes of the network
    - log |det dz/dx| = sum(log s_i)
    - log s as a function of r as in `AffineCoupling`

    Likelihoods and training therefore cost one pass, samples D. To condition the first values on
    the last ones too, alternate with a `Permutation`. With `context_channels` K > 0 the inputs of
    the network are the values and a context h, on which all (t_i, r_i) depend.

    Shapes: `[..., D] -> [..., D]`, with a context `[..., K]`; log-determinants `[...]` in nats.

    Args:
        event_shape: (D,); D at least 2, or 1 with a context.
        width: hidden units of the network, `tfgen.networks.masked_mlp`; at least D - 1, or D with a
            context, so that every value is seen.
        hidden_layers: number of hidden layers.
        context_channels: K, for a conditional step.
        scale: "tanh" or "sigmoid", see `AffineCoupling`.
        network_dtype: dtype in which the network computes, such as "bfloat16"; by default `dtype`,
            which all other computations use.
        dtype: dtype of the data and the weights.
        name: name of the bijector.

    Raises:
        InputError: an event shape that is not that of a vector, too small a dimension or width, an
            unknown scale, data of another shape.

    Source: Papamakarios, Pavlakou and Murray, Masked autoregressive flow, 2017 (1705.07057),
    section 3; Germain, Gregor, Murray and Larochelle, MADE, 2015 (1502.03509).

    Example:

    >>> import tensorflow as tf, tfgen
    >>> step = tfgen.bijectors.MaskedAutoregressive((3,), width=8)
    >>> x = tf.ones([2, 3])
    >>> bool(tf.reduce_all(step.inverse(x) == x))  # starts as the identity
    True
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        width: int = 512,
        hidden_layers: int = 2,
        context_channels: int = 0,
        scale: str = "tanh",
        network_dtype: str | None = None,
        dtype: str | tf.DType = "float32",
        name: str = "masked_autoregressive",
    ) -> None:
        parameters = dict(locals())
        shape = image_or_vector_shape(f"{name}: event_shape", event_shape)
        if len(shape) != 1:
            raise InputError(
                f"{name}: event_shape must be (D,), of vectors, got {tuple(event_shape)}; for "
                "images there are couplings"
            )
        context_channels = checks.integer(f"{name}: context_channels", context_channels, 0)
        if shape[0] == 1 and not context_channels:
            raise InputError(
                f"{name}: in a vector of dimension 1 no value comes before another; the dimension "
                "must be at least 2, or give context_channels"
            )
        self._dimension = shape[0]
        self._scale = checks.choice(f"{name}: scale", scale, LOG_SCALES)
        self._network = networks.masked_mlp(
            self._dimension,
            2,
            context_channels=context_channels,
            width=checks.integer(
                f"{name}: width", width, self._dimension - (0 if context_channels else 1)
            ),
            hidden_layers=checks.integer(f"{name}: hidden_layers", hidden_layers, 1),
            dtype=network_dtype or dtype,
            name=f"{name}_network",
        )
        super().__init__(
            shape,
            context_shape=(context_channels,) if context_channels else None,
            layers=[self._network],
            dtype=dtype,
            name=name,
            parameters=parameters,
        )

    def _shift_and_log_scale(self, x, context):
        inputs = x if context is None else tf.concat([x, context], axis=-1)
        outputs = tf.cast(self._network(inputs), self.dtype)
        shift, r = tf.split(outputs, 2, axis=-1)
        return shift, LOG_SCALES[self._scale][0](r)

    def _inverse_with_log_det(self, x, context=None):
        shift, log_scale = self._shift_and_log_scale(x, context)
        return x * tf.exp(log_scale) + shift, tf.reduce_sum(log_scale, axis=-1)

    def _forward_with_log_det(self, z, context=None):
        def set_next(number, x, log_det):
            shift, log_scale = self._shift_and_log_scale(x, context)
            found = (z - shift) * tf.exp(-log_scale)
            # The values after this one are still 0: what depends on them is not used.
            x = tf.where(tf.range(self._dimension) == number, found, x)
            return number + 1, x, -tf.reduce_sum(log_scale, axis=-1)

        return tf.while_loop(
            lambda number, x, log_det: number < self._dimension,
            set_next,
            (tf.constant(0), tf.zeros_like(z), tf.zeros(tf.shape(z)[:1], z.dtype)),
            maximum_iterations=self._dimension,
        )[1:]
