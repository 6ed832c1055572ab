"""The batches of a training run: each image once per epoch, the same batches from any step."""

import functools
import hashlib

import numpy as np
import pytest

import tfgen
from tfgen.data import dataset
from tfgen.data.augmentation import Augmentation
from tfgen.errors import InputError

BATCH = 100
AUGMENTATION = Augmentation(shift=2, flip=True)

# Beginning of the SHA-256 of the first 16 batches, by source and whether they are augmented.
DIGESTS = {
    ("in memory", False): "70290e8405706adb",
    ("in memory", True): "3cb442418f55a474",
    ("from files", False): "563fed7f38d29e51",
    ("from files", True): "c40a33df878c8e17",
}


@pytest.fixture(scope="module", params=["in memory", "from files"])
def digits(request):
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "from files":
            patch.setattr(dataset, "_IN_MEMORY_BYTES", 20_000)  # 312 images at a time
        yield tfgen.data.load("digits")


@pytest.fixture(scope="module")
def training(digits):
    """A function from an augmentation to its stream and the first 43 batches."""
    return functools.cache(lambda augmentation: _training(digits, augmentation))


def _training(digits, augmentation):
    stream = digits.stream("train", batch_size=BATCH, seed=1, augmentation=augmentation)
    return stream, taken(stream.from_step(), 43)


def taken(batches, count):
    return [np.asarray(batch) for batch in batches.take(count)]


def as_rows(batches):
    return sorted(bytes(image) for batch in batches for image in batch)


def test_an_epoch_holds_every_image_once_in_another_order_each_time(digits, training):
    stream, batches = training(None)
    assert stream.steps_per_epoch == 15
    assert [len(batch) for batch in batches[:30]] == [*[100] * 14, 37] * 2
    for epoch in (batches[:15], batches[15:30]):
        assert as_rows(epoch) == as_rows([digits.images("train")])
    assert np.mean(batches[0] == batches[15]) < 0.95
    other = taken(digits.stream("train", batch_size=BATCH, seed=2).from_step(), 1)
    assert (batches[0] != other[0]).any()
    assert (batches[0] != digits.images("train")[:BATCH]).any()


@pytest.mark.parametrize("augmentation", [None, AUGMENTATION])
def test_the_order_is_that_of_every_release(request, training, augmentation):
    """Resumed training runs depend on it."""
    source = request.node.callspec.params["digits"]
    digest = hashlib.sha256(b"".join(map(bytes, training(augmentation)[1][:16]))).hexdigest()
    assert digest[:16] == DIGESTS[source, bool(augmentation)]


def test_without_shuffling_the_order_is_the_fixed_one(digits):
    batches = taken(digits.stream("test", batch_size=BATCH, shuffle=False).from_step(), 8)
    np.testing.assert_array_equal(np.concatenate(batches[:4]), digits.images("test"))
    np.testing.assert_array_equal(np.concatenate(batches[4:]), digits.images("test"))


@pytest.mark.parametrize("augmentation", [None, AUGMENTATION])
@pytest.mark.parametrize("step", [0, 1, 14, 15, 37])
def test_from_any_step_on_the_batches_are_the_same(digits, training, step, augmentation):
    _, expected = training(augmentation)
    again = digits.stream("train", batch_size=BATCH, seed=1, augmentation=augmentation)
    for index, found in enumerate(taken(again.from_step(step), 5), step):
        np.testing.assert_array_equal(found, expected[index])
    np.testing.assert_array_equal(again.global_batch(step), expected[step])


