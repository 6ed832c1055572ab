"""Check of a network that the caller gives to a coupling: the coupling must be invertible."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfgen.errors import InputError

ROWS = 3
PERTURBATION = 0.1  # of the weights: a last layer of zeros would hide the layers before it
RELATIVE_TOLERANCES = {"float64": 1e-8, "float32": 1e-4}  # others: 0.1


def check_invertible_use(
    network: Any, name: str, input_shape: Sequence[int], dtype: str = "float32"
) -> None:
    """Check that a network is a function of each input alone, the same in training and afterwards.

    A coupling is inverted by computing the same outputs of its network again. This is impossible if
    the outputs depend on the phase (Dropout, GaussianNoise), on the other inputs of the batch
    (BatchNormalization) or on chance, or if a call changes the network (SpectralNormalization). The
    network runs a few times on random numbers, with perturbed weights; none of its variables
    changes.

    Args:
        network: a Keras model or layer.
        name: what the error message calls the network.
        input_shape: its input's event shape.
        dtype: dtype of its inputs.

    Raises:
        InputError: it is not a Keras layer, or depends on more than its input; the message names
            the layer that does.

    Example:

    >>> import keras
    >>> from tfgen.networks.invertible_use import check_invertible_use
    >>> network = keras.Sequential(
    ...     [keras.Input((2,)), keras.layers.Dropout(0.1, name="drop"), keras.layers.Dense(2)]
    ... )
    >>> check_invertible_use(network, "coupling: the network", (2,))
    Traceback (most recent call last):
    ...
    tfgen.errors.InputError: coupling: the network must compute the same outputs ...
    """
    if not isinstance(network, keras.Layer):
        raise InputError(f"{name} must be a Keras model or layer, got {type(network).__name__}")
    found = dependence(network, input_shape, dtype)
    if found:
        raise InputError(
            f"{name} must compute the same outputs whenever it gets the same input, because a "
            f"coupling is inverted by computing them again, but {found}; remove the layer, or use "
            "LayerNormalization or GroupNormalization to normalize"
        )


def dependence(
    network: keras.Layer, input_shape: Sequence[int], dtype: str = "float32"
) -> str | None:
    """What the outputs of a network depend on besides the input and the weights, as a phrase.

    Args:
        network: a built Keras model or layer.
        input_shape: its input's event shape.
        dtype: dtype of its inputs.

    Returns:
        A phrase that names the layer; None if the network is a function of each input alone.
    """
    with tf.init_scope():
        dtype = tf.as_dtype(dtype)
        inputs = tf.random.stateless_normal([ROWS, *input_shape], seed=[0, 1], dtype=tf.float32)
        inputs = tf.cast(inputs, dtype)
        run = functools.partial(_run, network, _perturbed(network))
        calls = run(inputs, training=False)
        if layer := _first_change(calls):
            return f"{layer} changes its state when it is called"
        if layer := _first_difference(calls, run(inputs, training=False)):
            return f"{layer} computes at random"
        in_training = run(inputs, training=True)
        if layer := _first_change(in_training):
            return (
                f"{layer} changes its state in training, as layers do that depend on the phase, "
                "on the batch or on chance"
            )
        if layer := _first_difference(calls, in_training):
            return f"{layer} computes other outputs in training than in inference"
        if layer := _first_difference(calls, run(inputs[:1], training=False)):
            return f"{layer} computes outputs that depend on the other inputs of the batch"
    return None


def _perturbed(network):
    """Pairs of a trainable variable and a random value near its own."""
    pairs = []
    for number, variable in enumerate(network.trainable_variables):
        value = tf.convert_to_tensor(variable.value)
        noise = tf.random.stateless_normal(value.shape, seed=[number, 2])
        pairs.append((variable, value + PERTURBATION * tf.cast(noise, value.dtype)))
    return pairs


class _Call(NamedTuple):
    """The call of a layer within a network."""

    layer: str
    inputs: list[tf.Tensor]
    outputs: list[tf.Tensor]
    changes_state: bool


def _run(network, values, inputs, training):
    """The calls of the layers of a network, in the order in which they end."""
    calls: list[_Call] = []
    with keras.StatelessScope(state_mapping=values) as scope:

        def state():
            return [scope.get_current_value(variable) for variable in network.variables]

        with _recorded(network, state, calls):
            network(inputs, training=training)
    return calls


@contextlib.contextmanager
def _recorded(network, state, calls):
    """Within the context, record the calls of the layers of a network."""

    def recording(layer, call):
        @functools.wraps(call)
        def recorded(*args, **options):
            before = state()
            outputs = call(*args, **options)
            changes = any(old is not new for old, new in zip(before, state(), strict=True))
            name = "it" if layer is network else f"its layer {layer.name}"
            name += f" ({type(layer).__name__})"
            calls.append(_Call(name, _tensors((args, options)), _tensors(outputs), changes))
            return outputs

        return recorded

    with contextlib.ExitStack() as stack:
        for layer in network._flatten_layers():
            if "call" not in vars(layer):
                stack.callback(object.__delattr__, layer, "call")
                object.__setattr__(layer, "call", recording(layer, layer.call))
        yield


def _tensors(values):
    return [tf.convert_to_tensor(value) for value in tf.nest.flatten(values) if tf.is_tensor(value)]


def _first_change(calls):
    """The first layer that changes a variable."""
    return next((call.layer for call in calls if call.changes_state), None)


def _first_difference(calls, others):
    """The first layer that computes different outputs from the same inputs."""
    if [call.layer for call in calls] != [other.layer for other in others]:
        return calls[-1].layer  # The network itself takes another path.
    for call, other in zip(calls, others, strict=True):
        same_inputs = all(map(_is_close, call.inputs, other.inputs))
        if same_inputs and not all(map(_is_close, call.outputs, other.outputs)):
            return call.layer
    return None


def _is_close(output, other):
    if not output.dtype.is_floating or not output.shape.rank:
        return True
    tolerance = RELATIVE_TOLERANCES.get(output.dtype.name, 0.1)
    rows = min(len(output), len(other))
    output, other = tf.cast(output[:rows], tf.float64), tf.cast(other[:rows], tf.float64)
    if output.shape != other.shape:
        return False
    scale = tf.reduce_max(tf.abs(output)) + 1e-30
    return bool(tf.reduce_max(tf.abs(output - other)) <= tolerance * scale)
