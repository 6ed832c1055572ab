"""The log-likelihood of each image in a folder, as a table."""

import csv
import math
from typing import NamedTuple, TextIO

import numpy as np

from tfgen import checks
from tfgen.data import image_files
from tfgen.errors import InputError
from tfgen.files import PathLike
from tfgen.models.base import GenerativeModel

FILES_PER_BATCH = 256


class FolderScores(NamedTuple):
    """The result of `score_folder`.

    Attributes:
        rows: (path, log p(x) in nats, bits/dim) of each image, in the order of the paths, which are
            relative to the folder.
        resized: the paths of the images that had another size.
        unreadable: (path, reason) of each file that is not an image.
        bound: a description of the bound of log p(x) that the scores are.
    """

    rows: list[tuple[str, float, float]]
    resized: list[str]
    unreadable: list[tuple[str, str]]
    bound: str


def score_folder(model: GenerativeModel, folder: PathLike, num_samples: int = 1) -> FolderScores:
    """`model.log_prob` of each image in a folder and its subfolders, fitted to the model's shape.

    Args:
        model: a model of any kind.
        folder: path of the folder; hidden files are left out.
        num_samples: as for `model.log_prob`.

    Raises:
        InputError: `folder` is not a directory or contains no image, or `num_samples` is below 1.
    """
    num_samples = checks.integer("num_samples", num_samples, 1)
    scores = FolderScores([], [], [], model.bound_of(num_samples))
    for batch in image_files.read_folder(folder, model.image_shape, FILES_PER_BATCH):
        scores.resized.extend(batch.resized)
        scores.unreadable.extend(batch.unreadable)
        if batch.images is not None:
            log_prob = np.asarray(model.log_prob(batch.images, num_samples=num_samples))
            bits = -log_prob / (model.num_dims * math.log(2.0))
            scores.rows.extend(zip(batch.paths, log_prob.tolist(), bits.tolist(), strict=True))
    if not scores.rows:
        raise InputError(f"{folder} holds no readable image")
    return scores


def write_csv(file: TextIO, scores: FolderScores) -> None:
    """Write `file,log_prob,bits_per_dim,estimator`, one line per image."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["file", "log_prob", "bits_per_dim", "estimator"])
    for path, log_prob, bits in scores.rows:
        writer.writerow([path, f"{log_prob:.4f}", f"{bits:.6f}", scores.bound])
