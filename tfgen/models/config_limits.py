"""Limits of a model that a configuration describes, checked before anything is allocated.

A weights file has a size; a configuration of a few bytes can ask for any amount of memory. So the
least number of weights of the configuration is compared with the number in the file.
"""

from __future__ import annotations

import inspect
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tfgen import checks
from tfgen.errors import InputError

MAX_VERSION = 10**18 - 1
MAX_DIMS = 2**24  # of an image, H W C
MAX_LAYERS = 2000  # layers of networks and steps of flows
MAX_WEIGHTS = 2**32


def check(
    place: object,
    cls: type,
    arguments: Mapping[str, Any],
    shapes: Sequence[tuple[int, ...]] | None = None,
) -> None:
    """Refuse a configuration that describes a larger model than its weights file holds.

    Args:
        place: the file of the configuration, for messages.
        cls: the class of the model.
        arguments: its arguments, as in the file.
        shapes: the shapes of the arrays in the weights file; None to check fixed limits only.

    Raises:
        InputError: images of more than `MAX_DIMS` dimensions, more than `MAX_LAYERS` layers,
            arguments of another type, or more layers or weights than the file has.
        TypeError: the class has no such arguments.

    Example:

    >>> import tfgen
    >>> from tfgen.models import config_limits
    >>> config = {"image_shape": [8, 8, 1], "latent_dim": 2, "hidden_units": [10**9] * 2}
    >>> config_limits.check("config.json", tfgen.models.VAE, config, [(64, 16)] * 9)
    Traceback (most recent call last):
    ...
    tfgen.errors.InputError: config.json: the model has at least 2,000,000,132,000,000,002 ...
    """
    bound = inspect.signature(cls).bind(**arguments)
    bound.apply_defaults()
    given = bound.arguments
    dims = math.prod(checks.image_shape(f"{place}: image_shape", given["image_shape"]))
    if dims > MAX_DIMS:
        raise InputError(f"{place}: image_shape has {dims:,} dimensions; at most {MAX_DIMS:,}")
    layers, weights = _LEAST.get(cls.__name__, _least_of_networks)(place, given)
    most_layers, most_weights = MAX_LAYERS, MAX_WEIGHTS
    if shapes is not None:
        most_layers = min(MAX_LAYERS, len(shapes))
        most_weights = sum(map(math.prod, shapes))
    for least, most, noun in ((layers, most_layers, "layers"), (weights, most_weights, "weights")):
        if least > most:
            owner = "the weights file" if shapes is not None and most != MAX_LAYERS else "a model"
            raise InputError(
                f"{place}: the model has at least {least:,} {noun}, but {owner} has at most "
                f"{most:,}: fetch or train the model again"
            )


def _least_of_vae(place, given):
    """Lower bounds of the numbers of layers and of weights of a `tfgen.models.VAE`."""
    latents = checks.integer(f"{place}: latent_dim", given["latent_dim"], 1)
    hidden = checks.integers(f"{place}: hidden_units", given["hidden_units"], 1)
    channels = checks.integers(f"{place}: channels", given["channels"], 1)
    blocks = checks.integer(f"{place}: blocks", given["blocks"], 1)
    height, width, colors = given["image_shape"]
    layers, weights = _least_of_networks(place, given)
    weights = max(weights, latents)
    for role in ("encoder", "decoder"):
        flat = height * width * colors
        if given[role] == "conv":
            if len(channels) > 24:  # Each halves the sides.
                raise InputError(f"{place}: channels has {len(channels):,} entries; at most 24")
            layers += len(channels) * (1 + blocks)
            weights += sum(blocks * n * n for n in channels)
            flat = math.prod(-(-side // 2 ** len(channels)) for side in (height, width))
            flat *= (channels or [1])[-1]
        if given[role] in ("mlp", "conv"):
            layers += len(hidden)
            weights += _dense([flat, *hidden, latents])
    for role in ("prior", "posterior"):
        if given[role] == "flow":
            steps = checks.integer(f"{place}: flow_steps", given["flow_steps"], 1)
            units = checks.integer(f"{place}: flow_width", given["flow_width"], 1)
            layers += steps
            weights += steps * (units * units + latents * latents)
    return layers, weights


def _least_of_glow(place, given):
    """Lower bounds of the numbers of layers and of weights of a `tfgen.models.Glow`."""
    levels = checks.integer(f"{place}: levels", given["levels"], 1, 24)
    depth = checks.integer(f"{place}: depth", given["depth"], 1)
    width = checks.integer(f"{place}: width", given["width"], 1)
    blocks = checks.integer(f"{place}: blocks", given["blocks"], 1)
    checkerboard = checks.integer(f"{place}: checkerboard", given["checkerboard"], 0)
    layers, weights = _least_of_networks(place, given)
    network = 0
    if given["network"] in ("convolutional", "gated"):
        network = width**2 * (blocks if given["network"] == "gated" else 1)
    layers += levels * depth + checkerboard
    weights += (levels * depth + checkerboard) * network
    if given["network"] == "gated":
        layers += levels * depth * blocks
    channels = given["image_shape"][2]
    for _ in range(levels):
        channels *= 4  # squeezed
        weights += depth * (channels**2 if given["permutation"] == "invertible_conv" else channels)
        channels //= 2  # those that a split keeps
    if given["num_classes"] is not None:
        classes = checks.integer(f"{place}: num_classes", given["num_classes"], 2)
        weights += classes
    if given["dequantization"] == "variational":
        steps = checks.integer(f"{place}: dequantization_depth", given["dequantization_depth"], 1)
        units = given["dequantization_width"] or width
        units = checks.integer(f"{place}: dequantization_width", units, 1)
        layers += steps
        weights += steps * units**2
    return layers, weights


def _dense(sizes):
    return sum(one * other for one, other in itertools.pairwise(sizes))


def _least_of_networks(place, given):
    """Lower bounds for the networks of a caller, whose Keras configurations are arguments."""
    layers = weights = 0
    for config in _dicts([value for value in given.values() if isinstance(value, dict)]):
        inner = config.get("config")
        if not isinstance(inner, dict):
            continue
        outputs = inner.get("units", inner.get("filters", inner.get("output_dim")))
        if type(outputs) is int and outputs > 0:
            layers += 1
            weights += outputs * _inputs(config, inner)
    return layers, weights


def _inputs(config, inner):
    """The number of weights for each output of a layer, at least 1."""
    shape = config.get("build_config")
    shape = shape.get("input_shape") if isinstance(shape, dict) else None
    inputs = shape[-1] if isinstance(shape, list) and shape else 1
    if inner.get("data_format") == "channels_first":
        inputs = 1
    inputs, groups = inner.get("input_dim", inputs), inner.get("groups", 1)
    if type(inputs) is not int or type(groups) is not int or min(inputs, groups) < 1:
        return 1
    return max(1, inputs // groups)


def _dicts(values) -> Iterator[dict]:
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


_LEAST = {"VAE": _least_of_vae, "Glow": _least_of_glow}
