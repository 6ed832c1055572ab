"""`digits`: the 1,797 real handwritten digits, 8x8, that scikit-learn carries."""

import numpy as np
import tensorflow_datasets as tfds

from tfgen.data.builder import ImageBuilder
from tfgen.data.prepared import prepared

_TEST_IMAGES = 360


class Digits(ImageBuilder, skip_registration=True):
    """8x8 grey digits; the counts 0 to 16 of inked pixels become the levels min(16 v, 255)."""

    name = "digits"

    def _info(self):
        labels = {"label": tfds.features.ClassLabel(names=[str(digit) for digit in range(10)])}
        homepage = "https://archive.ics.uci.edu/dataset/80"
        return self.image_info((8, 8, 1), labels, homepage=homepage)

    def _split_generators(self, dl_manager):
        del dl_manager
        from sklearn.datasets import load_digits

        counts, labels = load_digits(return_X_y=True)
        images = np.minimum(16 * counts, 255).astype(np.uint8).reshape(-1, 8, 8, 1)
        self.info.metadata["source"] = "Optical Recognition of Handwritten Digits, by scikit-learn"
        self.info.metadata["split"] = "fixed, stratified by class: 1,437 train, 360 test"
        return {
            split: self._generate_examples((images[i], {"label": labels[i]}) for i in indices)
            for split, indices in stratified_split(labels, _TEST_IMAGES).items()
        }


def stratified_split(labels: np.ndarray, test_images: int) -> dict[str, np.ndarray]:
    """Draws `test_images` indices so that each class has its share; always the same ones.

    Shares are rounded by largest remainders. Both splits come in random order, so that a piece
    cut off either of them is a fair sample.
    """
    # RandomState's streams are frozen for good, those of NumPy's newer generators are not.
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


def prepare():
    """Opens the prepared `digits`, 8x8x1, 1,437 train and 360 test images."""
    return prepared(Digits, None, lambda data_dir: Digits(data_dir=data_dir))
