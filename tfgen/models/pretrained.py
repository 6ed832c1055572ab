"""Models by the name or the directory of a preset, with the methods that keras-hub has."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import keras

import tfgen
from tfgen.errors import InputError
from tfgen.files import PathLike
from tfgen.models import config_limits, preset

if TYPE_CHECKING:
    from tfgen.models.base import GenerativeModel

KERAS_PREFIX = "Error encountered during deserialization: "

Self = TypeVar("Self", bound="Pretrained")


class _ClassProperty:
    """A property of a class."""

    def __init__(self, function: Callable[[type], Any]) -> None:
        self._function = function
        self.__doc__ = function.__doc__

    def __get__(self, instance: object, owner: type) -> Any:
        return self._function(owner)


class Pretrained(keras.Model):
    """The methods `from_preset` and `save_preset`, and the dict `presets`."""

    @_ClassProperty
    def presets(cls: type) -> dict[str, dict[str, Any]]:  # noqa: N805
        """The models on this machine that `from_preset` of this class takes, by name.

        Each has an entry `metadata` with its `description`, the number of its `params`, and the
        `path` of its directory, as in keras-hub.

        Example:

        >>> import tfgen
        >>> tfgen.models.VAE.presets["vae-digits"]["metadata"]["params"]
        102224
        """
        cards = {}
        for name in tfgen.zoo.list():
            with contextlib.suppress(InputError):  # `tfgen zoo` lists it with the reason.
                cards[name] = tfgen.zoo.card(name)
        return {
            name: {
                "metadata": {
                    "description": card.get("summary", ""),
                    "params": card.get("parameters"),
                    "path": str(tfgen.zoo.directory(name)),
                }
            }
            for name, card in cards.items()
            if _is_of(card.get("class"), cls)
        }

    @classmethod
    def from_preset(
        cls: type[Self], name_or_dir: PathLike, load_weights: bool = True, **arguments: Any
    ) -> Self:
        """A pretrained model of this class; `GenerativeModel.from_preset` takes every class.

        Args:
            name_or_dir: as for `tfgen.zoo.load`: a name, such as the keys of `presets`, or a
                directory that `save_preset` or `tfgen-train` wrote.
            load_weights: whether the weights are loaded; otherwise they are initial weights.
            arguments: arguments of the class in place of those of the preset, such as
                `network_dtype="bfloat16"`. They must leave the shapes of the weights as they are,
                unless `load_weights` is false.

        Raises:
            InputError: a model of another class, arguments that the class does not have or that
                need weights of other shapes, or as for `tfgen.zoo.load`.

        Example:

        >>> import tfgen
        >>> tfgen.models.VAE.from_preset("vae-digits").latent_dim
        8
        """
        found = tfgen.zoo.card(name_or_dir).get("class")
        if not _is_of(found, cls):
            raise InputError(
                f"{cls.__name__}.from_preset: {name_or_dir} is a {found}: "
                f"use tfgen.models.{found}.from_preset"
            )
        if not load_weights:
            directory = tfgen.zoo.directory(name_or_dir)
            config = {**preset.read_config(directory)["config"], **arguments}
            return _built(getattr(tfgen.models, found), config, directory)
        model: Any = tfgen.zoo.load(name_or_dir, network_dtype=arguments.pop("network_dtype", None))
        if not arguments:
            return model
        other = _built(type(model), {**model.get_config(), **arguments}, name_or_dir)
        shapes, given = ([w.shape for w in each.weights] for each in (other, model))
        if shapes != given:
            raise InputError(
                f"{cls.__name__}.from_preset: with {', '.join(arguments)} the model has weights of "
                f"other shapes than {name_or_dir}; give load_weights=False for initial weights"
            )
        other.set_weights(model.get_weights())
        return other

    def save_preset(
        self: GenerativeModel, directory: PathLike, *, card: dict[str, Any] | None = None
    ) -> None:
        """Write the model to a directory, for `from_preset` and `tfgen.zoo.load`.

        Args:
            directory, card: as for `tfgen.models.preset.save`.

        Raises:
            InputError: as for `tfgen.models.preset.save`.
        """
        preset.save(self, directory, card=card)


def _is_of(name, cls):
    return name in tfgen.models.CLASSES and issubclass(getattr(tfgen.models, name), cls)


def _built(cls, config, name_or_dir):
    try:
        config_limits.check(name_or_dir, cls, config)
        return cls.from_config(config)
    except TypeError as error:
        message = str(error).splitlines()[-1].removeprefix(KERAS_PREFIX)
        raise InputError(f"{name_or_dir}: cannot build the {cls.__name__}: {message}") from error
