"""`digits`: lossless, stratified, always the same."""

import numpy as np
from sklearn.datasets import load_digits

import tfgen
from tfgen.data.sources.digits import stratified_split


def test_split_and_types():
    digits = tfgen.data.load("digits")
    assert digits.splits == {"train": 1437, "test": 360}
    assert (digits.image_shape, digits.num_classes) == ((8, 8, 1), 10)
    assert digits.label_names == tuple("0123456789")
    assert digits.images("train").dtype == np.uint8
    everywhere = np.bincount(digits.labels("train")) + np.bincount(digits.labels("test"))
    np.testing.assert_array_equal(everywhere, np.bincount(load_digits().target))
    assert np.ptp(np.bincount(digits.labels("test")) / everywhere) < 0.01


def test_every_image_of_scikit_learn_is_there_once_and_can_be_recovered():
    digits = tfgen.data.load("digits")
    images = np.concatenate([digits.images("train"), digits.images("test")])
    labels = np.concatenate([digits.labels("train"), digits.labels("test")])
    counts = np.where(images == 255, 16, images // 16).reshape(-1, 64)
    original = load_digits()
    rows = sorted(zip(original.data.astype(int).tolist(), original.target.tolist(), strict=True))
    assert sorted(zip(counts.tolist(), labels.tolist(), strict=True)) == rows


def test_four_bits_keep_all_but_the_two_highest_levels():
    levels = np.unique(tfgen.data.load("digits").images("train"))
    assert levels.tolist() == [min(16 * count, 255) for count in range(17)]
    assert np.unique(levels >> 4).tolist() == list(range(16))


def test_stratified_split_is_exact_disjoint_and_fixed():
    labels = np.repeat([0, 1, 2], [50, 30, 21])
    split = stratified_split(labels, 20)
    assert np.bincount(labels[split["test"]]).tolist() == [10, 6, 4]
    assert sorted(np.concatenate(list(split.values()))) == list(range(101))
    np.testing.assert_array_equal(split["test"], stratified_split(labels, 20)["test"])
