"""The multi-scale flow."""

import math

import tensorflow as tf

from tfgen.bijectors.actnorm import ActNorm
from tfgen.bijectors.base import FlowBijector, image_shape
from tfgen.bijectors.checkerboard import CheckerboardCoupling
from tfgen.bijectors.glow_step import GlowStep
from tfgen.bijectors.split import Split
from tfgen.bijectors.squeeze import Squeeze
from tfgen.bijectors.step_sequence import MEMORY, StepSequence
from tfgen.errors import InputError


class Glow(FlowBijector):
    """Glow: flat latents to images.

    Equations: towards the latents, each of the `levels` is one `Squeeze`, `depth` times `GlowStep`,
    and (except for the last level) a `Split`, after which half of the channels leave as latents.
    Log-determinants add up. All latents together are z, those of the last level first. With
    `checkerboard` n > 0 the first level begins with an actnorm and n couplings of alternating
    colours at full resolution, before its squeeze.

    Shapes: forward `[..., H*W*C] -> [..., H, W, C]`; log-determinants `[...]` in nats.

    Args:
        event_shape: (H, W, C) of the images; H and W multiples of 2^levels.
        levels: number of resolutions, L in the paper.
        depth: steps of flow at each resolution, K in the paper.
        width: hidden channels of the couplings' networks.
        coupling: "affine" or "additive".
        permutation: "invertible_conv", "shuffle" or "reverse".
        scale: of affine couplings, see `AffineCoupling`.
        network, blocks: of the couplings, see `AdditiveCoupling`.
        checkerboard: number of `CheckerboardCoupling`s at full resolution; the paper has none.
        network_dtype: in which the networks compute, such as "bfloat16".
        memory: what the backward pass keeps of the activations: "plain", "checkpoint" or
            "reversible", see `tfgen.bijectors.step_sequence.StepSequence`.
        learned_prior: whether the latents of the last level are scaled and shifted by a learned
            factor and term for each channel: then x has, in place of N(0, 1), a prior with a
            learned mean and scale.
        dtype: of data and weights.
        name: of the bijector.

    Raises:
        InputError: sides that are no multiples of 2^levels, and whatever the inner bijectors
            refuse.

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
        event_shape,
        *,
        levels=3,
        depth=32,
        width=512,
        coupling="affine",
        permutation="invertible_conv",
        scale="tanh",
        network="convolutional",
        blocks=2,
        checkerboard=0,
        network_dtype=None,
        memory="plain",
        learned_prior=False,
        dtype="float32",
        name="glow",
    ):
        parameters = dict(locals())
        if memory not in MEMORY:
            raise InputError(f"{name}: memory must be one of {', '.join(MEMORY)}, got {memory!r}")
        shape = image_shape(event_shape, name)
        for argument, value in (("levels", levels), ("depth", depth), ("width", width)):
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name}: {argument} must be a positive integer, got {value!r}")
        if not isinstance(checkerboard, int) or checkerboard < 0:
            raise InputError(
                f"{name}: checkerboard must be a number of couplings, 0 or more, "
                f"got {checkerboard!r}"
            )
        _check_sides(shape, levels, name)
        of_couplings = {
            "width": width,
            "scale": scale,
            "network": network,
            "blocks": blocks,
            "network_dtype": network_dtype,
            "dtype": dtype,
        }
        before = [
            CheckerboardCoupling(
                shape, parity=number % 2, name=f"{name}_checkerboard{number}", **of_couplings
            )
            for number in range(checkerboard)
        ]
        if before:
            before = [ActNorm(shape, dtype=dtype, name=f"{name}_checkerboard_actnorm"), *before]
        self._levels = []
        for level in range(levels):
            squeeze = Squeeze(shape, dtype=dtype, name=f"{name}_level{level}_squeeze")
            shape = squeeze.latent_shape
            steps = [
                GlowStep(
                    shape,
                    coupling=coupling,
                    permutation=permutation,
                    name=f"{name}_level{level}_step{number}",
                    **of_couplings,
                )
                for number in range(depth)
            ]
            if learned_prior and level == levels - 1:
                steps.append(ActNorm(shape, dtype=dtype, name=f"{name}_prior"))
            split = None
            if level < levels - 1:
                split = Split(shape, dtype=dtype, name=f"{name}_level{level}_split")
                shape = (*shape[:2], split.staying)
            self._levels.append(_Level([*before, squeeze, *steps], split, memory))
            before = []
        self.top_shape = shape
        super().__init__(
            event_shape,
            latent_shape=(math.prod(event_shape),),
            dtype=dtype,
            name=name,
            parameters=parameters,
        )

    @property
    def inner_bijectors(self):
        return [bijector for level in self._levels for bijector in level.bijectors]

    def initialize(self, x, context=None):
        x = self._checked(x, self.data_shape)
        flat = []
        for level in self._levels:
            for bijector in level.bijectors:
                x = bijector.initialize(x)
            x, leaving = level.part(x)
            flat = [*leaving, *flat]
        return tf.concat([_flatten(x), *flat], axis=-1)

    def _inverse_with_log_det(self, x):
        flat, total = [], tf.zeros(tf.shape(x)[:1], x.dtype)
        for level in self._levels:
            x, log_det = level.chain.inverse(x)
            total += log_det
            x, leaving = level.part(x)
            flat = [*leaving, *flat]
        return tf.concat([_flatten(x), *flat], axis=-1), total

    def _forward_with_log_det(self, z):
        shapes = [level.leaving_shape for level in reversed(self._levels) if level.split]
        sizes = [math.prod(shape) for shape in [self.top_shape, *shapes]]
        top, *leaving = tf.split(z, sizes, axis=-1)
        x, total = tf.reshape(top, [-1, *self.top_shape]), tf.zeros(tf.shape(z)[:1], z.dtype)
        for level in reversed(self._levels):
            if level.split:
                x = tf.concat([x, tf.reshape(leaving.pop(0), [-1, *level.leaving_shape])], axis=-1)
            x, log_det = level.chain.forward(x)
            total += log_det
        return x, total


class _Level(tf.Module):
    """The bijectors of one resolution, in the order towards the latents."""

    def __init__(self, bijectors, split, memory):
        super().__init__()
        self.split = split
        self.bijectors = [*bijectors, *([split] if split else [])]
        self.chain = StepSequence(self.bijectors, memory)

    @property
    def leaving_shape(self):
        return (*self.split.data_shape[:2], self.split.leaving)

    def part(self, x):
        """What stays, and the list of what leaves, flattened."""
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
