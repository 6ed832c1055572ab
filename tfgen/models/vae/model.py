"""The variational autoencoder."""

import keras
import tensorflow as tf

from tfgen import networks
from tfgen.models.base import GenerativeModel
from tfgen.models.noise import ImageNoise
from tfgen.models.vae import arguments as vae_arguments
from tfgen.models.vae import importance_sampling, objectives
from tfgen.models.vae.arguments import NETWORKS
from tfgen.models.vae.likelihoods import LIKELIHOODS
from tfgen.models.vae.posterior import FlowPosterior, GaussianPosterior
from tfgen.models.vae.prior import FlowPrior, NormalPrior

ELBO_SAMPLES = 8
MOST_SAMPLES_AT_ONCE = 256

_GIVEN = "given"  # in `settings`, in place of a network of the caller's


@keras.saving.register_keras_serializable(package="tfgen")
class VAE(GenerativeModel):
    """Images as what a decoder says of latents; an encoder guesses the latents.

    Equations, with z = mu(x) + sigma(x) e, e standard normal:

    - estimator "B": mean over L samples of log p(x|z), minus what of KL(q(z|x) || p(z)) has a
      closed form, minus the mean over the samples of the rest. With q Gaussian and p(z) = N(0, I)
      that is all of it, 1/2 sum(mu^2 + sigma^2 - 1 - log sigma^2)
    - estimator "A": mean over L samples of log p(x, z) - log q(z|x)
    - with k = num_importance_samples > 1: mean over L of log(1/k sum_i p(x, z_i) / q(z_i|x)), with
      either estimator

    Each is a lower bound of log p(x) in expectation. `log_prob` gives the evidence lower bound
    (estimator B, averaged over 8 samples), with num_samples=k > 1 the importance-weighted bound, at
    samples whose noise comes from the image itself (`tfgen.models.noise.ImageNoise`): it is a
    function of the image alone. More than 256 samples are drawn in bounded memory, as
    `tfgen.models.vae.importance_sampling` says.

    - prior "flow": p(z) is a flow f of standard normal noise, `tfgen.models.vae.prior`
    - posterior "flow": z = g(mu + sigma e) with steps of flow g that see features of the image,
      `tfgen.models.vae.posterior`
    - encode(x) = f^-1(g(mu(x))), decode(e) = the mean of p(x|z = f(e))

    Training maximizes the bound with the KL term times beta, which rises from 0 during the first
    `kl_warmup` steps; with `free_bits`, KL below so many nats for each latent costs nothing (for
    each latent by itself where q is Gaussian and p(z) normal, for their sum otherwise); with
    `map_num_examples` N, the number of training images, it is maximum a posteriori: the log of a
    N(0, I) prior on the weights of the decoder and the flow prior is added, divided by N; with
    `mse_weight` the squared error of the decoded image costs so many nats besides.

    Shapes: images uint8 `[N, H, W, C]`, latents float32 `[N, latent_dim]`.

    Args:
        image_shape: (H, W, C).
        latent_dim: numbers in a latent; even for a flow.
        encoder: "mlp"; "conv", see `tfgen.networks.residual_encoder`; or a `keras.Model` from
            images `[N, H, W, C]` in [0, 1] to `[N, 2 latent_dim]`, mu and log sigma^2 (and
            `flow_width` numbers more for a flow posterior).
        decoder: "mlp"; "conv"; or a `keras.Model` from latents to `[N, H, W, C P]`, P the
            likelihood's parameters of a pixel.
        likelihood: "bernoulli" (grey images, binarized at random), "gaussian" or
            "quantized_logistic" (8 bits).
        binarization: "dynamic" or "static", for a Bernoulli likelihood.
        neighbours: from 0 to 4, on which the mean of a pixel of a quantized logistic leans, see
            `tfgen.models.vae.likelihoods.QuantizedLogistic`.
        estimator: "B" or "A", for training.
        num_monte_carlo_samples: L, for training.
        num_importance_samples: k, for training and validation.
        iwae_start_step: steps of training with k = 1 that come first.
        num_backward_samples: through how many of the k samples gradients go, drawn by their
            weights: the same gradients in expectation for less work; 0 for all.
        beta: weight of the KL term in training.
        kl_warmup: steps during which it rises.
        free_bits: nats for each latent.
        map_num_examples: N, or 0 for maximum likelihood.
        mse_weight: nats for a squared error of 1, summed over pixels in [0, 1], of the image of
            the latents. With neighbours the likelihood hardly cares what that image is.
        prior: "normal" or "flow".
        posterior: "gaussian" or "flow".
        hidden_units: units of the hidden dense layers of the encoder; the decoder has them in
            reverse.
        activation: of the hidden layers, by its Keras name.
        channels: of the encoder's feature maps at H/2, H/4 and so on; the decoder has them in
            reverse. For "conv".
        blocks: residual blocks at each resolution. For "conv".
        flow_steps: steps of each flow.
        flow_width: hidden units of their couplings, and numbers of the features that the
            posterior's see.
        network_dtype: in which "mlp", "conv" and the couplings compute, such as "bfloat16".

    Raises:
        InputError: unknown choices, sizes below 1, a Bernoulli likelihood for images of several
            channels, flows of an odd number of latents, networks of other shapes, free bits
            together with importance samples.

    Source: Kingma and Welling, Auto-Encoding Variational Bayes, 2013 (1312.6114), sections 2 and
    3, appendices B and C; Burda, Grosse and Salakhutdinov, 2015 (1509.00519), section 3.

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
        binarization="dynamic",
        neighbours=0,
        estimator="B",
        num_monte_carlo_samples=1,
        num_importance_samples=1,
        iwae_start_step=0,
        num_backward_samples=0,
        beta=1.0,
        kl_warmup=0,
        free_bits=0.0,
        map_num_examples=0,
        mse_weight=0.0,
        prior="normal",
        posterior="gaussian",
        hidden_units=(500,),
        activation="tanh",
        channels=(32, 64),
        blocks=1,
        flow_steps=4,
        flow_width=128,
        network_dtype=None,
        name="vae",
    ):
        settings = dict(locals())
        for key in ("self", "__class__", "image_shape", "name"):
            del settings[key]
        settings["hidden_units"] = vae_arguments.listed("hidden_units", hidden_units, name)
        settings["channels"] = vae_arguments.listed("channels", channels, name)
        vae_arguments.check(settings, name)
        for role in ("encoder", "decoder"):
            if settings[role] not in NETWORKS:
                settings[role] = _GIVEN
        super().__init__(image_shape, latent_dim, name=name)
        self.settings = settings
        self.estimator = estimator
        self.num_monte_carlo_samples = num_monte_carlo_samples
        self.num_importance_samples = num_importance_samples
        options = {}
        if likelihood == "bernoulli":
            options["binarization"] = binarization
        if likelihood == "quantized_logistic":
            options["neighbours"] = neighbours
        self._likelihood = LIKELIHOODS[likelihood](self.image_shape, **options)
        self.num_bits = self._likelihood.num_bits
        flow = {"steps": flow_steps, "width": flow_width, "network_dtype": network_dtype}
        self.prior, self.posterior = NormalPrior(), GaussianPosterior(latent_dim)
        if prior == "flow":
            self.prior = FlowPrior(latent_dim, name=f"{name}_prior", **flow)
            self._prior_layers = self.prior.layers
        if posterior == "flow":
            self.posterior = FlowPosterior(
                latent_dim, context_channels=flow_width, name=f"{name}_posterior", **flow
            )
            self._posterior_layers = self.posterior.layers
        self._closed_form = prior == "normal" and posterior == "gaussian"
        self.encoder = self._network("encoder", encoder)
        self.decoder = self._network("decoder", decoder)
        self._image_noise = ImageNoise(self.image_shape)
        self.built = True

    def get_config(self):
        given = {
            role: keras.saving.serialize_keras_object(getattr(self, role))
            for role in ("encoder", "decoder")
            if self.settings[role] == _GIVEN
        }
        return {"image_shape": self.image_shape, "name": self.name, **self.settings, **given}

    num_tight_samples = 5000

    @property
    def num_evaluation_samples(self):
        """`num_samples` of the bits/dim in cards and of validation: k of training."""
        return self.num_importance_samples

    def bound_of(self, num_samples):
        """What `log_prob` with so many samples is, in words."""
        return f"lower bound, {num_samples} importance sample{'s' * (num_samples > 1)}"

    @property
    def dequantization(self):
        """How the likelihood quantizes or dequantizes pixels, in words."""
        return self._likelihood.quantization

    def protocol(self, num_samples=1):
        """What a figure of `log_prob` or `bits_per_dim` means, a dict for cards."""
        drawn = ELBO_SAMPLES if num_samples == 1 else num_samples
        return {**super().protocol(num_samples), "samples": drawn}

    @property
    def bijectors(self):
        """Those that the prior and the posterior are made of."""
        return [*self.prior.bijectors, *self.posterior.bijectors]

    def _log_prob(self, images, labels, num_samples):
        rows = 1 if num_samples > MOST_SAMPLES_AT_ONCE else max(num_samples, ELBO_SAMPLES)
        return self._run(
            self._image_bound, {"images": images}, rows_per_image=rows, num_samples=num_samples
        )

    def _image_bound(self, images, num_samples):
        if num_samples > MOST_SAMPLES_AT_ONCE:
            return importance_sampling.log_likelihood(self, images, num_samples)
        drawn = (ELBO_SAMPLES, 1) if num_samples == 1 else (1, num_samples)
        noise = self._image_noise.normal(images, (*drawn, self.latent_dim))
        return self._bound_of(self.observe(images), noise, "B")

    def observe(self, images, step_noise=None):
        """What the networks see, with the noise of a training step or of the images themselves."""
        if step_noise is None or self._likelihood.fixed_noise:
            noise = self._image_noise.uniform(images, self.image_shape)
        else:
            noise = step_noise.uniform(self.image_shape)
        return self._likelihood.observe(images, noise)

    def _training_loss(self, images, labels, noise):
        observed = self.observe(images, noise)
        shape = (self.num_monte_carlo_samples, self.num_importance_samples, self.latent_dim)
        noise_of_latents = noise.normal(shape)
        after = self.settings["iwae_start_step"]
        if not after:
            return self._negative_bounds(observed, noise_of_latents, noise)
        return tf.cond(
            tf.cast(self.optimizer.iterations, tf.float32) < after,
            lambda: self._negative_bounds(observed, noise_of_latents[:, :, :1], noise),
            lambda: self._negative_bounds(observed, noise_of_latents, noise),
        )

    def _negative_bounds(self, observed, noise_of_latents, step_noise):
        reconstruction, divergence, squared_error, parameters = self._terms(
            observed, noise_of_latents, self.estimator
        )
        # Out of a `tf.cond`, zeros would go back all the way from what is only reported.
        nats = tf.stop_gradient(-objectives.weighted_bound(reconstruction, divergence))
        settings = self.settings
        if settings["free_bits"]:
            divergence = self._with_free_bits(divergence, parameters, step_noise)
        beta = settings["beta"]
        if settings["kl_warmup"]:
            beta = objectives.annealed(beta, settings["kl_warmup"], self.optimizer.iterations)
        losses = -objectives.weighted_bound(reconstruction, divergence, beta)
        if 0 < settings["num_backward_samples"] < noise_of_latents.shape[2]:
            drawn = objectives.resampled(
                reconstruction - beta * divergence,
                step_noise.uniform([self.num_monte_carlo_samples]),
                settings["num_backward_samples"],
            )
            few = tf.gather(noise_of_latents, drawn, axis=2, batch_dims=2)
            reconstruction, divergence, squared_error, _ = self._terms(observed, few, "A")
            through = -tf.reduce_mean(reconstruction - beta * divergence, axis=[1, 2])
            losses = tf.stop_gradient(losses - through) + through
        if settings["mse_weight"]:
            losses += settings["mse_weight"] * tf.reduce_mean(squared_error, axis=[1, 2])
        if settings["map_num_examples"]:
            weights = [*self.decoder.trainable_weights]
            weights += [w for layer in self.prior.layers for w in layer.trainable_weights]
            squares = tf.add_n([tf.reduce_sum(w.value**2) for w in weights])
            losses += 0.5 * squares / settings["map_num_examples"]
        return nats, losses

    def _with_free_bits(self, divergence, parameters, noise):
        minimum = self.settings["free_bits"]
        if self._closed_form:
            groups = objectives.gaussian_divergences(*parameters[:2])
        else:
            groups = tf.reduce_mean(divergence, axis=[1, 2])[:, None]
            minimum *= self.latent_dim
        kept = objectives.with_free_bits(groups, minimum, noise.mean_over_batch)
        return kept[:, None, None]

    def _encode(self, images):
        observed = tf.cast(images, tf.float32) / 255.0
        return self.prior.to_noise(self.posterior.center(self.encoder_outputs(observed)))

    def _decode(self, latents):
        outputs = self.decoder_outputs(self.prior.from_noise(latents))
        images = tf.clip_by_value(self._likelihood.mean(outputs), 0.0, 1.0)
        return tf.cast(tf.round(255.0 * tf.reshape(images, [-1, *self.image_shape])), tf.uint8)

    def _bound_of(self, observed, noise, estimator):
        """The bound, `[N]`, of observed images `[N, H, W, C]` at noise `[N, L, k, latent_dim]`."""
        reconstruction, divergence, *_ = self._terms(observed, noise, estimator)
        return objectives.weighted_bound(reconstruction, divergence)

    def _terms(self, observed, noise, estimator):
        """Of the bound at noise `[N, L, k, latent_dim]`.

        Returns:
            log p(x|z) `[N, L, k]`; log q(z|x) - log p(z), which broadcasts with it; the squared
            error of the image of z, `[N, L, k]`; the posterior's parameters.
        """
        encoded = self.encoder_outputs(observed)
        return *self.terms(encoded, observed, noise, estimator), self.posterior.parameters(encoded)

    def terms(self, encoded, observed, noise, estimator="A"):
        """log p(x|z), log q(z|x) - log p(z) and squared error at the latents that noise gives.

        Shapes: `[N, E]`, `[N, H, W, C]`, `[N, L, k, D] -> [N, L, k]`, what broadcasts with it, and
        `[N, L, k]`.

        Args:
            encoded: the encoder's outputs for the observed images.
            observed: binarized or otherwise prepared images, as `observe` gives them.
            noise: standard normal.
            estimator: "B" puts closed forms in place of samples where there are any and k is 1.
        """
        latents, log_q, expected_log_q = self.posterior.sample(encoded, noise)
        outputs = self._outputs_of_samples(latents)
        reconstruction, log_p = self.log_joint_parts(observed, latents, outputs)
        images = tf.reshape(observed, [-1, 1, 1, self.num_dims])
        squared_error = tf.reduce_sum((self._likelihood.mean(outputs) - images) ** 2, axis=-1)
        if estimator == "A" or noise.shape[2] > 1:
            return reconstruction, log_q - log_p, squared_error
        if not self._closed_form:
            return reconstruction, expected_log_q - log_p, squared_error
        divergences = objectives.gaussian_divergences(*self.posterior.parameters(encoded)[:2])
        return reconstruction, tf.reduce_sum(divergences, axis=-1)[:, None, None], squared_error

    def log_likelihood_of_image(self, observed):
        """log p(x|z) of one image as a function of latents.

        Shapes: `[H, W, C]`, then `[S, D] -> [S]`, nats.
        """
        flat = tf.reshape(observed, [self.num_dims])
        return lambda latents: self._likelihood.log_prob(flat, self.decoder_outputs(latents))

    def log_joint_parts(self, observed, latents, outputs=None):
        """log p(x|z) and log p(z).

        Shapes: `[N, H, W, C]`, `[N, L, k, D] -> [N, L, k]` twice, nats.

        Args:
            observed: as for `terms`.
            latents: z.
            outputs: the decoder's, where they are known already.
        """
        outputs = self._outputs_of_samples(latents) if outputs is None else outputs
        flat = tf.reshape(observed, [-1, 1, 1, self.num_dims])
        log_p = self.prior.log_prob(tf.reshape(latents, [-1, self.latent_dim]))
        log_p = tf.reshape(log_p, tf.shape(latents)[:3])
        return self._likelihood.log_prob(flat, outputs), log_p

    def _outputs_of_samples(self, latents):
        """`[N, L, k, D] -> [N, L, k, P H W C]`."""
        outputs = self.decoder_outputs(tf.reshape(latents, [-1, self.latent_dim]))
        shape = tf.concat([tf.shape(latents)[:3], tf.shape(outputs)[1:]], axis=0)
        return tf.reshape(outputs, shape)

    def encoder_outputs(self, observed):
        """What the encoder says of prepared images: `[N, H, W, C] -> [N, E]`."""
        if self.settings["encoder"] == "mlp":
            observed = tf.reshape(observed, [-1, self.num_dims])
        return tf.cast(self.encoder(observed), tf.float32)

    def decoder_outputs(self, latents):
        """`[N, D] -> [N, P H W C]`: one parameter of all pixels after the other."""
        outputs = tf.cast(self.decoder(latents), tf.float32)
        parameters = self._likelihood.parameters_per_pixel
        if outputs.shape.rank == 4 and parameters > 1:
            outputs = tf.reshape(outputs, [-1, *self.image_shape[:2], parameters, self._channels])
            outputs = tf.transpose(outputs, [0, 3, 1, 2, 4])
        return tf.reshape(outputs, [-1, parameters * self.num_dims])

    @property
    def _channels(self):
        return self.image_shape[-1]

    def _network(self, role, kind):
        settings, encodes = self.settings, role == "encoder"
        inputs = self.num_dims if encodes else self.latent_dim
        parameters = self._likelihood.parameters_per_pixel
        outputs = self.posterior.encoder_outputs if encodes else parameters * self.num_dims
        picture = (*self.image_shape[:2], parameters * self._channels)
        if kind not in NETWORKS:
            shapes = (self.image_shape, (outputs,)) if encodes else ((self.latent_dim,), picture)
            return vae_arguments.checked_network(kind, f"{self.name}: {role}", *shapes)
        options = {
            "activation": settings["activation"],
            "dtype": settings["network_dtype"] or "float32",
            "name": f"{self.name}_{role}",
        }
        order = slice(None) if encodes else slice(None, None, -1)
        hidden = settings["hidden_units"][order]
        if kind == "mlp":
            return networks.mlp(inputs, outputs, widths=hidden, **options)
        options |= {"channels": settings["channels"][order], "hidden_units": hidden}
        options["blocks"] = settings["blocks"]
        if encodes:
            return networks.residual_encoder(self.image_shape, outputs, **options)
        return networks.residual_decoder(self.latent_dim, picture, **options)
