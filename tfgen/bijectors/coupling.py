"""Coupling layers: half of the channels transformed by what the other half says."""

import tensorflow as tf

from tfgen import networks
from tfgen.bijectors.base import FlowBijector, image_shape
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

    Shapes: `[..., H, W, C] -> [..., H, W, C]`; log-determinants `[...]` in nats.

    Args:
        event_shape: (H, W, C) of the data, C even.
        width: hidden channels of the default network, `tfgen.networks.convolutional`.
        network: a Keras model `[N, H, W, C/2] -> [N, H, W, C/2]` to use in its place.
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
        network=None,
        network_dtype=None,
        dtype="float32",
        name="additive_coupling",
        parameters=None,
    ):
        parameters = parameters or dict(locals())
        rows, columns, channels = image_shape(event_shape, name)
        if channels % 2:
            raise InputError(
                f"{name}: the channels must be even in number to be halved, got {channels}; "
                "a Squeeze before the coupling makes them so"
            )
        half = (rows, columns, channels // 2)
        outputs = self.outputs_per_channel * half[-1]
        if network is None:
            network = networks.convolutional(
                half, outputs, width=width, dtype=network_dtype or dtype, name=f"{name}_network"
            )
        found = network(tf.zeros([1, *half], dtype)).shape[1:]
        if found != (rows, columns, outputs):
            raise InputError(
                f"{name}: the network must map [N, {rows}, {columns}, {half[-1]}] to "
                f"[N, {rows}, {columns}, {outputs}], it gives [N, {', '.join(map(str, found))}]"
            )
        self._network = network
        super().__init__(
            event_shape, layers=[network], dtype=dtype, name=name, parameters=parameters
        )

    def _shift(self, conditioner):
        return tf.cast(self._network(conditioner), self.dtype)

    def _inverse_with_log_det(self, x):
        changed, conditioner = tf.split(x, 2, axis=-1)
        z = tf.concat([changed + self._shift(conditioner), conditioner], axis=-1)
        return z, tf.zeros([], x.dtype)

    def _forward_with_log_det(self, z):
        changed, conditioner = tf.split(z, 2, axis=-1)
        x = tf.concat([changed - self._shift(conditioner), conditioner], axis=-1)
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

    Shapes: `[..., H, W, C] -> [..., H, W, C]`; log-determinants `[...]` in nats.

    Args:
        event_shape: (H, W, C) of the data, C even.
        width: hidden channels of the default network, `tfgen.networks.convolutional`.
        scale: "tanh" or "sigmoid".
        network: a Keras model `[N, H, W, C/2] -> [N, H, W, C]` to use in its place; its first C/2
            outputs are t, the others r.
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
            network=network,
            network_dtype=network_dtype,
            dtype=dtype,
            name=name,
            parameters=parameters,
        )

    def _shift_and_log_scale(self, conditioner):
        shift, raw = tf.split(tf.cast(self._network(conditioner), self.dtype), 2, axis=-1)
        return shift, self._log_scale(raw)

    def _inverse_with_log_det(self, x):
        changed, conditioner = tf.split(x, 2, axis=-1)
        shift, log_scale = self._shift_and_log_scale(conditioner)
        z = tf.concat([changed * tf.exp(log_scale) + shift, conditioner], axis=-1)
        return z, tf.reduce_sum(log_scale, axis=[1, 2, 3])

    def _forward_with_log_det(self, z):
        changed, conditioner = tf.split(z, 2, axis=-1)
        shift, log_scale = self._shift_and_log_scale(conditioner)
        x = tf.concat([(changed - shift) * tf.exp(-log_scale), conditioner], axis=-1)
        return x, -tf.reduce_sum(log_scale, axis=[1, 2, 3])
