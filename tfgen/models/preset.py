"""A model as a directory: configuration, weights, and a card with the digest of each file.

Half precision is a way to train. A model in a directory computes in float32, in which a flow gives
its images back and `log_prob` is a function of each image alone.
"""

from __future__ import annotations

import collections
import contextlib
import reprlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import tfgen
from tfgen.errors import InputError
from tfgen.files import PathLike, read_json, sha256, write_atomically, write_json
from tfgen.models import config_limits

if TYPE_CHECKING:
    import keras

CONFIG, WEIGHTS, CARD = "config.json", "model.weights.h5", "card.json"
MAX_BYTES_WITHOUT_SIZE = 2**30  # of a file whose card does not state its size
Model = TypeVar("Model", bound="keras.Model")


def save(model: keras.Model, directory: PathLike, *, card: dict[str, Any] | None = None) -> None:
    """Write `config.json`, `model.weights.h5` and `card.json` into a directory.

    Each file is written atomically, and the card, which loading requires, comes last. The card has
    the digests and sizes of files that are already in the directory too, such as pictures.

    A model with a `network_dtype` of half precision is written as it is `finished`: in float32. Own
    networks given to a VAE keep their dtype policy.

    Args:
        model: a `tfgen.models.VAE` or `tfgen.models.Glow`.
        directory: created if missing.
        card: further entries of the card, a JSON-serializable dict.

    Raises:
        InputError: the model has another class, or the directory already holds a model.

    Example:

    >>> import tempfile, tfgen
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> directory = tempfile.mkdtemp()
    >>> model.save_preset(directory)
    >>> tfgen.zoo.load(directory).latent_dim
    2
    """
    if type(model).__name__ not in tfgen.models.CLASSES:
        raise InputError(
            f"{type(model).__name__}: a directory holds one of {', '.join(tfgen.models.CLASSES)}; "
            "use save_weights for other models"
        )
    directory = Path(directory)
    if (directory / CARD).exists():
        raise InputError(f"{directory} already holds a model: choose another directory")
    if directory.exists() and not directory.is_dir():
        raise InputError(f"{directory} is a file: choose a directory")
    new = [path for path in (directory / WEIGHTS, directory / CONFIG) if not path.exists()]
    new += [directory] if not directory.exists() else []
    try:
        _write(model, directory, card)
    except BaseException:
        for path in new:
            with contextlib.suppress(OSError):  # It is not empty, or was not written.
                path.rmdir() if path.is_dir() else path.unlink()
        raise


def _write(model, directory, card):
    directory.mkdir(parents=True, exist_ok=True)
    plain = rebuilt(model, _in_float32(model))  # Without the optimizer and its slots.
    config = {
        "class": type(model).__name__,
        "config": plain.get_config(),
        "tfgen_version": tfgen.__version__,
    }
    write_json(directory / CONFIG, config)
    write_atomically(directory / WEIGHTS, plain.save_weights)
    files = sorted(p for p in directory.iterdir() if p.is_file() and not p.name.startswith("."))
    content = {
        "name": directory.resolve().name,
        "class": type(model).__name__,
        "image_shape": list(model.image_shape),
        "latent_dim": model.latent_dim,
        "num_bits": model.num_bits,
        "bound": plain.bound,
        "parameters": model.count_params(),
        **(card or {}),
        **described(files),
    }
    write_json(directory / CARD, content)


