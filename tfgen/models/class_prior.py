"""The prior of a class-conditional flow, and the classifier that goes with it."""

import keras
import tensorflow as tf


class ClassPrior(keras.layers.Layer):
    """A Gaussian for each class, in place of the standard normal of the last level's latents.

    Equations, with t the latents of the last level, m_y and s_y of shape [C] for class y:

    - p(t|y) = N(m_y, s_y), the same at every pixel; it starts as N(0, 1) for every class
    - logits(t) = K mean(t over pixels) + b, for the auxiliary classification loss

    Args:
        num_classes: number of classes.
        top_shape: (H, W, C) of the latents of the last level.
        name: of the layer.

    Source: Kingma and Dhariwal, Glow, 2018 (1807.03039), section 5, and the authors' code.
    """

    def __init__(self, num_classes, top_shape, *, name):
        super().__init__(name=name)
        height, width, channels = top_shape
        self._pixels = height * width
        self._top_shape = top_shape
        zeros = {"initializer": "zeros"}
        self._mean = self.add_weight(shape=(num_classes, channels), name="mean", **zeros)
        self._log_scale = self.add_weight(shape=(num_classes, channels), name="log_scale", **zeros)
        self._kernel = self.add_weight(shape=(channels, num_classes), name="kernel", **zeros)
        self._bias = self.add_weight(shape=(num_classes,), name="bias", **zeros)
        self.built = True

    def log_ratios(self, top):
        """log N(t; m_y, s_y) - log N(t; 0, 1) for every class, in nats: `[N, H*W*C] -> [N, K]`."""
        top = tf.reshape(top, [-1, self._pixels, self._top_shape[-1]])
        precision = tf.exp(-2.0 * self._log_scale.value)
        mean = self._mean.value
        constant = tf.reduce_sum(0.5 * mean**2 * precision + self._log_scale.value, axis=-1)
        return (
            tf.matmul(tf.reduce_sum(top**2, axis=1), 0.5 * (1.0 - precision), transpose_b=True)
            + tf.matmul(tf.reduce_sum(top, axis=1), mean * precision, transpose_b=True)
            - self._pixels * constant
        )

    def logits(self, top):
        """Of the auxiliary classifier: `[N, H*W*C] -> [N, K]`."""
        top = tf.reshape(top, [-1, self._pixels, self._top_shape[-1]])
        return tf.matmul(tf.reduce_mean(top, axis=1), self._kernel.value) + self._bias.value

    def place(self, noise, labels):
        """m_y + s_y * noise: `[N, H*W*C]`, int32 `[N] -> [N, H*W*C]`."""
        noise = tf.reshape(noise, [-1, self._pixels, self._top_shape[-1]])
        mean = tf.gather(self._mean.value, labels)[:, None]
        scale = tf.exp(tf.gather(self._log_scale.value, labels))[:, None]
        return tf.reshape(mean + scale * noise, [-1, self._pixels * self._top_shape[-1]])
