"""A TFLite file run with LiteRT: what it answers, how far from the model, and how fast."""

import os
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter

SECONDS_OF_TIMING = 0.2


def expected(model, images, *, seed=0):
    """Inputs for each verb and what the model makes of them.

    Args:
        model: a `tfgen.models.VAE` or `tfgen.models.Glow`.
        images: uint8 `[N, H, W, C]`.
        seed: of the noise of `sample`.

    Returns:
        A dict from a signature's name to its inputs and its output, arrays by name.

    Example:

    >>> import numpy as np, tfgen
    >>> from tfgen.export import litert_run
    >>> model = tfgen.zoo.load("vae-digits")
    >>> inputs, outputs = litert_run.expected(model, np.zeros((3, 8, 8, 1), "uint8"))["sample"]
    >>> sorted(inputs), outputs["images"].shape
    (['noise', 'temperature'], (3, 8, 8, 1))
    """
    generator = np.random.default_rng(seed)
    count = len(images)
    latents = model.encode(images).numpy()
    noise = generator.normal(size=latents.shape).astype("float32")
    temperature = generator.uniform(0.5, 1.0, count).astype("float32")
    drawn = {"noise": noise, "temperature": temperature}
    if model.num_classes:
        drawn["labels"] = (np.arange(count) % model.num_classes).astype("int32")
    latents_of_noise = model.latents_from_noise(noise * temperature[:, None], drawn.get("labels"))
    return {
        "log_prob": ({"images": images}, {"log_prob": model.log_prob(images).numpy()}),
        "encode": ({"images": images}, {"latents": latents}),
        "decode": ({"latents": latents}, {"images": model.decode(latents).numpy()}),
        "sample": (drawn, {"images": model.decode(latents_of_noise).numpy()}),
        "reconstruct": ({"images": images}, {"images": model.reconstruct(images).numpy()}),
    }


def difference(found, wanted):
    """How far an array is from what it should be, a JSON-able dict.

    For numbers: the largest and the root mean square of |found - wanted|, and the largest over the
    largest |wanted|. For images: the largest and the mean difference in levels of 0 to 255, and the
    part of the values that differ.

    Example:

    >>> import numpy as np
    >>> from tfgen.export.litert_run import difference
    >>> difference(np.array([1.0, -2.5]), np.array([1.0, -2.0]))["relative"]
    0.25
    """
    if found.shape != wanted.shape or found.dtype != wanted.dtype:
        raise ValueError(f"{found.dtype} {found.shape} in place of {wanted.dtype} {wanted.shape}")
    if wanted.dtype == np.uint8:
        levels = np.abs(found.astype("int32") - wanted)
        return {
            "largest_levels": int(levels.max()),
            "mean_levels": round(float(levels.mean()), 5),
            "values_that_differ": round(float(np.mean(levels > 0)), 5),
        }
    absolute = np.abs(found.astype("float64") - wanted)
    return {
        "largest": _rounded(absolute.max()),
        "root_mean_square": _rounded(np.sqrt(np.mean(absolute**2))),
        "relative": _rounded(absolute.max() / np.abs(wanted).max()),
    }


def errors(content, cases):
    """The difference of each signature from the model, by name."""
    interpreter = Interpreter(model_content=content)
    found = {}
    for verb in interpreter.get_signature_list():
        inputs, outputs = cases[verb]
        results = interpreter.get_signature_runner(verb)(**inputs)
        found[verb] = {name: difference(results[name], outputs[name]) for name in outputs}
    return found


def latencies(content, cases, *, num_threads=None):
    """The median milliseconds of one image, by signature."""
    interpreter = Interpreter(model_content=content, num_threads=num_threads or os.cpu_count())
    found = {}
    for verb in interpreter.get_signature_list():
        runner = interpreter.get_signature_runner(verb)
        one = {name: value[:1] for name, value in cases[verb][0].items()}
        runner(**one)
        times = []
        while sum(times) < SECONDS_OF_TIMING and len(times) < 100:
            start = time.perf_counter()
            runner(**one)
            times.append(time.perf_counter() - start)
        found[verb] = round(1e3 * float(np.median(times)), 3)
    return found


def _rounded(value):
    return float(f"{value:.3g}")
