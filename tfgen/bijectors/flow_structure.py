"""Checks of the bijectors of a flow: what follows on what, in which shapes, with which context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfgen import checks
from tfgen.bijectors.base import FlowBijector
from tfgen.bijectors.composition import context_shape_of, flow_bijectors_of, is_a, parts_of
from tfgen.errors import InputError


class Structure(NamedTuple):
    """What a flow consists of.

    Attributes:
        parts: the bijectors, from the data to the latents; none is a `tfb.Chain`.
        shapes: event shapes of the data, between the parts, and of the latents.
        context_shape: event shape of the context, () for none.
        dtype: name of the dtype of all values.
    """

    parts: list[tfb.Bijector]
    shapes: list[tuple[int, ...]]
    context_shape: tuple[int, ...]
    dtype: str


def structure_of(name: str, bijectors: Any, base: Any, context: Any) -> Structure:
    """The structure of a flow.

    Args:
        name: name of the flow.
        bijectors, base, context: the arguments of `tfgen.bijectors.Flow`.

    Raises:
        InputError: no bijectors, objects that are none, one that occurs twice, or bijectors of
            which one does not take what the one before gives, or whose dtypes or contexts differ.
    """
    parts = _parts(name, bijectors)
    shapes = _shapes(name, parts, base)
    return Structure(parts, shapes, _context_shape(name, parts, context), _dtype(name, parts, base))


def _parts(name, bijectors):
    if isinstance(bijectors, tfb.Bijector):
        bijectors = [bijectors]
    if not isinstance(bijectors, Sequence) or isinstance(bijectors, str) or not bijectors:
        raise InputError(
            f"{name}: bijectors must be a list of at least one bijector, got {bijectors!r}"
        )
    for index, bijector in enumerate(bijectors):
        if not isinstance(bijector, tfb.Bijector):
            raise InputError(
                f"{name}: bijectors[{index}] must be a bijector of tfgen.bijectors or of "
                f"tensorflow_probability, got a {type(bijector).__name__}"
            )
    parts = [part for bijector in bijectors for part in parts_of(bijector)]
    found: dict[int, int] = {}
    for index, part in enumerate(parts):
        for one in {id(part): part, **{id(b): b for b in flow_bijectors_of(part)}}.values():
            if found.setdefault(id(one), index) != index:
                raise InputError(
                    f"{name}: {one.name} occurs twice, at positions {found[id(one)]} and {index}; "
                    "make a second bijector, with weights of its own"
                )
    return parts


def _shapes(name, parts, base):
    shape = _data_shape(name, parts, base)
    shapes = [shape]
    for index, part in enumerate(parts):
        known = _event_shapes(part)
        if known and known[0] != shape:
            before = f"{parts[index - 1].name} before it gives" if index else "the data have"
            raise InputError(
                f"{name}: {part.name} at position {index} takes data of shape {known[0]}, but "
                f"{before} {shape}"
            )
        shape = known[1] if known else _through(name, part, "inverse_event_shape", shape)
        shapes.append(shape)
    return shapes


def _data_shape(name, parts, base):
    """The event shape of the data, from the first part that knows its own, or from the base."""
    known = [index for index, part in enumerate(parts) if _event_shapes(part)]
    if known:
        before = parts[: known[0]]
        shape = _event_shapes(parts[known[0]])[0]
    elif isinstance(base, tfd.Distribution):
        before, shape = parts, tuple(base.event_shape)
    else:
        raise InputError(
            f"{name}: none of the bijectors has a shape of its own; give base=, a distribution "
            "whose event shape is that of the latents"
        )
    for part in reversed(before):
        shape = _through(name, part, "forward_event_shape", shape)
    if not shape:
        raise InputError(f"{name}: the data must be vectors or images, not single numbers")
    return shape


def _event_shapes(part):
    """Event shapes of data and latents, None if the bijector takes any."""
    if isinstance(part, FlowBijector):
        return part.data_shape, part.latent_shape
    if is_a("Invert", part):
        inner = _event_shapes(part.bijector)
        return inner and inner[::-1]
    return None


def _through(name, part, method, shape):
    try:
        found = getattr(part, method)(tf.TensorShape(shape))
    except (ValueError, TypeError, NotImplementedError) as error:
        raise InputError(f"{name}: {part.name} does not take shape {shape}: {error}") from error
    if not isinstance(found, tf.TensorShape) or not found.is_fully_defined():
        raise InputError(f"{name}: {part.name} gives {found} for shape {shape}, not one shape")
    return tuple(found)


def _context_shape(name, parts, context):
    needed = [(part.name, shape) for part in parts if (shape := context_shape_of(part))]
    if context is None:
        if needed:
            first, shape = needed[0]
            raise InputError(
                f"{name}: {first} takes a context of shape {shape}; give context={shape}"
            )
        return ()
    sizes = [context] if not isinstance(context, Sequence) else context
    shape = tuple(checks.integers(f"{name}: context", sizes, 1))
    if not shape or not needed:
        raise InputError(
            f"{name}: context={context} is given, but no bijector takes a context; create them "
            "with context_channels, or omit it"
        )
    for part, own in needed:
        if own != shape and not (len(shape) == 1 and own[-1:] == shape):
            raise InputError(
                f"{name}: {part} takes a context of shape {own}, which {shape} cannot become"
            )
    return shape


def _dtype(name, parts, base):
    found = [(part.name, tf.as_dtype(part.dtype).name) for part in parts if part.dtype is not None]
    if isinstance(base, tfd.Distribution) and not found and isinstance(base.dtype, tf.DType):
        return base.dtype.name
    if len({dtype for _, dtype in found}) > 1:
        listed = ", ".join(f"{part} {dtype}" for part, dtype in found)
        raise InputError(f"{name}: all bijectors must have the same dtype, got {listed}")
    return found[0][1] if found else keras.config.floatx()
