"""What every bijector here shares: one pass for value and log-determinant, weights in Keras."""

import contextlib

import keras
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability.python.internal import cache_util

from tfgen.errors import InputError


class FlowBijector(tfb.Bijector):
    """A TFP bijector whose weights live in Keras layers.

    The direction is TFP's: `forward` makes data x from latents z, `inverse` makes z from x.

    A subclass gives two methods, each of which returns value and log-determinant in one pass over
    a flat batch `[N, *event]`:

    - `_forward_with_log_det(z) -> x, log |det dx/dz|`
    - `_inverse_with_log_det(x) -> z, log |det dz/dx|`

    (with `context_shape`, both get the context as a second argument) and everything else of TFP's
    interface follows: any batch shape, `forward`, `inverse`, both log-determinants, and a cache
    that never computes a network twice for one pair (x, z). The cache knows tensors, not weights:
    outside of a graph, after the weights have changed, `forward` and `inverse` of the very same
    tensor give what they gave before; the methods `*_and_log_det` do not use it.

    Keras 3 and TFP do not see each other's variables. Here each weight is a Keras variable in one
    of `layers`, which a `keras.Model` tracks, and the `tf.Variable` inside it is listed where
    `tf.Module` finds it, so that both count the same weights.

    Args:
        data_shape: event shape of x.
        latent_shape: event shape of z; that of x if not given.
        context_shape: event shape of the context h that a conditional bijector needs: then
            `forward(z, context=h)`, `inverse_and_log_det(x, context=h)` and so on.
        layers: the Keras layers and models that hold the weights.
        dtype: of x, z and the weights.
        name: of the bijector.
    """

    _cache = cache_util.BijectorCacheWithGreedyAttrs(
        forward_name="_forward_and_attributes", inverse_name="_inverse_and_attributes"
    )

    def __init__(
        self,
        data_shape,
        *,
        latent_shape=None,
        context_shape=None,
        layers=(),
        dtype="float32",
        name,
        parameters,
    ):
        self.data_shape = tuple(data_shape)
        self.latent_shape = tuple(latent_shape or data_shape)
        self.context_shape = tuple(context_shape) if context_shape else None
        self._own_layers = list(layers)
        self._keras_variables = [v.value for layer in layers for v in layer.variables]
        super().__init__(
            dtype=tf.as_dtype(dtype),
            forward_min_event_ndims=len(self.latent_shape),
            inverse_min_event_ndims=len(self.data_shape),
            parameters=parameters,
            name=name,
        )

    @property
    def layers(self):
        """The Keras layers that hold the weights, those of inner bijectors included."""
        inner = [layer for b in self.inner_bijectors for layer in b.layers]
        return [*self._own_layers, *inner]

    @property
    def inner_bijectors(self):
        """The bijectors that this one is made of."""
        return []

    def forward_and_log_det(self, z, context=None):
        """x = f(z) and log |det df/dz| in one pass.

        Shapes: `[..., *latent_shape] -> [..., *data_shape], [...]`.
        """
        x, log_det = self._any_batch(self._forward_with_log_det, z, self.latent_shape, context)
        return x, tf.broadcast_to(log_det, tf.shape(x)[: -len(self.data_shape)])

    def inverse_and_log_det(self, x, context=None):
        """z = f^-1(x) and log |det df^-1/dx| in one pass.

        Shapes: `[..., *data_shape] -> [..., *latent_shape], [...]`.
        """
        z, log_det = self._any_batch(self._inverse_with_log_det, x, self.data_shape, context)
        return z, tf.broadcast_to(log_det, tf.shape(z)[: -len(self.latent_shape)])

    def initialize(self, x, context=None):
        """Set data-dependent weights from a batch of data; return the batch's latents.

        Only actnorm has such weights; the others pass the batch on. To be called once, outside of
        replicas, on the whole of the first global batch.

        Shapes: `[N, *data_shape] -> [N, *latent_shape]`.
        """
        return self._any_batch(self._inverse_with_log_det, x, self.data_shape, context)[0]

    is_precomputed = False

    def precomputed(self):
        """A scope in which what depends on weights alone is computed only once: `precomputed`."""
        return precomputed(self.inner_bijectors)

    def _inverse_gradient(self, z, of_z, of_log_det):
        """The backward pass of `_inverse_with_log_det` from its result alone.

        Args:
            z: what `_inverse_with_log_det` gave.
            of_z, of_log_det: the gradients of its two results, `[N, *latent_shape]` and `[N]`.

        Returns:
            x; its gradient; a list of the gradients of the trainable weights of `layers`.
        """
        x = tf.stop_gradient(self._forward_with_log_det(z)[0])
        weights = trainable_values(self.layers)
        with tf.GradientTape() as tape:
            tape.watch([x, *weights])
            z, log_det = self._inverse_with_log_det(x)
            log_det = tf.broadcast_to(log_det, tf.shape(of_log_det))
        of_x, *of_weights = tape.gradient(
            [z, log_det], [x, *weights], output_gradients=[of_z, of_log_det]
        )
        return x, of_x, of_weights

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
                f"or build the bijector with dtype={value.dtype.name!r}"
            )
        rank = len(event_shape)
        if not value.shape[-rank:].is_compatible_with(event_shape) or value.shape.rank < rank:
            raise InputError(
                f"{self.name}: expected shape [..., {', '.join(map(str, event_shape))}], "
                f"got {value.shape}"
            )
        return value

    def _context(self, context, batch_shape):
        if (context is None) != (self.context_shape is None):
            needed = "takes no" if context is not None else "needs a"
            raise InputError(f"{self.name}: it {needed} context")
        if context is None:
            return []
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
def precomputed(bijectors):
    """In this scope what depends on the bijectors' weights alone is computed only once.

    For a graph that is written and whose weights no longer change.

    Yields:
        The `tf.Variable`s that hold it.
    """
    with contextlib.ExitStack() as scopes:
        held = [scopes.enter_context(bijector.precomputed()) for bijector in bijectors]
        yield [variable for variables in held for variable in variables]


def trainable_values(layers):
    """The trainable weights of Keras layers, as tensors."""
    return [tf.convert_to_tensor(w.value) for layer in layers for w in layer.trainable_weights]


class Weights(keras.layers.Layer):
    """A Keras layer that only holds weights.

    Each weight is given its initial value, so that saved files, optimizers and summaries treat the
    weights of a bijector like those of any layer.
    """

    def __init__(self, *, dtype, name):
        super().__init__(dtype=dtype, name=name)
        self.built = True

    def add(self, name, value, *, trainable=True, dtype=None):
        """A new weight of this name and initial value."""
        value = tf.cast(value, dtype or self.variable_dtype)
        return self.add_weight(
            shape=value.shape,
            initializer=lambda shape, dtype=None: value,
            dtype=value.dtype.name,
            trainable=trainable,
            name=name,
        )


def image_shape(event_shape, owner):
    """(H, W, C) as ints, or an error in the owner's name."""
    shape = tuple(event_shape)
    if len(shape) != 3 or not _all_positive(shape):
        raise InputError(
            f"{owner}: the event shape must be three positive integers (H, W, C), got {event_shape}"
        )
    return shape


def image_or_vector_shape(event_shape, owner):
    """(H, W, C) or (C,) as ints, or an error in the owner's name."""
    shape = tuple(event_shape)
    if len(shape) not in (1, 3) or not _all_positive(shape):
        raise InputError(
            f"{owner}: the event shape must be positive integers, (H, W, C) for images or (C,) for "
            f"vectors, got {event_shape}"
        )
    return shape


def _all_positive(shape):
    return all(isinstance(n, int) and n > 0 for n in shape)
