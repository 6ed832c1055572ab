"""One step of flow."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import ArrayLike

from tfgen import checks
from tfgen.bijectors.actnorm import ActNorm
from tfgen.bijectors.base import FlowBijector
from tfgen.bijectors.channel_mixing import AffineMixing, PermutationMixing
from tfgen.bijectors.coupling import AdditiveCoupling, AffineCoupling
from tfgen.bijectors.halves import halves
from tfgen.bijectors.invertible_conv import InvertibleConv1x1
from tfgen.bijectors.permutation import KINDS, Permutation
from tfgen.bijectors.weights import trainable_values_of

COUPLINGS = ("affine", "additive")
PERMUTATIONS = ("invertible_conv", *KINDS)


@keras.saving.register_keras_serializable(package="tfgen.bijectors")
class GlowStep(FlowBijector):
    """Actnorm, a mixing of the channels and a coupling, in this order towards the latents.

    Equations: inverse = coupling^-1 . mixing^-1 . actnorm^-1, and the log-determinants add up.
    Actnorm and the 1x1 convolution are computed as one matrix product, z = (W diag(s)) x + W b.

    Shapes: `[..., H, W, C] -> [..., H, W, C]`, or `[..., C] -> [..., C]`; log-determinants `[...]`
    in nats.

    Args:
        event_shape: (H, W, C) of the data, or (C,) of vectors; C at least 2.
        coupling: "affine" or "additive".
        permutation: "invertible_conv", "shuffle" or "reverse".
        width: hidden channels of the coupling's network.
        context_channels: K, of a context that is also an input of the coupling's network.
        scale: how an affine coupling computes its scale, see `AffineCoupling`.
        network, blocks: see `AdditiveCoupling`.
        network_dtype: dtype in which the network computes, such as "bfloat16".
        dtype: dtype of the data and the weights.
        name: name of the bijector.

    Raises:
        InputError: fewer than two channels, an unknown coupling or permutation, data of another
            shape or dtype.

    Source: Kingma and Dhariwal, Glow, 2018 (1807.03039), section 3, figure 2.

    Example:

    >>> import tensorflow as tf, tfgen
    >>> step = tfgen.bijectors.GlowStep((4, 4, 4), width=8)
    >>> x = tf.random.stateless_normal([2, 4, 4, 4], seed=[0, 0])
    >>> z, log_det = step.inverse_and_log_det(x)
    >>> bool(tf.reduce_max(abs(step.forward(z) - x)) < 1e-5)
    True
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        coupling: str = "affine",
        permutation: str = "invertible_conv",
        width: int = 512,
        context_channels: int = 0,
        scale: str = "tanh",
        network: str | keras.Layer = "convolutional",
        blocks: int = 2,
        network_dtype: str | None = None,
        dtype: str | tf.DType = "float32",
        name: str = "glow_step",
    ) -> None:
        parameters = dict(locals())
        checks.choice(f"{name}: coupling", coupling, COUPLINGS)
        checks.choice(f"{name}: permutation", permutation, PERMUTATIONS)
        self.actnorm = ActNorm(event_shape, dtype=dtype, name=f"{name}_actnorm")
        self.mixing: InvertibleConv1x1 | Permutation
        self._normalized_mixing: AffineMixing | PermutationMixing
        if permutation == "invertible_conv":
            self.mixing = InvertibleConv1x1(event_shape, dtype=dtype, name=f"{name}_mixing")
            self._normalized_mixing = AffineMixing(self.actnorm, self.mixing)
        else:
            self.mixing = Permutation(
                event_shape, kind=permutation, dtype=dtype, name=f"{name}_mixing"
            )
            self._normalized_mixing = PermutationMixing(self.actnorm, self.mixing)
        options: dict[str, Any] = {
            "width": width,
            "context_channels": context_channels,
            "network": network,
            "blocks": blocks,
            "network_dtype": network_dtype,
            "dtype": dtype,
            "name": f"{name}_coupling",
        }
        self.coupling = (
            AffineCoupling(event_shape, scale=scale, **options)
            if coupling == "affine"
            else AdditiveCoupling(event_shape, **options)
        )
        super().__init__(
            event_shape,
            context_shape=self.coupling.context_shape,
            dtype=dtype,
            name=name,
            parameters=parameters,
        )

    @property
    def inner_bijectors(self) -> Sequence[FlowBijector]:
        return [self.actnorm, self.mixing, self.coupling]

    @property
    def is_precomputed(self) -> bool:
        return self._normalized_mixing.is_precomputed

    def precomputed(self) -> contextlib.AbstractContextManager[list[tf.Variable]]:
        return self._normalized_mixing.precomputed()

    def initialize(
        self, x: tf.Tensor | ArrayLike, context: tf.Tensor | ArrayLike | None = None
    ) -> tf.Tensor:
        x = self.mixing.initialize(self.actnorm.initialize(x))
        return self.coupling.initialize(x, context)

    def _inverse_with_log_det(self, x, context=None):
        (changed, conditioner), log_det = self._normalized_mixing.inverse(x)
        z, coupling_log_det = self.coupling.inverse_of_halves(changed, conditioner, context)
        return z, log_det + coupling_log_det

    def _forward_with_log_det(self, z, context=None):
        mixed, coupling_log_det = self.coupling._forward_with_log_det(z, context)
        x, log_det = self._normalized_mixing.forward(mixed)
        return x, log_det + coupling_log_det

    def _inverse_vjp(self, z, grad_z, grad_log_det):
        mixed, grad_mixed, grad_coupling = self.coupling._inverse_vjp(z, grad_z, grad_log_det)
        x = tf.stop_gradient(self._normalized_mixing.forward(mixed)[0])
        weights = trainable_values_of([*self.actnorm.layers, *self.mixing.layers])
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            parts, log_det = self._normalized_mixing.inverse(x)
        grad_x, *grad_weights = tape.gradient(
            [*parts, log_det],
            [x, *weights],
            output_gradients=[*halves(grad_mixed), tf.reduce_sum(grad_log_det)],
        )
        return x, grad_x, [*grad_weights, *grad_coupling]