def described(paths: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """The entries of a card about its files: SHA-256 digests, and sizes in bytes, by name.

    >>> import tfgen
    >>> from tfgen.models import preset
    >>> config = tfgen.zoo.directory("vae-digits") / "config.json"
    >>> preset.described([config])["sizes"]
    {'config.json': 401}
    """
    paths = list(paths)
    return {
        "files": {path.name: sha256(path) for path in paths},
        "sizes": {path.name: path.stat().st_size for path in paths},
    }


def finished(model: Model) -> Model:
    """The model in float32: the model itself, unless its `network_dtype` is of half precision.

    Example:

    >>> import tfgen
    >>> from tfgen.models import preset
    >>> model = tfgen.models.Glow((4, 4, 1), levels=1, depth=1, width=4, network_dtype="bfloat16")
    >>> model.is_invertible, preset.finished(model).is_invertible
    (False, True)
    """
    changes = _in_float32(model)
    return rebuilt(model, changes) if changes else model


def rebuilt(model: Model, arguments: Mapping[str, Any]) -> Model:
    """A model with the same weights and some other arguments, without optimizer.

    Args:
        model: a `tfgen.models.VAE` or `tfgen.models.Glow`.
        arguments: new values of arguments, by name.
    """
    other = type(model)(**{**model.get_config(), **arguments})
    other.set_weights(model.get_weights())
    return other


def _in_float32(model):
    from tfgen.networks import precision

    half = model.get_config().get("network_dtype") in precision.HALF
    return {"network_dtype": None} if half else {}


def load(directory: PathLike, *, network_dtype: str | None = None) -> keras.Model:
    """The model of a directory written by `save`, after a check of the digests.

    Args:
        directory: path of the directory.
        network_dtype: dtype in which the networks compute, such as "bfloat16"; by default float32.
            `bound` and `protocol()` of the model then say so.

    Raises:
        InputError: a directory without a model, a file that is missing or differs from the card, a
            configuration that this version does not support, an unknown dtype, or a dtype for a
            model of the caller's own networks.
    """
    from tfgen.models import weights_files
    from tfgen.networks import precision

    directory = Path(directory)
    precision.checked("network_dtype", network_dtype)
    card = read_card(directory)
    for name in (CONFIG, WEIGHTS):
        _verify(directory / name, card["files"].get(name), card.get("sizes", {}).get(name))
    shapes = weights_files.shapes(directory / WEIGHTS)
    config = read_config(directory)
    arguments = config["config"]
    if network_dtype is not None or arguments.get("network_dtype") in precision.HALF:
        arguments = {**arguments, "network_dtype": network_dtype}
    if network_dtype is not None and any(isinstance(v, dict) for v in arguments.values()):
        raise InputError(
            f"{directory}: network_dtype={network_dtype!r} is for networks that tfgen builds, but "
            "this model has networks of its own; give them another dtype policy and train again"
        )
    try:
        cls = getattr(tfgen.models, config["class"])
        config_limits.check(CONFIG, cls, arguments, shapes)
        model = cls(**arguments)
    except Exception as error:  # A configuration can fail anywhere in Keras.
        raise InputError(
            f"{directory / CONFIG}: tfgen {tfgen.__version__} cannot build the model that "
            f"{config['tfgen_version'][:40]} wrote: {str(error)[:1000]}"
        ) from error
    _check_shapes(directory, model, shapes)
    try:
        model.load_weights(directory / WEIGHTS)
    except Exception as error:  # The errors of h5py have no common class.
        raise InputError(
            f"{directory / WEIGHTS} does not fit the model in {CONFIG}: {str(error)[:1000]}; "
            "fetch or train the model again"
        ) from error
    return model


def read_config(directory: PathLike) -> dict[str, Any]:
    """The content of `config.json`: the class of the model, one that is known, and its arguments.

    Raises:
        InputError: the file is missing or damaged, or a later version wrote it.
    """
    path, known = Path(directory) / CONFIG, tfgen.models.CLASSES
    config = read_json(path)
    if not isinstance(config, dict):
        raise InputError(f"{path} is damaged: it is not an object")
    for key, kind in (("class", str), ("config", dict), ("tfgen_version", str)):
        if not isinstance(config.get(key), kind):
            found = reprlib.repr(config.get(key))
            raise InputError(f"{path} is damaged: its entry {key} is {found}")
    if config["class"] not in known:
        raise InputError(
            f"{path}: tfgen {tfgen.__version__} knows the models {', '.join(known)}, not "
            f"{reprlib.repr(config['class'])}, written by {config['tfgen_version'][:40]}"
        )
    return config


def _check_shapes(directory, model, found):
    """Compare the arrays of the file with the weights, because Keras ignores further arrays.

    The states of random seeds, as of Dropout, are variables that Keras does not save.
    """
    needed, known = (
        collections.Counter(tuple(variable.shape) for variable in variables)
        for variables in (model.weights, model.variables)
    )
    there = collections.Counter(found)
    for shapes, problem in ((needed - there, "lacks"), (there - known, "has further")):
        if shapes:
            shape, count = min(shapes.items())
            raise InputError(
                f"{directory / WEIGHTS} {problem} {shapes.total()} arrays, {count} of shape "
                f"{shape}: it is not of the model in {CONFIG}; fetch or train the model again"
            )


def read_card(directory: PathLike) -> dict[str, Any]:
    """The card of a directory, a dict.

    Raises:
        InputError: a directory without a card, or a card that is not JSON.
    """
    from tfgen.models import card_schema

    path = Path(directory) / CARD
    if not path.exists():
        state = "has no" if path.parent.is_dir() else "does not exist, so it has no"
        raise InputError(f"{directory} {state} {CARD}: it holds no finished model")
    card = read_json(path)
    card_schema.check(card, path)
    return card


def _verify(path, digest, size):
    if not path.exists():
        raise InputError(f"{path} is missing: the card lists it; fetch or train the model again")
    found_size = path.stat().st_size
    if found_size > MAX_BYTES_WITHOUT_SIZE and found_size != size:
        raise InputError(
            f"{path} is damaged: it has {found_size:,} bytes, and the card does not state that "
            "size; fetch or train the model again"
        )
    try:
        found = sha256(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    if found != digest:
        raise InputError(
            f"{path} is damaged: expected sha256 {digest}, found {found}; "
            "fetch or train the model again"
        )
