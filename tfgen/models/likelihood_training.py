"""Training by maximum likelihood, as a Keras model."""

from __future__ import annotations

import math
from typing import Any

import keras
import tensorflow as tf

from tfgen.errors import InputError
from tfgen.models.frozen import freeze, frozen_layers
from tfgen.models.noise import StepNoise

# Arguments of `keras.Model.compile` that are attributes of the model under the same names.
COMPILE_OPTIONS = ("jit_compile", "run_eagerly", "steps_per_execution")


class LikelihoodTraining(keras.Model):
    """A Keras model whose `fit` and `evaluate` take images and report bits per dimension.

    A subclass defines `_training_loss`, `_log_prob` and `_checked_images`: see
    `tfgen.models.base.GenerativeModel`.
    """

    num_dims: int
    _seed = 0

    def compile(
        self,
        optimizer: str | keras.Optimizer = "adam",
        *,
        seed: int = 0,
        jit_compile: bool = False,
        **options: Any,
    ) -> None:
        """Prepare for `fit`.

        Args:
            optimizer: a Keras optimizer.
            seed: seed of the noise in training steps.
            jit_compile: whether XLA compiles the training step, which is slower on a CPU.
            options: further arguments of `keras.Model.compile`.
        """
        self._seed = seed
        self._bits_tracker = keras.metrics.Mean(name="bits_per_dim")
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **options)
        # If the first step created variables, TensorFlow would trace it twice.
        self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict[str, Any] | None:
        """The arguments of `compile`, or None if it has not been called."""
        if not self.compiled:
            return None
        options = {name: getattr(self, name) for name in COMPILE_OPTIONS}
        optimizer = keras.saving.serialize_keras_object(self.optimizer)
        frozen = frozen_layers(self)
        return {
            "optimizer": optimizer,
            "seed": self._seed,
            **options,
            **({"frozen_layers": frozen} if frozen else {}),
        }

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Freeze layers and compile, with the result of `get_compile_config`.

        Raises:
            InputError: arguments that `get_compile_config` does not return.
        """
        config = dict(config)
        freeze(self, config.pop("frozen_layers", []))  # The optimizer has no state for these.
        unknown = set(config) - {"optimizer", "seed", *COMPILE_OPTIONS}
        if unknown or "optimizer" not in config:
            raise InputError(
                f"{self.name}: compile_from_config takes optimizer, seed, "
                f"{', '.join(COMPILE_OPTIONS)}, got {', '.join(sorted(config))}"
            )
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
        # The optimizer is already wrapped if it scales the loss.
        self.compile(**{**config, "optimizer": optimizer, "auto_scale_loss": False})

    @property
    def metrics(self) -> list[keras.Metric]:
        return [self._bits_tracker] if self.compiled else []

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        images, labels = self._images_and_labels(data)
        return self._updated_metrics(self.gradient_step(images, labels))

    def gradient_step(self, images: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """One step of the optimizer, on this replica's part of the global batch.

        The loss is averaged over the global batch: gradients are summed over the replicas.

        Shapes: uint8 `[N, H, W, C]`, labels or None `-> float32 [N]`, the negative log-likelihood
        in nats.
        """
        nll, gradients = self.gradients(images, labels)
        self.optimizer.apply(gradients, self.trainable_weights)
        return nll

    def gradients(
        self, images: tf.Tensor, labels: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The negative log-likelihood in nats, `[N]`, and the gradient of each trainable weight."""
        noise = StepNoise(self._seed, self.optimizer._iterations, images)
        with tf.GradientTape() as tape:
            nll, losses = self._training_loss(images, labels, noise)
            loss = self.optimizer.scale_loss(tf.reduce_sum(losses) / noise.global_batch_size)
        return nll, tape.gradient(loss, [weight.value for weight in self.trainable_weights])

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        images, _ = self._images_and_labels(data)
        return self._updated_metrics(-self._log_prob(images, None, self.num_evaluation_samples))

    def _images_and_labels(self, data):
        images, labels, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        if sample_weight is not None:
            raise InputError(f"{self.name}: sample weights are not supported; omit images instead")
        return self._checked_images(images), labels

    def _updated_metrics(self, nll):
        self._bits_tracker.update_state(nll / (self.num_dims * math.log(2.0)))
        return {"bits_per_dim": self._bits_tracker.result()}
