"""A class-conditional Glow: its likelihoods, samples and training."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import tfgen
from tfgen.errors import InputError
from tfgen.training import recipe, run

CLASSES = 3


@pytest.fixture(params=["channel", "pixel"], scope="module")
def model(request):
    """A shared model, whose weights no test changes."""
    built = tfgen.models.Glow(
        (8, 4, 2), levels=2, depth=1, width=8, num_classes=CLASSES, class_prior=request.param
    )
    generator = np.random.default_rng(0)
    for weight in built.trainable_weights:
        weight.assign_add(generator.normal(size=weight.shape, scale=0.2).astype("float32"))
    return built


@pytest.fixture
def images():
    return np.random.default_rng(1).integers(0, 256, (6, 8, 4, 2), "uint8")


def dequantized(model, images):
    """The arguments of `_log_density` for images, with the noise of the images themselves."""
    images = tf.constant(images)
    noise = model._dequantization.noise_of_image(model._image_noise, images)
    return model._dequantized(images, noise)


def reference(model, images):
    """log p(x|y), `[N, K]`, and the classifier's logits, from the flow's latents in float64."""
    values, _ = dequantized(model, images)
    latents, log_det = (v.numpy().astype("float64") for v in model.flow.inverse_and_log_det(values))
    mean, log_scale, kernel, bias = (
        weight.numpy().astype("float64") for weight in model._class_prior.weights
    )
    top = latents[:, : model._top_size].reshape(len(images), -1, mean.shape[-1])
    rest = stats.norm.logpdf(latents[:, model._top_size :]).sum(1)
    of_top = np.stack(
        [
            stats.norm.logpdf(top, m, np.exp(s)).sum((1, 2))
            for m, s in zip(mean, log_scale, strict=True)
        ],
        axis=1,
    )
    constant = model.num_dims * model.num_bits * np.log(2.0)
    return (rest + log_det - constant)[:, None] + of_top, top.mean(1) @ kernel + bias


def test_likelihoods_given_the_class_and_without_it(model, images):
    expected, _ = reference(model, images)
    for label in range(CLASSES):
        labels = np.full(6, label)
        np.testing.assert_allclose(model.log_prob(images, labels), expected[:, label], rtol=1e-5)
    mixture = special.logsumexp(expected, axis=1) - np.log(CLASSES)
    np.testing.assert_allclose(model.log_prob(images), mixture, rtol=1e-5)
    graph = tf.function(lambda x, y: model.log_prob(x, y))
    labels = tf.constant([0, 1, 2, 0, 1, 2])
    np.testing.assert_allclose(graph(tf.constant(images), labels), model.log_prob(images, labels))


def test_likelihoods_of_several_draws_average_over_the_classes_too(model, images):
    of_classes = [model.log_prob(images, np.full(6, k), num_samples=3) for k in range(CLASSES)]
    mixture = special.logsumexp(np.float64(of_classes), axis=0) - np.log(CLASSES)
    np.testing.assert_allclose(model.log_prob(images, num_samples=3), mixture, rtol=1e-5)


def test_the_training_loss_adds_the_classification_loss(model, images):
    model.compile("sgd", seed=0)
    labels = np.array([0, 1, 2, 2, 1, 0])
    noise = tfgen.models.noise.StepNoise(0, 0, images)
    nats, losses, _ = model._training_loss(tf.constant(images), tf.constant(labels), noise)
    added = (losses - nats).numpy()
    assert np.all(added > 0)
    offsets = tfgen.models.noise.StepNoise(0, 0, images).uniform((8, 4, 2))
    without, ratios, found_logits = model._log_density(*model._flow_input(images, offsets))
    expected = -special.log_softmax(found_logits.numpy().astype("float64"), axis=1)
    expected = 0.01 * model.num_dims * expected[np.arange(6), labels]
    np.testing.assert_allclose(added, expected, rtol=1e-3, atol=np.spacing(abs(losses)).max())
    np.testing.assert_allclose(-nats, without + ratios.numpy()[np.arange(6), labels], rtol=1e-5)


def test_the_logits_are_those_of_a_linear_classifier(model, images):
    _, expected = reference(model, images)
    found = model._log_density(*dequantized(model, images))[2]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_samples_are_drawn_from_the_prior_of_their_class(model):
    noise = tf.random.stateless_normal([9, 64], [4, 0])
    mean, log_scale = (weight.numpy() for weight in model._class_prior.weights[:2])
    channels = mean.shape[-1]
    top = noise.numpy()[:, : model._top_size].reshape(9, -1, channels)
    expected = mean[1] + np.exp(log_scale[1]) * 0.7 * top
    latents = np.concatenate(
        [expected.reshape(9, -1), 0.7 * noise.numpy()[:, model._top_size :]], axis=1
    )
    found = model.sample(9, temperature=0.7, seed=4, labels=1).numpy().astype(int)
    assert np.abs(found - model.decode(latents.astype("float32"))).max() <= 1
    np.testing.assert_array_equal(found, model.sample(9, 0.7, seed=4, labels=np.full(9, 1)))
    in_turn = model.sample(9, seed=4)
    np.testing.assert_array_equal(in_turn, model.sample(9, seed=4, labels=np.arange(9) % CLASSES))


@pytest.mark.parametrize(("class_prior", "pixels"), [("channel", 1), ("pixel", 2)])
def test_the_prior_varies_over_channels_or_over_pixels(class_prior, pixels, tmp_path):
    model = tfgen.models.Glow(
        (8, 4, 2), levels=2, depth=1, width=8, num_classes=CLASSES, class_prior=class_prior
    )
    assert [w.shape for w in model._class_prior.weights[:2]] == [(CLASSES, pixels, 16)] * 2
    model.save_preset(tmp_path)
    assert tfgen.zoo.load(tmp_path).get_config()["class_prior"] == class_prior


def test_training_separates_the_classes(tmp_path):
    words = ["epochs=25", "learning_rate=3e-3", "width=16", "depth=2", "num_classes=10"]
    out = run.train(recipe.load("glow-digits", words), tmp_path / "out")
    model = tfgen.zoo.load(out)
    assert model.num_classes == 10
    data = tfgen.data.load("digits")
    images, labels = data.images("test"), data.labels("test")
    scores = np.stack([model.log_prob(images, np.full(len(images), k)) for k in range(10)], axis=1)
    assert np.mean(scores.argmax(1) == labels) > 0.7
    given = model.log_prob(images, labels).numpy().mean()
    assert given > model.log_prob(images).numpy().mean()
    assert tfgen.zoo.card(out)["metrics"]["nats"]["protocol"]["labels"] == "not given"


@pytest.mark.parametrize("class_prior", ["channel", "pixel"])
def test_xla_omits_assertions_so_bad_labels_give_nan(images, class_prior):
    model = tfgen.models.Glow(
        (8, 4, 2), levels=1, depth=1, width=2, num_classes=CLASSES, class_prior=class_prior
    )
    model.compile("sgd", jit_compile=True)
    for wrong in (3, -1):
        labels = np.array([0, 1, 2, 0, 1, wrong])
        history = model.fit(images, labels, batch_size=6, verbose=0).history
        assert np.isnan(history["bits_per_dim"]).all()


@pytest.mark.parametrize("class_prior", ["channel", "pixel"])
def test_bad_labels_are_refused(class_prior, images):
    model = tfgen.models.Glow(
        (8, 4, 2), levels=1, depth=1, width=2, num_classes=CLASSES, class_prior=class_prior
    )
    for labels, message in (
        (np.full(6, 3), "between 0 and 2, got 3 to 3"),
        (np.full(6, -1), "between 0 and 2, got -1"),
        (np.zeros(5, int), r"integers \[6\]"),
        (np.zeros(6), r"integers \[6\], got float64"),
    ):
        with pytest.raises(InputError, match=message):
            model.log_prob(images, labels)
    with pytest.raises(InputError, match="between 0 and 2, got 7 to 7"):
        model.sample(2, labels=7)
    model.compile("sgd")
    with pytest.raises(InputError, match=r"trains on \(images, labels\)"):
        model.fit(images, verbose=0)
    with pytest.raises(InputError, match="labels must be integers"):
        model.fit(images, np.zeros(6), verbose=0)
    with pytest.raises(tf.errors.InvalidArgumentError, match="labels must lie between 0 and 2"):
        model.fit(images, np.full(6, 3), verbose=0)
    plain = tfgen.models.Glow((8, 4, 2), levels=1, depth=1, width=4)
    with pytest.raises(InputError, match="this model has no classes"):
        plain.log_prob(images, np.zeros(6, int))
    with pytest.raises(InputError, match="this model has no classes"):
        plain.sample(2, labels=0)
    with pytest.raises(InputError, match="num_classes must be an integer of at least 2, got 1"):
        tfgen.models.Glow((4, 4, 2), levels=1, depth=1, width=4, num_classes=1)
    with pytest.raises(InputError, match="class_prior must be one of channel, pixel, got 'image'"):
        tfgen.models.Glow((4, 4, 1), levels=1, depth=1, width=4, class_prior="image")
    with pytest.raises(InputError, match=r"model.num_classes is 7, but digits has 10 classes"):
        run.train(recipe.load("glow-digits", ["model.num_classes=7"]), "nowhere")
