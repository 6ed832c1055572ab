"""The residual convolutional networks of the VAE's encoder and decoder."""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfgen.errors import InputError
from tfgen.networks.precision import policy


def residual_encoder(
    image_shape: Sequence[int],
    output_size: int,
    *,
    channels: Sequence[int] = (32, 64),
    blocks: int = 1,
    hidden_units: Sequence[int] = (256,),
    activation: str = "elu",
    dtype: str = "float32",
    name: str = "encoder",
) -> keras.Model:
    """A network from images to vectors: strided convolutions, each followed by residual blocks.

    Each resolution has a convolution of stride 2, the first 5x5 and the others 3x3, and `blocks`
    residual blocks x + conv(act(conv(act(x)))), whose last convolution starts at zero, so that each
    block starts as the identity. Dense layers follow.

    Shapes: `[N, H, W, C] -> [N, output_size]`.

    Args:
        image_shape: (H, W, C).
        output_size: number of outputs.
        channels: channels of the feature maps at H/2, H/4 and so on.
        blocks: number of residual blocks at each resolution.
        hidden_units: units of each dense layer between the last feature map and the output.
        activation: Keras name of the activation.
        dtype: dtype of the computation; the weights have at least float32.
        name: name of the network.

    Raises:
        InputError: `channels` is empty, or the images are too small for that many resolutions.

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
    return keras.Model(inputs, layer.dense(output_size)(x), name=name)


def residual_decoder(
    latent_dim: int,
    image_shape: Sequence[int],
    *,
    channels: Sequence[int] = (64, 32),
    blocks: int = 1,
    hidden_units: Sequence[int] = (256,),
    activation: str = "elu",
    dtype: str = "float32",
    name: str = "decoder",
) -> keras.Model:
    """A network from vectors to images: residual blocks between upsampling layers.

    The mirror image of `residual_encoder`. Upsampling by 2 is a 3x3 convolution with four times
    the channels, followed by depth to space, so that every convolution runs at half the resolution
    of its result. For an odd side the upsampled map is cropped.

    Shapes: `[N, latent_dim] -> [N, H, W, C]`.

    Args:
        latent_dim: number of inputs.
        image_shape: (H, W, C) of the result.
        channels: channels of the feature maps, from the smallest map to the one at H/2.
        blocks: number of residual blocks at each resolution.
        hidden_units: units of each dense layer before the first feature map.
        activation: Keras name of the activation.
        dtype: dtype of the computation; the weights have at least float32.
        name: name of the network.

    Raises:
        InputError: as for `residual_encoder`.

    Source: as for `residual_encoder`; Shi et al., Real-time single image and video super-resolution
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
        x = layer.upsample(x, sides[levels - level - 1])
    return keras.Model(inputs, x, name=name)


class _Layers:
    """Creates layers of one activation and precision, numbered in the order of creation."""

    def __init__(self, activation, dtype, name):
        self._name = name
        self._counts: collections.Counter[str] = collections.Counter()
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

    def upsample(self, x, sides):
        x = DepthToSpace(dtype=self._precision)(x)
        cropping = [(0, found - side) for found, side in zip(x.shape[1:3], sides, strict=True)]
        if any(after for _, after in cropping):
            x = keras.layers.Cropping2D(cropping, dtype=self._precision)(x)
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

    def get_config(self) -> dict[str, Any]:
        return super().get_config()  # Without this override, Keras omits the dtype policy.

    def call(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.depth_to_space(x, 2)

    def compute_output_shape(self, shape: tuple) -> tuple:
        count, height, width, channels = shape
        return (count, 2 * height, 2 * width, channels // 4)


def _check_sides(image_shape, channels, name):
    if not channels:
        raise InputError(f"{name}: channels must have at least one element, got []")
    if min(image_shape[:2]) < 2 ** len(channels):
        raise InputError(
            f"{name}: {image_shape[0]}x{image_shape[1]} images cannot be halved {len(channels)} "
            f"times, once for each element of channels={list(channels)}: give fewer"
        )
