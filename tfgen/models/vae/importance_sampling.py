"""The log-likelihood of a VAE by importance sampling, with thousands of samples per image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from tfgen.models.vae.model import VAE

SAMPLES_AT_A_TIME = 500


def importance_weighted_bound(
    model: VAE, images: ArrayLike | tf.Tensor, num_samples: int
) -> tf.Tensor:
    """log(1/k sum_i p(x, z_i) / q(z_i|x)) of each image, with k draws z_i from q(z|x).

    Images are processed one by one, samples 500 at a time, and the logarithm of the sum of weights
    is accumulated: memory depends neither on k nor on the number of images. The noise of an image
    comes from a counter-based generator whose key is a hash of the pixels, so that the value
    depends only on the image and k. The draws of a larger k begin with those of a smaller k.

    Shapes: uint8 `[N, H, W, C] -> float32 [N]`, nats.

    Args:
        model: a `tfgen.models.VAE`.
        images: as for its `log_prob`.
        num_samples: k.

    Source: Burda, Grosse and Salakhutdinov, Importance weighted autoencoders, 2015 (1509.00519),
    section 5, L_5000; Salmon et al., Parallel random numbers, 2011, for the generator.

    Example:

    >>> import tfgen
    >>> from tfgen.models.vae import importance_sampling
    >>> model = tfgen.zoo.load("vae-digits")
    >>> images = tfgen.data.load("digits").images("test")[:4]
    >>> importance_sampling.importance_weighted_bound(model, images, 1000).shape
    TensorShape([4])
    """
    images = tf.convert_to_tensor(images)
    observed = model.observe(images)
    encoded = model.encoder_outputs(observed)
    keys = _keys(images)
    blocks = -(-num_samples // SAMPLES_AT_A_TIME)

    def of_image(row):
        image, parameters = observed[row : row + 1], encoded[row : row + 1]

        def add_block(block, total):
            key = tf.stack([keys[row, 0], keys[row, 1] + tf.cast(block, tf.int64)])
            shape = [1, 1, SAMPLES_AT_A_TIME, model.latent_dim]
            noise = tf.random.stateless_normal(shape, key, alg="philox")
            latents, log_q, _ = model.posterior.sample(parameters, noise)
            log_weights = (model.joint_density(image, latents).log_prob - log_q)[0, 0]
            index = block * SAMPLES_AT_A_TIME + tf.range(SAMPLES_AT_A_TIME)
            log_weights = tf.where(index < num_samples, log_weights, -math.inf)
            return block + 1, _log_add(total, tf.reduce_logsumexp(log_weights))

        _, total = tf.while_loop(
            lambda block, _: block < blocks,
            add_block,
            [tf.constant(0), tf.constant(-math.inf)],
            parallel_iterations=1,
        )
        return total - math.log(num_samples)

    count = tf.shape(images)[0]
    return tf.map_fn(
        of_image, tf.range(count), fn_output_signature=tf.float32, parallel_iterations=1
    )


def _log_add(first, second):
    return tf.reduce_logsumexp(tf.stack([first, second]))


def _keys(images):
    """Two 63-bit hashes of each image: `[N, H, W, C] -> int64 [N, 2]`."""
    size = math.prod(images.shape[1:])
    weights = np.random.RandomState(1).randint(1, 2**40, (size, 2), dtype="int64")
    pixels = tf.cast(tf.reshape(images, [-1, size]), tf.int64)
    return tf.stack([tf.reduce_sum(pixels * w, axis=-1) for w in weights.T], axis=-1)
