"""`Dataset`: arrays, batches and validation images agree, in memory and from files."""

import json

import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.data import dataset as dataset_module
from tfgen.errors import InputError
from tfgen.training import strategy


@pytest.fixture(scope="module", params=["in memory", "from files"])
def digits(request):
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "from files":
            patch.setattr(dataset_module, "_IN_MEMORY_BYTES", 1000)
        yield tfgen.data.load("digits")


def collect(batches):
    return np.concatenate(list(batches.as_numpy_iterator()))


def as_rows(images):
    return sorted(map(bytes, images))


def test_the_fixed_order(digits):
    np.testing.assert_array_equal(
        collect(digits.tf_data("test", batch_size=100)), digits.images("test")
    )


def test_shuffling_differs_by_pass_and_seed_and_can_be_repeated(digits):
    batches = digits.tf_data("train", batch_size=100, shuffle=True, seed=1)
    first, second = collect(batches), collect(batches)
    assert (first != second).any()
    again = digits.tf_data("train", batch_size=100, shuffle=True, seed=1)
    np.testing.assert_array_equal(collect(again), first)
    np.testing.assert_array_equal(collect(again), second)
    other = digits.tf_data("train", batch_size=100, shuffle=True, seed=2)
    assert (collect(other) != first).any()
    for images in (first, second):
        assert as_rows(images) == as_rows(digits.images("train"))


def test_labels_stay_with_their_images(digits):
    images, labels = digits.images("train"), digits.labels("train")
    known = {(bytes(image), int(label)) for image, label in zip(images, labels, strict=True)}
    for batch, batch_labels in digits.tf_data("train", batch_size=64, shuffle=True, labels=True):
        for image, label in zip(batch.numpy(), batch_labels.numpy(), strict=True):
            assert (bytes(image), int(label)) in known


def test_batches(digits):
    kept = digits.tf_data("test", batch_size=100)
    assert [len(batch) for batch in kept] == [100, 100, 100, 60]
    dropped = digits.tf_data("test", batch_size=100, drop_remainder=True)
    assert dropped.element_spec == tf.TensorSpec((100, 8, 8, 1), tf.uint8)
    assert len(dropped) == 3


def test_several_labels_come_as_a_dict():
    shapes = tfgen.data.load("shapes", options={"num_images": 30, "num_test_images": 5})
    _, labels = next(iter(shapes.tf_data("test", batch_size=5, labels=True)))
    for key, values in shapes.labels("test").items():
        np.testing.assert_array_equal(labels[key], values)


def test_with_validation_cuts_the_end_of_train(digits):
    held = digits.with_validation(0.25)
    assert held.splits == {"train": 1078, "validation": 359, "test": 360}
    both = np.concatenate([held.images("train"), held.images("validation")])
    np.testing.assert_array_equal(both, digits.images("train"))
    np.testing.assert_array_equal(held.images("test"), digits.images("test"))
    shuffled = collect(held.tf_data("train", batch_size=100, shuffle=True))
    assert as_rows(shuffled) == as_rows(held.images("train"))
    assert held.with_validation(0.5) is held
    assert np.bincount(held.labels("validation")).min() > 20


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1e-9, 0.99999])
def test_impossible_fractions(fraction):
    with pytest.raises(InputError, match="cannot hold out"):
        tfgen.data.load("digits").with_validation(fraction)


def test_bad_arguments(digits):
    with pytest.raises(InputError, match="no split 'validation', only train, test"):
        digits.images("validation")
    with pytest.raises(InputError, match="batch_size must be a positive integer, got 0"):
        digits.tf_data("train", batch_size=0)


def test_provenance_is_json():
    provenance = tfgen.data.load("digits").with_validation(0.1).provenance
    assert json.loads(json.dumps(provenance)) == provenance
    assert provenance["version"] == "1.0.0"
    assert provenance["held_out"] == 0.1


def test_keras_trains_on_it_on_two_replicas():
    import keras

    digits = tfgen.data.load("digits")
    with strategy.choose("mirrored", "cpu:2").scope():
        model = keras.Sequential(
            [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, jit_compile=False)
    batches = digits.tf_data(
        "train", batch_size=128, shuffle=True, drop_remainder=True, labels=True
    )
    history = model.fit(batches, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
