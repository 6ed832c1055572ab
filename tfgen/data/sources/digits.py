"""`digits`: 1,797 real handwritten digits, 8x8, embedded in scikit-learn."""

import numpy as np

from tfgen.data import storage
from tfgen.data.dataset import Dataset

_TEST_IMAGES = 360


def load(name: str) -> Dataset:
    """Opens `digits`: 8x8x1, 1,437 training and 360 test images.

    The counts 0 to 16 of inked pixels become the levels min(16 v, 255).
    """
    return storage.stored(name, None, _content, options={})


def _content() -> storage.Content:
    from sklearn.datasets import load_digits

    counts, labels = load_digits(return_X_y=True)
    images = np.minimum(16 * counts, 255).astype(np.uint8).reshape(-1, 8, 8, 1)
    return storage.Content(
        image_shape=(8, 8, 1),
        labels={"label": [str(digit) for digit in range(10)]},
        splits={
            split: ((images[i], {"label": labels[i]}) for i in indices)
            for split, indices in stratified_split(labels, _TEST_IMAGES).items()
        },
        metadata={
            "source": "Optical Recognition of Handwritten Digits, by scikit-learn",
            "split": "fixed, stratified by class: 1,437 train, 360 test",
        },
    )


def stratified_split(labels: np.ndarray, test_images: int) -> dict[str, np.ndarray]:
    """Splits the indices of `labels` so that each class has its share of both parts.

    Shares are rounded by largest remainders. The split is always the same; both parts are in random
    order, so that any slice of them is a fair sample.

    Args:
        labels: labels of the images, `[N]`.
        test_images: number of indices in "test"; the others are in "train".
    """
    # NumPy guarantees the random streams of RandomState, not those of its newer generators.
    order = np.random.RandomState(0).permutation(len(labels))
    classes, counts = np.unique(labels, return_counts=True)
    shares = counts * test_images / len(labels)
    quotas = np.floor(shares).astype(int)
    by_remainder = np.argsort(quotas - shares, kind="stable")
    quotas[by_remainder[: test_images - quotas.sum()]] += 1
    in_test = np.zeros(len(labels), bool)
    for label, quota in zip(classes, quotas, strict=True):
        in_test[order[labels[order] == label][:quota]] = True
    return {"train": order[~in_test[order]], "test": order[in_test[order]]}
