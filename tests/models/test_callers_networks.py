"""Networks of a caller train as in a plain Keras model with the same loss, step by step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.errors import InputError
from tfgen.models.noise import StepNoise
from tfgen.training import state, strategy
from tfgen.training.replicated import Replicated

SHAPE, LATENTS, BATCH, STEPS, SEED = (8, 8, 1), 2, 32, 2, 3


class AddsLoss(keras.layers.Layer):
    """An `add_loss` that depends on the phase, too."""

    def call(self, x, training=None):
        self.add_loss((2.0 if training else 1.0) * tf.reduce_mean(tf.abs(x)))
        return x


def networks():
    """An encoder and a decoder with everything that Keras' training has and inference has not."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    encoder = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Flatten(),
            layers.Dense(16, activation="tanh", kernel_regularizer=keras.regularizers.L2(0.1)),
            layers.Dropout(0.3, seed=5),
            layers.BatchNormalization(momentum=0.5),
            AddsLoss(),
            layers.Dense(2 * LATENTS),
        ]
    )
    decoder = keras.Sequential(
        [
            keras.Input((LATENTS,)),
            layers.Dense(16, activation="tanh", activity_regularizer=keras.regularizers.L2(1.0)),
            layers.GaussianNoise(0.1, seed=6),
            layers.BatchNormalization(momentum=0.5),
            layers.Dense(64),
            layers.Reshape(SHAPE),
        ]
    )
    return encoder, decoder


