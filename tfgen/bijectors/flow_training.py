"""Training of a flow as a Keras model."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfgen.errors import InputError
from tfgen.networks.reported_metrics import ReportedMetrics
from tfgen.optimizers import Adam

ROWS_TO_INITIALIZE = 1024
METRICS = ("loss", "nll", "bits_per_dim")
COMPILE_OPTIONS = ("jit_compile", "run_eagerly", "steps_per_execution", "auto_scale_loss")


class FlowTraining(keras.Model):
    """`compile`, `fit` and `evaluate` of `tfgen.bijectors.Flow`, by maximum likelihood.

    A subclass defines `call`, `initialize`, `initialized` and `_checked`.
    """

    num_dims: int

    def compile(
        self,
        optimizer: str | keras.Optimizer | None = None,
        *,
        jit_compile: bool = False,
        **options: Any,
    ) -> None:
        """Prepare for `fit`, which calls this without arguments if it was not called before.

        Args:
            optimizer: a Keras optimizer; by default `tfgen.optimizers.Adam()`.
            jit_compile: whether XLA compiles the training step.
            options: `run_eagerly`, `steps_per_execution` or `auto_scale_loss` of
                `keras.Model.compile`.

        Raises:
            InputError: a loss or metrics, which a flow has already, or an unknown option.
        """
        unknown = sorted(set(options) - set(COMPILE_OPTIONS))
        if unknown:
            raise InputError(
                f"{self.name}: compile does not take {', '.join(unknown)}: a flow minimizes its "
                f"negative log-likelihood and reports {', '.join(METRICS)}; it takes optimizer, "
                f"{', '.join(COMPILE_OPTIONS)}"
            )
        self._reported_metrics = ReportedMetrics(METRICS)
        optimizer = Adam() if optimizer is None else optimizer
        self._compile_options = {"jit_compile": jit_compile, **options}
        super().compile(optimizer=optimizer, **self._compile_options)
        # If the first step created variables, TensorFlow would trace it twice.
        self.optimizer.build(self.trainable_variables)

    def get_compile_config(self) -> dict[str, Any] | None:
        """The arguments of `compile`, or None if it has not been called."""
        if not self.compiled:
            return None
        optimizer = keras.saving.serialize_keras_object(self.optimizer)
        return {"optimizer": optimizer, **self._compile_options}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile with the result of `get_compile_config`."""
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
        self.compile(**{**config, "optimizer": optimizer})

    @property
    def metrics(self) -> list[keras.Metric]:
        return [self._reported_metrics] if self.compiled else []

    def fit(
        self,
        x: ArrayLike | tf.Tensor | tf.data.Dataset | keras.utils.PyDataset = None,
        context: ArrayLike | tf.Tensor | None = None,
        *args: Any,
        **options: Any,
    ) -> keras.callbacks.History:
        """`keras.Model.fit`, with the context in the place of labels.

        If necessary it first calls `compile()`, and `initialize` with up to 1,024 rows of arrays or
        with the first batch of a data set.

        Args:
            x: data `[N, *event_shape]`, or a `tf.data.Dataset` or `keras.utils.PyDataset` of
                batches, of pairs (x, context) for a conditional flow.
            context: `[N, *context_shape]`, for a conditional flow.
            args, options: as for `keras.Model.fit`; `validation_data` is x or (x, context).

        Raises:
            InputError: as for `log_prob`; data that can be read only once for a flow that is not
                initialized; class weights.
        """
        context = self._context("fit", context, options)
        if options.get("class_weight") is not None:
            raise InputError(f"{self.name}: class_weight needs classes, and a flow has none")
        self._check_arrays(x, context)
        validation = options.get("validation_data")
        if validation is not None and not _is_data_set(validation):
            pair = validation if isinstance(validation, (tuple, list)) else (validation,)
            self._check_arrays(*pair)
            options["validation_data"] = tuple(pair)
        if not self.compiled:
            self.compile()
        if not self.initialized:
            self.initialize(*self._first_rows(x, context))
        return super().fit(x, context, *args, **options)

    def evaluate(
        self,
        x: ArrayLike | tf.Tensor | tf.data.Dataset | keras.utils.PyDataset = None,
        context: ArrayLike | tf.Tensor | None = None,
        *args: Any,
        **options: Any,
    ) -> Any:
        """`keras.Model.evaluate`, with the context in the place of labels."""
        context = self._context("evaluate", context, options)
        if x is not None:
            self._check_arrays(x, context)
        return super().evaluate(x, context, *args, **options)

    def train_step(self, data: Any) -> dict[str, tf.Tensor]:
        x, context = self._unpacked(data)
        with tf.GradientTape() as tape:
            nll = -self(x, context, training=True)
            added = self._losses_of_layers(nll.dtype)
            rows, replicas = _global_batch(nll)  # Gradients are summed over the replicas.
            loss = self.optimizer.scale_loss(tf.reduce_sum(nll) / rows + added / replicas)
        weights = self.trainable_weights
        gradients = tape.gradient(loss, [weight.value for weight in weights])
        self.optimizer.apply(gradients, weights)
        return self._reported(nll, added)

    def test_step(self, data: Any) -> dict[str, tf.Tensor]:
        x, context = self._unpacked(data)
        nll = -self(x, context, training=False)
        return self._reported(nll, self._losses_of_layers(nll.dtype))

    def predict_step(self, data: Any) -> tf.Tensor:
        x, context = self._unpacked(data)
        return self(x, context, training=False)

    def _losses_of_layers(self, dtype):
        return tf.add_n([tf.zeros([], dtype), *(tf.cast(loss, dtype) for loss in self.losses)])

    def _reported(self, nll, added):
        nats = tf.cast(nll, tf.float32)
        bits = nats / (self.num_dims * math.log(2.0))
        loss = nats + tf.cast(added, tf.float32)
        self._reported_metrics.update({"loss": loss, "nll": nats, "bits_per_dim": bits})
        return self._reported_metrics.result()

    def _unpacked(self, data):
        x, context, weights = keras.utils.unpack_x_y_sample_weight(data)
        if weights is not None:
            raise InputError(f"{self.name}: sample weights are not supported; repeat or omit rows")
        return self._checked(x, context)

    def _context(self, method, context, options):
        """The context, which Keras calls y."""
        y = options.pop("y", None)
        if y is not None and context is not None:
            raise InputError(f"{self.name}: {method} takes a context or y, which are the same")
        if options.get("sample_weight") is not None:
            raise InputError(f"{self.name}: sample weights are not supported; repeat or omit rows")
        return context if y is None else y

    def _check_arrays(self, x, context=None, *others):
        """Check all rows at once, before training begins."""
        if others:
            raise InputError(f"{self.name}: validation_data must be x or (x, context)")
        if x is None:
            raise InputError(f"{self.name}: x must be data, got None")
        if not _is_data_set(x):
            self._checked(x, context)
        elif context is not None:
            raise InputError(f"{self.name}: a data set must give pairs (x, context) itself")

    def _first_rows(self, x, context):
        """Rows from all over an array, or the first batch of a data set."""
        if isinstance(x, tf.data.Dataset):
            first = next(iter(x), None)
        elif isinstance(x, keras.utils.PyDataset):
            first = x[0]
        elif _is_data_set(x):
            raise InputError(
                f"{self.name}: fit initializes actnorms from data that can be read again, got a "
                f"{type(x).__name__}; call initialize(x) before fit"
            )
        else:
            rows = np.unique(np.linspace(0, len(x) - 1, ROWS_TO_INITIALIZE).astype(int))
            first = tuple(np.asarray(part)[rows] for part in (x, context) if part is not None)
        if first is None:
            raise InputError(f"{self.name}: the data set is empty")
        return first if isinstance(first, (tuple, list)) else (first,)


def _is_data_set(x):
    return not (hasattr(x, "__array__") or isinstance(x, (list, tuple)))


def _global_batch(values):
    """The number of rows of the global batch, and that of the replicas."""
    rows = tf.cast(tf.size(values), values.dtype)
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync > 1:
        rows = replica.all_reduce(tf.distribute.ReduceOp.SUM, rows)
    return rows, replica.num_replicas_in_sync
