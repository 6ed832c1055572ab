"""What a VAE's decoder says about pixels: p(x|z).

A likelihood maps uint8 images to the numbers that the networks see, and the decoder's outputs, for
each of its parameters the D = H W C numbers of an image, to log-probabilities and to pixels.
"""

import tensorflow as tf

from tfgen.errors import InputError
from tfgen.numerics import log_sigmoid, softplus


class Bernoulli:
    """Black and white pixels; grey ones are binarized at random (dynamic binarization).

    Equations, with l the decoder's output and x a uint8 pixel:

    - the pixel is 1 with probability x / 255
    - log p(b|z) = sum(b l - softplus(l)), in nats
    - the image of a latent is 255 sigmoid(l)

    Source: Kingma and Welling, 2013 (1312.6114), appendix C.1; Burda, Grosse and Salakhutdinov,
    2015 (1509.00519), section 5.
    """

    num_bits = 1
    quantization = "dynamic binarization, one draw an image"
    parameters_per_pixel = 1

    def __init__(self, image_shape):
        if image_shape[-1] != 1:
            raise InputError(
                "a Bernoulli likelihood binarizes grey images, of 1 channel; these have "
                f"{image_shape[-1]}: use likelihood='quantized_logistic'"
            )

    def observe(self, images, noise):
        """What a training step or a likelihood sees: a binarized image."""
        return tf.cast(tf.cast(images, tf.float32) / 255.0 > noise, tf.float32)

    def log_prob(self, observed, outputs):
        """`[..., D]` twice `-> [...]`."""
        return tf.reduce_sum(observed * outputs - softplus(outputs), axis=-1)

    def mean(self, outputs):
        """Pixels in [0, 1]: `[..., D] -> [..., D]`."""
        return tf.sigmoid(outputs)


class QuantizedLogistic:
    """8-bit pixels: a logistic density integrated over each of the 256 levels.

    Equations, with (r, q) the decoder's outputs, m = r + 1/2, log s = -8 sigmoid(-q), x the pixel
    in [0, 1] and F the logistic function:

    - P(x|z) = F((x + 1/510 - m) / s) - F((x - 1/510 - m) / s), the outer two levels taking the
      tails
    - log p(x|z) = sum(log P), in nats
    - the image of a latent is 255 m

    Source: Kingma et al., Improving variational inference with inverse autoregressive flow, 2016
    (1606.04934), section 5.2 and its discretized logistic likelihood.
    """

    num_bits = 8
    quantization = "none: probabilities of the 256 levels"
    parameters_per_pixel = 2

    def __init__(self, image_shape):
        pass

    def observe(self, images, noise):
        """What a training step or a likelihood sees: the pixels in [0, 1]."""
        return tf.cast(images, tf.float32) / 255.0

    def log_prob(self, observed, outputs):
        """`[..., D]` and `[..., 2D] -> [...]`."""
        mean, log_scale = self._mean_and_log_scale(outputs)
        inverse_scale = tf.exp(-log_scale)
        above = (observed - mean + 0.5 / 255.0) * inverse_scale
        below = (observed - mean - 0.5 / 255.0) * inverse_scale
        width = inverse_scale / 255.0
        # F(above) - F(below) = F(above) F(-below) (1 - exp(-width)), which nothing rounds away.
        inside = log_sigmoid(above) + log_sigmoid(-below) + tf.math.log(-tf.math.expm1(-width))
        half_level = 0.25 / 255.0
        log_prob = tf.where(
            observed < half_level,
            log_sigmoid(above),
            tf.where(observed > 1.0 - half_level, log_sigmoid(-below), inside),
        )
        return tf.reduce_sum(log_prob, axis=-1)

    def mean(self, outputs):
        """Pixels in [0, 1]: `[..., 2D] -> [..., D]`."""
        return tf.clip_by_value(self._mean_and_log_scale(outputs)[0], 0.0, 1.0)

    def _mean_and_log_scale(self, outputs):
        raw_mean, raw_log_scale = tf.split(outputs, 2, axis=-1)
        return raw_mean + 0.5, -8.0 * tf.sigmoid(-raw_log_scale)


LIKELIHOODS = {"bernoulli": Bernoulli, "quantized_logistic": QuantizedLogistic}
