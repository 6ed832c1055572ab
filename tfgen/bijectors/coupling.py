"""Coupling layers: a network of half of the channels transforms the other half."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfgen import checks, networks
from tfgen.bijectors.base import FlowBijector, image_or_vector_shape
from tfgen.bijectors.halves import half_sizes, halves
from tfgen.bijectors.weights import trainable_values_of
from tfgen.errors import InputError
from tfgen.networks.invertible_use import check_invertible_use
from tfgen.networks.shapes import check_shapes
from tfgen.numerics import log_sigmoid

NETWORKS = ("convolutional", "gated")

_TOO_FEW = {
    False: "a coupling divides a vector in two, so its dimension must be at least 2, got 1",
    True: (
        "a coupling divides the channels in two, so there must be at least 2, got 1; "
        "put a Squeeze before the coupling"
    ),
}

# log s as a function of r, and its derivative as a function of (log s, s).
LOG_SCALES = {
    "tanh": (lambda r: 2.0 * tf.tanh(0.5 * r), lambda log_s, s: 1.0 - 0.25 * log_s**2),
    "sigmoid": (lambda r: log_sigmoid(r + 2.0), lambda log_s, s: 1.0 - s),
}


@keras.saving.register_keras_serializable(package="tfgen.bijectors")
class AdditiveCoupling(FlowBijector):
    """Shifts half of the channels by a network's output for the other half.

    Equations, with x = (x_a, x_b) the two halves of the channels and t = network(x_b):

    - inverse: z_a = x_a + t, z_b = x_b
    - forward: x_a = z_a - t, x_b = z_b
    - both log-determinants are 0

    x_a are the first ceil(C / 2) channels, x_b the others. With `context_channels` K > 0 the inputs
    of the network are x_b and a context h.

    Shapes: `[..., H, W, C] -> [..., H, W, C]` with a context `[..., H, W, K]`, or
    `[..., C] -> [..., C]` with a context `[..., K]`; log-determinants `[...]` in nats.

    Args:
        event_shape: (H, W, C) of the data, or (C,) of vectors; C at least 2.
        width: hidden channels of the network.
        context_channels: K, for a conditional coupling.
        network: "convolutional", as in the paper (`tfgen.networks.convolutional` for images,
            `tfgen.networks.coupling_mlp` for vectors); "gated", `tfgen.networks.gated_residual`,
            for images; or a Keras model `[N, ..., C_b + K] -> [N, ..., C_a]`, with C_a and C_b the
            channels of x_a and x_b, that computes the same in training and inference and from each
            input alone (`tfgen.networks.invertible_use.check_invertible_use`).
        blocks: residual blocks of a gated network.
        network_dtype: dtype in which a network given by name computes, such as "bfloat16"; by
            default `dtype`, which all other computations use.
        dtype: dtype of the data and the weights.
        name: name of the bijector.

    Raises:
        InputError: fewer than two channels, an unknown network, one of other shapes or one that
            cannot be inverted, data of another shape.

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
        event_shape: Sequence[int],
        *,
        width: int = 512,
        context_channels: int = 0,
        network: str | keras.Layer = "convolutional",
        blocks: int = 2,
        network_dtype: str | None = None,
        dtype: str | tf.DType = "float32",
        name: str = "additive_coupling",
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        parameters = parameters or dict(locals())
        *sides, channels = image_or_vector_shape(f"{name}: event_shape", event_shape)
        context_channels = checks.integer(f"{name}: context_channels", context_channels, 0)
        if channels < 2:
            raise InputError(f"{name}: {_TOO_FEW[bool(sides)]}")
        changed, conditioner = half_sizes(channels)
        inputs = (*sides, conditioner + context_channels)
        outputs = (*sides, self.outputs_per_channel * changed)
        if isinstance(network, str):
            options = {"width": width, "dtype": network_dtype or dtype, "name": f"{name}_network"}
            network = _network_named(network, inputs, outputs[-1], blocks, options, name)
        else:
            check_shapes(network, f"{name}: the network", inputs, outputs, dtype)
            check_invertible_use(network, f"{name}: the network", inputs, dtype)
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
        changed, conditioner = halves(x)
        return self.inverse_of_halves(changed, conditioner, context)

    def inverse_of_halves(
        self, changed: tf.Tensor, conditioner: tf.Tensor, context: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """z and log |det dz/dx|, given x_a and x_b."""
        outputs = self._network_of(conditioner, context)
        changed, log_det = self._inverse_of_changed(changed, outputs)
        return tf.concat([changed, conditioner], axis=-1), log_det

    def _forward_with_log_det(self, z, context=None):
        changed, conditioner = halves(z)
        outputs = self._network_of(conditioner, context)
        changed, log_det = self._forward_of_changed(changed, outputs)
        return tf.concat([changed, conditioner], axis=-1), log_det

    def _inverse_of_changed(self, changed, outputs):
        """z_a and log |det dz/dx|, given x_a and the network's outputs."""
        return changed + outputs, tf.zeros([], changed.dtype)

    def _forward_of_changed(self, changed, outputs):
        """x_a and log |det dx/dz|, given z_a and the network's outputs."""
        return changed - outputs, tf.zeros([], changed.dtype)

    def _inverse_vjp(self, z, grad_z, grad_log_det):
        # The network runs once, for x and for the gradients.
        changed, conditioner = halves(z)
        weights = trainable_values_of(self.layers)
        with tf.GradientTape() as tape:
            tape.watch([conditioner, *weights])
            outputs = self._network_of(conditioner, None)
        grad_changed, grad_conditioner = halves(grad_z)
        changed, grad_changed, grad_outputs = self._changed_vjp(
            changed, outputs, grad_changed, grad_log_det
        )
        grad_input, *grad_weights = tape.gradient(
            outputs, [conditioner, *weights], output_gradients=grad_outputs
        )
        x = tf.concat([changed, conditioner], axis=-1)
        return x, tf.concat([grad_changed, grad_conditioner + grad_input], axis=-1), grad_weights

    def _changed_vjp(self, changed, outputs, grad_changed, grad_log_det):
        """x_a from z_a, the gradient of x_a, and the gradient of the network's outputs."""
        return changed - outputs, grad_changed, grad_changed


@keras.saving.register_keras_serializable(package="tfgen.bijectors")
class AffineCoupling(AdditiveCoupling):
    """Scales and shifts half of the channels by a network's outputs for the other half.

    Equations, with x = (x_a, x_b) the two halves of the channels and (t, r) = network(x_b):

    - inverse: z_a = s * x_a + t, z_b = x_b
    - forward: x_a = (z_a - t) / s, x_b = z_b
    - log |det dz/dx| = sum(log s) over pixels and changed channels
    - scale="tanh": log s = 2 tanh(r / 2), bounded on both sides and the identity at r = 0
    - scale="sigmoid": log s = log sigmoid(r + 2), as in the authors' code; s is below 1, and 0.88
      at r = 0

    x_a are the first ceil(C / 2) channels, x_b the others. With `context_channels` K > 0 the inputs
    of the network are x_b and a context h.

    Shapes: `[..., H, W, C] -> [..., H, W, C]` with a context `[..., H, W, K]`, or
    `[..., C] -> [..., C]` with a context `[..., K]`; log-determinants `[...]` in nats.

    Args:
        event_shape: (H, W, C) of the data, or (C,) of vectors; C at least 2.
        width: hidden channels of the network.
        context_channels: K, for a conditional coupling.
        scale: "tanh" or "sigmoid".
        network: as for `AdditiveCoupling`; a Keras model maps `[N, ..., C_b + K]` to
            `[N, ..., 2 C_a]`, t in the first C_a channels and r in the others.
        blocks: residual blocks of a gated network.
        network_dtype: dtype in which a network given by name computes, such as "bfloat16"; by
            default `dtype`, which all other computations use.
        dtype: dtype of the data and the weights.
        name: name of the bijector.

    Raises:
        InputError: fewer than two channels, an unknown scale, an unknown network or one of other
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
        event_shape: Sequence[int],
        *,
        width: int = 512,
        context_channels: int = 0,
        scale: str = "tanh",
        network: str | keras.Layer = "convolutional",
        blocks: int = 2,
        network_dtype: str | None = None,
        dtype: str | tf.DType = "float32",
        name: str = "affine_coupling",
    ) -> None:
        parameters = dict(locals())
        self._scale = checks.choice(f"{name}: scale", scale, LOG_SCALES)
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

    def _inverse_of_changed(self, changed, outputs):
        return _scaled_and_shifted(changed, outputs, self._scale)

    def _forward_of_changed(self, changed, outputs):
        shift, r = tf.split(outputs, 2, axis=-1)
        log_scale = LOG_SCALES[self._scale][0](r)
        x = (changed - shift) * tf.exp(-log_scale)
        return x, -tf.reduce_sum(log_scale, axis=_event_axes(log_scale))

    def _changed_vjp(self, changed, outputs, grad_changed, grad_log_det):
        shift, r = tf.split(outputs, 2, axis=-1)
        log_s = LOG_SCALES[self._scale][0](r)
        s = tf.exp(log_s)
        x = (changed - shift) / s
        return x, *_affine_vjp(x, log_s, s, self._scale, grad_changed, grad_log_det)


def _network_named(kind, inputs, outputs, blocks, options, name):
    if kind not in NETWORKS:
        raise InputError(
            f"{name}: network must be a Keras model or one of {', '.join(NETWORKS)}, got {kind!r}"
        )
    if kind == "gated":
        if len(inputs) == 1:
            raise InputError(
                f"{name}: a gated network is for images, but the event shape is that of a vector"
            )
        return networks.gated_residual(inputs, outputs, blocks=blocks, **options)
    paper = networks.convolutional if len(inputs) > 1 else networks.coupling_mlp
    return paper(inputs, outputs, **options)


def _scaled_and_shifted(x, outputs, scale):
    """s * x + t and sum(log s), of outputs (t, r).

    Automatic differentiation of each operation would take twice the time.
    """

    @tf.custom_gradient
    def compute(x, outputs):
        shift, r = tf.split(outputs, 2, axis=-1)
        log_s = LOG_SCALES[scale][0](r)
        s = tf.exp(log_s)

        def gradient(u, v):
            return _affine_vjp(x, log_s, s, scale, u, v)

        return (x * s + shift, tf.reduce_sum(log_s, axis=_event_axes(log_s))), gradient

    return compute(x, outputs)


def _affine_vjp(x, log_s, s, scale, u, v):
    """The gradients of x and of (t, r), given those of s * x + t, u, and of sum(log s), v.

    Equations: s u for x, u for t, (s u x + v) dlog s/dr for r.
    """
    grad_x = u * s
    v = tf.reshape(v, [-1] + [1] * (x.shape.rank - 1))
    grad_r = (grad_x * x + v) * LOG_SCALES[scale][1](log_s, s)
    return grad_x, tf.concat([u, grad_r], axis=-1)


def _event_axes(value):
    return list(range(1, value.shape.rank))
