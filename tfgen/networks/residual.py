"""The residual convolutional networks of the VAE's encoder and decoder."""

import collections
import math

import keras
import tensorflow as tf

from tfgen.errors import InputError
from tfgen.networks.precision import policy


def residual_encoder(
    image_shape,
    outputs,
    *,
    channels=(32, 64),
    blocks=1,
    hidden_units=(256,),
    activation="elu",
    dtype="float32",
    name="encoder",
):
    """From images to numbers: strided convolutions with residual blocks after each.

    Each resolution is a 5x5 (the first) or 3x3 convolution of stride 2 and `blocks` residual blocks
    x + conv(act(conv(act(x)))), whose last convolution starts at zero, so that each block starts as
    the identity; then come dense layers.

    Shapes: `[N, H, W, C] -> [N, outputs]`.

    Args:
        image_shape: (H, W, C).
        outputs: numbers of the result.
        channels: of the feature maps at H/2, H/4 and so on.
        blocks: residual blocks at each resolution.
        hidden_units: units of each dense layer between the last feature map and the result.
        activation: by its Keras name.
        dtype: in which the layers compute; weights are kept in float32 at least.
        name: of the network.

    Raises:
        InputError: no channels, or images too small for so many resolutions.

    Source: Kingma et al., Improving variational inference with inverse autoregressive flow, 2016
    (1606.04934), section 6.1: residual networks of strided convolutions; He et al., Identity
    mappings in deep residual networks, 2016 (1603.05027), figure 1b.

    Example:

    >>> import numpy as np
    >>> from tfgen.networks import residual_encoder
    >>> network = residual_encoder((28, 28, 1), 10, channels=(4, 8), hidden_units=(16,))
    >>> network(np.zeros((2, 28, 28, 1), "float32")).shape
    TensorShape([2, 10])
    """
    _check_sides(image_shape, channels, name)
    layer = _Layers(activation, dtype, name)
    inputs = keras.Input(image_shape, dtype=layer.compute_dtype)
    x = inputs
    for level, width in enumerate(channels):
        kernel = 5 if level == 0 else 3
        x = layer.convolution(width, kernel, strides=2)(x if level == 0 else layer.activation(x))
        for _ in range(blocks):
            x = layer.block(x, width)
    x = layer.flatten(layer.activation(x))
    for units in hidden_units:
        x = layer.activation(layer.dense(units)(x))
    return keras.Model(inputs, layer.dense(outputs)(x), name=name)


def residual_decoder(
    latent_dim,
    image_shape,
    *,
    channels=(64, 32),
    blocks=1,
    hidden_units=(256,),
    activation="elu",
    dtype="float32",
    name="decoder",
):
    """From numbers to images: residual blocks between enlargements.

    The mirror image of `residual_encoder`. A map is enlarged twice by a 3x3 convolution of four
    times the channels, whose channels then become pixels (depth to space): all convolutions run at
    half the resolution of what they give. Where a side is odd the enlarged map is cropped.

    Shapes: `[N, latent_dim] -> [N, H, W, C]`.

    Args:
        latent_dim: numbers in.
        image_shape: (H, W, C) of the result.
        channels: of the feature maps, the smallest map first, the last at H/2.
        blocks: residual blocks at each resolution.
        hidden_units: units of each dense layer before the first feature map.
        activation: by its Keras name.
        dtype: in which the layers compute; weights are kept in float32 at least.
        name: of the network.

    Raises:
        InputError: as `residual_encoder`.

    Source: as `residual_encoder`; Shi et al., Real-time single image and video super-resolution
    using an efficient sub-pixel convolutional neural network, 2016 (1609.05158), section 3.2.

    Example:

    >>> import numpy as np
    >>> from tfgen.networks import residual_decoder
    >>> network = residual_decoder(10, (27, 28, 1), channels=(8, 4), hidden_units=(16,))
    >>> network(np.zeros((2, 10), "float32")).shape
    TensorShape([2, 27, 28, 1])
    """
    _check_sides(image_shape, channels, name)
    height, width, last = image_shape
    levels = len(channels)
    sides = [(math.ceil(height / 2**i), math.ceil(width / 2**i)) for i in range(levels + 1)]
    layer = _Layers(activation, dtype, name)
    inputs = keras.Input((latent_dim,), dtype=layer.compute_dtype)
    x = inputs
    for units in hidden_units:
        x = layer.activation(layer.dense(units)(x))
    smallest = (*sides[levels], channels[0])
    x = layer.reshape(smallest)(layer.dense(math.prod(smallest))(x))
    for level, next_width in enumerate([*channels[1:], last]):
        for _ in range(blocks):
            x = layer.block(x, channels[level])
        x = layer.convolution(4 * next_width, 3)(layer.activation(x))
        x = layer.enlarge(x, sides[levels - level - 1])
    return keras.Model(inputs, x, name=name)


class _Layers:
    """Makes layers that share an activation and a precision, numbered in the order of creation."""

    def __init__(self, activation, dtype, name):
        self._name, self._counts = name, collections.Counter()
        self._precision = policy(dtype)
        self._activation = activation
        self.compute_dtype = self._precision.compute_dtype

    def activation(self, x):
        return keras.layers.Activation(self._activation, dtype=self._precision)(x)

    def convolution(self, filters, kernel_size, **options):
        return keras.layers.Conv2D(
            filters,
            kernel_size,
            padding="same",
            dtype=self._precision,
            name=self._next_name("convolution"),
            **options,
        )

    def dense(self, units):
        return keras.layers.Dense(units, dtype=self._precision, name=self._next_name("dense"))

    def _next_name(self, kind):
        self._counts[kind] += 1
        return f"{self._name}_{kind}_{self._counts[kind] - 1}"

    def flatten(self, x):
        return keras.layers.Flatten(dtype=self._precision)(x)

    def reshape(self, shape):
        return keras.layers.Reshape(shape, dtype=self._precision)

    def block(self, x, width):
        inner = self.convolution(width, 3)(self.activation(x))
        inner = self.convolution(width, 3, kernel_initializer="zeros")(self.activation(inner))
        return keras.layers.Add(dtype=self._precision)([x, inner])

    def enlarge(self, x, sides):
        x = DepthToSpace(dtype=self._precision)(x)
        surplus = [(0, found - wanted) for found, wanted in zip(x.shape[1:3], sides, strict=True)]
        if any(after for _, after in surplus):
            x = keras.layers.Cropping2D(surplus, dtype=self._precision)(x)
        return x


@keras.saving.register_keras_serializable(package="tfgen")
class DepthToSpace(keras.layers.Layer):
    """Four channels become 2x2 pixels: `[N, H, W, 4C] -> [N, 2H, 2W, C]`.

    Example:

    >>> import numpy as np
    >>> from tfgen.networks.residual import DepthToSpace
    >>> DepthToSpace()(np.zeros((1, 3, 5, 8), "float32")).shape
    TensorShape([1, 6, 10, 2])
    """

    def get_config(self):
        return super().get_config()  # Keras' own does not know a precision

    def call(self, x):
        return tf.nn.depth_to_space(x, 2)

    def compute_output_shape(self, shape):
        count, height, width, channels = shape
        return (count, 2 * height, 2 * width, channels // 4)


def _check_sides(image_shape, channels, name):
    if not channels:
        raise InputError(f"{name}: give channels for one halving of the sides at least, got []")
    if min(image_shape[:2]) < 2 ** len(channels):
        raise InputError(
            f"{name}: {len(channels)} halvings of {image_shape[0]}x{image_shape[1]} pixels leave "
            f"nothing; give fewer channels than {list(channels)}"
        )
