"""Training by maximum likelihood as a Keras model: `compile`, `fit` and `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from tfgen.fitting.keras_arguments import check_compile_arguments, check_data_arguments
from tfgen.fitting.phase import run_in_phase
from tfgen.fitting.reported_metrics import ReportedMetrics


class Objective(NamedTuple):
    """The objective of one step, on this replica's part of the global batch.

    Attributes:
        nll: negative log-likelihood in nats, `[N]`, for reports.
        loss: what training minimizes, without the losses of layers, `[N]`.
        parts: further values to report by name, `[N]` each.
        batch_size: the number of examples in the global batch, a float32 scalar.
    """

    nll: tf.Tensor
    loss: tf.Tensor
    parts: Mapping[str, tf.Tensor]
    batch_size: tf.Tensor


class MaximumLikelihood(keras.Model):
    """A Keras model that trains by maximum likelihood, with networks that train as Keras networks.

    Equation: a step minimizes sum(loss) / batch_size + sum(losses of layers), where the sums of all
    replicas add up to those of one device: each replica sums the losses of its own examples, and
    divides those of layers by the number of replicas, as Keras does.

    In `fit` every Keras layer runs with training=True: Dropout is active, BatchNormalization uses
    and updates its statistics. Regularizers, activity regularizers and `add_loss` are part of the
    loss. In `evaluate`, and in all other methods, layers run with training=False.

    `fit` and `evaluate` report means over examples: `loss`, which includes the losses of layers,
    and the values that `reported_names` lists, which do not. Lower values are better.

    A subclass tracks its networks as Keras does, and defines

    - `_objective(inputs, labels)`, the `Objective` of a training step
    - `_evaluation(inputs, labels)`, the nll `[N]` and the dict of parts in `evaluate`
    - `_unpacked(data)`, the inputs and labels (or None) of a batch, checked
    - `_reported(nll, parts)`, the dict of `reported_names` to values `[N]`
    - `takes_labels`, whether `fit` takes targets

    Bijectors whose networks add losses hand them on through graphs, see
    `tfgen.fitting.phase.add_losses`. Networks inside couplings may not depend on the phase or on
    the batch: see `tfgen.networks.invertible_use`.

    Example:

    >>> import keras, numpy as np, tensorflow as tf
    >>> from tfgen.fitting.maximum_likelihood import MaximumLikelihood, Objective
    >>> class Location(MaximumLikelihood):
    ...     reported_names = ("nll",)
    ...
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.mean = self.add_weight(shape=(), initializer="zeros", regularizer="l2")
    ...         self.built = True
    ...
    ...     def _nll(self, x):
    ...         return 0.5 * (x - self.mean) ** 2
    ...
    ...     def _objective(self, x, labels):
    ...         return Objective(self._nll(x), self._nll(x), {}, tf.cast(tf.size(x), tf.float32))
    ...
    ...     def _evaluation(self, x, labels):
    ...         return self._nll(x), {}
    ...
    ...     def _reported(self, nll, parts):
    ...         return {"nll": nll}
    >>> model = Location()
    >>> model.compile("sgd")
    >>> history = model.fit(np.ones(8, "float32"), batch_size=4, verbose=0)
    >>> sorted(history.history)
    ['loss', 'nll']
    """

    @property
    def takes_labels(self) -> bool:
        """Whether `fit` takes labels."""
        return False

    @property
    def reported_names(self) -> tuple[str, ...]:
        """What `fit` and `evaluate` report besides the loss."""
        return ()

    def compile(
        self,
        optimizer: str | keras.Optimizer = "adam",
        *,
        jit_compile: bool = False,
        **options: Any,
    ) -> None:
        """Prepare for `fit`.

        Args:
            optimizer: a Keras optimizer.
            jit_compile: whether XLA compiles the training step, which is slower on a CPU.
            options: `run_eagerly`, `steps_per_execution` and `auto_scale_loss`, as for
                `keras.Model.compile`.

        Raises:
            InputError: a loss or metrics.
        """
        check_compile_arguments(self.name, options)
        self._reported_metrics = ReportedMetrics(["loss", *self.reported_names])
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **options)
        # If the first step created variables, TensorFlow would trace it twice.
        self.optimizer.build(self.trainable_variables)

    @property
    def metrics(self) -> list[keras.Metric]:
        return [self._reported_metrics] if self.compiled else []

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: str | int = "auto",
        callbacks: Any = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Any = None,
        sample_weight: Any = None,
        **options: Any,
    ) -> keras.callbacks.History:
        """Train, as `keras.Model.fit` does.

        Args:
            x: inputs, or a `tf.data.Dataset` of batches of inputs, or of pairs with labels.
            y: labels, for a model that has them.
            batch_size, epochs, verbose, callbacks, validation_split, shuffle: as in Keras.
            validation_data: inputs, a pair with labels, or a data set.
            class_weight, sample_weight: None: a likelihood has no weights.
            options: further arguments of `keras.Model.fit`.

        Raises:
            InputError: labels for a model without them, weights, inputs of another shape or dtype.
        """
        self._check_data(y, sample_weight, class_weight)
        if isinstance(validation_data, (tuple, list)):
            _, labels, weights = keras.utils.unpack_x_y_sample_weight(tuple(validation_data))
            self._check_data(labels, weights, source="validation_data")
        self._before_fit(x, batch_size)
        return super().fit(
            x,
            y,
            batch_size=batch_size,
            epochs=epochs,
            verbose=verbose,
            callbacks=callbacks,
            validation_split=validation_split,
            validation_data=validation_data,
            shuffle=shuffle,
            **options,
        )

    def evaluate(
        self, x: Any = None, y: Any = None, *args: Any, sample_weight: Any = None, **options: Any
    ) -> Any:
        """Report the means of `fit` on other data, as `keras.Model.evaluate` does.

        Args:
            x: inputs, or a `tf.data.Dataset` of batches.
            y: labels, for a model that has them; the likelihood is then that given the labels.
            sample_weight: None: a likelihood has no weights.
            args, options: further arguments of `keras.Model.evaluate`.

        Raises:
            InputError: labels for a model without them, weights.
        """
        self._check_data(y, sample_weight, source="evaluate")
        return super().evaluate(x, y, *args, **options)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        """One step of the optimizer on a batch, and the means so far."""
        objective, penalty = self._optimized(*self._unpacked(data))
        return self._with_reports(objective.nll, objective.loss, objective.parts, penalty)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        """The evaluation of a batch, and the means so far."""
        inputs, labels = self._unpacked(data)
        (nll, parts), penalty = run_in_phase(
            self, lambda inputs: self._evaluation(inputs, labels), inputs, training=False
        )
        return self._with_reports(nll, nll, parts, penalty)

    def gradient_step(self, inputs: tf.Tensor, labels: tf.Tensor | None = None) -> tf.Tensor:
        """One step of the optimizer, on this replica's part of the global batch.

        The loss is averaged over the global batch: gradients are summed over the replicas. Layers
        run in training and their losses are included, as in `fit`.

        Args:
            inputs: a batch.
            labels: its labels, or None.

        Returns:
            The negative log-likelihood in nats without the losses of layers, `[N]`.
        """
        return self._optimized(inputs, labels)[0].nll

    def gradients(
        self, inputs: tf.Tensor, labels: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """The negative log-likelihood in nats, `[N]`, and the gradient of each trainable weight."""
        objective, _, gradients = self._differentiated(inputs, labels)
        return objective.nll, gradients

    def checked_data(self, data: Any) -> tuple[Any, Any]:
        """The inputs and labels (or None) of a batch of `fit`.

        Raises:
            InputError: labels for a model without them, weights.
        """
        inputs, labels, weights = keras.utils.unpack_x_y_sample_weight(data)
        self._check_data(labels, weights, source="the data set")
        return inputs, labels

    def _objective(self, inputs, labels):
        raise NotImplementedError

    def _evaluation(self, inputs, labels):
        raise NotImplementedError

    def _unpacked(self, data):
        return self.checked_data(data)

    def _reported(self, nll, parts):
        raise NotImplementedError

    def _before_fit(self, x, batch_size):
        """Called by `fit` before training, with its arguments."""

    def _optimized(self, inputs, labels):
        objective, penalty, gradients = self._differentiated(inputs, labels)
        self.optimizer.apply(gradients, self.trainable_weights)
        return objective, penalty

    def _differentiated(self, inputs, labels):
        with tf.GradientTape() as tape:
            objective, penalty = run_in_phase(
                self, lambda inputs: self._objective(inputs, labels), inputs, training=True
            )
            total = tf.reduce_sum(objective.loss) / objective.batch_size
            if penalty is not None:
                total += penalty / tf.distribute.get_strategy().num_replicas_in_sync
            total = self.optimizer.scale_loss(total)
        gradients = tape.gradient(total, [weight.value for weight in self.trainable_weights])
        return objective, penalty, gradients

    def _check_data(self, labels, sample_weight, class_weight=None, source="fit"):
        check_data_arguments(
            self.name,
            takes_labels=bool(self.takes_labels),
            labels=labels,
            sample_weight=sample_weight,
            class_weight=class_weight,
            source=source,
        )

    def _with_reports(self, nll, loss, parts, penalty):
        loss = loss if penalty is None else loss + penalty
        self._reported_metrics.update({"loss": loss, **self._reported(nll, parts)})
        return self._reported_metrics.result()
