"""Training of models of images by maximum likelihood."""

from __future__ import annotations

import math
from typing import Any

import keras

from tfgen.errors import InputError
from tfgen.fitting.maximum_likelihood import MaximumLikelihood, Objective
from tfgen.models.frozen import freeze, frozen_layers
from tfgen.models.noise import StepNoise

# Arguments of `keras.Model.compile` that are attributes of the model under the same names.
COMPILE_OPTIONS = ("jit_compile", "run_eagerly", "steps_per_execution")


class LikelihoodTraining(MaximumLikelihood):
    """A Keras model whose `fit` and `evaluate` take images and report bits per dimension.

    In addition to `bits_per_dim`, they report the names in `reported_parts`, in nats per image. The
    `loss` of `evaluate` is -log_prob in nats, plus the losses of layers; that of `fit` is what
    training minimizes.

    A subclass defines `_training_loss`, `_log_prob` and `_checked_images`: see
    `tfgen.models.base.GenerativeModel`.
    """

    num_dims: int
    num_classes: int | None
    reported_parts: tuple[str, ...] = ()
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
            options: `run_eagerly`, `steps_per_execution` and `auto_scale_loss`, as for
                `keras.Model.compile`.

        Raises:
            InputError: a loss or metrics.
        """
        self._seed = seed
        super().compile(optimizer, jit_compile=jit_compile, **options)

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
    def takes_labels(self) -> bool:
        """Whether `fit` takes labels."""
        return bool(self.num_classes)

    @property
    def reported_names(self) -> tuple[str, ...]:
        """What `fit` and `evaluate` report besides the loss."""
        return ("bits_per_dim", *self.reported_parts)

    def _objective(self, images, labels):
        noise = StepNoise(self._seed, self.optimizer._iterations, images)
        nll, loss, parts = self._training_loss(images, labels, noise)
        return Objective(nll, loss, parts, noise.global_batch_size)

    def _evaluation(self, images, labels):
        if labels is not None:
            labels = self._checked_labels(labels, images.shape[0])
        return -self._log_prob(images, labels, self.num_evaluation_samples), {}

    def _unpacked(self, data):
        images, labels = self.checked_data(data)
        return self._checked_images(images), labels

    def _reported(self, nll, parts):
        return {"bits_per_dim": nll / (self.num_dims * math.log(2.0)), **parts}
