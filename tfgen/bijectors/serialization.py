"""Bijectors as Keras configurations, for `.keras` files and clones.

A configuration is a JSON-serializable dict of the class and its arguments, as Keras makes it of a
layer; weights are saved apart from it. To make a bijector serializable, subclass
`tfgen.bijectors.base.FlowBijector`, give its constructor's arguments as `parameters`, and register
the class with `keras.saving.register_keras_serializable(package=...)`. Arguments may be numbers,
strings, dtypes, Keras layers and models, further bijectors, and lists or dicts of these.

A Keras layer that holds bijectors calls `serialize` in its `get_config`, and `deserialize` in its
`from_config`. Bijectors of TensorFlow Probability are not Keras objects; of these, `Chain` and
`Invert` of serializable bijectors can be saved.

Loading constructs registered classes from their arguments and runs no code from the file: Keras
refuses a `lambda` unless the caller gives `safe_mode=False`.
"""

from __future__ import annotations

import types
from collections.abc import Mapping
from typing import Any, TypeVar

import keras
from tensorflow_probability import bijectors as tfb

from tfgen.errors import InputError

PROBABILITY = "tensorflow_probability.bijectors"
COMPOSITIONS = ("Chain", "Invert")  # of TensorFlow Probability

Self = TypeVar("Self", bound="Configurable")


class Configurable:
    """The methods `get_config` and `from_config` of a bijector, as Keras' objects have them."""

    parameters: Mapping[str, Any]
    name: str

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor, JSON-serializable.

        Raises:
            InputError: an argument that cannot be saved.
        """
        # An argument `parameters` is what a subclass gives its base class.
        given = {k: v for k, v in self.parameters.items() if k != "parameters"}
        return {key: _encoded(value, f"{self.name}: {key}") for key, value in given.items()}

    @classmethod
    def from_config(cls: type[Self], config: Mapping[str, Any]) -> Self:
        """A bijector with these arguments, and with new weights.

        Raises:
            InputError: arguments that the constructor does not have, or refuses.
        """
        arguments = {key: _decoded(value) for key, value in config.items()}
        try:
            return cls(**arguments)
        except TypeError as error:
            raise InputError(f"{cls.__name__}: cannot be built from its config: {error}") from error


def serialize(bijector: tfb.Bijector) -> dict[str, Any]:
    """The Keras configuration of a bijector.

    Args:
        bijector: a registered subclass of `tfgen.bijectors.base.FlowBijector`, or a `Chain` or
            `Invert` of such bijectors.

    Raises:
        InputError: another bijector, or an argument that cannot be saved.

    Example:

    >>> import tfgen
    >>> from tfgen.bijectors import serialization
    >>> config = serialization.serialize(tfgen.bijectors.GlowStep((4,), width=8))
    >>> config["registered_name"], config["config"]["width"]
    ('tfgen.bijectors>GlowStep', 8)
    >>> serialization.deserialize(config).data_shape
    (4,)
    """
    if isinstance(bijector, Configurable):
        return keras.saving.serialize_keras_object(bijector)
    name = type(bijector).__name__.lstrip("_")  # `_Chain`: a Chain of bijectors that hold weights
    if not type(bijector).__module__.startswith("tensorflow_probability.") or (
        name not in COMPOSITIONS
    ):
        raise InputError(
            f"{bijector.name}: {name} cannot be saved: bijectors of tfgen.bijectors can, and "
            f"{' and '.join(COMPOSITIONS)} of TensorFlow Probability; for others, subclass "
            "tfgen.bijectors.base.FlowBijector, or save the weights alone with save_weights"
        )
    given = {k: v for k, v in bijector.parameters.items() if k != "parameters"}
    config = {key: _encoded(value, f"{bijector.name}: {key}") for key, value in given.items()}
    return {"module": PROBABILITY, "class_name": name, "config": config}


def deserialize(config: Mapping[str, Any]) -> tfb.Bijector:
    """The bijector of a configuration that `serialize` made, with new weights.

    Raises:
        InputError: not the configuration of a bijector, or one that cannot be built.
    """
    found = _decoded(config)
    if not isinstance(found, tfb.Bijector):
        raise InputError(f"not the config of a bijector, but of a {type(found).__name__}")
    return found


def _encoded(value, place):
    if isinstance(value, tfb.Bijector):
        return serialize(value)
    if isinstance(value, (list, tuple)):
        return [_encoded(item, place) for item in value]
    if isinstance(value, Mapping):
        return {key: _encoded(item, place) for key, item in value.items()}
    if isinstance(value, types.FunctionType) and value.__name__ == "<lambda>":
        raise InputError(f"{place} is a lambda, which cannot be loaded safely: use a Keras object")
    try:
        return keras.saving.serialize_keras_object(value)
    except (TypeError, NotImplementedError) as error:
        raise InputError(
            f"{place} is a {type(value).__name__}, which cannot be saved: {error}"
        ) from error


def _decoded(value):
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    if "class_name" not in value:
        return {key: _decoded(item) for key, item in value.items()}
    if value.get("module") == PROBABILITY:
        return _composition(value["class_name"], value.get("config"))
    return keras.saving.deserialize_keras_object(dict(value))


def _composition(name, config):
    if name not in COMPOSITIONS or not isinstance(config, Mapping):
        raise InputError(f"{PROBABILITY}.{name} cannot be loaded: only {', '.join(COMPOSITIONS)}")
    arguments = {key: _decoded(value) for key, value in config.items()}
    for inner in (arguments.get("bijector"), *(arguments.get("bijectors") or ())):
        if inner is not None and not isinstance(inner, tfb.Bijector):
            raise InputError(f"{name}: not a bijector, but a {type(inner).__name__}")
    try:
        return getattr(tfb, name)(**arguments)
    except TypeError as error:
        raise InputError(f"{name}: cannot be built from its config: {error}") from error