class PlainVAE(keras.Model):
    """A VAE in plain Keras; only the noise of each step is that of tfgen."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = networks()
        self.built = True

    def call(self, inputs):
        pixels, noise = inputs
        mean, log_variance = keras.ops.split(self.encoder(pixels), 2, axis=-1)
        logits = self.decoder(mean + keras.ops.exp(0.5 * log_variance) * noise)
        errors = keras.losses.binary_crossentropy(pixels, logits, from_logits=True)
        divergence = 0.5 * (mean**2 + keras.ops.exp(log_variance) - 1.0 - log_variance)
        return keras.ops.sum(errors, axis=[1, 2]) + keras.ops.sum(divergence, axis=-1)

    def train_step(self, images):
        noise = StepNoise(SEED, self.optimizer.iterations, images)
        pixels = tf.cast(tf.cast(images, tf.float32) / 255.0 > noise.uniform(SHAPE), tf.float32)
        with tf.GradientTape() as tape:
            nll = self((pixels, noise.normal((LATENTS,))), training=True)
            replicas = tf.distribute.get_strategy().num_replicas_in_sync
            added = sum(self.losses)
            loss = tf.reduce_sum(nll) / noise.global_batch_size + added / replicas
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        return {"objective": tf.reduce_mean(nll) + added}


def vae(**options):
    encoder, decoder = networks()
    return tfgen.models.VAE(SHAPE, latent_dim=LATENTS, encoder=encoder, decoder=decoder, **options)


@pytest.fixture(scope="module")
def images():
    """Black and white images, which binarization does not change."""
    digits = tfgen.data.load("digits").images("train")[: STEPS * BATCH]
    return np.where(digits > 127, 255, 0).astype("uint8")


def optimizer():
    return keras.optimizers.Adam(1e-2)


def of_both(model):
    """The arrays of all weights and random states, in the order of the networks."""
    return [v.numpy() for v in [*model.encoder.variables, *model.decoder.variables]]


@pytest.mark.parametrize("devices", [1, 2])
def test_every_step_is_that_of_a_plain_keras_model(devices):
    images = tfgen.data.load("digits").images("train")
    distribution = tf.distribute.get_strategy()
    if devices == 2:
        distribution = strategy.choose("mirrored", "cpu:2")
    with distribution.scope():
        plain, model = PlainVAE(), vae()
        plain.compile(optimizer(), jit_compile=False)
        model.compile(optimizer(), seed=SEED)
    start = state.arrays_of(model)
    options = {"batch_size": BATCH, "shuffle": False, "verbose": 0}
    for step in range(STEPS):  # One at a time, so that the first step that differs is found.
        part = images[step * BATCH : (step + 1) * BATCH]
        expected = plain.fit(part, **options).history["objective"][-1]
        found = model.fit(part, **options).history
        if devices == 1:  # `PlainVAE` does not average its loss over replicas.
            np.testing.assert_allclose(found["loss"][-1], expected, rtol=1e-4)
        total = found["reconstruction"][-1] + found["kl"][-1]
        np.testing.assert_allclose(total, found["bits_per_dim"][-1] * 64 * np.log(2.0), rtol=1e-4)
        assert found["loss"][-1] > total + 1.0  # the losses of layers
        for mine, other in zip(of_both(model), of_both(plain), strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-3, atol=2e-5)
    fitted = of_both(model)
    assert any(np.any(array != 0) for array in fitted)

    # tfgen's own loop takes the same steps, and a checkpoint holds all that determines them.
    stream = tfgen.data.load("digits").stream("train", batch_size=BATCH, shuffle=False)
    replicated = Replicated(model, distribution)
    state.assign(model, start)
    batches = replicated.batches(stream)
    while model.optimizer.iterations < STEPS:
        replicated.train(batches, 1)
        state.assign(model, state.arrays_of(model))
    for mine, other in zip(of_both(model), fitted, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=2e-5)


def test_the_verbs_run_in_inference_and_leave_the_model_alone(images):
    model = vae()
    model.compile(optimizer(), seed=SEED)
    model.fit(images, batch_size=BATCH, verbose=0)
    before = of_both(model)
    first = model.log_prob(images[:8]).numpy()
    np.testing.assert_array_equal(model.log_prob(images[:8]), first)
    np.testing.assert_allclose(model.log_prob(images[:3]), first[:3], rtol=1e-5)
    np.testing.assert_array_equal(model.predict(images[:8], verbose=0), first)
    model.decode(model.encode(images[:8]))
    found = model.evaluate(images[:8], verbose=0, return_dict=True)
    np.testing.assert_allclose(found["bits_per_dim"] * 64 * np.log(2.0), -first.mean(), rtol=1e-5)
    np.testing.assert_allclose(found["reconstruction"] + found["kl"], -first.mean(), rtol=1e-5)
    for mine, other in zip(of_both(model), before, strict=True):
        np.testing.assert_array_equal(mine, other)
    with tf.GradientTape() as tape:  # Called as a Keras model, it takes the phase from the call.
        trained = model(images[:8], training=True)
        loss = -tf.reduce_mean(trained) + sum(model.losses)
    assert np.abs(trained.numpy() - first).max() > 1e-3
    assert all(gradient is not None for gradient in tape.gradient(loss, model.trainable_weights))
    np.testing.assert_array_equal(model(images[:8]), model.log_prob(images[:8]))


def test_evaluation_adds_the_losses_of_inference(images):
    model = vae()
    model.compile(optimizer(), seed=SEED)
    found = model.evaluate(images[:8], verbose=0, return_dict=True)
    observed = tf.cast(images[:8], tf.float32) / 255.0
    encoder, decoder = model.encoder, model.decoder
    encoder(observed)
    expected = sum(encoder.losses)  # L2 of the kernel, and add_loss in inference
    noise = model._image_noise.normal(tf.constant(images[:8]), (8, 1, LATENTS))
    latents, *_ = model.posterior.sample(model.encoder_outputs(observed), noise)
    decoder(tf.reshape(latents, [-1, LATENTS]))
    expected += sum(decoder.losses)
    total = found["reconstruction"] + found["kl"] + float(expected)
    np.testing.assert_allclose(found["loss"], total, rtol=1e-5)


def test_the_parts_of_the_bound_are_those_of_the_closed_form(images):
    model = tfgen.models.VAE(SHAPE, latent_dim=LATENTS, hidden_units=[8], beta=3.0)
    model.compile(keras.optimizers.SGD(0.0), seed=SEED)
    found = model.fit(images[:BATCH], batch_size=BATCH, shuffle=False, verbose=0).history
    noise = StepNoise(SEED, 0, tf.constant(images[:BATCH]))
    noise.uniform(SHAPE)
    pixels = images[:BATCH].reshape(BATCH, -1) / 255.0
    outputs = model.encoder_outputs(tf.constant(pixels.reshape(-1, *SHAPE), tf.float32)).numpy()
    mean, log_variance = np.split(outputs.astype("float64"), 2, axis=-1)
    latents = mean + np.exp(0.5 * log_variance) * noise.normal((LATENTS,)).numpy()
    logits = model.decoder_outputs(tf.constant(latents, tf.float32)).numpy().astype("float64")
    divergence = 0.5 * (mean**2 + np.exp(log_variance) - 1.0 - log_variance).sum(-1).mean()
    errors = (np.logaddexp(0.0, logits) - pixels * logits).sum(-1).mean()
    np.testing.assert_allclose(found["kl"], divergence, rtol=1e-5)
    np.testing.assert_allclose(found["reconstruction"], errors, rtol=1e-5)
    np.testing.assert_allclose(found["loss"], errors + 3.0 * divergence, rtol=1e-5)


def test_samples_that_are_computed_again_count_once(images):
    """With k samples, and with k = 1 before `iwae_start_step`."""
    decoder = networks()[1]
    with pytest.raises(InputError, match=r"decoder: num_backward_samples .* gaussian_noise"):
        tfgen.models.VAE(
            SHAPE, latent_dim=LATENTS, decoder=decoder,
            num_importance_samples=4, num_backward_samples=2,
        )  # fmt: skip
    decoder = keras.Sequential(
        [
            keras.Input((LATENTS,)),
            keras.layers.Dense(64, activity_regularizer=keras.regularizers.L2(1.0)),
            keras.layers.Reshape(SHAPE),
        ]
    )
    reported = []
    for options in ({}, {"num_backward_samples": 2}, {"iwae_start_step": 1}):
        decoder.set_weights([np.full((LATENTS, 64), 0.1), np.ones(64)])
        model = tfgen.models.VAE(
            SHAPE, latent_dim=LATENTS, hidden_units=[4], decoder=decoder,
            num_importance_samples=4, **options,
        )  # fmt: skip
        model.encoder.set_weights([np.full(w.shape, 0.01) for w in model.encoder.weights])
        model.compile(keras.optimizers.SGD(0.0), seed=SEED)
        history = model.fit(
            images[:BATCH], batch_size=BATCH, epochs=2, shuffle=False, verbose=0
        ).history
        assert np.isfinite(history["loss"]).all()
        reported.append(history["loss"][-1] - history["bits_per_dim"][-1] * 64 * np.log(2.0))
    np.testing.assert_allclose(reported, reported[0], rtol=1e-4)
    assert reported[0] > 10.0
