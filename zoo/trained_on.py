"""The data set that a model was trained on."""

from tfgen import data
from tfgen.errors import InputError


def load(card, data_dir=None):
    """The data set that a card names, with its options, split as in the training.

    A folder of images is found by the path that the training was given.

    Args:
        card: of a model.
        data_dir: where local data sets lie, see `tfgen.data.load`.

    Returns:
        A `tfgen.data.Dataset` of images of the model's shape.

    Raises:
        InputError: a card that names no data, as that of `model.save_preset` alone; data that are
            not here.

    Example:

    >>> import tfgen
    >>> from tfgen.zoo import trained_on
    >>> trained_on.load(tfgen.zoo.card("vae-digits")).splits
    {'train': 1293, 'validation': 144, 'test': 360}
    """
    section = card.get("recipe", {}).get("data")
    if section is None:
        raise InputError(f"the card of {card['name']} names no data that it was trained on")
    found = data.load(
        section["source"],
        data_dir=data_dir,
        image_shape=card["image_shape"],
        options=section.get("options"),
    )
    return found.with_validation(section["validation"]) if section.get("validation") else found
