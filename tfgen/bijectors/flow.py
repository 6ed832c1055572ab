"""A chain of bijectors as a Keras model of real-valued vectors or images."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfgen import checks
from tfgen.bijectors import composition, distribution_config, serialization
from tfgen.bijectors.actnorm import ActNorm
from tfgen.bijectors.base_distribution import BaseDistribution
from tfgen.bijectors.flow_layer import FlowLayer
from tfgen.bijectors.flow_structure import structure_of
from tfgen.bijectors.flow_training import FlowTraining
from tfgen.errors import InputError

VALUES_PER_CHUNK = 2**19  # of the data; the verbs compute larger batches in several parts


@keras.saving.register_keras_serializable(package="tfgen.bijectors")
class Flow(FlowTraining):
    """A normalizing flow of real-valued vectors or images: a chain of bijectors and a base.

    Equations, with f_1, ..., f_n the bijectors in the order of the list and p the base:

    - x = f_1(f_2(... f_n(z))), z drawn from p: the order of `tfb.Chain`, from the data to the
      latents
    - log_prob(x) = log p(z) + sum_i log |det df_i^-1|, z = f_n^-1(... f_1^-1(x)), in nats

    With a context h, all conditional bijectors get it, and `log_prob` is log p(x | h).

    `fit(x)` minimizes the mean of -log_prob(x), plus the losses that Keras layers add, and reports
    `loss`, `nll` (nats) and `bits_per_dim` (nll / (D log 2) for the density of the D values).
    It first initializes actnorms from the data, and compiles with Adam unless `compile` was called.

    The data are real numbers. Integers are refused: for images with values 0 to 255 use
    `tfgen.models.Glow`, which dequantizes them. Inputs of another floating dtype are cast to that
    of the bijectors, as Keras does. `fit` of a float64 flow gets its batches from Keras, which
    rounds arrays to `keras.config.floatx()`; `tf.data` keeps float64.

    Shapes: data `[N, *event_shape]`, latents `[N, *latent_shape]`, contexts `[N, *context]`.

    Args:
        bijectors: bijectors of `tfgen.bijectors`, or of TensorFlow Probability, whose `Chain`s and
            `Invert`s may contain both. At least one must know its event shape, unless `base` is
            given. None may occur twice.
        base: distribution of the latents, a `tfd.Distribution` without batch shape and with the
            event shape of the latents, whose trainable variables are trained too; by default
            N(0, I).
        context: K or (K,), the size of a context vector, or (H, W, K). Bijectors on images that
            take a context of K channels get a context vector at every pixel.
        name: name of the model.

    Attributes:
        event_shape, latent_shape, context_shape: shapes as above.
        bijectors: the bijectors, from the data to the latents, with chains taken apart.

    Raises:
        InputError: an empty list, objects that are no bijectors, a bijector that occurs twice,
            event shapes or dtypes that do not match, a base or a context of another shape.

    Source: Papamakarios, Nalisnick, Rezende, Mohamed and Lakshminarayanan, Normalizing flows for
    probabilistic modeling and inference, 2021 (1912.02762), section 2.

    Example:

    >>> import numpy as np, tfgen
    >>> from tfgen.bijectors import Flow, GlowStep
    >>> x = np.random.default_rng(0).normal(3.0, 2.0, (256, 2)).astype("float32")
    >>> flow = Flow([GlowStep((2,), width=8, name=f"step{i}") for i in range(2)])
    >>> history = flow.fit(x, epochs=1, verbose=0)
    >>> flow.log_prob(x).shape, flow.sample(5, seed=0).shape
    (TensorShape([256]), TensorShape([5, 2]))
    """

    def __init__(
        self,
        bijectors: Sequence[tfb.Bijector] | tfb.Bijector,
        base: tfd.Distribution | None = None,
        context: int | Sequence[int] | None = None,
        *,
        name: str = "flow",
    ) -> None:
        structure = structure_of(name, bijectors, base, context)
        super().__init__(name=name, dtype=structure.dtype)
        self.bijectors = structure.parts
        self.event_shape, *_, self.latent_shape = structure.shapes
        self.context_shape = structure.context_shape
        self.num_dims = math.prod(self.event_shape)
        self.flow_layers = [FlowLayer(part, dtype=structure.dtype) for part in structure.parts]
        for layer, shape in zip(self.flow_layers, structure.shapes, strict=False):
            layer.build((None, *shape))  # `summary` shows the shapes.
        self.base = BaseDistribution(
            base, self.latent_shape, dtype=structure.dtype, name=f"{name}_base"
        )
        self.base.build((None, *self.latent_shape))
        self._graphs: dict[str, Callable[..., tf.Tensor]] = {}
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return {
            "bijectors": [serialization.serialize(bijector) for bijector in self.bijectors],
            "base": distribution_config.encode(self.base.distribution, f"{self.name}: base"),
            "context": list(self.context_shape) or None,
            "name": self.name,
            "frozen": [i for i, layer in enumerate(self.flow_layers) if not layer.trainable],
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Flow:
        bijectors = [serialization.deserialize(one) for one in config["bijectors"]]
        base = distribution_config.decode(config["base"])
        flow = cls(bijectors, base, config.get("context"), name=config.get("name", "flow"))
        for index in config.get("frozen", []):
            flow.flow_layers[index].trainable = False
        return flow

    @property
    def initialized(self) -> bool:
        """Whether all actnorms have been set from data."""
        return all(
            bijector.initialized
            for part in self.bijectors
            if not composition.is_a("Invert", part)
            for bijector in composition.flow_bijectors_of(part)
            if isinstance(bijector, ActNorm)
        )

    def initialize(
        self, x: ArrayLike | tf.Tensor, context: ArrayLike | tf.Tensor | None = None
    ) -> tf.Tensor:
        """Set every actnorm that is not yet set, from its own inputs; returns the latents.

        Shapes: `[N, *event_shape]`, context `[N, *context_shape] -> [N, *latent_shape]`.

        Raises:
            InputError: as for `log_prob`, or no data.
        """
        x, context = self._checked(x, context)
        if not len(x):
            raise InputError(f"{self.name}: initialize needs data, got shape {tuple(x.shape)}")
        for layer in self.flow_layers:
            x = composition.initialize(layer.bijector, x, self._context_of(layer, context))
        return x

    def log_prob(
        self, x: ArrayLike | tf.Tensor, context: ArrayLike | tf.Tensor | None = None
    ) -> tf.Tensor:
        """The log-density of data in nats, exact.

        Shapes: `[N, *event_shape]`, context `[N, *context_shape] -> [N]`.

        Raises:
            InputError: data or a context of another shape, not floating point or not finite; a
                context that is missing, or given to a flow without one.
        """
        return self._run(self._log_prob, *self._checked(x, context))

    def bits_per_dim(
        self, x: ArrayLike | tf.Tensor, context: ArrayLike | tf.Tensor | None = None
    ) -> tf.Tensor:
        """Bits per dimension of the density: -log2 p(x) / D.

        Shapes: `[N, *event_shape]`, context `[N, *context_shape] -> [N]`.

        Raises:
            InputError: as for `log_prob`.
        """
        return -self.log_prob(x, context) / (self.num_dims * math.log(2.0))

    def encode(
        self, x: ArrayLike | tf.Tensor, context: ArrayLike | tf.Tensor | None = None
    ) -> tf.Tensor:
        """The latents of data.

        Shapes: `[N, *event_shape]`, context `[N, *context_shape] -> [N, *latent_shape]`.

        Raises:
            InputError: as for `log_prob`.
        """
        return self._run(self._encode, *self._checked(x, context))

    def decode(
        self, z: ArrayLike | tf.Tensor, context: ArrayLike | tf.Tensor | None = None
    ) -> tf.Tensor:
        """The data of latents.

        Shapes: `[N, *latent_shape]`, context `[N, *context_shape] -> [N, *event_shape]`.

        Raises:
            InputError: as for `log_prob`.
        """
        return self._run(self._decode, *self._checked(z, context, "latents", self.latent_shape))

    def sample(
        self,
        n: int,
        context: ArrayLike | tf.Tensor | None = None,
        *,
        seed: int | None = None,
        temperature: float = 1.0,
    ) -> tf.Tensor:
        """Draws from the flow: `decode` of latents drawn from the base.

        Shapes: context `[n, *context_shape]`, or one for all `[*context_shape]`
        `-> [n, *event_shape]`.

        Args:
            n: number of draws.
            context: what they are conditioned on.
            seed: an int that determines them; by default they come from TensorFlow's global
                generator.
            temperature: multiplies standard normal latents; other bases have no temperature.

        Raises:
            InputError: n that is not a positive integer, a temperature below 0 or for another
                base, a context as for `log_prob`.
        """
        n = checks.integer("sample: n", n, 1)
        temperature = checks.number("sample: temperature", temperature, 0)
        if seed is not None:
            seed = checks.integer("sample: seed", seed, -(2**63), 2**63 - 1)
        if context is not None and np.shape(context) == self.context_shape:
            context = tf.broadcast_to(context, [n, *self.context_shape])
        return self.decode(self.base.sample(n, seed, temperature), context)

    def call(self, x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        """`log_prob(x, context)`, so that the model can be called like any Keras model."""
        return self._log_prob(*self._checked(x, context))

    def _log_prob(self, x, context):
        z, log_det = self._inverse(x, context)
        return self.base(z) + log_det

    def _encode(self, x, context):
        return self._inverse(x, context)[0]

    def _inverse(self, x, context):
        total = tf.zeros(tf.shape(x)[:1], x.dtype)
        for layer in self.flow_layers:
            x, log_det = layer(x, self._context_of(layer, context))
            total += log_det
        return x, total

    def _decode(self, z, context):
        for layer in reversed(self.flow_layers):
            own = self._context_of(layer, context)
            z, _ = composition.forward_and_log_det(layer.bijector, z, own)
        return z

    def _context_of(self, layer, context):
        """The context in the shape that a layer's bijector takes."""
        shape = composition.context_shape_of(layer.bijector)
        if context is None or not shape:
            return None
        if shape != self.context_shape:
            pixels = [1] * (len(shape) - 1)
            context = tf.reshape(context, [-1, *pixels, shape[-1]])
            context = tf.broadcast_to(context, [tf.shape(context)[0], *shape])
        return context

    def _checked(self, x, context=None, what="data", shape=None):
        """Data and context as tensors of the flow's dtype."""
        x = self._checked_values(what, x, shape or self.event_shape)
        if context is None and self.context_shape:
            raise InputError(
                f"{self.name} is conditional: give the context, of shape "
                f"[N, {', '.join(map(str, self.context_shape))}]"
            )
        if context is not None:
            if not self.context_shape:
                raise InputError(f"{self.name} takes no context, but one was given")
            context = self._checked_values("context", context, self.context_shape)
            if not x.shape[:1].is_compatible_with(context.shape[:1]):
                raise InputError(
                    f"{self.name}: {x.shape[0]} {what}, but {context.shape[0]} contexts"
                )
        return x, context

    def _checked_values(self, what, values, shape):
        try:
            values = tf.convert_to_tensor(values)
        except (TypeError, ValueError) as error:
            raise InputError(f"{self.name}: {what} must be an array of numbers: {error}") from error
        if not values.dtype.is_floating:
            raise InputError(
                f"{self.name}: {what} must be floating point, got {values.dtype.name}; cast them "
                "if they are real numbers"
            )
        needed = [None, *shape]
        if not values.shape.is_compatible_with(needed):
            listed = ", ".join(map(str, shape))
            raise InputError(
                f"{self.name}: {what} must have shape [N, {listed}], got {tuple(values.shape)}"
            )
        if tf.executing_eagerly() and not bool(tf.reduce_all(tf.math.is_finite(values))):
            raise InputError(f"{self.name}: {what} must be finite, but some are infinite or NaN")
        return tf.cast(values, self.compute_dtype)

    def _run(self, function, *batch):
        """Run a function of tensors with a batch axis, compiled and in parts if called eagerly."""
        if not tf.executing_eagerly():
            return function(*batch)
        given = [values for values in batch if values is not None]
        if function.__name__ not in self._graphs:
            specs = [tf.TensorSpec([None, *values.shape[1:]], values.dtype) for values in given]
            missing = [None] * (len(batch) - len(given))
            self._graphs[function.__name__] = tf.function(
                lambda *values: function(*values, *missing), input_signature=specs
            )
        graph = self._graphs[function.__name__]
        rows = max(1, VALUES_PER_CHUNK // self.num_dims)
        parts = [
            graph(*[values[start : start + rows] for values in given])
            for start in range(0, max(1, len(given[0])), rows)
        ]
        return parts[0] if len(parts) == 1 else tf.concat(parts, axis=0)
