"""Training of a flow as a Keras model."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfgen.errors import InputError
from tfgen.fitting.maximum_likelihood import MaximumLikelihood, Objective
from tfgen.optimizers import Adam

ROWS_TO_INITIALIZE = 1024
# Arguments of `keras.Model.compile` that are attributes of the model under the same names.
COMPILE_OPTIONS = ("jit_compile", "run_eagerly", "steps_per_execution")


class FlowTraining(MaximumLikelihood):
    """`compile`, `fit` and `evaluate` of `tfgen.bijectors.Flow`, by maximum likelihood.

    A subclass defines `_log_prob`, `initialize`, `initialized` and `_checked`.
    """

    num_dims: int
    context_shape: tuple[int, ...]

    @property
    def takes_labels(self) -> bool:
        """Whether `fit` takes a context, which Keras calls y."""
        return bool(self.context_shape)

    @property
    def reported_names(self) -> tuple[str, ...]:
        """What `fit` and `evaluate` report besides the loss."""
        return ("nll", "bits_per_dim")

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
            options: `run_eagerly`, `steps_per_execution` and `auto_scale_loss`, as for
                `keras.Model.compile`.

        Raises:
            InputError: a loss or metrics, which a flow has already.
        """
        optimizer = Adam() if optimizer is None else optimizer
        super().compile(optimizer, jit_compile=jit_compile, **options)

    def get_compile_config(self) -> dict[str, Any] | None:
        """The arguments of `compile`, or None if it has not been called."""
        if not self.compiled:
            return None
        options = {name: getattr(self, name) for name in COMPILE_OPTIONS}
        return {"optimizer": keras.saving.serialize_keras_object(self.optimizer), **options}

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile with the result of `get_compile_config`."""
        optimizer = keras.saving.deserialize_keras_object(config["optimizer"])
        # The optimizer is already wrapped if it scales the loss.
        self.compile(**{**config, "optimizer": optimizer, "auto_scale_loss": False})

    def fit(  # type: ignore[override]  # y is called context
        self,
        x: ArrayLike | tf.Tensor | tf.data.Dataset | keras.utils.PyDataset = None,
        context: ArrayLike | tf.Tensor | None = None,
        **options: Any,
    ) -> keras.callbacks.History:
        """`keras.Model.fit`, with the context in the place of labels.

        If necessary it first calls `compile()`, and `initialize` with up to 1,024 rows of arrays or
        with the first batch of a data set.

        Args:
            x: data `[N, *event_shape]`, or a `tf.data.Dataset` or `keras.utils.PyDataset` of
                batches, of pairs (x, context) for a conditional flow.
            context: `[N, *context_shape]`, for a conditional flow.
            options: as for `keras.Model.fit`; `validation_data` is x or (x, context).

        Raises:
            InputError: as for `log_prob`; data that can be read only once for a flow that is not
                initialized; class weights.
        """
        context = self._context("fit", context, options)
        self._check_data(None, options.get("sample_weight"), options.get("class_weight"))
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
        return super().fit(x, context, **options)

    def evaluate(  # type: ignore[override]  # y is called context
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

    def predict_step(self, data: Any) -> tf.Tensor:
        x, context = self._unpacked(data)
        return self(x, context, training=False)

    def _objective(self, x, context):
        nll = -tf.cast(self._log_prob(x, context), tf.float32)
        return Objective(nll, nll, {}, _global_batch_size(nll))

    def _evaluation(self, x, context):
        return -tf.cast(self._log_prob(x, context), tf.float32), {}

    def _unpacked(self, data):
        return self._checked(*self.checked_data(data))

    def _reported(self, nll, parts):
        return {"nll": nll, "bits_per_dim": nll / (self.num_dims * math.log(2.0))}

    def _log_prob(self, x, context):
        raise NotImplementedError

    def _context(self, method, context, options):
        """The context, which Keras calls y."""
        y = options.pop("y", None)
        if y is not None and context is not None:
            raise InputError(f"{self.name}: {method} takes a context or y, which are the same")
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


def _global_batch_size(values):
    rows = tf.cast(tf.shape(values)[0], tf.float32)
    replica = tf.distribute.get_replica_context()
    if replica.num_replicas_in_sync > 1:
        rows = replica.all_reduce(tf.distribute.ReduceOp.SUM, rows)
    return rows
