"""The base of the bijectors: value and log-determinant in one pass, weights in Keras layers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import ArrayLike
from tensorflow_probability import bijectors as tfb
from tensorflow_probability.python.internal import cache_util

from tfgen import checks
from tfgen.bijectors.serialization import Configurable
from tfgen.bijectors.weights import Weights, trainable_values_of
from tfgen.errors import InputError


class FlowBijector(Configurable, tfb.Bijector):
    """A TFP bijector whose weights are in Keras layers.

    The direction is TFP's: `forward` maps latents z to data x, `inverse` maps x to z.

    A subclass defines two methods, each of which computes value and log-determinant in one pass
    over a batch `[N, *event_shape]`:

    - `_forward_with_log_det(z) -> x, log |det dx/dz|`
    - `_inverse_with_log_det(x) -> z, log |det dz/dx|`

    (with a `context_shape`, both take the context as a second argument). The rest of TFP's
    interface follows from them: batches of any shape, `forward`, `inverse`, both log-determinants,
    and a cache, so that no network runs twice for a pair (x, z). The cache compares tensors, not
    weights: outside of graphs, `forward` and `inverse` return their earlier result for the same
    tensor, even after a change of the weights. The methods `*_and_log_det` do not use it.

    Keras 3 does not track TFP's variables, and TFP does not track those of Keras. Here each weight
    is a Keras variable in one of `layers`, which a `keras.Model` tracks, and its `tf.Variable` is
    also an attribute, which `tf.Module` tracks, so that both have the same weights.

    Args:
        data_shape: event shape of x.
        latent_shape: event shape of z; by default that of x.
        context_shape: event shape of the context h of a conditional bijector, whose methods are
            called as `forward(z, context=h)`, `inverse_and_log_det(x, context=h)` and so on.
        layers: the Keras layers and models that hold the weights.
        dtype: dtype of x, z and the weights.
        name: name of the bijector.
        parameters: the arguments of the subclass's constructor, which `get_config` returns: see
            `tfgen.bijectors.serialization`.
    """

    _cache = cache_util.BijectorCacheWithGreedyAttrs(
        forward_name="_forward_and_attributes", inverse_name="_inverse_and_attributes"
    )

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        latent_shape: Sequence[int] | None = None,
        context_shape: Sequence[int] | None = None,
        layers: Iterable[keras.Layer] = (),
        dtype: str | tf.DType = "float32",
        name: str,
        parameters: Mapping[str, Any],
    ) -> None:
        self.data_shape = tuple(data_shape)
        self.latent_shape = tuple(latent_shape or data_shape)
        self.context_shape = tuple(context_shape or ())
        self._own_layers = list(layers)
        for layer in self._own_layers:
            if isinstance(layer, Weights):
                layer.build((None, *self.data_shape))  # Summaries show the shape.
        self._keras_variables = [v.value for layer in self._own_layers for v in layer.variables]
        super().__init__(
            dtype=tf.as_dtype(dtype),
            forward_min_event_ndims=len(self.latent_shape),
            inverse_min_event_ndims=len(self.data_shape),
            parameters=parameters,
            name=name,
        )

    @property
    def layers(self) -> list[keras.Layer]:
        """The Keras layers that hold the weights, including those of inner bijectors."""
        inner = [layer for b in self.inner_bijectors for layer in b.layers]
        return [*self._own_layers, *inner]

    @property
    def inner_bijectors(self) -> Sequence[FlowBijector]:
        """The bijectors that this one is composed of."""
        return []

    def forward_and_log_det(
        self, z: tf.Tensor | ArrayLike, context: tf.Tensor | ArrayLike | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """x = f(z) and log |det df/dz| in one pass.

        Shapes: `[..., *latent_shape] -> [..., *data_shape], [...]`.
        """
        x, log_det = self._any_batch(self._forward_with_log_det, z, self.latent_shape, context)
        return x, tf.broadcast_to(log_det, tf.shape(x)[: -len(self.data_shape)])

    def inverse_and_log_det(
        self, x: tf.Tensor | ArrayLike, context: tf.Tensor | ArrayLike | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """z = f^-1(x) and log |det df^-1/dx| in one pass.

        Shapes: `[..., *data_shape] -> [..., *latent_shape], [...]`.
        """
        z, log_det = self._any_batch(self._inverse_with_log_det, x, self.data_shape, context)
        return z, tf.broadcast_to(log_det, tf.shape(z)[: -len(self.latent_shape)])

    def initialize(
        self, x: tf.Tensor | ArrayLike, context: tf.Tensor | ArrayLike | None = None
    ) -> tf.Tensor:
        """Set the data-dependent weights from a batch of data, and return the latents.

        Only actnorm has such weights. Call it once, outside of replicas, on the whole first global
        batch.

        Shapes: `[N, *data_shape] -> [N, *latent_shape]`.
        """
        return self._any_batch(self._inverse_with_log_det, x, self.data_shape, context)[0]

    @property
    def is_precomputed(self) -> bool:
        """Whether a scope of `precomputed` is open."""
        return False

    def precomputed(self) -> contextlib.AbstractContextManager[list[tf.Variable]]:
        """A scope in which results that depend only on the weights are computed once.

        It is meant for exported graphs, whose weights no longer change.

        Returns:
            A context manager that returns the list of `tf.Variable`s that hold the results.
        """
        return precomputed(self.inner_bijectors)

    def _inverse_vjp(self, z, grad_z, grad_log_det):
        """The vector-Jacobian product of `_inverse_with_log_det`, from its result z alone.

        Args:
            z: the result, `[N, *latent_shape]`.
            grad_z, grad_log_det: the gradients of both results, `[N, *latent_shape]` and `[N]`.

        Returns:
            x; its gradient; a list of the gradients of the weights of `layers` that can be trained.
        """
        x = tf.stop_gradient(self._forward_with_log_det(z)[0])
        weights = trainable_values_of(self.layers)
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            z, log_det = self._inverse_with_log_det(x)
            log_det = tf.broadcast_to(log_det, tf.shape(grad_log_det))
        grad_x, *grad_weights = tape.gradient(
            [z, log_det], [x, *weights], output_gradients=[grad_z, grad_log_det]
        )
        return x, grad_x, grad_weights

    def _forward_and_attributes(self, z, context=None):
        x, log_det = self._any_batch(self._forward_with_log_det, z, self.latent_shape, context)
        return x, {"ildj": -log_det}

    def _inverse_and_attributes(self, x, context=None):
        z, log_det = self._any_batch(self._inverse_with_log_det, x, self.data_shape, context)
        return z, {"ildj": log_det}

    def _forward_log_det_jacobian(self, z, context=None):
        return self._any_batch(self._forward_with_log_det, z, self.latent_shape, context)[1]

    def _inverse_log_det_jacobian(self, x, context=None):
        return self._any_batch(self._inverse_with_log_det, x, self.data_shape, context)[1]

    def _any_batch(self, function, value, event_shape, context):
        value = self._checked(value, event_shape)
        rest = self._context(context, value.shape[: value.shape.rank - len(event_shape)])
        if value.shape.rank == len(event_shape) + 1:
            return function(value, *rest)
        batch_shape = tf.shape(value)[: value.shape.rank - len(event_shape)]
        rest = [tf.reshape(h, [-1, *self.context_shape]) for h in rest]
        out, log_det = function(tf.reshape(value, [-1, *event_shape]), *rest)
        out = tf.reshape(out, tf.concat([batch_shape, tf.shape(out)[1:]], axis=0))
        return out, log_det if log_det.shape.rank == 0 else tf.reshape(log_det, batch_shape)

    def _checked(self, value, event_shape):
        value = tf.convert_to_tensor(value, dtype_hint=self.dtype)
        if value.dtype != self.dtype:
            raise InputError(
                f"{self.name}: expected {self.dtype.name}, got {value.dtype.name}; cast the input "
                f"or create the bijector with dtype={value.dtype.name!r}"
            )
        rank = len(event_shape)
        if not value.shape[-rank:].is_compatible_with(event_shape) or value.shape.rank < rank:
            raise InputError(
                f"{self.name}: expected shape [..., {', '.join(map(str, event_shape))}], "
                f"got {value.shape}"
            )
        return value

    def _context(self, context, batch_shape):
        """The context in a list, which is empty for a bijector without context."""
        if context is None and self.context_shape:
            raise InputError(f"{self.name} needs a context of shape {self.context_shape}")
        if context is None:
            return []
        if not self.context_shape:
            raise InputError(f"{self.name} takes no context")
        context = self._checked(context, self.context_shape)
        found = context.shape[: context.shape.rank - len(self.context_shape)]
        if not found.is_compatible_with(batch_shape):
            raise InputError(
                f"{self.name}: the context needs the batch shape of the data, {batch_shape}, got "
                f"{found}"
            )
        return [context]

    def _forward_event_shape(self, shape):
        return tf.TensorShape(self.data_shape)

    def _inverse_event_shape(self, shape):
        return tf.TensorShape(self.latent_shape)

    def _forward_event_shape_tensor(self, shape):
        return tf.constant(self.data_shape, tf.int32)

    def _inverse_event_shape_tensor(self, shape):
        return tf.constant(self.latent_shape, tf.int32)

    @classmethod
    def _parameter_properties(cls, dtype, num_classes=None):
        return {}


@contextlib.contextmanager
def precomputed(bijectors: Iterable[FlowBijector]) -> Iterator[list[tf.Variable]]:
    """`FlowBijector.precomputed` for several bijectors."""
    with contextlib.ExitStack() as scopes:
        held = [scopes.enter_context(bijector.precomputed()) for bijector in bijectors]
        yield [variable for variables in held for variable in variables]


def image_or_vector_shape(name: str, value: Any) -> tuple[int, ...]:
    """`value` as (H, W, C) or (C,), if it is one or three positive integers.

    Args:
        name: name of the argument.
        value: value of the argument.

    Raises:
        InputError: `value` is not such a shape.
    """
    try:
        shape = tuple(checks.integer(name, size, 1) for size in value)
    except (TypeError, InputError):
        shape = ()
    if len(shape) not in (1, 3):
        raise InputError(
            f"{name} must be (H, W, C) for images or (C,) for vectors, positive integers, "
            f"got {value!r}"
        )
    return shape
