"""Coupling layers: half of the channels transformed by what the other half says."""

import tensorflow as tf

from tfgen import networks
from tfgen.bijectors.base import FlowBijector, image_or_vector_shape, trainable_values
from tfgen.errors import InputError
from tfgen.networks.shapes import check_shapes
from tfgen.numerics import log_sigmoid

NETWORKS = ("convolutional", "gated")

# log s as a function of r, and its derivative as a function of (log s, s).
LOG_SCALES = {
    "tanh": (lambda r: 2.0 * tf.tanh(0.5 * r), lambda log_s, s: 1.0 - 0.25 * log_s**2),
    "sigmoid": (lambda r: log_sigmoid(r + 2.0), lambda log_s, s: 1.0 - s),
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
        width: hidden channels of the network.
        context_channels: K, for a conditional coupling.
        network: "convolutional", the paper's (`tfgen.networks.convolutional` for images,
            `tfgen.networks.coupling_mlp` for vectors); "gated", `tfgen.networks.gated_residual`,
            for images; or a Keras model `[N, ..., C/2 + K] -> [N, ..., C/2]`.
        blocks: residual blocks of a gated network.
        network_dtype: in which a network given by name computes, such as "bfloat16"; that of the
            data by default. The flow's own arithmetic stays in `dtype`.
        dtype: of data and weights.
        name: of the bijector.

    Raises:
        InputError: an odd number of channels, an unknown network or one of other shapes, data of
            another shape.

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
        network="convolutional",
        blocks=2,
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
        if isinstance(network, str):
            options = {"width": width, "dtype": network_dtype or dtype, "name": f"{name}_network"}
            network = _network_named(network, inputs, outputs[-1], blocks, options, name)
        else:
            check_shapes(network, f"{name}: the network", inputs, outputs, dtype)
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
        return self.inverse_of_halves(*tf.split(x, 2, axis=-1), context)

    def inverse_of_halves(self, changed, conditioner, context=None):
        """`_inverse_with_log_det` of x_a and x_b, for callers that have them apart."""
        z = tf.concat([changed + self._network_of(conditioner, context), conditioner], axis=-1)
        return z, tf.zeros([], z.dtype)

    def _forward_with_log_det(self, z, context=None):
        changed, conditioner = tf.split(z, 2, axis=-1)
        x = tf.concat([changed - self._network_of(conditioner, context), conditioner], axis=-1)
        return x, tf.zeros([], z.dtype)

    def _inverse_gradient(self, z, of_z, of_log_det):
        # The network runs once, for x and for the gradients.
        changed, conditioner = tf.split(z, 2, axis=-1)
        weights = trainable_values(self.layers)
        with tf.GradientTape() as tape:
            tape.watch([conditioner, *weights])
            outputs = self._network_of(conditioner, None)
        of_changed, of_conditioner = tf.split(of_z, 2, axis=-1)
        changed, of_changed, of_outputs = self._undone(changed, outputs, of_changed, of_log_det)
        of_input, *of_weights = tape.gradient(
            outputs, [conditioner, *weights], output_gradients=of_outputs
        )
        x = tf.concat([changed, conditioner], axis=-1)
        return x, tf.concat([of_changed, of_conditioner + of_input], axis=-1), of_weights

    def _undone(self, changed, outputs, of_changed, of_log_det):
        """x_a from z_a, the gradient of x_a, the gradient of the network's outputs."""
        return changed - outputs, of_changed, of_changed


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
        width: hidden channels of the network.
        context_channels: K, for a conditional coupling.
        scale: "tanh" or "sigmoid".
        network: as for `AdditiveCoupling`; a Keras model `[N, ..., C/2 + K] -> [N, ..., C]` gives t
            in its first C/2 outputs and r in the others.
        blocks: residual blocks of a gated network.
        network_dtype: in which a network given by name computes, such as "bfloat16"; that of the
            data by default. The flow's own arithmetic stays in `dtype`.
        dtype: of data and weights.
        name: of the bijector.

    Raises:
        InputError: an odd number of channels, an unknown scale, an unknown network or one of other
            shapes, data of another shape.

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
        network="convolutional",
        blocks=2,
        network_dtype=None,
        dtype="float32",
        name="affine_coupling",
    ):
        parameters = dict(locals())
        if scale not in LOG_SCALES:
            raise InputError(f"{name}: scale must be one of {', '.join(LOG_SCALES)}, got {scale!r}")
        self._scale = scale
        super().__init__(
            event_shape,
            width=width,
            context_channels=context_channels,
            network=network,
            blocks=blocks,
            network_dtype=network_dtype,
            dtype=dtype,
            name=name,
            parameters=parameters,
        )

    def inverse_of_halves(self, changed, conditioner, context=None):
        """`_inverse_with_log_det` of x_a and x_b, for callers that have them apart."""
        outputs = self._network_of(conditioner, context)
        changed, log_det = _scaled_and_shifted(changed, outputs, self._scale)
        return tf.concat([changed, conditioner], axis=-1), log_det

    def _forward_with_log_det(self, z, context=None):
        changed, conditioner = tf.split(z, 2, axis=-1)
        shift, r = tf.split(self._network_of(conditioner, context), 2, axis=-1)
        log_scale = LOG_SCALES[self._scale][0](r)
        x = tf.concat([(changed - shift) * tf.exp(-log_scale), conditioner], axis=-1)
        return x, -tf.reduce_sum(log_scale, axis=_event_axes(log_scale))

    def _undone(self, changed, outputs, of_changed, of_log_det):
        shift, r = tf.split(outputs, 2, axis=-1)
        log_s = LOG_SCALES[self._scale][0](r)
        s = tf.exp(log_s)
        x = (changed - shift) / s
        return x, *_affine_gradient(x, log_s, s, self._scale, of_changed, of_log_det)


def _network_named(kind, inputs, outputs, blocks, options, name):
    if kind not in NETWORKS:
        raise InputError(
            f"{name}: network must be a Keras model or one of {', '.join(NETWORKS)}, got {kind!r}"
        )
    if kind == "gated":
        if len(inputs) == 1:
            raise InputError(
                f"{name}: a gated network is for images, the event shape is a vector's"
            )
        return networks.gated_residual(inputs, outputs, blocks=blocks, **options)
    paper = networks.convolutional if len(inputs) > 1 else networks.coupling_mlp
    return paper(inputs, outputs, **options)


def _scaled_and_shifted(x, outputs, scale):
    """s * x + t and sum(log s), of outputs (t, r).

    Differentiated operation by operation, the gradient would take twice the time.
    """

    @tf.custom_gradient
    def compute(x, outputs):
        shift, r = tf.split(outputs, 2, axis=-1)
        log_s = LOG_SCALES[scale][0](r)
        s = tf.exp(log_s)

        def gradient(u, v):
            return _affine_gradient(x, log_s, s, scale, u, v)

        return (x * s + shift, tf.reduce_sum(log_s, axis=_event_axes(log_s))), gradient

    return compute(x, outputs)


def _affine_gradient(x, log_s, s, scale, u, v):
    """The gradients of x and of (t, r), given u of s * x + t and v of sum(log s).

    Equations: s u of x, u of t, (s u x + v) dlog s/dr of r.
    """
    of_x = u * s
    v = tf.reshape(v, [-1] + [1] * (x.shape.rank - 1))
    of_r = (of_x * x + v) * LOG_SCALES[scale][1](log_s, s)
    return of_x, tf.concat([u, of_r], axis=-1)


def _event_axes(value):
    return list(range(1, value.shape.rank))
