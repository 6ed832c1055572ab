"""The variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfgen.bijectors.base import FlowBijector
from tfgen.fitting.phase import add_losses, phase, with_losses_returned
from tfgen.models import bounds
from tfgen.models.base import GenerativeModel
from tfgen.models.noise import ImageNoise, StepNoise
from tfgen.models.summary import Row
from tfgen.models.vae import arguments as vae_arguments
from tfgen.models.vae import coders, importance_sampling, objectives
from tfgen.models.vae.coders import NETWORKS
from tfgen.models.vae.density import BoundTerms, JointDensity
from tfgen.models.vae.likelihoods import LIKELIHOODS
from tfgen.models.vae.posterior import FlowPosterior, GaussianPosterior
from tfgen.models.vae.prior import FlowPrior, NormalPrior
from tfgen.models.vae.rows import rows_of
from tfgen.models.vae.training_loss import training_loss

ELBO_SAMPLES = 8
MOST_SAMPLES_AT_ONCE = 256

_GIVEN = "given"  # in `settings`, in place of a network given by the caller


@keras.saving.register_keras_serializable(package="tfgen")
class VAE(GenerativeModel):
    """A variational autoencoder: a decoder of latents, and an encoder that infers them.

    Equations, with z = mu(x) + sigma(x) e, e standard normal:

    - estimator "B": mean over L samples of log p(x|z), minus the part of KL(q(z|x) || p(z)) with a
      closed form, minus the mean over the samples of its other part. With q Gaussian and p(z) =
      N(0, I) all of it has a closed form: KL = 1/2 sum(mu^2 + sigma^2 - 1 - log sigma^2)
    - estimator "A": mean over L samples of log p(x, z) - log q(z|x)
    - with k = num_importance_samples > 1: mean over L of log(1/k sum_i p(x, z_i) / q(z_i|x)), with
      either estimator

    Each is a lower bound of log p(x) in expectation. `log_prob` gives the evidence lower bound
    (estimator B, averaged over 8 samples), or with num_samples=k > 1 the importance-weighted bound.
    The noise of its samples is computed from the image itself (`tfgen.models.noise.ImageNoise`), so
    that it is a function of the image alone. More than 256 samples are drawn in bounded memory, see
    `tfgen.models.vae.importance_sampling`.

    - prior "flow": p(z) is a flow f of standard normal noise, `tfgen.models.vae.prior`
    - posterior "flow": z = g(mu + sigma e) with steps of flow g conditioned on features of the
      image, `tfgen.models.vae.posterior`
    - encode(x) = f^-1(g(mu(x))), decode(e) = the mean of p(x|z = f(e))

    Training maximizes the bound with the KL term times beta, which rises from 0 during the first
    `kl_warmup` steps. With `free_bits` b, the KL counts as at least b nats for each latent if q is
    Gaussian and p(z) normal, and otherwise in total as at least b nats times the number of latents.
    With `map_num_examples` N, the number of training images, training is maximum a posteriori: the
    log of a N(0, I) prior on the weights of the decoder and the flow prior, divided by N, is added.
    With `mse_weight` w, w times the squared error of the decoded image is subtracted.

    Shapes: images uint8 `[N, H, W, C]`, latents float32 `[N, latent_dim]`.

    Args:
        image_shape: (H, W, C).
        latent_dim: size of a latent vector; at least 2 for a flow.
        encoder: "mlp"; "conv", see `tfgen.networks.residual_encoder`; or a `keras.Model` from
            images `[N, H, W, C]` in [0, 1] to `[N, 2 latent_dim]`, mu and log sigma^2 (and
            `flow_width` further numbers for a flow posterior).
        decoder: "mlp"; "conv"; or a `keras.Model` from latents to `[N, H, W, C P]`, P the
            likelihood's parameters per pixel.
        likelihood: "bernoulli" (grey images, binarized at random), "gaussian" or
            "quantized_logistic" (8 bits).
        binarization: "dynamic" or "static", for a Bernoulli likelihood.
        neighbours: number of neighbours, 0 to 4, on which the mean of a pixel depends in a
            quantized logistic likelihood, see `tfgen.models.vae.likelihoods.QuantizedLogistic`.
        estimator: "B" or "A", for training.
        num_monte_carlo_samples: L, for training.
        num_importance_samples: k, for training and validation.
        iwae_start_step: the step from which training uses k; before it, k is 1.
        num_backward_samples: number of samples, resampled from the k by their weights, that
            gradients flow through: the same gradients in expectation for less work; 0 for all k.
        beta: weight of the KL term in training.
        kl_warmup: number of steps during which beta rises from 0.
        free_bits: b, minimum of the KL in nats per latent.
        map_num_examples: N, or 0 for maximum likelihood.
        mse_weight: w, in nats; the squared error is summed over pixels, which are in [0, 1]. With
            neighbours, the likelihood alone hardly depends on the decoded image.
        prior: "normal" or "flow".
        posterior: "gaussian" or "flow".
        hidden_units: units of the encoder's hidden dense layers; the decoder has them in reverse
            order.
        activation: Keras name of the hidden layers' activation.
        channels: for "conv", channels of the encoder's feature maps at H/2, H/4 and so on; the
            decoder has them in reverse order.
        blocks: for "conv", residual blocks at each resolution.
        flow_steps: steps of each flow.
        flow_width: hidden units of the flows' couplings, and size of the features that condition
            the posterior's couplings.
        network_dtype: dtype in which "mlp", "conv" and the couplings compute: "float32", the
            default, "float64", or for training "bfloat16" or "float16".

    Raises:
        InputError: unknown choices, sizes below 1, a Bernoulli likelihood for images of several
            channels, flows with an odd number of latents, networks of other shapes, free bits
            together with importance samples.

    Source: Kingma and Welling, Auto-Encoding Variational Bayes, 2013 (1312.6114), sections 2 and
    3, appendices B and C; Burda, Grosse and Salakhutdinov, 2015 (1509.00519), section 3.

    Example:

    >>> import tfgen
    >>> model = tfgen.models.VAE((8, 8, 1), latent_dim=2, hidden_units=[16])
    >>> model.sample(3, seed=0).shape, model.bound
    (TensorShape([3, 8, 8, 1]), 'lower bound, 1 importance sample, mean of 8 draws')
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        *,
        latent_dim: int,
        encoder: str | dict | keras.Model = "mlp",
        decoder: str | dict | keras.Model = "mlp",
        likelihood: str = "bernoulli",
        binarization: str = "dynamic",
        neighbours: int = 0,
        estimator: str = "B",
        num_monte_carlo_samples: int = 1,
        num_importance_samples: int = 1,
        iwae_start_step: float = 0,
        num_backward_samples: int = 0,
        beta: float = 1.0,
        kl_warmup: float = 0,
        free_bits: float = 0.0,
        map_num_examples: float = 0,
        mse_weight: float = 0.0,
        prior: str = "normal",
        posterior: str = "gaussian",
        hidden_units: Sequence[int] = (500,),
        activation: str = "tanh",
        channels: Sequence[int] = (32, 64),
        blocks: int = 1,
        flow_steps: int = 4,
        flow_width: int = 128,
        network_dtype: str | None = None,
        name: str = "vae",
    ) -> None:
        settings = dict(locals())
        for key in ("self", "__class__", "image_shape", "name"):
            del settings[key]
        settings = vae_arguments.checked(settings, name)
        for role in ("encoder", "decoder"):
            if settings[role] not in NETWORKS:
                settings[role] = _GIVEN
        super().__init__(image_shape, latent_dim, name=name)
        self.settings = settings
        self.estimator = estimator
        self.num_monte_carlo_samples = num_monte_carlo_samples
        self.num_importance_samples = num_importance_samples
        options: dict[str, Any] = {}
        if likelihood == "bernoulli":
            options["binarization"] = binarization
        if likelihood == "quantized_logistic":
            options["neighbours"] = neighbours
        self._likelihood = LIKELIHOODS[likelihood](self.image_shape, **options)
        self.num_bits = self._likelihood.num_bits
        flow: dict[str, Any] = {
            "steps": flow_steps,
            "width": flow_width,
            "network_dtype": network_dtype,
        }
        self.prior: NormalPrior | FlowPrior = NormalPrior()
        self.posterior = GaussianPosterior(latent_dim)
        if prior == "flow":
            self.prior = FlowPrior(latent_dim, name=f"{name}_prior", **flow)
            self._prior_layers = self.prior.layers
        if posterior == "flow":
            self.posterior = FlowPosterior(
                latent_dim, context_channels=flow_width, name=f"{name}_posterior", **flow
            )
            self._posterior_layers = self.posterior.layers
        height, width, num_channels = self.image_shape
        outputs = (height, width, num_channels * self._likelihood.parameters_per_pixel)
        self.encoder = coders.encoder(
            encoder, self.image_shape, self.posterior.encoder_outputs, settings, name
        )
        self.decoder = coders.decoder(decoder, latent_dim, outputs, settings, name)
        self._image_noise = ImageNoise(self.image_shape)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        given = {
            role: keras.saving.serialize_keras_object(getattr(self, role))
            for role in ("encoder", "decoder")
            if self.settings[role] == _GIVEN
        }
        return {"image_shape": self.image_shape, "name": self.name, **self.settings, **given}

    reported_parts: tuple[str, ...] = ("reconstruction", "kl")

    @property
    def num_tight_samples(self) -> int:
        """The `num_samples` that is used for the tighter bound in cards."""
        return 5000

    @property
    def num_evaluation_samples(self) -> int:
        """The `num_samples` for the bits/dim in cards and in validation: the k of training."""
        return self.num_importance_samples

    def bound_of(self, num_samples: int) -> str:
        """What `log_prob` returns with `num_samples`, in the words of `tfgen.models.bounds`."""
        parts = [bounds.LOWER, bounds.counted(num_samples, "importance sample")]
        if num_samples == 1:
            parts.append(f"mean of {ELBO_SAMPLES} draws")
        return bounds.described(*parts, half=self.half_dtype)

    @property
    def dequantization(self) -> str:
        """A description of how the likelihood quantizes or dequantizes pixels."""
        return self._likelihood.quantization

    def protocol(self, num_samples: int = 1) -> dict[str, Any]:
        """The protocol behind a value of `log_prob` or `bits_per_dim`, as a dict for cards."""
        drawn = ELBO_SAMPLES if num_samples == 1 else num_samples
        return {**super().protocol(num_samples), "samples": drawn}

    @property
    def layers(self) -> list[keras.Layer]:
        """The layers in the order in which weight files hold them."""
        return [*self.prior.layers, *self.posterior.layers, self.encoder, self.decoder]

    def _rows(self) -> list[Row]:
        return rows_of(self)

    @property
    def bijectors(self) -> list[FlowBijector]:
        """The bijectors of the prior and the posterior."""
        return [*self.prior.bijectors, *self.posterior.bijectors]

    def _log_prob(self, images, labels, num_samples):
        rows = 1 if num_samples > MOST_SAMPLES_AT_ONCE else max(num_samples, ELBO_SAMPLES)
        return self._run(
            self._image_bound, {"images": images}, rows_per_image=rows, num_samples=num_samples
        )

    def _image_bound(self, images, num_samples):
        if num_samples > MOST_SAMPLES_AT_ONCE:
            return importance_sampling.importance_weighted_bound(self, images, num_samples)
        return self._terms_of_images(images, num_samples).bound()

    def _terms_of_images(self, images, num_samples):
        drawn = (ELBO_SAMPLES, 1) if num_samples == 1 else (1, num_samples)
        noise = self._image_noise.normal(images, (*drawn, self.latent_dim))
        return self.bound_terms(self.observe(images), noise, "B")

    def _evaluation(self, images, labels):
        num_samples = self.num_evaluation_samples
        if num_samples <= MOST_SAMPLES_AT_ONCE:
            terms = self._terms_of_images(images, num_samples)
            return -terms.bound(), terms.parts()
        return -self._image_bound(images, num_samples), self._terms_of_images(images, 1).parts()

    def observe(self, images: tf.Tensor, step_noise: StepNoise | None = None) -> tf.Tensor:
        """The inputs of the networks, with the noise of a training step or of the images."""
        if step_noise is None or self._likelihood.fixed_noise:
            noise = self._image_noise.uniform(images, self.image_shape)
        else:
            noise = step_noise.uniform(self.image_shape)
        return self._likelihood.observe(images, noise)

    def _training_loss(self, images, labels, noise):
        observed = self.observe(images, noise)
        shape = (self.num_monte_carlo_samples, self.num_importance_samples, self.latent_dim)
        normal = noise.normal(shape)
        start = self.settings["iwae_start_step"]
        if not start:
            return training_loss(self, observed, normal, noise)

        def with_noise(normal):
            return with_losses_returned(self, lambda: training_loss(self, observed, normal, noise))

        results, losses = tf.cond(
            tf.cast(self.optimizer._iterations, tf.float32) < start,
            lambda: with_noise(normal[:, :, :1]),
            lambda: with_noise(normal),
        )
        add_losses(losses)
        return results

    def _encode(self, images):
        observed = tf.cast(images, tf.float32) / 255.0
        return self.prior.to_noise(self.posterior.center(self.encoder_outputs(observed)))

    def _decode(self, latents):
        outputs = self.decoder_outputs(self.prior.from_noise(latents))
        images = tf.clip_by_value(self._likelihood.mean(outputs), 0.0, 1.0)
        return tf.cast(tf.round(255.0 * tf.reshape(images, [-1, *self.image_shape])), tf.uint8)

    def bound_terms(
        self, observed: tf.Tensor, noise: tf.Tensor, estimator: str = "A"
    ) -> BoundTerms:
        """The terms of a bound of log p(x), at latents computed from noise.

        Args:
            observed: images as `observe` gives them, `[N, H, W, C]`.
            noise: standard normal, `[N, L, k, D]`.
            estimator: "B" puts expectations in place of samples where they have a closed form and k
                is 1.

        Returns:
            A `tfgen.models.vae.density.BoundTerms`.
        """
        encoded = self.encoder_outputs(observed)
        latents, log_q, expected_log_q = self.posterior.sample(encoded, noise)
        joint = self.joint_density(observed, latents)
        per_latent = None
        if self.settings["prior"] == "normal" and self.settings["posterior"] == "gaussian":
            mean, log_variance, _ = self.posterior.parameters(encoded)
            per_latent = objectives.gaussian_divergences(mean, log_variance)
        if estimator == "A" or noise.shape[2] > 1:
            divergence = log_q - joint.log_prior
        elif per_latent is None:
            divergence = expected_log_q - joint.log_prior
        else:
            divergence = tf.reduce_sum(per_latent, axis=-1)[:, None, None]
        return BoundTerms(joint.log_likelihood, divergence, per_latent, joint.squared_error)

    def joint_density(self, observed: tf.Tensor, latents: tf.Tensor) -> JointDensity:
        """log p(x, z) and its terms at latents.

        Shapes: `[N, H, W, C]` (or `[1, H, W, C]`), `[N, ..., D] -> [N, ...]` each.

        Args:
            observed: images as `observe` gives them.
            latents: z.

        Returns:
            A `tfgen.models.vae.density.JointDensity`.
        """
        shape = tf.shape(latents)[:-1]
        flat = tf.reshape(latents, [-1, self.latent_dim])
        outputs = self.decoder_outputs(flat)
        outputs = tf.reshape(outputs, tf.concat([shape, tf.shape(outputs)[1:]], axis=0))
        samples = [1] * (latents.shape.rank - 2)
        pixels = tf.reshape(observed, [-1, *samples, self.num_dims])
        return JointDensity(
            log_likelihood=self._likelihood.log_prob(pixels, outputs),
            log_prior=tf.reshape(self.prior.log_prob(flat), shape),
            squared_error=tf.reduce_sum((self._likelihood.mean(outputs) - pixels) ** 2, axis=-1),
        )

    def encoder_outputs(self, observed: tf.Tensor) -> tf.Tensor:
        """The encoder's outputs for observed images: `[N, H, W, C] -> [N, E]`."""
        if self.settings["encoder"] == "mlp":
            observed = tf.reshape(observed, [-1, self.num_dims])
        return tf.cast(self.encoder(observed, training=bool(phase())), tf.float32)

    def decoder_outputs(self, latents: tf.Tensor) -> tf.Tensor:
        """The likelihood's parameters, one after the other: `[N, D] -> [N, P H W C]`."""
        outputs = tf.cast(self.decoder(latents, training=bool(phase())), tf.float32)
        parameters = self._likelihood.parameters_per_pixel
        if outputs.shape.rank == 4 and parameters > 1:
            height, width, channels = self.image_shape
            outputs = tf.reshape(outputs, [-1, height, width, parameters, channels])
            outputs = tf.transpose(outputs, [0, 3, 1, 2, 4])
        return tf.reshape(outputs, [-1, parameters * self.num_dims])
