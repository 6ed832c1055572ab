"""Glow: a normalizing flow on images."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfgen import bijectors, checks
from tfgen.bijectors.base import FlowBijector
from tfgen.errors import InputError
from tfgen.models import bounds
from tfgen.models.base import GenerativeModel
from tfgen.models.glow.class_prior import CLASS_PRIORS, ClassPrior
from tfgen.models.glow.dequantization import (
    UniformDequantization,
    VariationalDequantization,
    dequantization_shift,
)
from tfgen.models.glow.preprocessing import PREPROCESSINGS
from tfgen.models.glow.rows import rows_of
from tfgen.models.noise import ImageNoise
from tfgen.models.summary import Row
from tfgen.networks import precision
from tfgen.numerics import sum_over_event

CLASSIFICATION_WEIGHT = 0.01
DEQUANTIZATIONS = ("uniform", "variational")


@keras.saving.register_keras_serializable(package="tfgen")
class Glow(GenerativeModel):
    """A normalizing flow: images as an invertible function of standard normal latents.

    Equations, with f the flow `tfgen.bijectors.Glow`, D = H W C and n = num_bits:

    - an image x becomes levels l = floor(x / 2^(8-n)) and y = (l + u) / 2^n - 1/2, with an offset
      0 <= u < 1 of density q(u|x): 1 with dequantization="uniform", that of a conditional flow with
      "variational" (`tfgen.models.glow.dequantization`)
    - with preprocessing="logit" the flow sees log((1/2 + y) / (1/2 - y)) in place of y; the density
      below is still that of y (`tfgen.models.glow.preprocessing`)
    - log_prob(x) = log N(f^-1(y); 0, I) + log |det df^-1/dy| - n D log 2 - log q(u|x), in nats
    - encode(x) = f^-1(y) at u = 1/2, or at the conditional flow's offset for noise 0
    - decode(z): the level that f(z) falls in, or the nearest, as the uint8 value 255 l / (2^n - 1)

    With uniform offsets `log_prob` is the exact log-density of the flow at the dequantized image.
    The noise behind u is computed from the image itself (`tfgen.models.noise.ImageNoise`), so that
    `log_prob` is a function of the image alone; training draws it anew at each step. Averaged over
    u, `log_prob` is a lower bound of log P(x); papers on flows report this bound in bits/dim. See
    `tfgen.models.bounds`.

    The prior of the latents of the last level has a learned mean and scale for each channel. These
    are part of f, so that latents are standard normal.

    decode(encode(x)) = x, except for the bits that the model drops. Images so unlike the training
    data that float32 cannot keep this promise are refused by `encode`
    (`tfgen.models.round_trips`). With `network_dtype="bfloat16"`, which is meant for training, the
    promise does not hold; models are saved and exported in float32.

    With `num_classes` K the latents of the last level have a Gaussian prior for each class
    (`tfgen.models.glow.class_prior.ClassPrior`). Training then needs labels, and adds to the
    negative log-likelihood a classification loss of weight 0.01 per dimension. log_prob(x, y) is
    the log-likelihood of an image given its class, and log_prob(x) that of the image without its
    class: log(1/K sum_y p(x|y)).

    Shapes: images uint8 `[N, H, W, C]`, latents float32 `[N, H*W*C]`.

    Args:
        image_shape: (H, W, C); H and W multiples of 2^levels.
        levels: number of resolutions, L in the paper.
        depth: steps of flow at each resolution, K in the paper.
        width: hidden channels of the couplings' networks.
        coupling: "affine" or "additive".
        permutation: "invertible_conv", "shuffle" or "reverse".
        scale: how affine couplings compute their scale, see `tfgen.bijectors.AffineCoupling`.
        network: network of the couplings: "convolutional", as in the paper; "gated", see
            `tfgen.networks.gated_residual`; or a `keras.Model` (or its configuration) that all
            couplings of a flow with one level share, see `tfgen.bijectors.AffineCoupling`.
        blocks: residual blocks of a gated network.
        checkerboard: number of `tfgen.bijectors.CheckerboardCoupling`s before the first squeeze;
            the paper has none.
        preprocessing: the scale on which the flow sees pixels, "linear" or "logit".
        num_bits: 1 to 8, the bits per channel that the model sees; the lower ones are dropped.
        num_classes: K, for a class-conditional model.
        class_prior: "channel", as in the paper, or "pixel": see
            `tfgen.models.glow.class_prior.ClassPrior`.
        dequantization: "uniform" or "variational".
        dequantization_depth: steps of the conditional flow of variational dequantization.
        dequantization_width: hidden channels of its networks; `width` by default.
        network_dtype: dtype in which the networks compute: "float32", the default, "float64", or
            for training "bfloat16" or "float16".
        memory: "plain", "checkpoint" or "reversible": which activations training keeps, see
            `tfgen.bijectors.step_sequence.StepSequence`.

    Raises:
        InputError: sides that are not multiples of 2^levels, num_bits outside 1 to 8, an unknown
            dequantization, preprocessing or class prior, or arguments that the bijectors refuse.

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

    def __init__(
        self,
        image_shape: Sequence[int],
        *,
        levels: int,
        depth: int,
        width: int,
        coupling: str = "affine",
        permutation: str = "invertible_conv",
        scale: str = "tanh",
        network: str | dict | keras.Model = "convolutional",
        blocks: int = 2,
        checkerboard: int = 0,
        preprocessing: str = "linear",
        num_bits: int = 8,
        num_classes: int | None = None,
        class_prior: str = "channel",
        network_dtype: str | None = None,
        memory: str = "plain",
        dequantization: str = "uniform",
        dequantization_depth: int = 4,
        dequantization_width: int | None = None,
        name: str = "glow",
    ) -> None:
        super().__init__(image_shape, None, name=name)
        self.num_bits = checks.integer(f"{name}: num_bits", num_bits, 1, 8)
        if num_classes is not None:
            self.num_classes = checks.integer(f"{name}: num_classes", num_classes, 2)
        if dequantization_width is not None:
            checks.integer(f"{name}: dequantization_width", dequantization_width, 1)
        self._config: dict[str, Any] = {
            "num_bits": self.num_bits,
            "num_classes": self.num_classes,
            "class_prior": checks.choice(f"{name}: class_prior", class_prior, CLASS_PRIORS),
            "preprocessing": checks.choice(f"{name}: preprocessing", preprocessing, PREPROCESSINGS),
            "dequantization": checks.choice(
                f"{name}: dequantization", dequantization, DEQUANTIZATIONS
            ),
            "dequantization_depth": checks.integer(
                f"{name}: dequantization_depth", dequantization_depth, 1
            ),
            "dequantization_width": dequantization_width,
        }
        if isinstance(network, dict):
            network = keras.saving.deserialize_keras_object(network)
        self._flow_config: dict[str, Any] = {
            "levels": levels,
            "depth": depth,
            "width": width,
            "coupling": coupling,
            "permutation": permutation,
            "scale": scale,
            "network": network,
            "blocks": blocks,
            "checkerboard": checkerboard,
            "network_dtype": precision.checked(f"{name}: network_dtype", network_dtype),
            "memory": memory,
        }
        self.flow = bijectors.Glow(
            self.image_shape,
            learned_prior=num_classes is None,
            name=f"{name}_flow",
            **self._flow_config,
        )
        self._flow_layers = self.flow.layers
        self._preprocessing = PREPROCESSINGS[preprocessing](self.image_shape)
        self._top_size = math.prod(self.flow.top_shape)
        self._class_prior: ClassPrior | None = None
        if num_classes:
            self._class_prior = ClassPrior(
                num_classes, self.flow.top_shape, varies=class_prior, name=f"{name}_prior"
            )
        self._dequantization: UniformDequantization | VariationalDequantization
        self._dequantization = UniformDequantization()
        if dequantization == "variational":
            self._dequantization = VariationalDequantization(
                self.image_shape,
                depth=dequantization_depth,
                width=dequantization_width or width,
                network_dtype=network_dtype,
                name=f"{name}_dequantization",
            )
        self._image_noise = ImageNoise(self.image_shape)
        self.built = True

    def get_config(self) -> dict[str, Any]:
        return {
            "image_shape": self.image_shape,
            "name": self.name,
            **self._config,
            **self._flow_config,
            "network": keras.saving.serialize_keras_object(self._flow_config["network"]),
        }

    @property
    def is_invertible(self) -> bool:
        """Whether `decode(encode(images))` equals the images: not with half precision."""
        return self.half_dtype is None

    def bound_of(self, num_samples: int) -> str:
        """What `log_prob` returns with `num_samples`, in the words of `tfgen.models.bounds`."""
        samples = bounds.counted(num_samples, "dequantization sample")
        parts: tuple[str, ...] = (bounds.LOWER, samples)
        if num_samples == 1 and self._config["dequantization"] == "uniform":
            parts = (bounds.EXACT,)
        return bounds.described(*parts, half=self.half_dtype, invertible=True)

    @property
    def dequantization(self) -> str:
        """A description of the noise that is added to the levels of the pixels."""
        return self._dequantization_of(1)

    def _dequantization_of(self, num_samples):
        draws = "one draw" if num_samples == 1 else f"{num_samples:,} draws"
        return f"{self._config['dequantization']}, {draws} per image"

    @property
    def num_tight_samples(self) -> int:
        """The `num_samples` that is used for the tighter bound in cards."""
        return self._dequantization.num_tight_samples

    @property
    def layers(self) -> list[keras.Layer]:
        """The layers in the order in which weight files hold them."""
        layers = [*self._flow_layers]
        if self._class_prior is not None:
            layers.append(self._class_prior)
        if self._dequantization.bijectors:
            layers.append(self._dequantization)
        return layers

    def _rows(self) -> list[Row]:
        return rows_of(self)

    @property
    def bijectors(self) -> list[FlowBijector]:
        """The flow, and the bijectors of the dequantization."""
        return [self.flow, *self._dequantization.bijectors]

    @property
    def initialized(self) -> bool:
        """Whether the actnorms have been set from data."""
        return all(b.initialized for b in _every(self.flow) if isinstance(b, bijectors.ActNorm))

    def initialize(self, images: ArrayLike | tf.Tensor) -> None:
        """Set every actnorm from a batch of images; `fit` does it with its first batch."""
        images = self._checked_images(images)
        noise = tf.random.stateless_uniform(tf.shape(images), seed=[self._seed, 0])
        self.flow.initialize(self._flow_input(images, noise)[0])

    def latents_from_noise(
        self, noise: ArrayLike | tf.Tensor, labels: ArrayLike | tf.Tensor | None = None
    ) -> tf.Tensor:
        """Map scaled standard normal noise to latents, by the prior of each label's class.

        Shapes: float32 `[N, D]`, labels `[N] -> float32 [N, D]`.

        Args:
            noise: standard normal, times a temperature.
            labels: classes for a class-conditional model; by default all classes in turn.

        Raises:
            InputError: labels out of range or for a model without classes.
        """
        if self._class_prior is None or self.num_classes is None:
            return super().latents_from_noise(noise, labels)
        noise = tf.convert_to_tensor(noise)
        if labels is None:
            labels = tf.range(tf.shape(noise)[0]) % self.num_classes
        labels = self._checked_labels(labels, noise.shape[0])
        top, rest = tf.split(noise, [self._top_size, self.num_dims - self._top_size], axis=-1)
        return tf.concat([self._class_prior.from_noise(top, labels), rest], axis=-1)

    def _log_prob(self, images, labels, num_samples):
        batch = {"images": images} if labels is None else {"images": images, "labels": labels}
        if num_samples == 1:
            return self._run(self._log_prob_of_draw, batch)
        total = tf.fill([tf.shape(images)[0]], -math.inf)
        for draw in range(num_samples):
            shift = {"shift": tf.constant(dequantization_shift(draw, self.image_shape))}
            found = self._run(self._log_prob_of_draw, batch, shift)
            total = tf.reduce_logsumexp(tf.stack([total, found]), axis=0)
        return total - math.log(num_samples)

    def _log_prob_of_draw(self, images, labels=None, shift=None):
        """log p with the noise that is computed from the images, shifted modulo 1."""
        # The noise must not depend on the bits that the model drops.
        seen = tf.bitwise.right_shift(images, tf.constant(8 - self.num_bits, tf.uint8))
        noise = self._dequantization.noise_of_image(self._image_noise, seen, shift)
        log_density, ratios, _ = self._log_density(*self._dequantized(images, noise))
        if self.num_classes is None:
            return log_density
        if labels is not None:
            return log_density + tf.gather(ratios, labels, batch_dims=1)
        return log_density + tf.reduce_logsumexp(ratios, axis=-1) - math.log(self.num_classes)

    def _dequantized(self, images, noise):
        """The input of the flow for images, and log |det| of the preprocessing - log q(u|x)."""
        offsets, log_q = self._dequantization.offsets(self._centers(images), noise)
        values, log_slope = self._flow_input(images, offsets)
        return values, log_slope - log_q

    def _training_loss(self, images, labels, noise):
        noise = self._dequantization.noise_of_step(noise, self.image_shape)
        log_density, ratios, logits = self._log_density(*self._dequantized(images, noise))
        if self.num_classes is None:
            return -log_density, -log_density, {}
        if labels is None:
            raise InputError(f"{self.name}: a class-conditional model trains on (images, labels)")
        labels = self._checked_labels(labels, images.shape[0])
        known = f"{self.name}: labels must lie between 0 and {self.num_classes - 1}"
        inside = (labels >= 0) & (labels < self.num_classes)
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(inside), [known, labels])]):
            labels = tf.where(inside, labels, 0)
        log_density = tf.where(inside, log_density, math.nan)  # XLA omits assertions.
        nll = -log_density - tf.gather(ratios, labels, batch_dims=1)
        errors = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return nll, nll + CLASSIFICATION_WEIGHT * self.num_dims * errors, {}

    def _encode(self, images):
        middle = self._dequantization.middle(self._centers(images))
        values, _ = self._flow_input(images, middle)
        return self.flow.inverse_and_log_det(values)[0]

    def _decode(self, latents):
        values, _ = self.flow.forward_and_log_det(latents)
        return self._quantize(self._preprocessing.forward_and_log_det(values)[0])

    def _log_density(self, values, log_slope):
        """log p with a standard normal prior, each class's term, and the classifier's logits."""
        latents, log_det = self.flow.inverse_and_log_det(values)
        log_det += log_slope
        normalizer = self.num_dims * (0.5 * math.log(2 * math.pi) + self.num_bits * math.log(2.0))
        log_density = log_det - 0.5 * sum_over_event(latents**2) - normalizer
        if self._class_prior is None:
            return log_density, None, None
        top = latents[:, : self._top_size]
        return log_density, self._class_prior.log_ratios(top), self._class_prior.logits(top)

    def _flow_input(self, images, offsets):
        """The input of the flow for images with offsets u, and log |det| of the preprocessing."""
        return self._preprocessing.inverse_of_levels(self._levels(images), offsets, self.num_bits)

    def _centers(self, images):
        """The values y of images with offsets 1/2."""
        return (self._levels(images) + 0.5) / 2.0**self.num_bits - 0.5

    def _levels(self, images):
        return tf.floor(tf.cast(images, tf.float32) / 2.0 ** (8 - self.num_bits))

    def _quantize(self, values):
        values = tf.where(values == values, values, 0.0)  # NaN, where float32 overflowed
        last = 2.0**self.num_bits - 1
        levels = tf.clip_by_value(tf.floor((values + 0.5) * 2.0**self.num_bits), 0.0, last)
        return tf.cast(tf.round(levels * (255.0 / last)), tf.uint8)

    def _before_fit(self, x, batch_size):
        """Set the actnorms from the first batch if necessary."""
        if self.initialized:
            return
        if isinstance(x, tf.data.Dataset):
            first = next(iter(x))
        elif isinstance(x, (np.ndarray, tf.Tensor)):
            first = x[: batch_size or 32]
        else:
            raise InputError(
                f"{self.name}: fit initializes actnorm from the first batch of an array or a "
                f"tf.data.Dataset, got {type(x).__name__}; call model.initialize(images) before fit"
            )
        self.initialize(first[0] if isinstance(first, tuple) else first)


def _every(bijector: FlowBijector) -> Iterator[FlowBijector]:
    yield bijector
    for inner in bijector.inner_bijectors:
        yield from _every(inner)
