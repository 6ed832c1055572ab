"""Glow: a normalizing flow on images."""

import math

import keras
import numpy as np
import tensorflow as tf

from tfgen import bijectors
from tfgen.errors import InputError
from tfgen.models.base import GenerativeModel
from tfgen.models.noise import ImageNoise


@keras.saving.register_keras_serializable(package="tfgen")
class Glow(GenerativeModel):
    """Images as an invertible function of standard normal latents.

    Equations, with f the flow `tfgen.bijectors.Glow`, D = H W C and n = num_bits:

    - an image x becomes levels l = floor(x / 2^(8-n)) and y = (l + u) / 2^n - 1/2, 0 <= u < 1
    - log_prob(x) = log N(f^-1(y); 0, I) + log |det df^-1/dy| - n D log 2, in nats
    - encode(x) = f^-1(y) at u = 1/2
    - decode(z): the level that f(z) falls in, or the nearest, as the uint8 value 255 l / (2^n - 1)

    `log_prob` is the exact log-density of the flow at the dequantized image. Its u comes from the
    image itself (`tfgen.models.noise.ImageNoise`), so that it is a function of the image alone;
    training draws u anew at each step. Averaged over u it is a lower bound of log P(x), which is
    what bits/dim of flows report everywhere.

    With 8 bits decode(encode(x)) = x, up to float32 rounding.

    Shapes: images uint8 `[N, H, W, C]`, latents float32 `[N, H*W*C]`.

    Args:
        image_shape: (H, W, C); H and W multiples of 2^levels.
        levels: number of resolutions, L in the paper.
        depth: steps of flow at each resolution, K in the paper.
        width: hidden channels of the couplings' networks.
        coupling: "affine" or "additive".
        permutation: "invertible_conv", "shuffle" or "reverse".
        scale: of affine couplings, see `tfgen.bijectors.AffineCoupling`.
        num_bits: 1 to 8, bits of a channel that the model sees; the lower ones are dropped.
        network_dtype: in which the networks compute, such as "bfloat16".
        memory: "plain", "checkpoint" or "reversible": what training keeps of the activations, see
            `tfgen.bijectors.memory.inverse_chain`.

    Raises:
        InputError: sides that are no multiples of 2^levels, num_bits outside 1 to 8, and whatever
            the bijectors refuse.

    Source: Kingma and Dhariwal, Glow, 2018 (1807.03039).

    Example:

    >>> import numpy as np, tfgen
    >>> model = tfgen.models.Glow((8, 8, 1), levels=2, depth=2, width=8)
    >>> images = tfgen.data.load("digits").images("test")[:4]
    >>> model.log_prob(images).shape
    TensorShape([4])
    >>> bool(np.all(model.decode(model.encode(images)) == images))
    True
    """

    bound = "exact"

    def __init__(
        self,
        image_shape,
        *,
        levels,
        depth,
        width,
        coupling="affine",
        permutation="invertible_conv",
        scale="tanh",
        num_bits=8,
        network_dtype=None,
        memory="plain",
        name="glow",
    ):
        super().__init__(image_shape, None, name=name)
        if not isinstance(num_bits, int) or not 1 <= num_bits <= 8:
            raise InputError(f"{name}: num_bits must be an integer from 1 to 8, got {num_bits!r}")
        self.num_bits = num_bits
        self._flow_config = {
            "levels": levels,
            "depth": depth,
            "width": width,
            "coupling": coupling,
            "permutation": permutation,
            "scale": scale,
            "network_dtype": network_dtype,
            "memory": memory,
        }
        self.flow = bijectors.Glow(self.image_shape, name=f"{name}_flow", **self._flow_config)
        self._flow_layers = self.flow.layers
        self._image_noise = ImageNoise(self.image_shape)
        self.built = True

    def get_config(self):
        return {
            "image_shape": self.image_shape,
            "num_bits": self.num_bits,
            "name": self.name,
            **self._flow_config,
        }

    @property
    def protocol(self):
        """What a figure of `log_prob` or `bits_per_dim` means, for cards."""
        return {
            "bound": self.bound,
            "dims": self.num_dims,
            "bits": self.num_bits,
            "padding": "none",
            "dequantization": "uniform, one draw an image",
            "samples": 1,
        }

    @property
    def initialized(self):
        """Whether the actnorms have been set from data."""
        return all(b.initialized for b in _every(self.flow) if isinstance(b, bijectors.ActNorm))

    def initialize(self, images):
        """Set every actnorm from a batch of images; `fit` does it with one of its data."""
        images = self._checked_images(images)
        noise = tf.random.stateless_uniform(tf.shape(images), seed=[self._seed, 0])
        self.flow.initialize(self._dequantize(images, noise))

    def fit(self, x=None, *args, **options):
        if not self.initialized:
            x = self._initialize_from(x, options.get("batch_size") or 32)
        return super().fit(x, *args, **options)

    def _log_prob(self, images):
        # From what the model sees of the image: the bits that it drops must not matter.
        seen = tf.bitwise.right_shift(images, tf.constant(8 - self.num_bits, tf.uint8))
        noise = self._image_noise.uniform(seen, self.image_shape)
        return self._log_density(self._dequantize(images, noise))

    def _training_loss(self, images, noise):
        return -self._log_density(self._dequantize(images, noise.uniform(self.image_shape)))

    def _encode(self, images):
        return self.flow.inverse_and_log_det(self._dequantize(images, 0.5))[0]

    def _decode(self, latents):
        return self._quantize(self.flow.forward_and_log_det(latents)[0])

    def _log_density(self, values):
        latents, log_det = self.flow.inverse_and_log_det(values)
        normalizer = self.num_dims * (0.5 * math.log(2 * math.pi) + self.num_bits * math.log(2.0))
        return log_det - 0.5 * tf.reduce_sum(latents**2, axis=-1) - normalizer

    def _dequantize(self, images, noise):
        levels = tf.floor(tf.cast(images, tf.float32) / 2.0 ** (8 - self.num_bits))
        return (levels + noise) / 2.0**self.num_bits - 0.5

    def _quantize(self, values):
        values = tf.where(values == values, values, 0.0)  # NaN, where float32 overflowed
        last = 2.0**self.num_bits - 1
        levels = tf.clip_by_value(tf.floor((values + 0.5) * 2.0**self.num_bits), 0.0, last)
        return tf.cast(tf.round(levels * (255.0 / last)), tf.uint8)

    def _initialize_from(self, x, batch_size):
        if isinstance(x, tf.data.Dataset):
            first = next(iter(x))
        elif isinstance(x, (np.ndarray, tf.Tensor)):
            first = x[:batch_size]
        else:
            raise InputError(
                f"{self.name}: fit initializes actnorm from the first batch of an array or a "
                f"tf.data.Dataset, got {type(x).__name__}; call model.initialize(images) before it"
            )
        images = first[0] if isinstance(first, tuple) else first
        self.initialize(images)
        return x


def _every(bijector):
    yield bijector
    for inner in bijector.inner_bijectors:
        yield from _every(inner)
