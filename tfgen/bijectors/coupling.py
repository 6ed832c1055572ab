"""Coupling layers: half of the channels transformed by what the other half says."""

import tensorflow as tf

from tfgen import networks
from tfgen.bijectors.base import FlowBijector, image_or_vector_shape
from tfgen.errors import InputError
from tfgen.numerics import log_sigmoid

LOG_SCALES = {
    "tanh": lambda raw: 2.0 * tf.tanh(0.5 * raw),
    "sigmoid": lambda raw: log_sigmoid(raw + 2.0),
}


class AdditiveCoupling(FlowBijector):
    """Half of the channels shifted by a network of the other half.

    Equations, with x = (x_a, x_b) the two halves of the channels and t = network(x_b):

    - inverse: z_a = x_a + t, z_b = x_b
    - forward: x_a = z_a - t, x_b = z_b
    - both log-determinants are 0

    With `context_channels` K the network sees x_b and a context h, in place of x_b alone.

    Shapes: `[..., H, W, C] -> [..., H, W, C]` with a context `[..., H, W, K]`, or
    `[..., C] -> [..., C]` with a context `[..., K]`; log-determinants `[...]` in nats.

    Args:
        event_shape: (H, W, C) of the data, or (C,) of vectors; C even.
        width: hidden channels of the default network: `tfgen.networks.convolutional` for images,
            `tfgen.networks.coupling_dense` for vectors.
        context_channels: K, for a conditional coupling.
        network: a Keras model `[N, ..., C/2 + K] -> [N, ..., C/2]` to use in its place.
        network_dtype: in which the default network computes, such as "bfloat16"; that of the data
            by default. The flow's own arithmetic stays in `dtype`.
        dtype: of data and weights.
        name: of the bijector.

    Raises:
        InputError: an odd number of channels, a network of other shapes, data of another shape.

    Source: Dinh, Krueger and Bengio, NICE, 2014 (1410.8516), section 3.2; Kingma and Dhariwal,
    Glow, 2018 (1807.03039), section 3.3.

    Example:

    >>> import tensorflow as tf, tfgen
    >>> coupling = tfgen.bijectors.AdditiveCoupling((4, 4, 2), width=8)
    >>> z, log_det = coupling.inverse_and_log_det(tf.ones([3, 4, 4, 2]))
    >>> log_det.numpy().tolist()
    [0.0, 0.0, 0.0]
    """

    outputs_per_channel = 1

    def __init__(
        self,
        event_shape,
        *,
        width=512,
        context_channels=0,
        network=None,
        network_dtype=None,
        dtype="float32",
        name="additive_coupling",
        parameters=None,
    ):
        parameters = parameters or dict(locals())
        *sides, channels = image_or_vector_shape(event_shape, name)
        if channels % 2:
            raise InputError(
                f"{name}: the channels must be even in number to be halved, got {channels}; "
                "a Squeeze before the coupling makes them so"
            )
        inputs = (*sides, channels // 2 + context_channels)
        outputs = (*sides, self.outputs_per_channel * channels // 2)
        if network is None:
            default = networks.convolutional if sides else networks.coupling_dense
            network = default(
                inputs,
                outputs[-1],
                width=width,
                dtype=network_dtype or dtype,
                name=f"{name}_network",
            )
        found = network(tf.zeros([1, *inputs], dtype)).shape[1:]
        if found != outputs:
            raise InputError(
                f"{name}: the network must map [N, {', '.join(map(str, inputs))}] to "
                f"[N, {', '.join(map(str, outputs))}], it gives [N, {', '.join(map(str, found))}]"
            )
        self._network = network
        super().__init__(
            event_shape,
            context_shape=(*sides, context_channels) if context_channels else None,
            layers=[network],
            dtype=dtype,
            name=name,
            parameters=parameters,
        )

    def _network_of(self, conditioner, context):
        if context is not None:
            conditioner = tf.concat([conditioner, context], axis=-1)
        return tf.cast(self._network(conditioner), self.dtype)

    def _inverse_with_log_det(self, x, context=None):
        changed, conditioner = tf.split(x, 2, axis=-1)
        z = tf.concat([changed + self._network_of(conditioner, context), conditioner], axis=-1)
        return z, tf.zeros([], x.dtype)

    def _forward_with_log_det(self, z, context=None):
        changed, conditioner = tf.split(z, 2, axis=-1)
        x = tf.concat([changed - self._network_of(conditioner, context), conditioner], axis=-1)
        return x, tf.zeros([], z.dtype)


class AffineCoupling(AdditiveCoupling):
    """Half of the channels scaled and shifted by a network of the other half.

    Equations, with x = (x_a, x_b) the two halves of the channels and (t, r) = network(x_b):

    - inverse: z_a = s * x_a + t, z_b = x_b
    - forward: x_a = (z_a - t) / s, x_b = z_b
    - log |det dz/dx| = sum(log s) over pixels and changed channels
    - scale="tanh": log s = 2 tanh(r / 2), bounded on both sides and the identity at r = 0
    - scale="sigmoid": log s = log sigmoid(r + 2), which is what the authors' code computes; it only
      shrinks towards z, and starts at s = 0.88

    With `context_channels` K the network sees x_b and a context h, in place of x_b alone.

    Shapes: `[..., H, W, C] -> [..., H, W, C]` with a context `[..., H, W, K]`, or
    `[..., C] -> [..., C]` with a context `[..., K]`; log-determinants `[...]` in nats.

    Args:
        event_shape: (H, W, C) of the data, or (C,) of vectors; C even.
        width: hidden channels of the default network: `tfgen.networks.convolutional` for images,
            `tfgen.networks.coupling_dense` for vectors.
        context_channels: K, for a conditional coupling.
        scale: "tanh" or "sigmoid".
        network: a Keras model `[N, ..., C/2 + K] -> [N, ..., C]` to use in its place; its first
            C/2 outputs are t, the others r.
        network_dtype: in which the default network computes, such as "bfloat16"; that of the data
            by default. The flow's own arithmetic stays in `dtype`.
        dtype: of data and weights.
        name: of the bijector.

    Raises:
        InputError: an odd number of channels, an unknown scale, a network of other shapes, data of
            another shape.

    Source: Dinh, Sohl-Dickstein and Bengio, Density estimation using Real NVP, 2016
    (1605.08803), section 3.2; Kingma and Dhariwal, Glow, 2018 (1807.03039), section 3.3.

    Example:

    >>> import tensorflow as tf, tfgen
    >>> coupling = tfgen.bijectors.AffineCoupling((4, 4, 2), width=8)
    >>> x = tf.ones([3, 4, 4, 2])
    >>> bool(tf.reduce_all(coupling.inverse(x) == x))  # starts as the identity
    True
    """

    outputs_per_channel = 2

    def __init__(
        self,
        event_shape,
        *,
        width=512,
        context_channels=0,
        scale="tanh",
        network=None,
        network_dtype=None,
        dtype="float32",
        name="affine_coupling",
    ):
        parameters = dict(locals())
        if scale not in LOG_SCALES:
            raise InputError(f"{name}: scale must be one of {', '.join(LOG_SCALES)}, got {scale!r}")
        self._log_scale = LOG_SCALES[scale]
        super().__init__(
            event_shape,
            width=width,
            context_channels=context_channels,
            network=network,
            network_dtype=network_dtype,
            dtype=dtype,
            name=name,
            parameters=parameters,
        )
        self._event_axes = list(range(1, 1 + len(self.data_shape)))

    def _shift_and_log_scale(self, conditioner, context):
        shift, raw = tf.split(self._network_of(conditioner, context), 2, axis=-1)
        return shift, self._log_scale(raw)

    def _inverse_with_log_det(self, x, context=None):
        changed, conditioner = tf.split(x, 2, axis=-1)
        shift, log_scale = self._shift_and_log_scale(conditioner, context)
        z = tf.concat([changed * tf.exp(log_scale) + shift, conditioner], axis=-1)
        return z, tf.reduce_sum(log_scale, axis=self._event_axes)

    def _forward_with_log_det(self, z, context=None):
        changed, conditioner = tf.split(z, 2, axis=-1)
        shift, log_scale = self._shift_and_log_scale(conditioner, context)
        x = tf.concat([(changed - shift) * tf.exp(-log_scale), conditioner], axis=-1)
        return x, -tf.reduce_sum(log_scale, axis=self._event_axes)
