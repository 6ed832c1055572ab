"""The temperature at which samples are closest to test images, measured without labels."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfgen.data.dataset import Dataset
from tfgen.models.base import GenerativeModel

TEMPERATURES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
NUM_SAMPLES, NUM_IMAGES = 1000, 2000
CHANNELS, COMPONENTS = (32, 64, 128), 48
_BATCH = 250


def features(images: ArrayLike) -> np.ndarray:
    """Features of images from three convolutions with fixed random weights.

    Each 3x3 convolution (the second and third with stride 2) is followed by max(0, ·). The features
    are the means of the first two over the image and those of the last in each quarter of it.

    Shapes: uint8 `[N, H, W, C] -> float64 [N, F]`.

    Example:

    >>> import numpy as np
    >>> from tfgen.evaluation import temperature
    >>> temperature.features(np.zeros((2, 8, 8, 1), "uint8")).shape
    (2, 608)
    """
    images = np.asarray(images)
    generator = np.random.default_rng(0)
    kernels = [
        generator.normal(scale=np.sqrt(2 / (9 * inputs)), size=(3, 3, inputs, outputs))
        for inputs, outputs in itertools.pairwise((images.shape[-1], *CHANNELS))
    ]
    biases = [generator.uniform(-0.5, 0.5, outputs) for outputs in CHANNELS]
    rows = []
    for start in range(0, len(images), _BATCH):
        values = tf.cast(images[start : start + _BATCH], tf.float32) / 127.5 - 1.0
        pooled = []
        for number, (kernel, bias) in enumerate(zip(kernels, biases, strict=True)):
            kernel, bias = tf.constant(kernel, tf.float32), tf.constant(bias, tf.float32)
            values = tf.nn.relu(tf.nn.conv2d(values, kernel, min(number + 1, 2), "SAME") + bias)
            side = 2 if number == len(kernels) - 1 else 1
            pooled.append(
                tf.reshape(
                    tf.image.resize(values, [side, side], "area"), [-1, side**2 * values.shape[-1]]
                )
            )
        rows.append(tf.concat(pooled, axis=1).numpy())
    return np.concatenate(rows).astype("float64")


def frechet_distance(reference: np.ndarray, other: np.ndarray) -> float:
    """The Fréchet distance of two sets of features, in units of the reference's deviations.

    Equation: |m|² + sum_j (√l_j - 1)², with m the mean and l_j the eigenvalues of the covariance of
    `other`, on the axes of the 48 largest principal components of `reference`, each scaled to
    variance 1. It is the squared Fréchet (Wasserstein-2) distance of two normal distributions, of
    which the first is N(0, I).

    Shapes: `[N, F]`, `[M, F] ->` a number.

    Source: Dowson and Landau, The Fréchet distance between multivariate normal distributions, 1982;
    Heusel et al., GANs trained by a two time-scale update rule, 2017 (1706.08500), section 2.

    Example:

    >>> import numpy as np
    >>> from tfgen.evaluation import temperature
    >>> values = np.random.default_rng(0).normal(size=(4000, 3))
    >>> [round(temperature.frechet_distance(values, a * values + b), 1) for a, b in
    ...  ((1.0, 0.0), (2.0, 0.0), (1.0, 1.0))]
    [0.0, 3.0, 3.0]
    """
    variances, axes = np.linalg.eigh(np.cov(reference.T))
    variances, axes = variances[-COMPONENTS:], axes[:, -COMPONENTS:]
    kept = variances > 1e-9 * variances[-1]
    scaled = (other - reference.mean(axis=0)) @ axes[:, kept] / np.sqrt(variances[kept])
    spread = np.clip(np.linalg.eigvalsh(np.cov(scaled.T)), 0.0, None)
    mean = scaled.mean(axis=0)
    return float(mean @ mean + np.sum((np.sqrt(spread) - 1.0) ** 2))


def distances(
    model: GenerativeModel,
    data: Dataset,
    temperatures: Sequence[float] = TEMPERATURES,
    num_samples: int = NUM_SAMPLES,
) -> dict[float, float]:
    """The distance between samples at each temperature and images of the test split.

    Args:
        model: a model of any kind.
        data: the data set that it was trained on.
        temperatures: those to measure.
        num_samples: number of samples at each temperature, from the same noise.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation import temperature
    >>> model, data = tfgen.zoo.load("vae-digits"), tfgen.data.load("digits")
    >>> found = temperature.distances(model, data, (0.3, 1.0), 200)
    >>> found[1.0] < found[0.3]
    True
    """
    reference = features(data.images("test")[:NUM_IMAGES])
    return {
        value: frechet_distance(reference, features(model.sample(num_samples, value, seed=0)))
        for value in temperatures
    }


def entry(found: Mapping[float, float], data: Dataset) -> dict[str, Any]:
    """The entry "sampling" of a card: the temperature with the smallest distance, and why.

    >>> import tfgen
    >>> from tfgen.evaluation import temperature
    >>> temperature.entry({0.5: 9.0, 0.75: 4.0, 1.0: 6.0}, tfgen.data.load("digits"))["temperature"]
    0.75
    """
    best = min(found, key=lambda value: found[value])
    images = min(NUM_IMAGES, data.splits["test"])
    return {
        "temperature": best,
        "protocol": f"smallest Fréchet distance of random features between samples and {images:,} "
        f"test images of {data.name}",
        "distances": {f"{value:g}": round(distance, 3) for value, distance in found.items()},
    }
