"""The variational autoencoder."""

import math
import operator

import keras
import tensorflow as tf

from tfgen import networks
from tfgen.errors import InputError
from tfgen.models.base import GenerativeModel, in_chunks
from tfgen.models.likelihoods import LIKELIHOODS
from tfgen.models.noise import ImageNoise

SAMPLES_OF_LOG_PROB = 8


@keras.saving.register_keras_serializable(package="tfgen")
class VAE(GenerativeModel):
    """Images as what a decoder says of standard normal latents; an encoder guesses the latents.

    Equations, with q(z|x) = N(mu(x), sigma(x)^2), p(z) = N(0, I), z = mu + sigma * eps:

    - estimator "B": -KL(q(z|x) || p(z)) + mean over L samples of log p(x|z), where
      -KL = 1/2 sum(1 + log sigma^2 - mu^2 - sigma^2)
    - estimator "A": mean over L samples of log p(x, z) - log q(z|x)
    - with k = importance_samples > 1: mean over L of log(1/k sum_i p(x, z_i) / q(z_i|x)), whatever
      the estimator
    - encode(x) = mu(x), decode(z) = the mean of p(x|z)

    Each is a lower bound of log p(x) in expectation. `log_prob` takes the bound at samples whose
    noise comes from the image itself (`tfgen.models.noise.ImageNoise`), so that it is a function of
    the image alone.

    Shapes: images uint8 `[N, H, W, C]`, latents float32 `[N, latent_dim]`.

    Args:
        image_shape: (H, W, C).
        latent_dim: numbers in a latent.
        encoder: "mlp".
        decoder: "mlp".
        likelihood: "bernoulli" (grey images, binarized at random) or "quantized_logistic" (8 bits).
        estimator: "B" or "A", for training.
        samples: L, for training.
        importance_samples: k, for training and by default for `log_prob`.
        hidden_units: units of the hidden layers of the encoder; the decoder has them in reverse.
        activation: of the hidden layers, by its Keras name.

    Raises:
        InputError: an unknown encoder, decoder, likelihood or estimator, sizes below 1, a Bernoulli
            likelihood for images of several channels.

    Source: Kingma and Welling, Auto-Encoding Variational Bayes, 2013 (1312.6114), sections 2 and
    3, appendices B and C; Burda, Grosse and Salakhutdinov, 2015 (1509.00519), equation 8.

    Example:

    >>> import tfgen
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> model.sample(3, seed=0).shape, model.bound
    (TensorShape([3, 8, 8, 1]), 'lower bound, 1 importance sample')
    """

    def __init__(
        self,
        image_shape,
        *,
        latent_dim,
        encoder="mlp",
        decoder="mlp",
        likelihood="bernoulli",
        estimator="B",
        samples=1,
        importance_samples=1,
        hidden_units=(500,),
        activation="tanh",
        name="vae",
    ):
        hidden_units = _listed(hidden_units, name)
        sizes = {
            "latent_dim": latent_dim,
            "samples": samples,
            "importance_samples": importance_samples,
            **{f"hidden_units[{i}]": units for i, units in enumerate(hidden_units)},
        }
        for argument, value in sizes.items():
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name}: {argument} must be a positive integer, got {value!r}")
        choices = {
            "encoder": (encoder, ["mlp"]),
            "decoder": (decoder, ["mlp"]),
            "likelihood": (likelihood, list(LIKELIHOODS)),
            "estimator": (estimator, ["A", "B"]),
        }
        for argument, (value, possible) in choices.items():
            if value not in possible:
                raise InputError(
                    f"{name}: {argument} must be one of {', '.join(possible)}, got {value!r}"
                )
        super().__init__(image_shape, latent_dim, name=name)
        self._config = {
            "latent_dim": latent_dim,
            "encoder": encoder,
            "decoder": decoder,
            "likelihood": likelihood,
            "estimator": estimator,
            "samples": samples,
            "importance_samples": importance_samples,
            "hidden_units": hidden_units,
            "activation": activation,
        }
        self.estimator = estimator
        self.samples = samples
        self.importance_samples = importance_samples
        self._likelihood = LIKELIHOODS[likelihood](self.image_shape)
        self.num_bits = self._likelihood.num_bits
        self.encoder = networks.dense(
            self.num_dims,
            2 * latent_dim,
            widths=hidden_units,
            activation=activation,
            name=f"{name}_encoder",
        )
        self.decoder = networks.dense(
            latent_dim,
            self.num_dims * self._likelihood.parameters_per_pixel,
            widths=hidden_units[::-1],
            activation=activation,
            name=f"{name}_decoder",
        )
        self._image_noise = ImageNoise(self.image_shape)
        self.built = True

    def get_config(self):
        return {"image_shape": self.image_shape, "name": self.name, **self._config}

    @property
    def bound(self):
        """What `log_prob` bounds, and with how many importance samples."""
        plural = "s" if self.importance_samples > 1 else ""
        return f"lower bound, {self.importance_samples} importance sample{plural}"

    @property
    def protocol(self):
        """What a figure of `log_prob` or `bits_per_dim` means, for cards."""
        single = self.importance_samples == 1
        return {
            "bound": self.bound,
            "dims": self.num_dims,
            "bits": self.num_bits,
            "padding": "none",
            "dequantization": self._likelihood.quantization,
            "samples": SAMPLES_OF_LOG_PROB if single else self.importance_samples,
        }

    def log_prob(self, images, importance_samples=None):
        """A lower bound of the log-likelihood in nats.

        With one importance sample: the evidence lower bound (estimator B) averaged over 8
        samples. With k > 1: the importance-weighted bound, which approaches log p(x) as k grows.

        Shapes: uint8 `[N, H, W, C] -> float32 [N]`.

        Args:
            images: a Bernoulli likelihood binarizes grey ones by noise that comes from the image
                itself, see `tfgen.models.noise.ImageNoise`.
            importance_samples: k; by default the model's.

        Raises:
            InputError: images of another shape or dtype, k below 1.
        """
        k = self.importance_samples if importance_samples is None else importance_samples
        if isinstance(k, bool) or not hasattr(k, "__index__") or k < 1:
            raise InputError(f"{self.name}: importance_samples must be at least 1, got {k!r}")
        if k == self.importance_samples:
            return super().log_prob(images)
        images = self._checked_images(images)

        def bound(part):
            return self._image_bound(part, operator.index(k))

        if not tf.executing_eagerly():
            return bound(images)
        return in_chunks(bound, [images], self.num_dims * max(k, SAMPLES_OF_LOG_PROB))

    @property
    def _numbers_per_image(self):
        return self.num_dims * max(self.importance_samples, SAMPLES_OF_LOG_PROB)

    def _log_prob(self, images):
        return self._image_bound(images, self.importance_samples)

    def _image_bound(self, images, k):
        threshold = self._image_noise.uniform(images, self.image_shape)
        shape = (SAMPLES_OF_LOG_PROB if k == 1 else 1, k, self.latent_dim)
        noise = self._image_noise.normal(images, shape)
        return self._bound_of(self._likelihood.observe(images, threshold), noise, "B")

    def _training_loss(self, images, labels, noise):
        observed = self._likelihood.observe(images, noise.uniform(self.image_shape))
        shape = (self.samples, self.importance_samples, self.latent_dim)
        nats = -self._bound_of(observed, noise.normal(shape), self.estimator)
        return nats, nats

    def _encode(self, images):
        grey = tf.cast(images, tf.float32) / 255.0
        return self._posterior(tf.reshape(grey, [-1, self.num_dims]))[0]

    def _decode(self, latents):
        pixels = self._likelihood.mean(self.decoder(latents))
        images = tf.reshape(pixels, [-1, *self.image_shape])
        return tf.cast(tf.round(255.0 * images), tf.uint8)

    def _bound_of(self, observed, noise, estimator):
        """The bound, `[N]`, of observed images `[N, H, W, C]` at noise `[N, L, k, latent_dim]`."""
        flat = tf.reshape(observed, [-1, self.num_dims])
        mean, log_variance = self._posterior(flat)
        mean, log_variance = mean[:, None, None], log_variance[:, None, None]
        latents = mean + tf.exp(0.5 * log_variance) * noise
        outputs = self.decoder(tf.reshape(latents, [-1, self.latent_dim]))
        outputs = tf.reshape(
            outputs, tf.concat([tf.shape(latents)[:3], tf.shape(outputs)[1:]], axis=0)
        )
        reconstruction = self._likelihood.log_prob(flat[:, None, None], outputs)
        if estimator == "B" and noise.shape[2] == 1:
            negative_kl = 0.5 * tf.reduce_sum(
                1.0 + log_variance - mean**2 - tf.exp(log_variance), axis=-1
            )
            return tf.reduce_mean(negative_kl + reconstruction, axis=[1, 2])
        # log p(z) - log q(z|x): the constants of the two Gaussians cancel.
        prior_to_posterior = 0.5 * tf.reduce_sum(log_variance + noise**2 - latents**2, axis=-1)
        log_weights = reconstruction + prior_to_posterior
        log_mean_weight = tf.reduce_logsumexp(log_weights, axis=2) - math.log(noise.shape[2])
        return tf.reduce_mean(log_mean_weight, axis=1)

    def _posterior(self, flat):
        return tf.split(self.encoder(flat), 2, axis=-1)


def _listed(hidden_units, name):
    if not isinstance(hidden_units, (list, tuple)):
        raise InputError(f"{name}: hidden_units must be a list such as [500], got {hidden_units!r}")
    return list(hidden_units)
