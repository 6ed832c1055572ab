"""The four verbs, and training by maximum likelihood."""

import contextlib
import math

import keras
import numpy as np
import tensorflow as tf

from tfgen import checks
from tfgen.bijectors.base import precomputed
from tfgen.errors import InputError
from tfgen.models import preset
from tfgen.models.graphs import Graphs
from tfgen.models.noise import StepNoise

LARGEST_CHUNK = 256  # images
NUMBERS_AT_A_TIME = 2**21  # pixels, times the samples of each


class GenerativeModel(keras.Model):
    """A Keras model of images that speaks the four verbs.

    A subclass gives the graph of each verb, on tensors with a free batch dimension:
    `_log_prob(images, labels, num_samples)`, `_encode(images)`, `_decode(latents)`, and
    `_training_loss(images, labels, noise)`, which gives the negative log-likelihood in nats and the
    loss, both `[N]`. It also sets `num_bits` and `bijectors`, the bijectors that it is made of, and
    defines `bound_of`, `dequantization`, `layers` and what else differs from the defaults below.

    The layout of weight files does not depend on private attributes: Keras visits public attributes
    first, by name, `layers` among them; what these hold is where the file says, and numbered in the
    order of `layers`.

    The verbs take NumPy arrays or tensors. Eagerly they run compiled, a limited number of images at
    a time, so that memory stays bounded; inside a `tf.function` they are part of its graph.

    Args:
        image_shape: (H, W, C).
        latent_dim: D, numbers in a latent; by default as many as in an image.
        name: of the model.

    Attributes:
        num_classes: K of a class-conditional model, None for any other.
        is_invertible: whether `decode(encode(images))` gives the images back, up to the bits that
            the model drops.
        num_evaluation_samples: `num_samples` of the bits/dim in cards and of validation.
        num_tight_samples: `num_samples` of the tighter bound in cards; 1: there is none.
    """

    num_classes: int | None = None
    is_invertible = False
    num_evaluation_samples = 1
    num_tight_samples = 1

    def __init__(self, image_shape, latent_dim, *, name):
        super().__init__(name=name)
        self.image_shape = checks.image_shape("image_shape", image_shape)
        self.num_dims = math.prod(self.image_shape)
        self.latent_dim = latent_dim or self.num_dims
        self._seed = 0
        self._graphs = Graphs()

    @property
    def bound(self):
        """What `log_prob` gives: "exact", or what kind of lower bound."""
        return self.bound_of(1)

    def bound_of(self, num_samples):
        """What `log_prob` with so many samples is to the log-probability of an image, in words."""
        raise NotImplementedError

    @property
    def dequantization(self):
        """How uint8 images become what the likelihood is of, in words."""
        raise NotImplementedError

    def protocol(self, num_samples=1):
        """What a figure of `log_prob` or `bits_per_dim` means, a dict for cards."""
        return {
            "bound": self.bound if num_samples == 1 else self.bound_of(num_samples),
            "dims": self.num_dims,
            "bits": self.num_bits,
            "padding": "none",
            "dequantization": self.dequantization,
            "samples": num_samples,
            **({"labels": "not given"} if self.num_classes else {}),
        }

    @property
    def initialized(self):
        """Whether the weights that are set from data have been set."""
        return True

    def initialize(self, images):
        """Set the weights that depend on data from a batch of images; here there are none.

        Raises:
            InputError: images of another shape or dtype.
        """
        self._checked_images(images)

    def log_prob(self, images, labels=None, num_samples=1):
        """Log-likelihood in nats: exact or a lower bound, as `bound` says.

        Shapes: uint8 `[N, H, W, C]`, labels `[N] -> float32 [N]`.

        Args:
            images: uint8.
            labels: integers below `num_classes`, for the likelihood given the class.
            num_samples: k, over which a bound averages: draws of a flow's dequantization noise, or
                importance samples of a VAE. The bound rises towards log p(x) with k.

        Raises:
            InputError: images of another shape or dtype, labels out of range or for a model
                without classes, num_samples below 1.
        """
        images = self._checked_images(images)
        if labels is not None:
            labels = self._checked_labels(labels, images.shape[0])
        num_samples = checks.integer(f"{self.name}: num_samples", num_samples, 1)
        return self._log_prob(images, labels, num_samples)

    def bits_per_dim(self, images, labels=None, num_samples=1):
        """-log2 p(x) / (H W C) of each image, by `log_prob`.

        Shapes: uint8 `[N, H, W, C]`, labels `[N] -> float32 [N]`.

        Args:
            images, labels, num_samples: as for `log_prob`.

        Raises:
            InputError: as `log_prob`.
        """
        return -self.log_prob(images, labels, num_samples) / (self.num_dims * math.log(2.0))

    def encode(self, images):
        """The latents of images.

        Shapes: uint8 `[N, H, W, C] -> float32 [N, D]`.

        Raises:
            InputError: images of another shape or dtype.
        """
        return self._run(self._encode, {"images": self._checked_images(images)})

    def decode(self, latents):
        """The images of latents.

        Shapes: float32 `[N, D] -> uint8 [N, H, W, C]`.

        Raises:
            InputError: latents of another shape, or not finite.
        """
        return self._run(self._decode, {"latents": self._checked_latents(latents)})

    def sample(self, n, temperature=1.0, seed=None, labels=None):
        """New images: `decode(latents_from_noise(temperature * noise))`, the noise standard normal.

        Shapes: uint8 `[n, H, W, C]`.

        Args:
            n: number of images.
            temperature: multiplies the standard deviation of every latent; 1 draws from the
                prior, less gives likelier and less varied images.
            seed: an int that fixes the noise; by default TensorFlow's global generator draws it.
            labels: of a class-conditional model, one for all images or one for each; by default
                each class in turn.

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

    def latents_from_noise(self, noise, labels=None):
        """The latents of scaled standard normal noise: the same, unless the prior has classes.

        Shapes: float32 `[N, D]`, labels `[N] -> float32 [N, D]`.

        Args:
            noise: standard normal, times a temperature.
            labels: of a class-conditional model; by default each class in turn.

        Raises:
            InputError: labels out of range or for a model without classes.
        """
        if labels is not None:
            self._checked_labels(labels, noise.shape[0])  # Refuses them.
        return noise

    def reconstruct(self, images):
        """`decode(encode(images))`: the images as the latents remember them.

        Shapes: uint8 `[N, H, W, C] -> uint8 [N, H, W, C]`.

        Raises:
            InputError: images of another shape or dtype.
        """
        return self.decode(self.encode(images))

    def interpolate(self, first, second, steps):
        """Images decoded on the straight lines between the latents of two batches.

        Equation: z_k = (1 - k / (steps - 1)) encode(first) + k / (steps - 1) encode(second).

        Shapes: uint8 `[N, H, W, C]` twice `-> uint8 [N, steps, H, W, C]`.

        Raises:
            InputError: images of another shape or dtype, batches of two sizes, fewer than 2 steps.
        """
        steps = checks.integer("interpolate: steps", steps, 2)
        if len(first) != len(second):
            raise InputError(
                f"interpolate: as many first as second images are needed, got {len(first)} and "
                f"{len(second)}"
            )
        start, end = self.encode(first)[:, None], self.encode(second)[:, None]
        weight = tf.linspace(0.0, 1.0, steps)[None, :, None]
        latents = (1.0 - weight) * start + weight * end
        images = self.decode(tf.reshape(latents, [-1, self.latent_dim]))
        return tf.reshape(images, [-1, steps, *self.image_shape])

    def attribute_direction(self, images_with, images_without):
        """The direction in latent space that leads from images without an attribute to those with.

        Equation: mean of encode(images_with) - mean of encode(images_without).

        Shapes: uint8 `[N, H, W, C]` and `[M, H, W, C] -> float32 [D]`.

        Raises:
            InputError: no images on one side, or images of another shape or dtype.

        Source: Kingma and Dhariwal, Glow, 2018 (1807.03039), section 5.
        """
        means = []
        for name, images in (("images_with", images_with), ("images_without", images_without)):
            if len(images) == 0:
                raise InputError(
                    f"attribute_direction: {name} is empty; it needs an image at least"
                )
            means.append(tf.reduce_mean(self.encode(images), axis=0))
        return means[0] - means[1]

    def manipulate(self, images, direction, amount):
        """Images moved along a direction in latent space.

        Equation: decode(encode(images) + amount * direction).

        Shapes: uint8 `[N, H, W, C]`, float32 `[D] -> uint8 [N, H, W, C]`.

        Args:
            images: to start from.
            direction: of `attribute_direction`.
            amount: a number; 0 reconstructs, 1 adds the whole difference of the means.

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

    @contextlib.contextmanager
    def precomputed(self):
        """A scope in which what depends on weights alone is computed only once, for an export.

        Entering it gives the `tf.Variable`s that hold it. Graphs that read them must not be kept
        when the weights change; the model keeps none of its own.
        """
        try:
            with precomputed(self.bijectors) as variables:
                self._graphs.forget()
                yield variables
        finally:
            self._graphs.forget()

    def save_preset(self, directory, *, card=None):
        """Write the model to a directory that `tfgen.zoo.load` reads: see `tfgen.models.preset`."""
        preset.save(self, directory, card=card)

    def call(self, images):
        return self._log_prob(self._checked_images(images), None, 1)

    def compile(self, optimizer="adam", *, seed=0, jit_compile=False, **options):
        """Prepare for `fit`.

        Args:
            optimizer: a Keras optimizer.
            seed: of the noise of training.
            jit_compile: whether XLA compiles the step; slower on a CPU.
            options: of `keras.Model.compile`.
        """
        self._seed = seed
        self._bits_tracker = keras.metrics.Mean(name="bits_per_dim")
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **options)
        # Variables that a first step made would have TensorFlow trace it twice.
        self.optimizer.build(self.trainable_variables)

    def get_compile_config(self):
        return {
            "optimizer": keras.saving.serialize_keras_object(self.optimizer),
            "seed": self._seed,
            "jit_compile": self.jit_compile,
        }

    def compile_from_config(self, config):
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
        self.compile(**{**config, "optimizer": optimizer})

    @property
    def metrics(self):
        return [self._bits_tracker] if self.compiled else []

    def train_step(self, data):
        images, labels = self._images_and_labels(data)
        return self._updated_metrics(self.gradient_step(images, labels))

    def gradient_step(self, images, labels=None):
        """One step of the optimizer, on this replica's part of the global batch.

        The loss is averaged over the global batch: gradients are summed over the replicas.

        Shapes: uint8 `[N, H, W, C]`, labels or None `-> float32 [N]`, the negative log-likelihood
        in nats.
        """
        nats, gradients = self.gradients(images, labels)
        self.optimizer.apply(gradients, self.trainable_weights)
        return nats

    def gradients(self, images, labels=None):
        """The negative log-likelihood in nats, `[N]`, and the gradient of each trainable weight."""
        noise = StepNoise(self._seed, self.optimizer._iterations, images)
        with tf.GradientTape() as tape:
            nats, losses = self._training_loss(images, labels, noise)
            loss = self.optimizer.scale_loss(tf.reduce_sum(losses) / noise.global_batch_size)
        return nats, tape.gradient(loss, [weight.value for weight in self.trainable_weights])

    def test_step(self, data):
        images, _ = self._images_and_labels(data)
        return self._updated_metrics(-self._log_prob(images, None, self.num_evaluation_samples))

    def _images_and_labels(self, data):
        images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if sample_weight is not None:
            raise InputError(
                f"{self.name}: images have no sample weights; leave images out instead"
            )
        return self._checked_images(images), labels

    def _updated_metrics(self, nats):
        self._bits_tracker.update_state(nats / (self.num_dims * math.log(2.0)))
        return {"bits_per_dim": self._bits_tracker.result()}

    def _checked_images(self, images):
        images = tf.convert_to_tensor(images)
        if images.dtype != tf.uint8:
            raise InputError(
                f"{self.name}: images must be uint8 with values 0 to 255, got {images.dtype.name}"
            )
        if images.shape.rank != 4 or images.shape[1:] != self.image_shape:
            expected = ", ".join(map(str, self.image_shape))
            raise InputError(
                f"{self.name}: images must have shape [N, {expected}], got {images.shape}"
            )
        return images

    def _checked_latents(self, latents):
        latents = tf.convert_to_tensor(latents, dtype_hint=tf.float32)
        if latents.dtype != tf.float32 or latents.shape.rank != 2:
            raise InputError(
                f"{self.name}: latents must be float32 [N, {self.latent_dim}], "
                f"got {latents.dtype.name} {latents.shape}"
            )
        if latents.shape[1] != self.latent_dim:
            raise InputError(
                f"{self.name}: latents must have shape [N, {self.latent_dim}], got {latents.shape}"
            )
        if tf.executing_eagerly() and not np.isfinite(latents).all():
            raise InputError(f"{self.name}: latents must be finite, some are not")
        return latents

    def _checked_labels(self, labels, count):
        if not self.num_classes:
            raise InputError(f"{self.name}: this model has no classes, so it takes no labels")
        labels = tf.convert_to_tensor(labels)
        if not labels.dtype.is_integer or not labels.shape.is_compatible_with([count]):
            raise InputError(
                f"{self.name}: labels must be integers [{'N' if count is None else count}], "
                f"got {labels.dtype.name} {labels.shape}"
            )
        labels = tf.cast(labels, tf.int32)
        if tf.executing_eagerly() and count:
            low, high = int(tf.reduce_min(labels)), int(tf.reduce_max(labels))
            if low < 0 or high >= self.num_classes:
                raise InputError(
                    f"{self.name}: labels must lie between 0 and {self.num_classes - 1}, got "
                    f"{low} to {high}"
                )
        return labels

    def _run(self, function, batch, others=None, rows_per_image=1, **options):
        """`function(**batch, **others, **options)`: compiled and in chunks if called eagerly.

        Args:
            function: of tensors, and options that are part of its graph.
            batch: tensors with an axis of images or latents, by name.
            others: tensors without, by name.
            rows_per_image: how many images' worth of memory each takes.
            options: hashable.
        """
        others = others or {}
        if not tf.executing_eagerly():
            return function(**batch, **others, **options)
        graph = self._graphs.get(function, batch, others, options)
        return in_chunks(
            lambda *rows: graph([*rows, *others.values()]),
            [*batch.values()],
            self.num_dims * rows_per_image,
        )


def in_chunks(function, batches, numbers_per_image):
    """The function of batches of one size, so many rows at a time that memory stays bounded."""
    count = len(batches[0])
    if count == 0:
        return function(*(tf.zeros([1, *b.shape[1:]], b.dtype) for b in batches))[:0]
    rows = max(1, min(LARGEST_CHUNK, NUMBERS_AT_A_TIME // numbers_per_image))
    starts = range(0, count, rows)
    return tf.concat([function(*(b[i : i + rows] for b in batches)) for i in starts], axis=0)
