"""The log-likelihood of each image, and what kind of figure it is."""

import csv
import io
import math
from pathlib import Path

import numpy as np

from tfgen import checks
from tfgen.errors import InputError
from tfgen.files import expanded

IMAGES_AT_A_TIME = 256


def score(model, images, num_samples=1):
    """log p(x) in nats of each image, and how it was estimated.

    Shapes: uint8 `[N, H, W, C] -> float32 [N]`.

    Args:
        model: a `tfgen.models.Glow` or `tfgen.models.VAE`.
        images, num_samples: as for its `log_prob`.

    Returns:
        The values, and the estimator in words.

    Raises:
        InputError: num_samples below 1, images of another shape.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation.likelihood import score
    >>> images = tfgen.data.load("digits").images("test")[:4]
    >>> log_prob, estimator = score(tfgen.zoo.load("vae-digits"), images, num_samples=64)
    >>> log_prob.shape, estimator
    ((4,), 'lower bound, 64 importance samples')
    """
    log_prob = model.log_prob(images, num_samples=num_samples)
    return np.asarray(log_prob), model.bound_of(num_samples)


def bits_per_dim(model, nats):
    """-log2 p(x) / (H W C) of log p(x) in nats."""
    return -np.asarray(nats) / (model.num_dims * math.log(2.0))


def score_folder(model, folder, num_samples=1):
    """The score of each readable image below a folder, fitted to the model's image shape.

    Args:
        model, num_samples: as for `score`.
        folder: a path; hidden files are passed over.

    Returns:
        A list of `(file, log p(x) in nats, bits/dim)` with the paths relative to the folder, in
        their order; the files of another size, which were fitted; a list of `(file, reason)` of
        what is no image; the estimator in words.

    Raises:
        InputError: no folder, or no image in it.
    """
    from tfgen.data.formats import folder_files, pillow_images

    checks.integer("num_samples", num_samples, 1)
    root = expanded(folder)
    if not root.is_dir():
        raise InputError(f"{folder} is no folder; give one with the images to score")
    files, unreadable = folder_files.scan(root)
    rows, fitted, words = [], [], model.bound_of(num_samples)
    paths = sorted(files)
    for start in range(0, len(paths), IMAGES_AT_A_TIME):
        images, names = [], []
        for path in paths[start : start + IMAGES_AT_A_TIME]:
            try:
                content = (root / path).read_bytes()
                images.append(pillow_images.pixels(content, model.image_shape))
                names.append(path)
                if pillow_images.header(io.BytesIO(content))[:2] != model.image_shape[:2]:
                    fitted.append(path)
            except (pillow_images.UnreadableImageError, OSError) as error:
                unreadable.append((path, getattr(error, "strerror", None) or str(error)))
        if images:
            log_prob, words = score(model, np.stack(images), num_samples)
            rows += zip(
                names, log_prob.tolist(), bits_per_dim(model, log_prob).tolist(), strict=True
            )
    if not rows:
        raise InputError(f"{folder} holds no readable image")
    return rows, fitted, unreadable, words


def read_images(files, image_shape):
    """Image files as uint8 `[N, H, W, C]`, fitted to a shape.

    Raises:
        InputError: a file that is missing or no image.
    """
    from tfgen.data.formats import pillow_images

    images = []
    for file in files:
        try:
            images.append(pillow_images.pixels(Path(file).read_bytes(), image_shape))
        except (pillow_images.UnreadableImageError, OSError) as error:
            raise InputError(f"{file}: {getattr(error, 'strerror', None) or error}") from None
    return np.stack(images)


def write_csv(file, rows, words):
    """`file,log_prob,bits_per_dim,estimator`, a line for each image."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["file", "log_prob", "bits_per_dim", "estimator"])
    for name, nats, bits in rows:
        writer.writerow([name, f"{nats:.4f}", f"{bits:.6f}", words])
