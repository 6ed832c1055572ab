"""The log-likelihood of a flow's images by several draws of the dequantization noise."""

import math

import numpy as np
import tensorflow as tf


def log_likelihood(model, images, draws):
    """log(1/k sum_i p(x + u_i) / q(u_i|x)) of each image, at k draws u_i from q(u|x).

    One draw is `model.log_prob`, a lower bound of log P(x) in expectation; more draws give a
    tighter bound with less noise. Draw i turns the noise that comes from the image itself
    (`tfgen.models.noise.ImageNoise`) by amounts that i alone decides, so that the value depends on
    the image and k alone, and the first draws of a larger k are those of a smaller one.

    Shapes: uint8 `[N, H, W, C] -> float32 [N]`, nats.

    Args:
        model: a `tfgen.models.Glow`.
        images: as for its `log_prob`; as many at a time as fit into memory.
        draws: k.

    Source: Ho et al., Flow++, 2019 (1902.00275), equation 13; Cranley and Patterson, Randomization
    of number theoretic methods for multiple integration, 1976, for the turns.

    Example:

    >>> import tfgen
    >>> from tfgen.models.glow import dequantization_draws
    >>> model = tfgen.zoo.load("glow-digits")
    >>> images = tfgen.data.load("digits").images("test")[:4]
    >>> dequantization_draws.log_likelihood(model, images, 8).shape
    TensorShape([4])
    """
    images = tf.convert_to_tensor(images)
    total = tf.fill([tf.shape(images)[0]], -math.inf)
    for draw in range(draws):
        found = model.log_prob_at(images, tf.constant(_turns(draw, model.image_shape)))
        total = tf.reduce_logsumexp(tf.stack([total, found]), axis=0)
    return total - math.log(draws)


def _turns(draw, shape):
    """In [0, 1), two for each number of an image; draw 0 turns nothing."""
    if draw == 0:
        return np.zeros([2, *shape], "float32")
    return np.random.RandomState(draw).uniform(size=[2, *shape]).astype("float32")
