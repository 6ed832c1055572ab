"""One trace for bijectors that differ only in the values of their weights.

Tracing the steps of a deep flow one by one takes minutes in Python. Here a step is traced once per
input shape, and the trace is called with the weights of each step. TensorFlow may inline the calls,
which makes the graph as large as without shared traces, or execute them as calls, which is slightly
slower but needs far less memory for a deep flow.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import keras
import tensorflow as tf

from tfgen.bijectors.base import FlowBijector
from tfgen.bijectors.weights import can_be_trained, values_of, weights_of
from tfgen.fitting.phase import add_losses


class SharedTrace:
    """The functions of a bijector, traced with the values of its weights as arguments.

    Args:
        template: the bijector to trace. Bijectors of the same class and arguments, except for the
            name, can be called through its traces.
        inlined: whether TensorFlow may inline the functions.
    """

    def __init__(self, template: FlowBijector, inlined: bool = True) -> None:
        self._template = template
        self._weights = weights_of(template.layers)
        self._trainable = [i for i, w in enumerate(self._weights) if can_be_trained(w)]
        attributes = {} if inlined else {"_noinline": True}
        trace = functools.partial(tf.function, autograph=False, experimental_attributes=attributes)
        self.inverse = trace(self._inverse)
        self.forward = trace(self._forward)
        self.inverse_vjp_from_input = trace(self._inverse_vjp_from_input)
        self.inverse_vjp_from_output = trace(self._inverse_vjp_from_output)

    def _inverse(self, x, values):
        """z, the log-determinant, and the losses that layers add, which leave the graph so."""
        with self._scope(values, collect_losses=True) as scope:
            z, log_det = self._per_image(self._template._inverse_with_log_det(x))
            return z, log_det, list(scope.losses)

    def _forward(self, z, values):
        with self._scope(values):
            return self._per_image(self._template._forward_with_log_det(z))

    def _inverse_vjp_from_input(self, x, values, grad_z, grad_log_det, grad_losses):
        """The gradients of x and of the values, given those of the results of `inverse`."""
        trainable = [values[i] for i in self._trainable]
        with tf.GradientTape() as tape:
            tape.watch([x, *trainable])
            results = self._inverse(x, values)
        grad_x, *grad_trainable = tape.gradient(
            results, [x, *trainable], output_gradients=[grad_z, grad_log_det, grad_losses]
        )
        return grad_x, self._per_value(grad_trainable)

    def _inverse_vjp_from_output(self, z, values, grad_z, grad_log_det, grad_losses):
        """x, computed from z, and the same gradients as `inverse_vjp_from_input`."""
        # Without this order TensorFlow would recompute all inputs first, and keep them.
        with tf.control_dependencies([grad_z]):
            z = tf.identity(z)
        if grad_losses:  # `_inverse_vjp` knows only the gradients of value and log-determinant.
            x = tf.stop_gradient(self._forward(z, values)[0])
            grads = self._inverse_vjp_from_input(x, values, grad_z, grad_log_det, grad_losses)
            return x, *grads
        with self._scope(values):
            x, grad_x, grad_trainable = self._template._inverse_vjp(z, grad_z, grad_log_det)
        return x, grad_x, self._per_value(grad_trainable)

    def _per_value(self, grad_trainable):
        grad_values = [None] * len(self._weights)
        for i, gradient in zip(self._trainable, grad_trainable, strict=True):
            grad_values[i] = gradient
        return grad_values

    def _scope(self, values, collect_losses=False):
        """In this scope the layers of the template read `values` in place of their weights."""
        return keras.StatelessScope(
            state_mapping=list(zip(self._weights, values, strict=True)),
            collect_losses=collect_losses,
            initialize_variables=False,
        )

    @staticmethod
    def _per_image(results):
        value, log_det = results
        return value, tf.broadcast_to(log_det, tf.shape(value)[:1])


class TracedBijector:
    """A bijector that is called through a `SharedTrace` when a graph is built.

    Shapes: `inverse` `[N, *data_shape] -> [N, *latent_shape], [N]`, `forward` the other way.
    """

    def __init__(self, bijector: FlowBijector, trace: SharedTrace) -> None:
        self.bijector = bijector
        self.trace = trace

    def inverse(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """z and log |det dz/dx|."""
        if self._is_traced():
            z, log_det, losses = self.trace.inverse(x, self.values())
            add_losses(losses)
            return z, log_det
        return self.bijector._inverse_with_log_det(x)

    def forward(self, z: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """x and log |det dx/dz|."""
        if self._is_traced():
            return self.trace.forward(z, self.values())
        return self.bijector._forward_with_log_det(z)

    def values(self) -> list[tf.Tensor]:
        """The values of the bijector's weights, as the trace takes them."""
        return values_of(self.bijector.layers)

    def _is_traced(self):
        # The arguments of a trace are the weights, not what has been precomputed from them.
        return not (tf.executing_eagerly() or self.bijector.is_precomputed)


def traced(bijectors: Iterable[FlowBijector], inlined: bool = True) -> Sequence[TracedBijector]:
    """The bijectors, with one trace for all of the same class and arguments."""
    traces: dict[tuple[type, str], SharedTrace] = {}
    found = []
    for bijector in bijectors:
        structure = _structure(bijector)
        if structure not in traces:
            traces[structure] = SharedTrace(bijector, inlined)
        found.append(TracedBijector(bijector, traces[structure]))
    return found


def _structure(bijector):
    # Two networks of a caller may have the same name and compute different things.
    arguments = {
        key: id(value) if isinstance(value, keras.Layer) else value
        for key, value in bijector.parameters.items()
        if key not in ("name", "parameters")
    }
    return type(bijector), repr(sorted(arguments.items()))
