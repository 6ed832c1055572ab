"""Scores of how unusual an image is for a model, computed from its likelihood."""

import io
import math

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image
from sklearn.metrics import roc_auc_score

from tfgen.errors import InputError
from tfgen.models.base import GenerativeModel

SCORES = ("likelihood", "typicality", "complexity")
_FORMATS = (
    {"format": "PNG", "optimize": True},
    {"format": "WEBP", "lossless": True, "quality": 100, "method": 4},
)


def anomaly_scores(
    model: GenerativeModel, images: ArrayLike, reference: ArrayLike, num_samples: int = 1
) -> dict[str, np.ndarray]:
    """Three scores of each image; a higher score means less similar to the training data.

    Equations, with L(x) the length of x in bits after lossless compression:

    - likelihood: -log p(x), in nats
    - typicality: |-log p(x) - H|, H the mean of -log p over the reference images, in nats
    - complexity: -log2 p(x) - L(x), in bits: how many more bits the model needs than a
      general compressor

    The first fails for images simpler than the training data: a likelihood is high for smooth
    images, regardless of what they show. The second detects those too, and fails if both kinds
    happen to be equally likely. The third subtracts what complexity alone contributes to the
    likelihood.

    Args:
        model: a model of any kind.
        images: uint8 `[N, H, W, C]`.
        reference: training images or similar ones, uint8 `[M, H, W, C]`.
        num_samples: as for `model.log_prob`.

    Returns:
        A dict from the name of the score to float64 `[N]`.

    Source: Nalisnick et al., Do deep generative models know what they don't know?, 2019
    (1810.09136), for the failure; Nalisnick et al., Detecting out-of-distribution inputs to deep
    generative models using typicality, 2019 (1906.02994), section 3, for a single image; Serra et
    al., Input complexity and out-of-distribution detection, 2020 (1909.11480), equation 2.

    Example:

    >>> import tfgen
    >>> from tfgen.anomaly import scores as anomaly
    >>> digits, model = tfgen.data.load("digits"), tfgen.zoo.load("glow-digits")
    >>> usual, inverted = digits.images("test"), 255 - digits.images("test")
    >>> training = digits.images("train")
    >>> inside = anomaly.anomaly_scores(model, usual, training)
    >>> outside = anomaly.anomaly_scores(model, inverted, training)
    >>> anomaly.auroc(inside["likelihood"], outside["likelihood"]) > 0.99
    True
    """
    nll, reference_nll = (
        -np.asarray(model.log_prob(x, num_samples=num_samples), "float64")
        for x in (images, reference)
    )
    return {
        "likelihood": nll,
        "typicality": np.abs(nll - reference_nll.mean()),
        "complexity": nll / math.log(2.0) - compressed_bits(images),
    }


def compressed_bits(images: ArrayLike) -> np.ndarray:
    """The length of each image in bits: the shorter of PNG and lossless WebP.

    Shapes: uint8 `[N, H, W, C]`, C of 1 or 3, `-> float64 [N]`.

    Raises:
        InputError: images with another number of channels.

    Example:

    >>> import numpy as np
    >>> from tfgen.anomaly.scores import compressed_bits
    >>> flat, noise = np.zeros((1, 32, 32, 3), "uint8"), np.random.RandomState(0).bytes(3072)
    >>> noise = np.frombuffer(noise, "uint8").reshape(1, 32, 32, 3)
    >>> bool(compressed_bits(flat)[0] < 1000 < 24_000 < compressed_bits(noise)[0])
    True
    """
    lengths = []
    for image in np.asarray(images):
        if image.shape[-1] not in (1, 3):
            raise InputError(f"images must be grey or RGB to be compressed, got {image.shape}")
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        lengths.append(min(_length(picture, options) for options in _FORMATS))
    return 8.0 * np.array(lengths)


def auroc(usual: ArrayLike, unusual: ArrayLike) -> float:
    """The area under the ROC curve: the probability that an unusual image has the higher score.

    1/2 is chance. Infinite scores are allowed: the density of a flow at an image far
    from its training data may underflow in float32.

    Raises:
        InputError: a score is NaN.

    Example:

    >>> from tfgen.anomaly.scores import auroc
    >>> auroc([0.0, 1.0, 2.0], [1.5, 3.0])
    0.8333333333333334
    """
    scores = np.concatenate([np.asarray(usual), np.asarray(unusual)])
    labels = np.arange(len(scores)) >= len(np.asarray(usual))
    if np.isnan(scores).any():
        raise InputError(f"{np.isnan(scores).sum():,} of {len(scores):,} scores are NaN")
    _, ranks = np.unique(scores, return_inverse=True)
    return float(roc_auc_score(labels, ranks))


def _length(picture, options):
    file = io.BytesIO()
    picture.save(file, **options)
    return len(file.getvalue())
