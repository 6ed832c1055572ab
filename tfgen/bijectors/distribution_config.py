"""Distributions of TensorFlow Probability as JSON, for the configurations of flows.

Only classes of `tfd` and `tfb` are written and read, by their names and the arguments of their
constructors, so that loading runs no code from the file. The values of variables are written too;
a weights file replaces them afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow_probability import bijectors as tfb
from tensorflow_probability import distributions as tfd

from tfgen.errors import InputError

KIND = "kind"
NAMESPACES = {"tfd": tfd, "tfb": tfb}


def encode(value: Any, place: str) -> Any:
    """A distribution, or an argument of its constructor, as JSON.

    Args:
        value: a distribution or bijector of TFP, a `tfp.util.TransformedVariable`, a variable, a
            tensor, an array, a dtype, or what JSON has.
        place: what the error message calls it.

    Raises:
        InputError: something else.

    Example:

    >>> from tensorflow_probability import distributions as tfd
    >>> from tfgen.bijectors import distribution_config
    >>> config = distribution_config.encode(tfd.MultivariateNormalDiag([0.0, 1.0]), "base")
    >>> config["name"]
    'tfd.MultivariateNormalDiag'
    >>> distribution_config.decode(config).event_shape
    TensorShape([2])
    """
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [encode(one, place) for one in value]
    if isinstance(value, tf.DType):
        return {KIND: "dtype", "name": value.name}
    if isinstance(value, tfp.util.TransformedVariable):
        return {
            KIND: "transformed variable",
            "value": encode(tf.convert_to_tensor(value), place),
            "bijector": encode(value.bijector, place),
            "trainable": all(variable.trainable for variable in value.variables),
        }
    if isinstance(value, tf.Variable):
        return {
            KIND: "variable",
            "value": encode(value.numpy(), place),
            "trainable": value.trainable,
        }
    if isinstance(value, (np.ndarray, np.generic)) or tf.is_tensor(value):
        array = np.asarray(value)
        return {KIND: "array", "values": array.tolist(), "dtype": array.dtype.name}
    for prefix, namespace in NAMESPACES.items():
        name = type(value).__name__.lstrip("_")
        if _is_of(namespace, name, value):
            own = {k: v for k, v in value.parameters.items() if k not in ("parameters", "name")}
            arguments = {k: encode(v, f"{place}: {k}") for k, v in own.items()}
            return {KIND: "object", "name": f"{prefix}.{name}", "arguments": arguments}
    raise InputError(
        f"{place} is a {type(value).__name__}, which cannot be saved: a base of classes of "
        "tensorflow_probability can; for others, save the weights alone with save_weights"
    )


def decode(config: Any) -> Any:
    """What `encode` made JSON of.

    Raises:
        InputError: other JSON, or a class that TFP does not have or cannot build.
    """
    if isinstance(config, list):
        return [decode(one) for one in config]
    if not isinstance(config, Mapping):
        return config
    try:
        return _decoded(config)
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the configuration of a base cannot be read: {error!r}") from error


def _decoded(config):
    kind = config[KIND]
    if kind == "dtype":
        return tf.as_dtype(config["name"])
    if kind == "array":
        return tf.constant(config["values"], tf.as_dtype(config["dtype"]))
    if kind == "variable":
        return tf.Variable(decode(config["value"]), trainable=bool(config["trainable"]))
    if kind == "transformed variable":
        return tfp.util.TransformedVariable(
            decode(config["value"]), decode(config["bijector"]), trainable=bool(config["trainable"])
        )
    prefix, _, name = config["name"].partition(".")
    known = getattr(NAMESPACES.get(prefix), name, None)
    if kind != "object" or known is None or not _is_class(known):
        raise InputError(f"the configuration of a base names {config['name']}, which is unknown")
    return known(**{key: decode(value) for key, value in config["arguments"].items()})


def _is_of(namespace, name, value):
    """Whether a value is of TFP's class of that name, or of its variant `_name`."""
    known = getattr(namespace, name, None)
    return (
        _is_class(known)
        and type(value).__module__.startswith("tensorflow_probability.")
        and type(value).__module__ == known.__module__
    )


def _is_class(known):
    return isinstance(known, type) and issubclass(known, (tfd.Distribution, tfb.Bijector))
