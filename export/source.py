"""The source of an export: a model, its card, and images to measure the export with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

import tfgen
from tfgen import zoo
from tfgen.errors import InputError
from tfgen.files import PathLike, expanded
from tfgen.models import preset
from tfgen.models.base import GenerativeModel

MIN_IMAGES_OF_DEVIATION = 32  # they estimate a standard deviation within some 13 %
FOR_INFERENCE = {"memory": "plain"}  # TFLite has no function calls, which "reversible" makes


class Source:
    """A model, its card if it has one, and images to measure exports with.

    Args:
        model: a model, the name of a pretrained one, or a run directory.
        images: uint8 `[M, H, W, C]` in place of the test images of its data set.

    Attributes:
        model: the model; with the same weights, `memory="plain"` if it was built to save memory
            in training, and in float32 if its networks were trained in half precision.
        networks: a description of the dtype of the model's networks, and of that of the given
            model if it differs.
        card: the card that `tfgen.zoo.card` returns for it; {} if a model object is given.

    Raises:
        InputError: an unknown model, images of another shape or dtype.

    Example:

    >>> from tfgen.export.source import Source
    >>> source = Source("vae-digits")
    >>> images, origin = source.images("test", 64)
    >>> images.shape, origin
    ((64, 8, 8, 1), 'digits, split test')
    """

    def __init__(
        self, model: GenerativeModel | PathLike, images: npt.ArrayLike | None = None
    ) -> None:
        self.card: dict[str, Any] = {}
        if isinstance(model, (str, os.PathLike)):
            self.card = zoo.card(model)
            loaded: GenerativeModel = zoo.load(model)
        else:
            loaded = model
        self.model = rebuilt(preset.finished(loaded), FOR_INFERENCE)
        self.networks = self.model.half_dtype or "float32"
        if loaded.half_dtype not in (None, self.networks):
            self.networks += f", in place of {loaded.half_dtype}"
        self._given = None
        if images is not None:
            self._given = np.asarray(images)
            if not self._given.size:
                raise InputError("images: at least one image is needed, got none")
            self.model.encode(self._given[:1])  # refuses another shape or dtype

    def images(self, split: str, count: int) -> tuple[np.ndarray, str]:
        """At most `count` images, and a description of their origin.

        These are the given images, if any; otherwise images of a split of the data that the model
        was trained on, if it is on this machine; otherwise samples of the model. Nothing is
        downloaded.
        """
        if self._given is not None:
            return self._given[:count], "images given by the caller"
        return self._own_images(split, count)

    def _own_images(self, split, count):
        try:
            return self._data().images(split)[:count], f"{self.card['data']['name']}, split {split}"
        except InputError as error:
            seed = 0 if split == "test" else 1
            samples = np.asarray(self.model.sample(count, seed=seed))
            return samples, f"samples of the model, because {error}"

    def log_prob_deviation(self) -> tuple[float, str]:
        """The standard deviation of log p(x) in nats over test images, and which ones.

        It is that of `log_prob` with one sample, as exported. It follows from the card if the card
        has this figure. Otherwise it is measured on the given images, if there are enough of them,
        or on images of its data set or samples.
        """
        metric = self.card.get("metrics", {}).get("nats", {"protocol": {}})
        protocol = metric["protocol"]
        if protocol.get("bound") == self.model.bound:
            count = protocol["images"]
            return metric["standard_error"] * count**0.5, (
                f"{protocol['data']}, split {protocol['split']}, {count} images"
            )
        enough = self._given is not None and len(self._given) >= MIN_IMAGES_OF_DEVIATION
        images, origin = (self.images if enough else self._own_images)("test", 1024)
        log_prob = np.asarray(self.model.log_prob(images))
        return float(log_prob.std()), f"{origin}, {len(images)} images"

    def _data(self):
        recipe = self.card.get("recipe", {}).get("data", {})
        name = recipe.get("source")
        if name is None:
            raise InputError("no card names the data it was trained on")
        if name not in tfgen.data.names() and not expanded(name).is_dir():
            raise InputError(f"{name} may not be on this machine")
        return tfgen.data.load(
            name, image_shape=self.model.image_shape, options=recipe.get("options")
        )


def rebuilt(model: GenerativeModel, arguments: Mapping[str, Any]) -> GenerativeModel:
    """The model, or one with the same weights where its arguments differ from these.

    Args:
        model: a `tfgen.models.VAE` or `tfgen.models.Glow`.
        arguments: arguments by name; those that the model does not have, or that are None in it,
            are not compared.

    Example:

    >>> import tfgen
    >>> from tfgen.export import source
    >>> options = {"levels": 1, "depth": 1, "width": 4, "memory": "reversible"}
    >>> model = source.rebuilt(tfgen.models.Glow((4, 4, 1), **options), source.FOR_INFERENCE)
    >>> model.get_config()["memory"]
    'plain'
    """
    config = model.get_config()
    if all((config.get(name) or value) == value for name, value in arguments.items()):
        return model
    return preset.rebuilt(model, arguments)
