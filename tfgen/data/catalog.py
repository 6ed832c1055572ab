"""The data sets that tfgen knows itself, one line each; free of TensorFlow."""

import difflib

from tfgen.errors import InputError

_LINES = {
    "digits": "1,797 handwritten digits of scikit-learn, 8x8 grey, 10 classes; embedded",
    "shapes": "coloured shapes drawn from known factors, 32x32 RGB, any number; embedded",
    "mnist": "70,000 handwritten digits, 28x28 grey, 10 classes; from local files",
    "fashion_mnist": "70,000 pieces of clothing, 28x28 grey, 10 classes; from local files",
    "cifar10": "60,000 photographs, 32x32 RGB, 10 classes; from local files",
}


def names() -> list[str]:
    """Names of the data sets that tfgen knows itself.

    Example:

    >>> import tfgen
    >>> tfgen.data.names()
    ['digits', 'shapes', 'mnist', 'fashion_mnist', 'cifar10']
    """
    return list(_LINES)


def describe(name: str) -> str:
    """Says in one line what a data set of `names()` holds and where it comes from.

    Args:
        name: one of `names()`.

    Raises:
        InputError: tfgen knows no data set of that name.

    Example:

    >>> import tfgen
    >>> tfgen.data.describe("digits")
    '1,797 handwritten digits of scikit-learn, 8x8 grey, 10 classes; embedded'
    """
    if name not in _LINES:
        raise InputError(f"tfgen has no data set named {name!r}; {nearest(name, names())}")
    return _LINES[name]


def nearest(name: str, known: list[str], count: int = 3) -> str:
    """Words a suggestion of up to `count` similar names, or lists tfgen's own data sets."""
    matches = difflib.get_close_matches(name, known, n=count, cutoff=0.6)
    if matches:
        return f"did you mean {' or '.join(matches)}?"
    return f"tfgen knows {', '.join(names())}, folders of images and TFDS names"