@pytest.mark.parametrize("workers", [(1,), (2,), (1, 1), (2, 2), (1, 1, 1), (3, 3)])
def test_replicas_and_workers_divide_each_batch_among_them(training, workers):
    stream, batches = training(AUGMENTATION)
    replicas, first = sum(workers), 0
    steps = range(13, 17)  # across the end of an epoch
    pieces = [[] for _ in steps]
    for local in workers:
        part = stream.from_step(13, replicas=replicas, first_replica=first, local_replicas=local)
        for index, piece in enumerate(taken(part, 4 * local)):
            pieces[index // local].append(piece)
        first += local
    for step, parts in zip(steps, pieces, strict=True):
        np.testing.assert_array_equal(np.concatenate(parts), batches[step])
        assert max(map(len, parts)) == -(-len(batches[step]) // replicas)


def test_more_replicas_than_images_leave_some_without(digits):
    stream = digits.stream("test", batch_size=7, shuffle=False)
    last = stream.steps_per_epoch - 1  # 360 = 51 x 7 + 3
    parts = taken(stream.from_step(last, replicas=5), 5)
    assert [len(part) for part in parts] == [1, 1, 1, 0, 0]
    np.testing.assert_array_equal(np.concatenate(parts), digits.images("test")[-3:])


def test_labels_stay_with_their_images(digits):
    images, labels = digits.images("train"), digits.labels("train")
    known = {(bytes(image), int(label)) for image, label in zip(images, labels, strict=True)}
    stream = digits.stream("train", batch_size=BATCH, labels=True)
    for batch, batch_labels in stream.from_step(3, replicas=2).take(30):
        for image, label in zip(batch.numpy(), batch_labels.numpy(), strict=True):
            assert (bytes(image), int(label)) in known


def test_several_labels_come_as_a_dict():
    shapes = tfgen.data.load("shapes", options={"num_images": 30, "num_test_images": 5})
    stream = shapes.stream("test", batch_size=5, labels=True, shuffle=False)
    _, labels = stream.global_batch(0)
    for key, values in shapes.labels("test").items():
        np.testing.assert_array_equal(labels[key], values)


def test_refusals(digits):
    with pytest.raises(InputError, match="no split"):
        digits.stream("training", batch_size=4)
    with pytest.raises(InputError, match="batch_size must be a positive integer, got 0"):
        digits.stream("train", batch_size=0)


# Augmentation, against NumPy


def changed(image, down, right, mirrored):
    """One image, by padding with its edges and slicing."""
    height, width = image.shape[:2]
    reach = max(abs(down), abs(right))
    padded = np.pad(image, [(reach, reach), (reach, reach), (0, 0)], mode="edge")
    top, left = reach - down, reach - right
    shifted = padded[top : top + height, left : left + width]
    return shifted[:, ::-1] if mirrored else shifted


def test_shifts_and_flips_do_what_numpy_does():
    images = np.random.default_rng(0).integers(0, 256, (60, 5, 7, 3), "uint8")
    augmentation = Augmentation(shift=3, flip=True)
    draws = augmentation.draw(60, [1, 2]).numpy()
    found = augmentation.apply(images, draws).numpy()
    assert found.dtype == np.uint8
    for image, draw, result in zip(images, draws, found, strict=True):
        np.testing.assert_array_equal(result, changed(image, *draw))


def test_every_shift_is_as_likely_as_any_other():
    draws = Augmentation(shift=2, flip=True).draw(50_000, [0, 0]).numpy()
    for column, values in enumerate(([-2, -1, 0, 1, 2], [-2, -1, 0, 1, 2], [0, 1])):
        found, counts = np.unique(draws[:, column], return_counts=True)
        assert found.tolist() == values
        expected = 50_000 / len(values)
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
    assert np.abs(np.corrcoef(draws.T)[np.triu_indices(3, 1)]).max() < 0.03


def test_without_shift_or_flip_images_do_not_change():
    assert not Augmentation()
    assert (Augmentation(shift=1).draw(1000, [0, 0]).numpy()[:, 2] == 0).all()
    assert (Augmentation(flip=True).draw(1000, [0, 0]).numpy()[:, :2] == 0).all()


def test_a_stream_draws_other_transforms_in_each_epoch():
    digits = tfgen.data.load("digits")
    augmentation = Augmentation(shift=1)
    plain, augmented = (
        taken(digits.stream("test", batch_size=360, shuffle=False, augmentation=a).from_step(), 2)
        for a in (None, augmentation)
    )
    still = [
        np.mean([(a == b).all() for a, b in zip(*pair, strict=True)])
        for pair in zip(plain, augmented, strict=True)
    ]
    assert all(0.05 < part < 0.25 for part in still)  # one in nine, and blank edges
    assert (augmented[0] != augmented[1]).any()
