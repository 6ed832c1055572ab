"""Bijectors of this package and of TensorFlow Probability, called alike.

Every function takes either, and looks into `tfb.Chain` and `tfb.Invert`. Values are batches
`[N, *shape]`, a context is `[N, *context_shape]`, log-determinants are `[N]`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import keras
import tensorflow as tf
from tensorflow_probability import bijectors as tfb

from tfgen.bijectors.base import FlowBijector
from tfgen.bijectors.tf_variables import TensorFlowVariables
from tfgen.errors import InputError


def parts_of(bijector: tfb.Bijector) -> list[tfb.Bijector]:
    """The bijectors of a `tfb.Chain`, also nested, from the data to the latents.

    Example:

    >>> from tensorflow_probability import bijectors as tfb
    >>> from tfgen.bijectors.composition import parts_of
    >>> [part.name for part in parts_of(tfb.Chain([tfb.Exp(), tfb.Chain([tfb.Scale(2.0)])]))]
    ['exp', 'scale']
    """
    if is_a("Chain", bijector):
        return [part for inner in bijector.bijectors for part in parts_of(inner)]
    return [bijector]


def flow_bijectors_of(bijector: tfb.Bijector) -> Iterator[FlowBijector]:
    """Every bijector of this package in a bijector, also those inside of others."""
    if isinstance(bijector, FlowBijector):
        yield bijector
        for inner in bijector.inner_bijectors:
            yield from flow_bijectors_of(inner)
    elif is_a("Chain", bijector) or is_a("Invert", bijector):
        inside = bijector.bijectors if is_a("Chain", bijector) else [bijector.bijector]
        for part in inside:
            yield from flow_bijectors_of(part)


def layers_of(bijector: tfb.Bijector) -> list[keras.Layer]:
    """Keras layers that hold all weights of a bijector.

    The `tf.Variable`s of TFP's bijectors are held by a layer `TensorFlowVariables`.
    """
    if isinstance(bijector, FlowBijector):
        return bijector.layers
    found = {id(layer): layer for flow in flow_bijectors_of(bijector) for layer in flow.layers}
    held = {id(weight.value) for layer in found.values() for weight in layer.variables}
    rest = [variable for variable in bijector.variables if id(variable) not in held]
    return [*found.values(), *([TensorFlowVariables(rest)] if rest else [])]


def context_shape_of(bijector: tfb.Bijector) -> tuple[int, ...]:
    """The event shape of the context of a bijector, () for one without context.

    Raises:
        InputError: the bijectors of a chain take contexts of different shapes.
    """
    if isinstance(bijector, FlowBijector):
        return bijector.context_shape
    if is_a("Invert", bijector):
        return context_shape_of(bijector.bijector)
    shapes = set()
    if is_a("Chain", bijector):
        shapes = {context_shape_of(part) for part in parts_of(bijector)} - {()}
    if len(shapes) > 1:
        listed = " and ".join(map(str, sorted(shapes)))
        raise InputError(f"{bijector.name}: its bijectors take contexts of the shapes {listed}")
    return shapes.pop() if shapes else ()


def inverse_and_log_det(
    bijector: tfb.Bijector, x: tf.Tensor, context: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """z and log |det dz/dx|; bijectors that take no context do not get it."""
    if isinstance(bijector, FlowBijector):
        return bijector.inverse_and_log_det(x, context if bijector.context_shape else None)
    if is_a("Invert", bijector):
        return forward_and_log_det(bijector.bijector, x, context)
    if is_a("Chain", bijector):
        return _in_turn(inverse_and_log_det, parts_of(bijector), x, context)
    z = bijector.inverse(x)
    return z, _per_row(bijector.inverse_log_det_jacobian(x, event_ndims=x.shape.rank - 1), x)


def forward_and_log_det(
    bijector: tfb.Bijector, z: tf.Tensor, context: tf.Tensor | None = None
) -> tuple[tf.Tensor, tf.Tensor]:
    """x and log |det dx/dz|; bijectors that take no context do not get it."""
    if isinstance(bijector, FlowBijector):
        return bijector.forward_and_log_det(z, context if bijector.context_shape else None)
    if is_a("Invert", bijector):
        return inverse_and_log_det(bijector.bijector, z, context)
    if is_a("Chain", bijector):
        return _in_turn(forward_and_log_det, parts_of(bijector)[::-1], z, context)
    x = bijector.forward(z)
    return x, _per_row(bijector.forward_log_det_jacobian(z, event_ndims=z.shape.rank - 1), z)


def initialize(bijector: tfb.Bijector, x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
    """`FlowBijector.initialize` of all bijectors in turn; returns the latents.

    Bijectors below a `tfb.Invert` are not initialized: their data are not known.
    """
    for part in parts_of(bijector):
        if isinstance(part, FlowBijector):
            x = part.initialize(x, context if part.context_shape else None)
        else:
            x = inverse_and_log_det(part, x, context)[0]
    return x


def _in_turn(function, bijectors: Sequence[tfb.Bijector], value, context):
    total = tf.zeros(tf.shape(value)[:1], value.dtype)
    for bijector in bijectors:
        value, log_det = function(bijector, value, context)
        total += log_det
    return value, total


def _per_row(log_det, batch):
    return tf.broadcast_to(log_det, tf.shape(batch)[:1])


def is_a(name: str, bijector: tfb.Bijector) -> bool:
    """Whether a bijector is TFP's of that name.

    TFP makes a `_Chain` in place of a `Chain` if a part of it is not a composite tensor.
    """
    bases = [c for c in type(bijector).__mro__ if c.__module__.startswith("tensorflow_probability")]
    return any(c.__name__ in (name, f"_{name}") for c in bases)
