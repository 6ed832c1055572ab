"""What is exported: a model, what its card says, and images to try the export with."""

import os

import numpy as np
import tensorflow as tf

import tfgen
from tfgen import zoo
from tfgen.errors import InputError
from tfgen.files import expanded

ENOUGH_FOR_A_DEVIATION = 32  # Images, to know it within some 13 %.


class Source:
    """A model with its card, if it has one, and images of its kind.

    Args:
        model: a model, the name of a pretrained one, or a run directory.
        images: uint8 `[M, H, W, C]` in place of the test images of its data set.

    Attributes:
        model: the model; of a flow that spares memory in training, one with the same weights that
            does not, as a device knows no calls.
        card: what `tfgen.zoo.card` says of it, or {} for a model that was given itself.

    Raises:
        InputError: an unknown model, images of another shape or dtype.

    Example:

    >>> from tfgen.export.source import Source
    >>> source = Source("vae-digits")
    >>> images, origin = source.images("test", 64)
    >>> images.shape, origin
    ((64, 8, 8, 1), 'digits, split test')
    """

    def __init__(self, model, images=None):
        named = isinstance(model, (str, os.PathLike))
        self.model = zoo.load(model) if named else model
        if self.model.get_config().get("memory", "plain") != "plain":
            self.model = rebuilt(self.model, memory="plain")
        self.card = zoo.card(model) if named else {}
        self._given = None
        if images is not None:
            self._given = np.asarray(images)
            if not self._given.size:
                raise InputError("images: at least one image is needed, got none")
            self.model.encode(self._given[:1])  # Refuses another shape or dtype.

    def images(self, split, count):
        """At most `count` images and where they come from, in words.

        They are the images that were given, or else come from a split of the data that the model
        was trained on, if that lies on this machine, or else are samples of the model. Nothing is
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

    def deviation(self):
        """The standard deviation of log p(x) in nats over the test images, and of which images.

        Of a model without a card, images that were given tell it if there are enough of them.
        """
        if "nats" in self.card.get("metrics", {}):
            nats = self.card["metrics"]["nats"]
            protocol = nats["protocol"]
            count = protocol["images"]
            return nats["standard_error"] * count**0.5, (
                f"{protocol['data']}, split {protocol['split']}, {count} images"
            )
        enough = self._given is not None and len(self._given) >= ENOUGH_FOR_A_DEVIATION
        images, origin = (self.images if enough else self._own_images)("test", 1024)
        nats = np.asarray(self.model.log_prob(images))
        return float(nats.std()), f"{origin}, {len(images)} images"

    def _data(self):
        recipe = self.card.get("recipe", {}).get("data", {})
        name = recipe.get("source")
        if name is None:
            raise InputError("no card names the data that it was trained on")
        if name not in tfgen.data.names() and not expanded(name).is_dir():
            raise InputError(f"{name} may not be on this machine")
        return tfgen.data.load(
            name, image_shape=self.model.image_shape, options=recipe.get("options")
        )


def rebuilt(model, **arguments):
    """A model with the same weights and some other arguments."""
    other = type(model).from_config({**model.get_config(), **arguments})
    for weight, given in zip(other.weights, model.weights, strict=True):
        weight.assign(tf.cast(given.value, weight.dtype))
    return other
