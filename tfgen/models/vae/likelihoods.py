"""Likelihoods of pixels given latents: p(x|z).

A likelihood maps uint8 images to the inputs of the networks. It maps the decoder's outputs, which
are D = H W C numbers for each of its parameters, to log-probabilities and to pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import tensorflow as tf

from tfgen.errors import InputError
from tfgen.numerics import bernoulli_log_prob, log_sigmoid

BINARIZATIONS = ("dynamic", "static")
NOISE_LIMITS = (1e-6, 1.0 - 1e-6)
NEIGHBOURS = ((0, -1), (-1, 0), (-1, -1), (-1, 1))  # (down, right)


class Bernoulli:
    """Black and white pixels; grey ones are randomly binarized.

    Equations, with l the decoder's output and x a uint8 pixel:

    - the pixel is 1 with probability x / 255
    - log p(b|z) = sum(b l - softplus(l)), in nats
    - the image of a latent is 255 sigmoid(l)

    Dynamic binarization draws the pixels anew at each step of training, static binarization only
    once. These are two different benchmarks, whose results cannot be compared.

    Source: Kingma and Welling, 2013 (1312.6114), appendix C.1; Burda, Grosse and Salakhutdinov,
    2015 (1509.00519), section 5; Salakhutdinov and Murray, 2008, for the static one.
    """

    num_bits = 1
    parameters_per_pixel = 1

    def __init__(self, image_shape: Sequence[int], binarization: str = "dynamic") -> None:
        if image_shape[-1] != 1:
            raise InputError(
                "a Bernoulli likelihood needs grey images with 1 channel, not "
                f"{image_shape[-1]}: use likelihood='quantized_logistic' or 'gaussian'"
            )
        if binarization not in BINARIZATIONS:
            raise InputError(
                f"binarization must be one of {', '.join(BINARIZATIONS)}, got {binarization!r}"
            )
        self.fixed_noise = binarization == "static"
        fixed = "fixed " if self.fixed_noise else ""
        self.quantization = f"{binarization} binarization, one {fixed}draw per image"

    def observe(self, images: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """The images whose likelihood is computed: binarized pixels."""
        # A product, because some runtimes replace a quotient by it, which is rounded otherwise.
        return tf.cast(tf.cast(images, tf.float32) * (1.0 / 255.0) > noise, tf.float32)

    def log_prob(self, observed: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """log p(x|z) in nats: `[..., D]` twice `-> [...]`."""
        return bernoulli_log_prob(observed, outputs)

    def mean(self, outputs: tf.Tensor) -> tf.Tensor:
        """Pixels in [0, 1]: `[..., D] -> [..., D]`."""
        return tf.sigmoid(outputs)

    def draw(self, outputs: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """A sample of p(x|z) from uniform noise: `[..., D]` twice `-> [..., D]`."""
        return tf.cast(noise < tf.sigmoid(outputs), tf.float32)


class Gaussian:
    """A Gaussian density of each dequantized pixel, with its own mean and variance.

    Equations, with (r, q) the decoder's outputs, m = sigmoid(r), log s = -8 sigmoid(-q), and
    y = (x + u) / 256 for a uint8 pixel x and u uniform in [0, 1):

    - log p(x|z) = sum(log N(y; m, s^2) - log 256), in nats, a lower bound of the probability of the
      level in expectation over u
    - the image of a latent is 256 m - 1/2

    s is between exp(-8), which is less than one level, and 1, the whole range of pixels.

    Source: Kingma and Welling, 2013 (1312.6114), appendix C.2, mean through a sigmoid; Theis, van
    den Oord and Bethge, A note on the evaluation of generative models, 2015 (1511.01844), section
    3.1, for the uniform noise.
    """

    num_bits = 8
    parameters_per_pixel = 2
    fixed_noise = False
    quantization = "uniform dequantization, one draw per image"

    def __init__(self, image_shape: Sequence[int]) -> None:
        pass

    def observe(self, images: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """The images whose likelihood is computed: dequantized pixels in [0, 1)."""
        return (tf.cast(images, tf.float32) + noise) / 256.0

    def log_prob(self, observed: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """log p(x|z) in nats: `[..., D]` and `[..., 2D] -> [...]`."""
        raw_mean, raw_log_scale = tf.split(outputs, 2, axis=-1)
        log_scale = bounded_log_scale(raw_log_scale)
        standardized = (observed - tf.sigmoid(raw_mean)) * tf.exp(-log_scale)
        constant = 0.5 * math.log(2.0 * math.pi) + math.log(256.0)
        return -tf.reduce_sum(0.5 * standardized**2 + log_scale + constant, axis=-1)

    def mean(self, outputs: tf.Tensor) -> tf.Tensor:
        """Pixels in [0, 1], or half a level beyond: `[..., 2D] -> [..., D]`."""
        return (256.0 * tf.sigmoid(tf.split(outputs, 2, axis=-1)[0]) - 0.5) / 255.0

    def draw(self, outputs: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """See `Bernoulli.draw`: `[..., 2D]` and `[..., D] -> [..., D]`."""
        raw_mean, raw_log_scale = tf.split(outputs, 2, axis=-1)
        standardized = tf.math.ndtri(tf.clip_by_value(noise, *NOISE_LIMITS))
        return tf.sigmoid(raw_mean) + tf.exp(bounded_log_scale(raw_log_scale)) * standardized


class QuantizedLogistic:
    """8-bit pixels: a logistic density integrated over each of the 256 levels.

    Equations, with (r, q, c_1 ... c_K) the decoder's outputs, a = r + 1/2, log s = -8 sigmoid(-q),
    F the logistic function, x the pixel in [0, 1], and x_k, a_k those of its K `neighbours`, the
    first K of west, north, north-west and north-east, in the same channel:

    - m = a + sum_k c_k (x_k - a_k), where neighbours outside the image add nothing
    - P(x|z) = F((x + 1/510 - m) / s) - F((x - 1/510 - m) / s), the outer two levels taking the
      tails
    - log p(x|z) = sum(log P), in nats
    - the image of a latent is 255 a

    Each neighbour precedes the pixel in row-major order, so that the product over pixels is a
    distribution of images. Without neighbours pixels are independent given z; with them z need not
    encode what the neighbours already show. Where the c_k add up to 1, a constant that is added to
    all a cancels out; the `mse_weight` of a VAE keeps 255 a close to the image.

    Args:
        image_shape: (H, W, C).
        neighbours: K, from 0 to 4.

    Source: Kingma et al., Improving variational inference with inverse autoregressive flow, 2016
    (1606.04934), section 5.2 and its discretized logistic likelihood; Salimans et al., PixelCNN++,
    2017 (1701.05517), section 2.2, for means linear in previous values; Chen et al.,
    Variational lossy autoencoder, 2016 (1611.02731), section 3.1, for leaving local details to an
    autoregressive decoder.
    """

    num_bits = 8
    quantization = "none: probabilities of the 256 levels"
    fixed_noise = False

    def __init__(self, image_shape: Sequence[int], neighbours: int = 0) -> None:
        self._image_shape = image_shape
        self._offsets = NEIGHBOURS[:neighbours]
        self.parameters_per_pixel = 2 + neighbours

    def observe(self, images: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """The images whose likelihood is computed: pixels in [0, 1]."""
        return tf.cast(images, tf.float32) / 255.0

    def log_prob(self, observed: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
        """log p(x|z) in nats: `[..., D]` and `[..., P D] -> [...]`."""
        mean = self._mean(observed, outputs)
        log_scale = self._log_scale(outputs)
        inverse_scale = tf.exp(-log_scale)
        above = (observed - mean + 0.5 / 255.0) * inverse_scale
        below = (observed - mean - 0.5 / 255.0) * inverse_scale
        width = inverse_scale / 255.0
        # F(above) - F(below) = F(above) F(-below) (1 - exp(-width)), accurate for any width.
        inside = log_sigmoid(above) + log_sigmoid(-below) + tf.math.log(-tf.math.expm1(-width))
        half_level = 0.25 / 255.0
        log_prob = tf.where(
            observed < half_level,
            log_sigmoid(above),
            tf.where(observed > 1.0 - half_level, log_sigmoid(-below), inside),
        )
        return tf.reduce_sum(log_prob, axis=-1)

    def mean(self, outputs: tf.Tensor) -> tf.Tensor:
        """Pixels in [0, 1], or beyond: `[..., P D] -> [..., D]`."""
        return self._parameter(outputs, 0) + 0.5

    def draw(self, outputs: tf.Tensor, noise: tf.Tensor) -> tf.Tensor:
        """See `Bernoulli.draw`: `[..., P D]` and `[..., D] -> [..., D]`.

        With neighbours, the pixel at row i and column j can be computed once all pixels with a
        smaller j + 2i are known. Each round computes all pixels at once, and W + 2H - 3 rounds
        reach the last pixel.
        """
        noise = tf.clip_by_value(noise, *NOISE_LIMITS)
        noise = tf.exp(self._log_scale(outputs)) * (tf.math.log(noise) - tf.math.log(1.0 - noise))

        def levels(mean):
            return tf.round(255.0 * tf.clip_by_value(mean + noise, 0.0, 1.0)) / 255.0

        drawn = levels(self.mean(outputs))
        if not self._offsets:
            return drawn
        height, width = self._image_shape[:2]
        return tf.while_loop(
            lambda known: True,
            lambda known: [levels(self._mean(known, outputs))],
            [drawn],
            maximum_iterations=width + 2 * height - 3,
        )[0]

    def _log_scale(self, outputs):
        return bounded_log_scale(self._parameter(outputs, 1))

    def _mean(self, observed, outputs):
        """The mean m, from pixels `[..., D]` and outputs `[..., P D]`."""
        mean = average = self.mean(outputs)
        deviations = observed - average
        for index, offset in enumerate(self._offsets):
            mean += self._parameter(outputs, 2 + index) * self._neighbour(deviations, *offset)
        return mean

    def _parameter(self, outputs, index):
        return tf.split(outputs, self.parameters_per_pixel, axis=-1)[index]

    def _neighbour(self, values, down, right):
        """The value at a neighbour of each pixel, 0 outside the image: `[..., D] -> [..., D]`."""
        height, width, channels = self._image_shape
        images = tf.reshape(values, [-1, height, width, channels])
        padded = tf.pad(images, [[0, 0], [1, 0], [1, 1], [0, 0]])
        moved = padded[:, 1 + down : 1 + down + height, 1 + right : 1 + right + width]
        return tf.reshape(moved, tf.shape(values))


def bounded_log_scale(raw: tf.Tensor) -> tf.Tensor:
    """-8 sigmoid(-raw): between -8 and 0."""
    return -8.0 * tf.sigmoid(-raw)


LIKELIHOODS = {
    "bernoulli": Bernoulli,
    "gaussian": Gaussian,
    "quantized_logistic": QuantizedLogistic,
}
