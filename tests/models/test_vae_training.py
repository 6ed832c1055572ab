"""The training loss of a VAE: annealing, free bits, priors on weights, replicas."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special

import tfgen
from tfgen.models.noise import StepNoise
from tfgen.models.vae.objectives import resampled, with_free_bits
from tfgen.training import strategy
from tfgen.training.replicated import Replicated

SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def images():
    return tfgen.data.load("digits").images("train")[:32]


def compiled(optimizer=None, **options):
    keras.utils.set_random_seed(0)
    model = tfgen.models.VAE(SHAPE, latent_dim=4, hidden_units=[16], **options)
    model.compile(optimizer or keras.optimizers.SGD(1e-3), seed=3)
    return model


def losses(model, images):
    noise = StepNoise(3, model.optimizer.iterations, images)
    nats, minimized, _ = model._training_loss(tf.constant(images), None, noise)
    return nats.numpy(), minimized.numpy()


def divergences(model, images):
    """KL of each image and latent at the first step, from the equations."""
    noise = StepNoise(3, 0, images)
    observed = model.observe(tf.constant(images), noise)
    mean, log_variance, _ = model.posterior.parameters(model.encoder_outputs(observed))
    mean, log_variance = mean.numpy().astype("float64"), log_variance.numpy().astype("float64")
    return 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance)


def test_beta_weighs_the_divergence_and_warm_up_raises_it(images):
    plain, minimized = losses(compiled(), images)
    np.testing.assert_array_equal(plain, minimized)
    total = divergences(compiled(), images).sum(-1)
    heavy = compiled(beta=4.0)
    nats, minimized = losses(heavy, images)
    np.testing.assert_allclose(nats, plain, rtol=1e-6)
    np.testing.assert_allclose(minimized - nats, 3 * total, rtol=1e-3, atol=1e-3)
    model = compiled(kl_warmup=10)
    for step, factor in ((0, 0.0), (4, 0.4), (10, 1.0), (25, 1.0)):
        model.optimizer.iterations.assign(step)
        nats, minimized = losses(model, images)
        noise = StepNoise(3, step, images)
        observed = model.observe(tf.constant(images), noise)
        mean, log_variance, _ = model.posterior.parameters(model.encoder_outputs(observed))
        kl = tfgen.models.vae.objectives.gaussian_divergences(mean, log_variance).numpy().sum(-1)
        np.testing.assert_allclose(nats - minimized, (1 - factor) * kl, rtol=1e-3, atol=1e-3)


def test_free_bits_bound_the_mean_divergence_of_each_latent_from_below(images):
    of_latents = divergences(compiled(), images)
    minimum = float(np.median(of_latents.mean(0)))
    nats, minimized = losses(compiled(free_bits=minimum), images)
    expected = np.maximum(of_latents.mean(0), minimum).sum() - of_latents.mean(0).sum()
    np.testing.assert_allclose(np.mean(minimized - nats), expected, rtol=1e-3)
    values = tf.Variable(of_latents)
    with tf.GradientTape(persistent=True) as tape:
        found = tf.reduce_mean(with_free_bits(values, minimum, lambda x: tf.reduce_mean(x, axis=0)))
        reference = tf.reduce_sum(tf.maximum(tf.reduce_mean(values, axis=0), minimum))
    np.testing.assert_allclose(found, reference, rtol=1e-12)
    np.testing.assert_allclose(
        tape.gradient(found, values), tape.gradient(reference, values), atol=1e-15
    )


def test_free_bits_of_a_flow_count_for_all_latents_together(images):
    model = compiled(free_bits=100.0, prior="flow", flow_steps=1, flow_width=4)
    _, minimized = losses(model, images)
    _, unweighted = losses(compiled(beta=0.0, prior="flow", flow_steps=1, flow_width=4), images)
    np.testing.assert_allclose(minimized - unweighted, 400.0, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [{"num_monte_carlo_samples": 3}, {"likelihood": "quantized_logistic", "neighbours": 2}],
)
def test_a_weight_on_the_image_costs_its_squared_error(images, options):
    model = compiled(mse_weight=7.0, **options)
    nats, minimized = losses(model, images)
    noise = StepNoise(3, 0, images)
    observed = model.observe(images, noise)
    mean, log_variance = np.split(model.encoder_outputs(observed).numpy(), 2, axis=1)
    shape = (model.num_monte_carlo_samples, 1, model.latent_dim)
    normal = noise.normal(shape).numpy()[:, :, 0]
    z = mean[:, None] + np.exp(0.5 * log_variance)[:, None] * normal
    outputs = np.stack(
        [model.decoder_outputs(z[:, i]) for i in range(model.num_monte_carlo_samples)], axis=1
    )
    decoded = outputs[..., :64] + 0.5 if "neighbours" in options else special.expit(outputs)
    errors = ((decoded - observed.numpy().reshape(-1, 1, 64)) ** 2).sum(-1)
    np.testing.assert_allclose(minimized - nats, 7.0 * errors.mean(1), rtol=1e-4)


def test_a_weight_on_the_image_acts_through_the_samples_that_have_gradients(images):
    model = compiled(mse_weight=7.0, num_importance_samples=4, num_backward_samples=1)
    plain = compiled(num_importance_samples=4, num_backward_samples=1)
    (nats, minimized), (same, _) = losses(model, images), losses(plain, images)
    np.testing.assert_allclose(nats, same, rtol=1e-5)
    noise = StepNoise(3, 0, images)
    observed = model.observe(images, noise)
    normal = noise.normal((1, 4, model.latent_dim))
    errors = model.bound_terms(observed, normal).squared_error[:, 0].numpy()
    distance = np.abs((minimized - nats)[:, None] / 7.0 - errors) / errors
    assert (distance.min(axis=1) < 1e-3).all()


def test_a_prior_on_the_weights_affects_only_the_decoder(images):
    plain, ours = compiled(), compiled(map_num_examples=50)
    gradients = []
    for model in (plain, ours):
        with tf.GradientTape() as tape:
            noise = StepNoise(3, 0, images)
            loss = tf.reduce_mean(model._training_loss(tf.constant(images), None, noise)[1])
        gradients.append(tape.gradient(loss, [w.value for w in model.trainable_weights]))
    decoder = {id(w) for w in ours.decoder.trainable_weights}
    for weight, before, after in zip(ours.trainable_weights, *gradients, strict=True):
        pull = weight.numpy() / 50 if id(weight) in decoder else 0.0
        np.testing.assert_allclose(after - before, pull * np.ones(weight.shape), atol=1e-5)


def test_importance_samples_may_start_after_some_steps(images):
    later = compiled(num_importance_samples=5, iwae_start_step=2.0)
    for step, same_as in ((1, {}), (2, {"num_importance_samples": 5})):
        other = compiled(**same_as)
        for model in (later, other):
            model.optimizer.iterations.assign(step)
        noise = np.random.default_rng(0).normal(size=(32, 1, 5, 4)).astype("float32")
        k = other.num_importance_samples

        class Noise:
            uniform = staticmethod(lambda shape: tf.fill([32, *shape], 0.5))
            normal = staticmethod(lambda shape, noise=noise: tf.constant(noise))

        observed = tf.cast(images / 255.0 > 0.5, tf.float32)
        expected = -other.bound_terms(observed, tf.constant(noise[:, :, :k]), "B").bound().numpy()
        found, *_ = later._training_loss(tf.constant(images), None, Noise)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_importance_samples_may_start_within_a_call_of_several_steps(images):
    flows = {"prior": "flow", "posterior": "flow", "flow_steps": 1, "flow_width": 8}
    later = compiled(num_importance_samples=5, iwae_start_step=2, **flows)
    replicated = Replicated(later, tf.distribute.get_strategy())
    stream = tfgen.data.load("digits").stream("train", batch_size=8)
    found = replicated.train(replicated.batches(stream), 4).steps
    one_by_one = compiled(num_importance_samples=5, iwae_start_step=2, **flows)
    for step, sums in enumerate(found):
        batch = replicated.batches(stream, step)
        nats = one_by_one.gradient_step(next(batch))  # Not in a graph: no `tf.cond`.
        np.testing.assert_allclose(sums.nll, np.sum(nats), rtol=1e-5)


def test_values_that_are_only_reported_take_no_backward_pass(images):
    model = compiled(num_importance_samples=3)
    with tf.GradientTape() as tape:
        nats, *_ = model._training_loss(tf.constant(images), None, StepNoise(3, 0, images))
    weights = [weight.value for weight in model.trainable_weights]
    assert tape.gradient(nats, weights) == [None] * len(weights)


def test_samples_are_drawn_in_proportion_to_their_weights():
    log_weights = np.random.default_rng(0).normal(size=(3, 2, 7)) * 3.0 - 900.0
    weights = np.exp(log_weights - log_weights.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    spread = (np.arange(2000) + 0.5) / 2000
    drawn = np.array([resampled(log_weights, np.full((3, 2), u), 4) for u in spread])
    shares = (drawn[..., None] == np.arange(7)).sum(-2)
    np.testing.assert_allclose(shares.mean(0), 4 * weights, atol=3e-3)
    assert np.all(np.abs(shares - 4 * weights) < 1.0 + 1e-9)


@pytest.mark.parametrize("flows", [False, True])
@pytest.mark.parametrize("samples", [1, 2])
def test_gradients_through_few_samples_average_to_those_through_all(images, samples, flows):
    options = {"num_importance_samples": 6, "num_monte_carlo_samples": samples, "beta": 0.7}
    if flows:
        options |= {"prior": "flow", "posterior": "flow", "flow_steps": 1, "flow_width": 8}
    plain, few = compiled(**options), compiled(**options, num_backward_samples=2)
    for model in (plain, few):
        weights = np.random.default_rng(1)
        for weight in model.trainable_weights:
            weight.assign(weight + 0.1 * weights.normal(size=weight.shape))
    of_latents = np.random.default_rng(2).normal(size=(32, samples, 6, 4)).astype("float32")

    def gradients_of(model):
        @tf.function(autograph=False)
        def gradients(u):
            class Noise:
                normal = staticmethod(lambda shape: tf.constant(of_latents))
                uniform = staticmethod(
                    lambda shape: tf.fill([32, *shape], 0.5 if len(shape) > 1 else u)
                )

            with tf.GradientTape() as tape:
                nll, losses, _ = model._training_loss(tf.constant(images), None, Noise)
                loss = tf.reduce_sum(losses)
            found = tape.gradient(loss, [weight.value for weight in model.trainable_weights])
            return nll, losses, tf.concat([tf.reshape(g, [-1]) for g in found], axis=0)

        return gradients

    nll, losses, expected = (value.numpy() for value in gradients_of(plain)(tf.constant(0.5)))
    found = []
    gradients_of_few = gradients_of(few)
    for u in (np.arange(100, dtype="float32") + 0.5) / 100:
        nll_of_few, losses_of_few, gradient = gradients_of_few(tf.constant(u))
        np.testing.assert_allclose(nll_of_few, nll, rtol=1e-6)
        np.testing.assert_allclose(losses_of_few, losses, rtol=1e-5)
        found.append(gradient.numpy())
    assert np.linalg.norm(np.mean(found, axis=0) - expected) < 0.01 * np.linalg.norm(expected)
    assert np.linalg.norm(found[0] - expected) > 0.02 * np.linalg.norm(expected)


@pytest.mark.parametrize(
    "options",
    [
        {"free_bits": 0.3},
        {"prior": "flow", "posterior": "flow", "flow_steps": 1, "flow_width": 8},
        {"num_importance_samples": 5, "num_backward_samples": 2},
    ],
    ids=["free_bits", "flows", "num_backward_samples"],
)
def test_two_devices_train_as_one_does(images, options):
    weights = []
    for chosen in (strategy.choose("single", "cpu:1"), strategy.choose("mirrored", "cpu:2")):
        with chosen.scope():
            model = compiled(keras.optimizers.SGD(1e-3), **options)
        model.fit(images, batch_size=16, epochs=2, shuffle=False, verbose=0)
        weights.append([weight.numpy() for weight in model.trainable_weights])
    for one, two in zip(*weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize(
    ("estimator", "k", "beta"), [("A", 1, 1.0), ("A", 4, 1.0), ("A", 4, 0.5), ("B", 1, 0.5)]
)
def test_gradients_of_every_bound_equal_finite_differences(estimator, k, beta):
    """In float64, of the whole chain from the encoder's outputs to the bound."""
    from tfgen.models.vae import objectives
    from tfgen.models.vae.posterior import GaussianPosterior
    from tfgen.models.vae.prior import NormalPrior
    from tfgen.numerics import bernoulli_log_prob

    generator = np.random.default_rng(0)
    noise = tf.constant(generator.normal(size=(2, 3, k, 2)))
    matrix = tf.constant(generator.normal(size=(2, 6)))
    values = tf.constant((generator.uniform(size=(2, 1, 1, 6)) > 0.5).astype("float64"))
    posterior, prior = GaussianPosterior(2), NormalPrior()

    def bound(outputs):
        latents, log_q, _ = posterior.sample(outputs, noise)
        reconstruction = bernoulli_log_prob(values, tf.tensordot(latents, matrix, 1))
        divergence = log_q - prior.log_prob(latents)
        if estimator == "B":
            closed = objectives.gaussian_divergences(*posterior.parameters(outputs)[:2])
            divergence = tf.reduce_sum(closed, axis=-1)[:, None, None]
        return tf.reduce_sum(objectives.weighted_bound(reconstruction, divergence, beta))

    outputs = generator.normal(size=(2, 4))
    variable = tf.Variable(outputs)
    with tf.GradientTape() as tape:
        value = bound(variable)
    gradient = tape.gradient(value, variable).numpy()
    for index in np.ndindex(*outputs.shape):
        shift = np.zeros(outputs.shape)
        shift[index] = 1e-6
        difference = (bound(outputs + shift) - bound(outputs - shift)) / 2e-6
        np.testing.assert_allclose(gradient[index], difference, rtol=1e-6, atol=1e-8)
