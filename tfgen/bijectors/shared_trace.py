"""One trace for bijectors that differ only in the values of their weights.

A deep flow repeats one step many times. Traced step by step, its graph takes Python minutes to
build; here a step is traced once for each shape and called with the weights of each repetition.
TensorFlow may put the step in place of every call, so that the graph that runs is the same, or
run the calls: a little slower, but a graph as long as the flow is deep needs a lot of memory.
"""

import functools

import keras
import tensorflow as tf


class SharedTrace:
    """The functions of a bijector with the weights as arguments.

    Args:
        template: the bijector that is traced. Others may be called through it if they have the
            same class and arguments, except for the name.
        inlined: whether TensorFlow may put the functions in place of their calls.
    """

    def __init__(self, template, inlined=True):
        self._template = template
        self._weights = weights_of(template)
        self._trainable = [i for i, weight in enumerate(self._weights) if weight.trainable]
        attributes = {} if inlined else {"_noinline": True}
        traced = functools.partial(tf.function, autograph=False, experimental_attributes=attributes)
        self.inverse = traced(self._inverse)
        self.forward = traced(self._forward)
        self.gradient_from_input = traced(self._gradient_from_input)
        self.gradient_from_output = traced(self._gradient_from_output)

    def _inverse(self, x, values):
        with self._with(values):
            return self._for_each_image(self._template._inverse_with_log_det(x))

    def _forward(self, z, values):
        with self._with(values):
            return self._for_each_image(self._template._forward_with_log_det(z))

    def _gradient_from_input(self, x, values, of_z, of_log_det):
        """The gradients of x and of the values, given those of z and of the log-determinant."""
        trainable = [values[i] for i in self._trainable]
        with tf.GradientTape() as tape:
            tape.watch([x, *trainable])
            results = self._inverse(x, values)
        of_x, *of_trainable = tape.gradient(
            results, [x, *trainable], output_gradients=[of_z, of_log_det]
        )
        return of_x, self._for_each_value(of_trainable)

    def _gradient_from_output(self, z, values, of_z, of_log_det):
        """x computed from z, then as `gradient_from_input`: x, its gradient, the values'."""
        # Without this order all inputs would be computed first and kept until needed.
        with tf.control_dependencies([of_z]):
            z = tf.identity(z)
        with self._with(values):
            x, of_x, of_trainable = self._template._inverse_gradient(z, of_z, of_log_det)
        return x, of_x, self._for_each_value(of_trainable)

    def _for_each_value(self, of_trainable):
        of_values = [None] * len(self._weights)
        for i, gradient in zip(self._trainable, of_trainable, strict=True):
            of_values[i] = gradient
        return of_values

    def _with(self, values):
        return keras.StatelessScope(
            state_mapping=list(zip(self._weights, values, strict=True)),
            initialize_variables=False,
        )

    @staticmethod
    def _for_each_image(results):
        value, log_det = results
        return value, tf.broadcast_to(log_det, tf.shape(value)[:1])


def weights_of(bijector):
    """The Keras variables of a bijector, in an order that its structure alone decides."""
    return [weight for layer in bijector.layers for weight in layer.weights]


def values_of(bijector):
    """The values of `weights_of`, read in the present replica."""
    return [tf.convert_to_tensor(weight.value) for weight in weights_of(bijector)]


def shared_traces(bijectors, inlined=True):
    """A `SharedTrace` for each bijector, one for all of the same class and arguments."""
    traces = {}
    for bijector in bijectors:
        traces.setdefault(_structure(bijector), SharedTrace(bijector, inlined))
    return [traces[_structure(bijector)] for bijector in bijectors]


def _structure(bijector):
    arguments = {k: v for k, v in bijector.parameters.items() if k not in ("name", "parameters")}
    return type(bijector), repr(sorted(arguments.items()))
