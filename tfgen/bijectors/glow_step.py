"""One step of flow."""

import contextlib

import tensorflow as tf

from tfgen.bijectors.actnorm import ActNorm
from tfgen.bijectors.base import FlowBijector, trainable_values
from tfgen.bijectors.coupling import AdditiveCoupling, AffineCoupling
from tfgen.bijectors.invertible_conv import InvertibleConv1x1, mix_channels
from tfgen.bijectors.permutation import Permutation
from tfgen.errors import InputError

COUPLINGS = {"affine": AffineCoupling, "additive": AdditiveCoupling}
PERMUTATIONS = ("invertible_conv", "shuffle", "reverse")


class GlowStep(FlowBijector):
    """Towards the latents: actnorm, a mixing of the channels, a coupling.

    Equations: inverse = coupling^-1 . mixing^-1 . actnorm^-1, log-determinants add up. Actnorm and
    the 1x1 convolution are computed as one matrix product, z = (W diag(s)) x + W b.

    Shapes: `[..., H, W, C] -> [..., H, W, C]`, or `[..., C] -> [..., C]`; log-determinants `[...]`
    in nats.

    Args:
        event_shape: (H, W, C) of the data, or (C,) of vectors; C even.
        coupling: "affine" or "additive".
        permutation: "invertible_conv", "shuffle" or "reverse".
        width: hidden channels of the coupling's network.
        context_channels: K, of the context that the coupling's network sees too, if any.
        scale: of an affine coupling, see `AffineCoupling`.
        network, blocks: of the coupling, see `AdditiveCoupling`.
        network_dtype: in which the network computes, such as "bfloat16".
        dtype: of data and weights.
        name: of the bijector.

    Raises:
        InputError: an odd number of channels, an unknown coupling or permutation, data of another
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
        event_shape,
        *,
        coupling="affine",
        permutation="invertible_conv",
        width=512,
        context_channels=0,
        scale="tanh",
        network="convolutional",
        blocks=2,
        network_dtype=None,
        dtype="float32",
        name="glow_step",
    ):
        parameters = dict(locals())
        if coupling not in COUPLINGS:
            raise InputError(
                f"{name}: coupling must be one of {', '.join(COUPLINGS)}, got {coupling!r}"
            )
        if permutation not in PERMUTATIONS:
            raise InputError(
                f"{name}: permutation must be one of {', '.join(PERMUTATIONS)}, got {permutation!r}"
            )
        self.actnorm = ActNorm(event_shape, dtype=dtype, name=f"{name}_actnorm")
        if permutation == "invertible_conv":
            self.mixing = InvertibleConv1x1(event_shape, dtype=dtype, name=f"{name}_mixing")
        else:
            self.mixing = Permutation(
                event_shape, kind=permutation, dtype=dtype, name=f"{name}_mixing"
            )
        options = {"scale": scale} if coupling == "affine" else {}
        self.coupling = COUPLINGS[coupling](
            event_shape,
            width=width,
            context_channels=context_channels,
            network=network,
            blocks=blocks,
            network_dtype=network_dtype,
            dtype=dtype,
            name=f"{name}_coupling",
            **options,
        )
        self._precomputed = None
        super().__init__(
            event_shape,
            context_shape=self.coupling.context_shape,
            dtype=dtype,
            name=name,
            parameters=parameters,
        )

    @property
    def inner_bijectors(self):
        return [self.actnorm, self.mixing, self.coupling]

    def initialize(self, x, context=None):
        x = self.mixing.initialize(self.actnorm.initialize(x))
        return self.coupling.initialize(x, context)

    def _inverse_with_log_det(self, x, context=None):
        halves, log_det = self._mixed_halves(x)
        z, coupling_log_det = self.coupling.inverse_of_halves(*halves, context)
        return z, log_det + coupling_log_det

    def _forward_with_log_det(self, z, context=None):
        mixed, coupling_log_det = self.coupling._forward_with_log_det(z, context)
        x, log_det = self._unmixed(mixed)
        return x, log_det + coupling_log_det

    def _inverse_gradient(self, z, of_z, of_log_det):
        mixed, of_mixed, of_coupling = self.coupling._inverse_gradient(z, of_z, of_log_det)
        x = tf.stop_gradient(self._unmixed(mixed)[0])
        weights = trainable_values([*self.actnorm.layers, *self.mixing.layers])
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            halves, log_det = self._mixed_halves(x)
        of_x, *of_weights = tape.gradient(
            [*halves, log_det],
            [x, *weights],
            output_gradients=[*tf.split(of_mixed, 2, axis=-1), tf.reduce_sum(of_log_det)],
        )
        return x, of_x, [*of_weights, *of_coupling]

    @contextlib.contextmanager
    def precomputed(self):
        if not isinstance(self.mixing, InvertibleConv1x1):
            yield []
            return
        values = (*self._affine_map(), *self._affine_map_back(), self._log_det())
        self._precomputed = [tf.Variable(value, trainable=False) for value in values]
        try:
            yield list(self._precomputed)
        finally:
            self._precomputed = None

    def _mixed_halves(self, x):
        """The two halves of the channels after actnorm and mixing; their log-determinant."""
        if not isinstance(self.mixing, InvertibleConv1x1):
            normalized, log_det = self.actnorm._inverse_with_log_det(x)
            mixed, _ = self.mixing._inverse_with_log_det(normalized)
            return tf.split(mixed, 2, axis=-1), log_det
        halves = zip(*(tf.split(part, 2) for part in self._affine_map()), strict=True)
        return [mix_channels(x, *half) for half in halves], self._log_det()

    def _unmixed(self, mixed):
        """What `_mixed_halves` mixed, and the log-determinant of the way back."""
        if not isinstance(self.mixing, InvertibleConv1x1):
            normalized, _ = self.mixing._forward_with_log_det(mixed)
            return self.actnorm._forward_with_log_det(normalized)
        return mix_channels(mixed, *self._affine_map_back()), -self._log_det()

    @property
    def is_precomputed(self):
        return self._precomputed is not None

    def _affine_map(self):
        """Actnorm and mixing as one matrix `[C, C]` and shift `[C]`."""
        if self.is_precomputed:
            return self._precomputed[:2]
        scale, shift = self.actnorm.scale_and_shift()
        matrix = self.mixing.matrix()
        return matrix * scale, tf.linalg.matvec(matrix, shift)

    def _affine_map_back(self):
        if self.is_precomputed:
            return self._precomputed[2:4]
        scale, shift = self.actnorm.scale_and_shift()
        return self.mixing.inverse_matrix() / scale[:, None], -shift / scale

    def _log_det(self):
        if self.is_precomputed:
            return self._precomputed[4]
        return self.actnorm.log_det() + self.mixing.log_det()
