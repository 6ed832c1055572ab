"""Training on two devices equals training on one."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.errors import InputError
from tfgen.models.noise import StepNoise
from tfgen.training import strategy

MODELS = {
    "vae": lambda: tfgen.models.VAE((8, 8, 1), latent_dim=3, hidden_units=[16]),
    "glow": lambda: tfgen.models.Glow((8, 8, 1), levels=2, depth=1, width=8, num_bits=4),
}


def trained(case, distribution, initial, images, batch_size):
    with distribution.scope():
        model = MODELS[case]()
        model.set_weights(initial)
        model.compile(tfgen.optimizers.Adam(1e-2), seed=3)
    history = model.fit(
        tf.data.Dataset.from_tensor_slices(images).batch(batch_size),
        epochs=1,
        verbose=0,
        shuffle=False,
        validation_data=tf.data.Dataset.from_tensor_slices(images[:40]).batch(batch_size),
    )
    return model, history.history


@pytest.mark.parametrize("case", MODELS)
def test_one_step_on_two_devices_equals_one_step_on_one(case):
    images = tfgen.data.load("digits").images("train")[:64]
    initial = MODELS[case]().get_weights()
    one, history_one = trained(case, tf.distribute.get_strategy(), initial, images, 64)
    mirrored = strategy.choose("mirrored", "cpu:2")
    assert mirrored.num_replicas_in_sync == 2
    two, history_two = trained(case, mirrored, initial, images, 64)
    moved = 0.0
    for a, b, start in zip(one.weights, two.weights, initial, strict=True):
        np.testing.assert_allclose(b.numpy(), a.numpy(), rtol=0, atol=1e-5, err_msg=a.path)
        moved = max(moved, np.abs(a.numpy().astype("float64") - start.astype("float64")).max())
    assert moved > 1e-3
    for metric, value in history_one.items():
        np.testing.assert_allclose(history_two[metric], value, rtol=1e-5)


@pytest.mark.parametrize("case", MODELS)
def test_replicas_stay_identical_also_with_a_partial_last_batch(case):
    images = tfgen.data.load("digits").images("train")[:150]
    initial = MODELS[case]().get_weights()
    model, _ = trained(case, strategy.choose("auto", "cpu:2"), initial, images, 64)
    for weight in model.weights:
        first, second = (v.numpy() for v in weight.value.values)
        np.testing.assert_array_equal(first, second)
    if case == "glow":
        assert model.initialized


def test_noise_belongs_to_the_row_of_the_global_batch():
    images = np.zeros((6, 1), "uint8")
    whole = StepNoise(5, 2, images)
    expected = [whole.uniform((3,)).numpy(), whole.normal((2,)).numpy()]

    @tf.function
    def on_replica(part):
        noise = StepNoise(5, 2, part)
        return noise.uniform((3,)), noise.normal((2,)), noise.global_batch_size

    mirrored = strategy.choose("mirrored", "cpu:2")
    batches = mirrored.experimental_distribute_dataset(
        tf.data.Dataset.from_tensor_slices(images).batch(6)
    )
    uniform, normal, size = mirrored.run(on_replica, args=(next(iter(batches)),))
    np.testing.assert_array_equal(np.concatenate([v.numpy() for v in uniform.values]), expected[0])
    np.testing.assert_array_equal(np.concatenate([v.numpy() for v in normal.values]), expected[1])
    assert [float(v) for v in size.values] == [6.0, 6.0]


def test_noise_is_new_at_each_step_draw_and_seed():
    images = np.zeros((4, 1), "uint8")
    draws = []
    for seed, step in ((0, 0), (0, 1), (1, 0)):
        noise = StepNoise(seed, step, images)
        draws += [noise.uniform((50,)).numpy(), noise.uniform((50,)).numpy()]
    flat = np.concatenate([d.ravel() for d in draws])
    assert len(np.unique(flat)) > 0.999 * flat.size


def test_a_model_trained_by_keras_own_adam_is_the_same_model():
    images = tfgen.data.load("digits").images("train")[:64]
    model = MODELS["vae"]()
    model.compile(keras.optimizers.Adam(1e-2))
    history = model.fit(images, batch_size=64, epochs=3, verbose=0).history
    assert history["bits_per_dim"][-1] < history["bits_per_dim"][0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("both", None), "auto, single, mirrored, multi_worker, got 'both'"),
        (("auto", "cpu"), "must be cpu:N or gpu:N"),
        (("auto", "cpu:0"), "must be cpu:N or gpu:N"),
        (("auto", "tpu:2"), "must be cpu:N or gpu:N"),
        (("auto", "gpu:64"), r"TensorFlow found \d+ GPUs"),
        (("auto", "cpu:7"), "has already started with 2"),
    ],
)
def test_bad_devices_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        strategy.choose(*options)
