"""Running a TFLite file with LiteRT: outputs, their error against the model, and latencies."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tfgen.models.base import GenerativeModel

SECONDS_OF_TIMING = 0.2
Arrays = dict[str, np.ndarray]  # by name
References = Mapping[str, tuple[Arrays, Arrays]]  # inputs and outputs by signature


def references(
    model: GenerativeModel, images: np.ndarray, *, seed: int = 0
) -> dict[str, tuple[Arrays, Arrays]]:
    """Inputs for each signature of a TFLite file, and the model's outputs for them.

    Args:
        model: a `tfgen.models.VAE` or `tfgen.models.Glow`.
        images: uint8 `[N, H, W, C]`.
        seed: seed of the noise for `sample`.

    Returns:
        A dict from a signature's name to its inputs and its output, arrays by name.

    Example:

    >>> import numpy as np, tfgen
    >>> from tfgen.export.litert import measurement
    >>> model, images = tfgen.zoo.load("vae-digits"), np.zeros((3, 8, 8, 1), "uint8")
    >>> inputs, outputs = measurement.references(model, images)["sample"]
    >>> sorted(inputs), outputs["images"].shape
    (['noise', 'temperature'], (3, 8, 8, 1))
    """
    generator = np.random.default_rng(seed)
    count = len(images)
    latents = model.encode(images).numpy()
    noise = generator.normal(size=latents.shape).astype("float32")
    temperature = generator.uniform(0.5, 1.0, count).astype("float32")
    given, labels = {"noise": noise, "temperature": temperature}, None
    if model.num_classes is not None:
        given["labels"] = labels = (np.arange(count) % model.num_classes).astype("int32")
    sampled = model.latents_from_noise(noise * temperature[:, None], labels)
    return {
        "log_prob": ({"images": images}, {"log_prob": model.log_prob(images).numpy()}),
        "encode": ({"images": images}, {"latents": latents}),
        "decode": ({"latents": latents}, {"images": model.decode(latents).numpy()}),
        "sample": (given, {"images": model.decode(sampled).numpy()}),
        "reconstruct": ({"images": images}, {"images": model.reconstruct(images).numpy()}),
    }


def difference(found: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """The error of an array, a JSON-serializable dict.

    For numbers: the largest and the root mean square of |found - expected|, and the largest divided
    by the largest |expected|. For images: the largest and the mean difference in levels of 0 to
    255, and the fraction of the values that differ.

    Example:

    >>> import numpy as np
    >>> from tfgen.export.litert.measurement import difference
    >>> difference(np.array([1.0, -2.5]), np.array([1.0, -2.0]))["relative"]
    0.25
    """
    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise ValueError(
            f"{found.dtype} {found.shape} in place of {expected.dtype} {expected.shape}"
        )
    if expected.dtype == np.uint8:
        levels = np.abs(found.astype("int32") - expected)
        return {
            "largest_levels": int(levels.max()),
            "mean_levels": round(float(levels.mean()), 5),
            "values_that_differ": round(float(np.mean(levels > 0)), 5),
        }
    absolute = np.abs(found.astype("float64") - expected)
    return {
        "largest": _rounded(absolute.max()),
        "root_mean_square": _rounded(np.sqrt(np.mean(absolute**2))),
        "relative": _rounded(absolute.max() / np.abs(expected).max()),
    }


def errors(content: bytes, references: References) -> dict[str, dict[str, dict[str, Any]]]:
    """The `difference` of each output of each signature, by their names."""
    interpreter = Interpreter(model_content=content)
    found = {}
    for verb in interpreter.get_signature_list():
        inputs, outputs = references[verb]
        results = interpreter.get_signature_runner(verb)(**inputs)
        found[verb] = {name: difference(results[name], outputs[name]) for name in outputs}
    return found


def latencies(
    content: bytes, references: References, *, num_threads: int | None = None
) -> dict[str, float]:
    """The median milliseconds per image, by signature."""
    interpreter = Interpreter(model_content=content, num_threads=num_threads or os.cpu_count())
    found = {}
    for verb in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(verb)
        one = {name: value[:1] for name, value in references[verb][0].items()}
        runner(**one)
        times: list[float] = []
        while sum(times) < SECONDS_OF_TIMING and len(times) < 100:
            start = time.perf_counter()
            runner(**one)
            times.append(time.perf_counter() - start)
        found[verb] = round(1e3 * float(np.median(times)), 3)
    return found


def _rounded(value):
    return float(f"{value:.3g}")
