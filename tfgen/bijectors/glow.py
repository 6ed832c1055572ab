"""The multi-scale flow of Glow."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
from numpy.typing import ArrayLike

from tfgen import checks
from tfgen.bijectors.actnorm import ActNorm
from tfgen.bijectors.base import FlowBijector
from tfgen.bijectors.checkerboard import CheckerboardCoupling
from tfgen.bijectors.glow_step import GlowStep
from tfgen.bijectors.split import Split
from tfgen.bijectors.squeeze import Squeeze
from tfgen.bijectors.step_sequence import MEMORY, StepSequence
from tfgen.errors import InputError


@keras.saving.register_keras_serializable(package="tfgen.bijectors")
class Glow(FlowBijector):
    """Glow's multi-scale flow, from flat latents to images.

    Equations: towards the latents, each of the `levels` is a `Squeeze`, `depth` `GlowStep`s, and
    (except for the last level) a `Split`, after which half of the channels leave as latents. The
    log-determinants add up. z concatenates the latents of all levels, the last level first. With
    `checkerboard` n > 0 the first level begins with an actnorm and n couplings of alternating
    colors at full resolution, before its squeeze.

    Shapes: forward `[..., H*W*C] -> [..., H, W, C]`; log-determinants `[...]` in nats.

    Args:
        event_shape: (H, W, C) of the images; H and W multiples of 2^levels.
        levels: number of resolutions, L in the paper.
        depth: steps of flow at each resolution, K in the paper.
        width: hidden channels of the couplings' networks.
        coupling: "affine" or "additive".
        permutation: "invertible_conv", "shuffle" or "reverse".
        scale: how affine couplings compute their scale, see `AffineCoupling`.
        network, blocks: see `AdditiveCoupling`.
        checkerboard: number of `CheckerboardCoupling`s at full resolution; the paper has none.
        network_dtype: dtype in which the networks compute, such as "bfloat16".
        memory: which activations the backward pass keeps: "plain", "checkpoint" or "reversible",
            see `tfgen.bijectors.step_sequence.StepSequence`.
        learned_prior: whether the latents of the last level are scaled and shifted by channel, so
            that their prior has a learned mean and scale in place of N(0, 1).
        dtype: dtype of the data and the weights.
        name: name of the bijector.

    Raises:
        InputError: sides that are not multiples of 2^levels, an argument out of range, or as for
            the inner bijectors.

    Source: Kingma and Dhariwal, Glow, 2018 (1807.03039), section 3, figure 2.

    Example:

    >>> import tensorflow as tf, tfgen
    >>> from tensorflow_probability import distributions as tfd
    >>> glow = tfgen.bijectors.Glow((8, 8, 1), levels=2, depth=2, width=8)
    >>> images = tfd.TransformedDistribution(tfd.MultivariateNormalDiag(tf.zeros(64)), glow)
    >>> x = images.sample(3, seed=0)
    >>> x.shape, images.log_prob(x).shape
    (TensorShape([3, 8, 8, 1]), TensorShape([3]))
    """

    def __init__(
        self,
        event_shape: Sequence[int],
        *,
        levels: int = 3,
        depth: int = 32,
        width: int = 512,
        coupling: str = "affine",
        permutation: str = "invertible_conv",
        scale: str = "tanh",
        network: str | keras.Layer = "convolutional",
        blocks: int = 2,
        checkerboard: int = 0,
        network_dtype: str | None = None,
        memory: str = "plain",
        learned_prior: bool = False,
        dtype: str | tf.DType = "float32",
        name: str = "glow",
    ) -> None:
        parameters = dict(locals())
        shape = checks.image_shape(f"{name}: event_shape", event_shape)
        levels = checks.integer(f"{name}: levels", levels, 1)
        depth = checks.integer(f"{name}: depth", depth, 1)
        width = checks.integer(f"{name}: width", width, 1)
        checkerboard = checks.integer(f"{name}: checkerboard", checkerboard, 0)
        checks.choice(f"{name}: memory", memory, MEMORY)
        _check_sides(shape, levels, name)
        coupling_options: dict[str, Any] = {
            "width": width,
            "scale": scale,
            "network": network,
            "blocks": blocks,
            "network_dtype": network_dtype,
            "dtype": dtype,
        }
        first: list[FlowBijector] = [
            CheckerboardCoupling(
                shape, parity=number % 2, name=f"{name}_checkerboard{number}", **coupling_options
            )
            for number in range(checkerboard)
        ]
        if first:
            first = [ActNorm(shape, dtype=dtype, name=f"{name}_checkerboard_actnorm"), *first]
        self._levels = []
        for level in range(levels):
            squeeze = Squeeze(shape, dtype=dtype, name=f"{name}_level{level}_squeeze")
            shape = squeeze.latent_shape
            steps: list[FlowBijector] = [
                GlowStep(
                    shape,
                    coupling=coupling,
                    permutation=permutation,
                    name=f"{name}_level{level}_step{number}",
                    **coupling_options,
                )
                for number in range(depth)
            ]
            if learned_prior and level == levels - 1:
                steps.append(ActNorm(shape, dtype=dtype, name=f"{name}_prior"))
            split = None
            if level < levels - 1:
                split = Split(shape, dtype=dtype, name=f"{name}_level{level}_split")
                shape = (*shape[:2], split.staying)
            self._levels.append(_Level([*first, squeeze, *steps], split, memory))
            first = []
        self.top_shape = shape
        super().__init__(
            event_shape,
            latent_shape=(math.prod(event_shape),),
            dtype=dtype,
            name=name,
            parameters=parameters,
        )

    @property
    def inner_bijectors(self) -> Sequence[FlowBijector]:
        return [bijector for level in self._levels for bijector in level.bijectors]

    def initialize(
        self, x: tf.Tensor | ArrayLike, context: tf.Tensor | ArrayLike | None = None
    ) -> tf.Tensor:
        x = self._checked(x, self.data_shape)
        latents: list[tf.Tensor] = []
        for level in self._levels:
            for bijector in level.bijectors:
                x = bijector.initialize(x)
            x, leaving = level.split_off(x)
            latents = [*leaving, *latents]
        return tf.concat([_flatten(x), *latents], axis=-1)

    def _inverse_with_log_det(self, x):
        latents: list[tf.Tensor] = []
        total = tf.zeros(tf.shape(x)[:1], x.dtype)
        for level in self._levels:
            x, log_det = level.sequence.inverse(x)
            total += log_det
            x, leaving = level.split_off(x)
            latents = [*leaving, *latents]
        return tf.concat([_flatten(x), *latents], axis=-1), total

    def _forward_with_log_det(self, z):
        shapes = [level.leaving_shape for level in reversed(self._levels) if level.leaving_shape]
        sizes = [math.prod(shape) for shape in [self.top_shape, *shapes]]
        top, *leaving = tf.split(z, sizes, axis=-1)
        x, total = tf.reshape(top, [-1, *self.top_shape]), tf.zeros(tf.shape(z)[:1], z.dtype)
        for level in reversed(self._levels):
            if level.leaving_shape:
                x = tf.concat([x, tf.reshape(leaving.pop(0), [-1, *level.leaving_shape])], axis=-1)
            x, log_det = level.sequence.forward(x)
            total += log_det
        return x, total


class _Level(tf.Module):
    """The bijectors of one resolution, in the order from the data to the latents."""

    def __init__(self, bijectors: Sequence[FlowBijector], split: Split | None, memory: str) -> None:
        super().__init__()
        self.split = split
        self.leaving_shape = (*split.data_shape[:2], split.leaving) if split else ()
        self.bijectors = [*bijectors, *([split] if split else [])]
        self.sequence = StepSequence(self.bijectors, memory)

    def split_off(self, x):
        """The channels that stay, and a list of those that leave, flattened."""
        if not self.split:
            return x, []
        staying, leaving = tf.split(x, [self.split.staying, self.split.leaving], axis=-1)
        return staying, [_flatten(leaving)]


def _flatten(x):
    return tf.reshape(x, [-1, math.prod(x.shape[1:])])


def _check_sides(shape, levels, name):
    height, width, _ = shape
    block = 2**levels
    if height % block == 0 and width % block == 0:
        return
    nearest = "x".join(str(max(1, round(side / block)) * block) for side in (height, width))
    possible = math.gcd(height, width)
    most = (possible & -possible).bit_length() - 1
    fewer = f"levels up to {most} work for {height}x{width}, or " if most else ""
    raise InputError(
        f"{name}: both sides must be multiples of 2^levels = {block}, got {height}x{width}; "
        f"{fewer}resize the images to {nearest}"
    )
