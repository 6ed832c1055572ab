"""The training loss of a VAE: the negative bound, annealed and with penalties."""

from __future__ import annotations

from typing import TYPE_CHECKING

import tensorflow as tf

from tfgen.fitting.phase import with_losses_returned
from tfgen.models.noise import StepNoise
from tfgen.models.vae import objectives
from tfgen.models.vae.density import BoundTerms

if TYPE_CHECKING:
    from tfgen.models.vae.model import VAE


def training_loss(
    model: VAE, observed: tf.Tensor, noise: tf.Tensor, step_noise: StepNoise
) -> tuple[tf.Tensor, tf.Tensor, dict[str, tf.Tensor]]:
    """The negative bound of log p(x) in nats, the training loss, and the bound's parts, `[N]` each.

    The bound and its parts (`BoundTerms.parts`) are for reports, without gradients.

    Args:
        model: a compiled `VAE`.
        observed: images as `model.observe` gives them.
        noise: standard normal, `[N, L, k, latent_dim]`.
        step_noise: the noise of the training step.
    """
    settings = model.settings
    terms = model.bound_terms(observed, noise, model.estimator)
    # Without `stop_gradient`, a `tf.cond` would compute gradients of zero through the whole model.
    nll = tf.stop_gradient(-terms.bound())
    parts = tf.nest.map_structure(tf.stop_gradient, terms.parts())
    if settings["free_bits"]:
        terms = with_free_bits(terms, settings["free_bits"], model.latent_dim, step_noise)
    beta = kl_weight(model)
    loss = -terms.bound(beta)
    if 0 < settings["num_backward_samples"] < noise.shape[2]:
        loss, terms = through_few_samples(model, observed, noise, terms, loss, beta, step_noise)
    if settings["mse_weight"]:
        loss += settings["mse_weight"] * tf.reduce_mean(terms.squared_error, axis=[1, 2])
    if settings["map_num_examples"]:
        loss += weight_penalty(model) / settings["map_num_examples"]
    return nll, loss, parts


def kl_weight(model: VAE) -> float | tf.Tensor:
    """beta, or its annealed value at the current step."""
    beta, warmup = model.settings["beta"], model.settings["kl_warmup"]
    return objectives.annealed(beta, warmup, model.optimizer._iterations) if warmup else beta


def with_free_bits(
    terms: BoundTerms, free_bits: float, latent_dim: int, step_noise: StepNoise
) -> BoundTerms:
    """The terms with at least `free_bits` nats for each latent, or with flows on average."""
    groups, minimum = terms.divergence_per_latent, free_bits
    if groups is None:
        groups = tf.reduce_mean(terms.divergence, axis=[1, 2])[:, None]
        minimum *= latent_dim
    kept = objectives.with_free_bits(groups, minimum, step_noise.mean_over_batch)
    return terms._replace(divergence=kept[:, None, None])


def through_few_samples(
    model: VAE,
    observed: tf.Tensor,
    noise: tf.Tensor,
    terms: BoundTerms,
    loss: tf.Tensor,
    beta: float | tf.Tensor,
    step_noise: StepNoise,
) -> tuple[tf.Tensor, BoundTerms]:
    """The loss with gradients through `num_backward_samples` resampled latents, and their terms.

    See `tfgen.models.vae.objectives.resampled`.
    """
    drawn = objectives.resampled(
        terms.log_likelihood - beta * terms.divergence,
        step_noise.uniform([model.num_monte_carlo_samples]),
        model.settings["num_backward_samples"],
    )
    few_noise = tf.gather(noise, drawn, axis=2, batch_dims=2)
    # The networks compute these latents for the second time: their losses count once.
    few, _ = with_losses_returned(
        model, lambda: model.bound_terms(observed, few_noise, "A"), updates=False
    )
    through = -tf.reduce_mean(few.log_likelihood - beta * few.divergence, axis=[1, 2])
    return tf.stop_gradient(loss - through) + through, few


def weight_penalty(model: VAE) -> tf.Tensor:
    """-log N(w; 0, I) of the weights of p(x, z), up to a constant: a scalar."""
    weights = [*model.decoder.trainable_weights]
    weights += [w for layer in model.prior.layers for w in layer.trainable_weights]
    return 0.5 * tf.add_n([tf.reduce_sum(w.value**2) for w in weights])
