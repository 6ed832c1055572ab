"""The log-likelihood of each image, and what kind of figure it is."""

import csv
import io
import math
from pathlib import Path

import numpy as np

from tfgen.errors import InputError
from tfgen.files import expanded

IMAGES_AT_A_TIME = 256


def score(model, images, draws=1):
    """log p(x) in nats of each image, and how it was estimated.

    A flow's is averaged over draws of the dequantization noise: log(1/k sum_i p(x + u_i) /
    q(u_i|x)), see `tfgen.models.glow.dequantization_draws`. A VAE's is the importance-weighted
    bound of so many samples. One draw is what the model's `log_prob` gives. All are lower bounds of
    log P(x), tighter and less noisy the more draws there are.

    Shapes: uint8 `[N, H, W, C] -> float32 [N]`.

    Args:
        model: a `tfgen.models.Glow` or `tfgen.models.VAE`.
        images: as everywhere.
        draws: k.

    Returns:
        The values, and the estimator in words.

    Raises:
        InputError: draws below 1, images of another shape.

    Example:

    >>> import tfgen
    >>> from tfgen.evaluation.likelihood import score
    >>> images = tfgen.data.load("digits").images("test")[:4]
    >>> nats, estimator = score(tfgen.zoo.load("vae-digits"), images, draws=64)
    >>> nats.shape, estimator
    ((4,), 'lower bound, 64 importance samples')
    """
    _check_draws(draws)
    flow = hasattr(model, "log_prob_at")
    if draws == 1:
        nats = model.log_prob(images)
    elif flow:
        from tfgen.models.glow import dequantization_draws

        nats = dequantization_draws.log_likelihood(model, images, draws)
    else:
        nats = model.log_prob(images, importance_samples=draws)
    return np.asarray(nats), estimator(model, draws)


def estimator(model, draws):
    """What `score` computes, in words."""
    if not hasattr(model, "log_prob_at"):
        return model.bound if draws == 1 else f"lower bound, {draws} importance samples"
    kind = model.protocol["dequantization"].split(",")[0]
    each = "1 draw" if draws == 1 else f"the mean of {draws} draws"
    return f"lower bound, {kind} dequantization, {each}"


def _check_draws(draws):
    if not isinstance(draws, int) or draws < 1:
        raise InputError(f"score: draws must be a positive integer, got {draws!r}")


def bits_per_dim(model, nats):
    """-log2 p(x) / (H W C) of log p(x) in nats."""
    return -np.asarray(nats) / (model.num_dims * math.log(2.0))


def score_folder(model, folder, draws=1):
    """The score of each readable image below a folder, fitted to the model's image shape.

    Args:
        model, draws: as for `score`.
        folder: a path; hidden files are passed over.

    Returns:
        A list of `(file, log p(x) in nats, bits/dim)` with the paths relative to the folder, in
        their order; the files of another size, which were fitted; a list of `(file, reason)` of
        what is no image; the estimator in words.

    Raises:
        InputError: no folder, or no image in it.
    """
    from tfgen.data.formats import folder_files, pillow_images

    _check_draws(draws)
    root = expanded(folder)
    if not root.is_dir():
        raise InputError(f"{folder} is no folder; give one with the images to score")
    files, unreadable = folder_files.scan(root)
    rows, fitted, words = [], [], estimator(model, draws)
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
            nats, words = score(model, np.stack(images), draws)
            rows += zip(names, nats.tolist(), bits_per_dim(model, nats).tolist(), strict=True)
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
