"""The data set that a model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tfgen import data
from tfgen.errors import InputError
from tfgen.files import PathLike

if TYPE_CHECKING:
    from tfgen.data.dataset import Dataset


def load(card: Mapping[str, Any], data_dir: PathLike | None = None) -> Dataset:
    """The data set that a card names, with the same options and splits as in training.

    A folder of images is searched for at the path that was given for training.

    Args:
        card: the card of a model.
        data_dir: directory of the local data sets, see `tfgen.data.load`.

    Returns:
        Images of the model's shape.

    Raises:
        InputError: the card names no data (as in a directory that `model.save_preset` wrote), or
            the data are not on this machine.

    Example:

    >>> import tfgen
    >>> from tfgen.zoo import trained_on
    >>> trained_on.load(tfgen.zoo.card("vae-digits")).splits
    {'train': 1293, 'validation': 144, 'test': 360}
    """
    section = card.get("recipe", {}).get("data")
    if section is None:
        raise InputError(f"the card of {card['name']} names no training data")
    found = data.load(
        section["source"],
        data_dir=data_dir,
        image_shape=card["image_shape"],
        options=section.get("options"),
    )
    return found.with_validation(section["validation"]) if section.get("validation") else found
