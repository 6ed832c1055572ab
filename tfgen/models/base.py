"""The four verbs, and training by maximum likelihood."""

import contextlib
import functools
import math
import operator

import keras
import numpy as np
import tensorflow as tf

from tfgen.bijectors.base import precomputed
from tfgen.errors import InputError
from tfgen.models import preset
from tfgen.models.noise import StepNoise

LARGEST_CHUNK = 256  # images
NUMBERS_AT_A_TIME = 2**21  # pixels, times the samples of each


class GenerativeModel(keras.Model):
    """A Keras model of images that speaks the four verbs.

    A subclass gives the graph of each verb, on tensors with a free batch dimension:
    `_log_prob(images)`, `_encode(images)`, `_decode(latents)`, and `_training_loss(images, labels,
    noise)`, which gives the negative log-likelihood in nats and what is minimized, both `[N]`. It
    also sets `bound`, `num_bits` and `bijectors`, those that it is made of.

    The verbs take NumPy arrays or tensors. Eagerly they run compiled, a limited number of images at
    a time, so that memory stays bounded; inside a `tf.function` they are part of its graph.

    Args:
        image_shape: (H, W, C).
        latent_dim: D, numbers in a latent; by default as many as in an image.
        name: of the model.
    """

    def __init__(self, image_shape, latent_dim, *, name):
        super().__init__(name=name)
        self.image_shape = _checked_image_shape(image_shape)
        self.num_dims = math.prod(self.image_shape)
        self.latent_dim = latent_dim or self.num_dims
        self._seed = 0

    def log_prob(self, images):
        """Log-likelihood in nats: exact or a lower bound, as `bound` says.

        Shapes: uint8 `[N, H, W, C] -> float32 [N]`.

        Raises:
            InputError: images of another shape or dtype.
        """
        return self._run("log_prob", self._checked_images(images))

    def bits_per_dim(self, images):
        """-log2 p(x) / (H W C) of each image.

        Shapes: uint8 `[N, H, W, C] -> float32 [N]`.

        Raises:
            InputError: images of another shape or dtype.
        """
        return -self.log_prob(images) / (self.num_dims * math.log(2.0))

    def encode(self, images):
        """The latents of images.

        Shapes: uint8 `[N, H, W, C] -> float32 [N, D]`.

        Raises:
            InputError: images of another shape or dtype.
        """
        return self._run("encode", self._checked_images(images))

    def decode(self, latents):
        """The images of latents.

        Shapes: float32 `[N, D] -> uint8 [N, H, W, C]`.

        Raises:
            InputError: latents of another shape, or not finite.
        """
        return self._run("decode", self._checked_latents(latents))

    def sample(self, n, temperature=1.0, seed=None):
        """New images: `decode(temperature * noise)`, the noise standard normal.

        Shapes: uint8 `[n, H, W, C]`.

        Args:
            n: number of images.
            temperature: multiplies the standard deviation of every latent; 1 draws from the
                prior, less gives likelier and less varied images.
            seed: an int that fixes the noise; by default TensorFlow's global generator draws it.

        Raises:
            InputError: n that is not a positive integer, a temperature below 0.
        """
        return self.decode(self._sampled_latents(n, temperature, seed))

    def _sampled_latents(self, n, temperature, seed):
        if not _is_integer(n) or n < 1:
            raise InputError(f"sample: n must be a positive integer, got {n!r}")
        if not _is_number(temperature) or not 0 <= temperature < math.inf:
            raise InputError(f"sample: temperature must be a number >= 0, got {temperature!r}")
        if seed is not None and not (_is_integer(seed) and -(2**63) <= seed < 2**63):
            raise InputError(f"sample: seed must be an integer of 64 bits, got {seed!r}")
        shape = (n, self.latent_dim)
        if seed is None:
            noise = tf.random.normal(shape)
        else:
            noise = tf.random.stateless_normal(shape, seed=tf.constant([seed, 0], tf.int64))
        return temperature * noise

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
        if not _is_integer(steps) or steps < 2:
            raise InputError(f"interpolate: steps must be an integer of at least 2, got {steps!r}")
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
                self._forget_graphs()
                yield variables
        finally:
            self._forget_graphs()

    def save_preset(self, directory, *, card=None):
        """Write the model to a directory that `tfgen.zoo.load` reads: see `tfgen.models.preset`."""
        preset.save(self, directory, card=card)

    def call(self, images):
        return self._log_prob(self._checked_images(images))

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
        return self._updated_metrics(-self._log_prob(images))

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

    @functools.cached_property
    def _compiled(self):
        images = tf.TensorSpec([None, *self.image_shape], tf.uint8)
        latents = tf.TensorSpec([None, self.latent_dim], tf.float32)
        graphs = (
            ("log_prob", self._log_prob, images),
            ("encode", self._encode, images),
            ("decode", self._decode, latents),
        )
        return {
            verb: tf.function(function, input_signature=[spec], autograph=False)
            for verb, function, spec in graphs
        }

    def _forget_graphs(self):
        for name in [name for name in vars(self) if name.startswith("_compiled")]:
            vars(self).pop(name)

    def _run(self, verb, batch):
        if not tf.executing_eagerly():
            return getattr(self, f"_{verb}")(batch)
        return in_chunks(self._compiled[verb], [batch], self._numbers_per_image)

    @property
    def _numbers_per_image(self):
        return self.num_dims


def in_chunks(function, batches, numbers_per_image):
    """The function of batches of one size, so many rows at a time that memory stays bounded."""
    count = len(batches[0])
    if count == 0:
        return function(*(tf.zeros([1, *b.shape[1:]], b.dtype) for b in batches))[:0]
    rows = max(1, min(LARGEST_CHUNK, NUMBERS_AT_A_TIME // numbers_per_image))
    starts = range(0, count, rows)
    return tf.concat([function(*(b[i : i + rows] for b in batches)) for i in starts], axis=0)


def _is_integer(value):
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _is_number(value):
    return _is_integer(value) or isinstance(value, (float, np.floating))


def _checked_image_shape(image_shape):
    try:
        shape = tuple(operator.index(n) for n in image_shape)
    except TypeError:
        shape = ()
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(
            f"image_shape must be (H, W, C), three positive integers, got {image_shape!r}"
        )
    return shape
