"""The base class of the models: the four verbs, and the methods that build on them."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

import tfgen.optimizers  # noqa: F401  # Registers what files of compiled models name.
from tfgen import checks
from tfgen.bijectors.base import FlowBijector
from tfgen.errors import InputError
from tfgen.models import inputs, round_trips
from tfgen.models.compiled import Compiled
from tfgen.models.exporting import Exporting
from tfgen.models.likelihood_training import LikelihoodTraining
from tfgen.models.pretrained import Pretrained
from tfgen.models.summary import Summarized
from tfgen.networks import precision


class GenerativeModel(Exporting, Pretrained, Summarized, Compiled, LikelihoodTraining):
    """A Keras model of images with the verbs `log_prob`, `sample`, `encode` and `decode`.

    A subclass implements each verb as a graph, on tensors with an unknown batch size:
    `_log_prob(images, labels, num_samples)`, `_encode(images)`, `_decode(latents)`, and
    `_training_loss(images, labels, noise)`, which returns the negative log-likelihood in nats, the
    loss, and a dict of `reported_parts`, each `[N]`. It also sets `num_bits` and `bijectors`, the
    bijectors that it is made of, defines `bound_of`, `dequantization`, `layers` and `_rows`, the
    rows of its summary, and overrides the defaults below that do not apply to it.

    The layout of weight files does not depend on private attributes. Keras visits public attributes
    first, in alphabetical order, and saves a layer under the first attribute that holds it. Layers
    that it finds through `layers` are numbered in the order of that list.

    The verbs take NumPy arrays or tensors. Called eagerly, they run compiled on a limited number of
    images at a time, so that memory stays bounded; called inside a `tf.function`, they become part
    of its graph.

    Args:
        image_shape: (H, W, C).
        latent_dim: D, size of a latent vector; by default the number of values in an image.
        name: name of the model.

    Attributes:
        num_bits: bits per channel of the images whose likelihood is computed.
        num_classes: number of classes K of a class-conditional model, None for other models.
    """

    num_bits: int
    num_classes: int | None = None

    def __init__(self, image_shape: Sequence[int], latent_dim: int | None, *, name: str) -> None:
        super().__init__(name=name)
        self.image_shape = checks.image_shape("image_shape", image_shape)
        self.num_dims = math.prod(self.image_shape)
        self.latent_dim = latent_dim or self.num_dims

    @property
    def is_invertible(self) -> bool:
        """Whether `decode(encode(images))` equals the images, except for the bits that are dropped.

        `encode` refuses images for which float32 cannot keep this promise.
        """
        return False

    @property
    def bijectors(self) -> list[FlowBijector]:
        """The bijectors that the model is made of."""
        return []

    @property
    def bound(self) -> str:
        """What `log_prob` returns, in the words of `tfgen.models.bounds`."""
        return self.bound_of(1)

    def bound_of(self, num_samples: int) -> str:
        """What `log_prob` returns with `num_samples`, in the words of `tfgen.models.bounds`."""
        raise NotImplementedError

    @functools.cached_property
    def half_dtype(self) -> str | None:
        """The half-precision dtype in which networks compute, such as "bfloat16", or None."""
        return precision.half_dtype(self.layers)

    @property
    def dequantization(self) -> str:
        """A description of how uint8 images become the values whose likelihood is computed."""
        raise NotImplementedError

    def _dequantization_of(self, num_samples: int) -> str:
        return self.dequantization

    @property
    def num_evaluation_samples(self) -> int:
        """The `num_samples` that is used for the bits/dim in cards and in validation."""
        return 1

    @property
    def num_tight_samples(self) -> int:
        """The `num_samples` that is used for the tighter bound in cards; 1 if there is none."""
        return 1

    def protocol(self, num_samples: int = 1) -> dict[str, Any]:
        """The protocol behind a value of `log_prob` or `bits_per_dim`, as a dict for cards."""
        return {
            "bound": self.bound_of(num_samples),
            "dims": self.num_dims,
            "bits": self.num_bits,
            "padding": "none",
            "dequantization": self._dequantization_of(num_samples),
            "samples": num_samples,
            **({"labels": "not given"} if self.num_classes else {}),
        }

    @property
    def initialized(self) -> bool:
        """Whether the data-dependent weights have been initialized."""
        return True

    def initialize(self, images: ArrayLike | tf.Tensor) -> None:
        """Initialize data-dependent weights from a batch of images; by default there are none.

        Raises:
            InputError: the images have the wrong shape or dtype.
        """
        self._checked_images(images)

    def log_prob(
        self,
        images: ArrayLike | tf.Tensor,
        labels: ArrayLike | tf.Tensor | None = None,
        num_samples: int = 1,
    ) -> tf.Tensor:
        """Log-likelihood in nats: what exactly, `bound` says. It is -inf below float32's range.

        Shapes: uint8 `[N, H, W, C]`, labels `[N] -> float32 [N]`.

        Args:
            images: uint8.
            labels: integers below `num_classes`, for the likelihood given the class.
            num_samples: k, the number of samples that a bound averages over: draws of a flow's
                dequantization noise, or importance samples of a VAE. The bound approaches log p(x)
                as k grows.

        Raises:
            InputError: images of another shape or dtype, labels out of range or for a model
                without classes, num_samples below 1.
        """
        images = self._checked_images(images)
        if labels is not None:
            labels = self._checked_labels(labels, images.shape[0])
        num_samples = checks.integer(f"{self.name}: num_samples", num_samples, 1)
        return self._log_prob(images, labels, num_samples)

    def bits_per_dim(
        self,
        images: ArrayLike | tf.Tensor,
        labels: ArrayLike | tf.Tensor | None = None,
        num_samples: int = 1,
    ) -> tf.Tensor:
        """Bits per dimension of each image: -log2 p(x) / (H W C), computed by `log_prob`.

        Shapes: uint8 `[N, H, W, C]`, labels `[N] -> float32 [N]`.

        Args:
            images, labels, num_samples: as for `log_prob`.

        Raises:
            InputError: as for `log_prob`.
        """
        return -self.log_prob(images, labels, num_samples) / (self.num_dims * math.log(2.0))

    def encode(self, images: ArrayLike | tf.Tensor) -> tf.Tensor:
        """Encode images as latents.

        Shapes: uint8 `[N, H, W, C] -> float32 [N, D]`.

        Raises:
            InputError: the images have the wrong shape or dtype; or, except inside a
                `tf.function`, the latents of an invertible model do not give an image back
                (`tfgen.models.round_trips`).
        """
        images = self._checked_images(images)
        latents = self._run(self._encode, {"images": images})
        if self.is_invertible and tf.executing_eagerly():
            round_trips.check(self.name, images, latents, self.decode, self.num_bits)
        return latents

    def decode(self, latents: ArrayLike | tf.Tensor) -> tf.Tensor:
        """Decode latents to images.

        Shapes: float32 `[N, D] -> uint8 [N, H, W, C]`.

        Raises:
            InputError: latents of another shape, or not finite.
        """
        latents = inputs.checked_latents(self.name, latents, self.latent_dim)
        return self._run(self._decode, {"latents": latents})

    def sample(
        self,
        n: int,
        temperature: float = 1.0,
        seed: int | None = None,
        labels: ArrayLike | None = None,
    ) -> tf.Tensor:
        """New images: `decode(latents_from_noise(temperature * noise))` with standard normal noise.

        Shapes: uint8 `[n, H, W, C]`.

        Args:
            n: number of images.
            temperature: multiplies the standard deviation of every latent; 1 samples from the
                prior, lower values give likelier and less varied images.
            seed: an int that determines the noise; by default the noise comes from TensorFlow's
                global generator.
            labels: classes for a class-conditional model, one for all images or one per image; by
                default all classes in turn.

        Raises:
            InputError: n that is not a positive integer, a temperature below 0, labels out of range
                or for a model without classes.
        """
        shape = (checks.integer("sample: n", n, 1), self.latent_dim)
        temperature = checks.number("sample: temperature", temperature, 0)
        if seed is None:
            noise = tf.random.normal(shape)
        else:
            seed = checks.integer("sample: seed", seed, -(2**63), 2**63 - 1)
            noise = tf.random.stateless_normal(shape, seed=tf.constant([seed, 0], tf.int64))
        if labels is not None and np.ndim(labels) == 0:
            labels = np.broadcast_to(labels, [n])
        return self.decode(self.latents_from_noise(temperature * noise, labels))

    def latents_from_noise(
        self, noise: ArrayLike | tf.Tensor, labels: ArrayLike | tf.Tensor | None = None
    ) -> tf.Tensor:
        """Map scaled standard normal noise to latents: the identity, unless the prior has classes.

        Shapes: float32 `[N, D]`, labels `[N] -> float32 [N, D]`.

        Args:
            noise: standard normal, times a temperature.
            labels: classes for a class-conditional model; by default all classes in turn.

        Raises:
            InputError: labels out of range or for a model without classes.
        """
        noise = tf.convert_to_tensor(noise)
        if labels is not None:
            self._checked_labels(labels, noise.shape[0])  # raises, because there are no classes
        return noise

    def reconstruct(self, images: ArrayLike | tf.Tensor) -> tf.Tensor:
        """`decode(encode(images))`: the images, as far as their latents determine them.

        Shapes: uint8 `[N, H, W, C] -> uint8 [N, H, W, C]`.

        Raises:
            InputError: the images have the wrong shape or dtype.
        """
        return self.decode(self.encode(images))

    def interpolate(
        self, first: np.ndarray | tf.Tensor, second: np.ndarray | tf.Tensor, steps: int
    ) -> tf.Tensor:
        """Images decoded on the straight lines between the latents of two batches.

        Equation: z_k = (1 - k / (steps - 1)) encode(first) + k / (steps - 1) encode(second).

        Shapes: uint8 `[N, H, W, C]` twice `-> uint8 [N, steps, H, W, C]`.

        Raises:
            InputError: images of another shape or dtype, batches of different sizes, fewer than 2
                steps.
        """
        steps = checks.integer("interpolate: steps", steps, 2)
        if len(first) != len(second):
            raise InputError(
                f"interpolate: first and second must have the same number of images, "
                f"got {len(first)} and {len(second)}"
            )
        start, end = self.encode(first)[:, None], self.encode(second)[:, None]
        weight = tf.linspace(0.0, 1.0, steps)[None, :, None]
        latents = (1.0 - weight) * start + weight * end
        images = self.decode(tf.reshape(latents, [-1, self.latent_dim]))
        return tf.reshape(images, [-1, steps, *self.image_shape])

    def attribute_direction(
        self, images_with: np.ndarray | tf.Tensor, images_without: np.ndarray | tf.Tensor
    ) -> tf.Tensor:
        """The direction in latent space from images without an attribute to images that have it.

        Equation: mean of encode(images_with) - mean of encode(images_without).

        Shapes: uint8 `[N, H, W, C]` and `[M, H, W, C] -> float32 [D]`.

        Raises:
            InputError: no images on one side, or images of another shape or dtype.

        Source: Kingma and Dhariwal, Glow, 2018 (1807.03039), section 5.
        """
        means = []
        for name, images in (("images_with", images_with), ("images_without", images_without)):
            if len(images) == 0:
                raise InputError(f"attribute_direction: {name} is empty; give at least one image")
            means.append(tf.reduce_mean(self.encode(images), axis=0))
        return means[0] - means[1]

    def manipulate(
        self, images: ArrayLike | tf.Tensor, direction: ArrayLike | tf.Tensor, amount: float
    ) -> tf.Tensor:
        """Images moved along a direction in latent space.

        Equation: decode(encode(images) + amount * direction).

        Shapes: uint8 `[N, H, W, C]`, float32 `[D] -> uint8 [N, H, W, C]`.

        Args:
            images: uint8.
            direction: the result of `attribute_direction`.
            amount: 0 reconstructs the images, 1 adds the full difference of the means.

        Raises:
            InputError: images or a direction of another shape.

        Source: Kingma and Dhariwal, Glow, 2018 (1807.03039), section 5.
        """
        direction = tf.convert_to_tensor(direction, tf.float32)
        if direction.shape != (self.latent_dim,):
            raise InputError(
                f"manipulate: the direction must have shape [{self.latent_dim}], "
                f"got {direction.shape}"
            )
        return self.decode(self.encode(images) + amount * direction)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        """`log_prob(images)`, so that the model can be called like any Keras model."""
        return self._log_prob(self._checked_images(images), None, 1)

    def _checked_images(self, images):
        return inputs.checked_images(self.name, images, self.image_shape)

    def _checked_labels(self, labels, count):
        return inputs.checked_labels(self.name, labels, count, self.num_classes)
