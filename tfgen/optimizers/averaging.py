"""Running averages of the weights: those of section 7.2 of the Adam paper, and Keras' `use_ema`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, Literal

import keras
import tensorflow as tf

from tfgen.errors import InputError
from tfgen.optimizers import kernels
from tfgen.optimizers.state import tf_variable

SLOT = "temporal_average"


def unwrapped(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """The optimizer that updates the weights, without a `LossScaleOptimizer` around it."""
    return getattr(optimizer, "inner_optimizer", optimizer)


def averaging(optimizer: keras.optimizers.Optimizer) -> Literal["temporal", "ema"] | None:
    """The kind of averages that an optimizer keeps, or None.

    Example:

    >>> from tfgen.optimizers import Adam
    >>> from tfgen.optimizers.averaging import averaging
    >>> averaging(Adam(temporal_averaging=True)), averaging(Adam(use_ema=True)), averaging(Adam())
    ('temporal', 'ema', None)
    """
    optimizer = unwrapped(optimizer)
    if getattr(optimizer, "temporal_averaging", False):
        return "temporal"
    return "ema" if optimizer.use_ema else None


def momentum(optimizer: keras.optimizers.Optimizer) -> float:
    """The decay rate m of the averages; an average covers about the last 1 / (1 - m) updates.

    Raises:
        InputError: the optimizer keeps no averages.

    Example:

    >>> from tfgen.optimizers import Adam
    >>> from tfgen.optimizers.averaging import momentum
    >>> momentum(Adam(temporal_averaging=True)), momentum(Adam(use_ema=True, ema_momentum=0.9))
    (0.999, 0.9)
    """
    kind = _required_averaging(optimizer)
    optimizer = unwrapped(optimizer)
    if kind == "ema":
        return optimizer.ema_momentum
    given = optimizer.averaging_momentum
    return optimizer.beta_2 if given is None else given


def set_momentum(optimizer: keras.optimizers.Optimizer, value: float) -> None:
    """Set the decay rate of the averages of an optimizer, before its first step."""
    name = "ema_momentum" if _required_averaging(optimizer) == "ema" else "averaging_momentum"
    setattr(unwrapped(optimizer), name, value)


def update(optimizer: keras.optimizers.Optimizer, t: tf.Tensor) -> None:
    """Update the averages that `optimizer` keeps with the weights after step `t`, on one device."""
    variables = [tf_variable(v) for v in optimizer._trainable_variables]
    if optimizer.temporal_averaging and momentum(optimizer) > 0:
        _update_temporal(optimizer, variables)
    if optimizer.use_ema:
        _update_ema(optimizer, t)


def _update_temporal(optimizer, variables):
    for pack in optimizer.packs:
        weights = pack.join({i: tf.convert_to_tensor(variables[i]) for i in pack.members})
        average = tf_variable(pack.slots[SLOT])
        kernels.average_in_place(average, weights, _keep(optimizer, average.dtype))
    for variable, slots in zip(variables, optimizer.own_slots, strict=True):
        if slots:
            average = tf_variable(slots[SLOT])
            kernels.average_in_place(average, variable, _keep(optimizer, average.dtype))


def _moving_averages(optimizer):
    pairs = zip(
        optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True
    )
    return [(tf_variable(v), tf_variable(average)) for v, average in pairs if average is not None]


def _update_ema(optimizer, t):
    averages = _moving_averages(optimizer)
    for variable, average in averages:
        if optimizer.ema_momentum == 0:
            average.assign(tf.cast(variable, average.dtype))
        else:
            keep = kernels.representable(optimizer.ema_momentum, average.dtype)
            kernels.average_in_place(average, variable, keep, restart=tf.equal(t, 1))

    def overwrite_all():
        for variable, average in averages:
            overwrite(variable, average)
        return 0

    if optimizer.ema_overwrite_frequency:
        every = tf.cast(optimizer.ema_overwrite_frequency, t.dtype)
        tf.cond(tf.equal(t % every, 0), overwrite_all, lambda: 0)


def overwrite(variable: tf.Variable, average: tf.Variable, begun: tf.Tensor | bool = True) -> None:
    """If `begun`, assign to a variable its average, which may be of higher precision."""
    variable.assign(tf.where(begun, tf.cast(average, variable.dtype), variable))


def average_of(optimizer: keras.optimizers.Optimizer, variable: keras.Variable) -> tf.Tensor:
    """The average of `variable` over the steps so far, as a tensor of its shape and dtype.

    Equations:

    - `temporal_averaging=True`: θ̄_t = m θ̄_{t-1} + (1 - m) θ_t from θ̄_0 = 0, divided by 1 - m^t,
      with m = `averaging_momentum`, by default β₂
    - `use_ema=True`: θ̄_t = m θ̄_{t-1} + (1 - m) θ_t from θ̄_1 = θ_1, with m = `ema_momentum`

    Before the first update it is the variable itself.

    Args:
        optimizer: an optimizer made with `temporal_averaging=True` or `use_ema=True`, or a
            `keras.optimizers.LossScaleOptimizer` around one.
        variable: one of the variables it trains.

    Raises:
        InputError: the optimizer keeps no averages.

    Source: Kingma & Ba, Adam (arXiv:1412.6980), section 7.2.

    Example:

    >>> import keras, tensorflow as tf
    >>> from tfgen.optimizers import Adam, average_of
    >>> weights = keras.Variable([0.0])
    >>> optimizer = Adam(learning_rate=1.0, beta_1=0.5, beta_2=0.5, temporal_averaging=True)
    >>> for _ in range(2):  # the weights become -1, then -2
    ...     optimizer.apply([tf.constant([1.0])], [weights])
    >>> average_of(optimizer, weights).numpy()  # (0.25·(-1) + 0.5·(-2)) / 0.75
    array([-1.6666666], dtype=float32)
    """
    kind = _required_averaging(optimizer)
    optimizer = unwrapped(optimizer)
    weights = tf_variable(variable)
    steps = int(tf.convert_to_tensor(optimizer.iterations))
    if steps == 0 or (kind == "temporal" and momentum(optimizer) == 0):
        return tf.convert_to_tensor(weights)
    if kind == "ema":
        index = optimizer._get_variable_index(variable)
        average = optimizer._model_variables_moving_average[index]
        return tf.cast(tf_variable(variable if average is None else average), weights.dtype)
    total = optimizer.slot(variable, SLOT)
    share = 1 - _keep(optimizer, total.dtype) ** steps
    return tf.cast(total / kernels.scalar(share, total.dtype), weights.dtype)


@contextlib.contextmanager
def averaged_weights(
    optimizer: keras.optimizers.Optimizer, *, required: bool = True
) -> Iterator[None]:
    """Within the context, the trained variables hold their averages.

    Afterwards they have exactly the same values as before. The optimizer's state is not changed, so
    training is not affected. Do not train within the context. (Keras' `SwapEMAWeights` temporarily
    writes the weights into the averages, which rounds averages of a higher precision, and uses
    zeros as averages before the first update.)

    Args:
        optimizer: an optimizer made with `temporal_averaging=True` or `use_ema=True`, or a
            `keras.optimizers.LossScaleOptimizer` around one.
        required: whether an optimizer without averages is an error; otherwise its weights stay
            as they are.

    Raises:
        InputError: the optimizer keeps no averages, and they are required.

    Source: Kingma & Ba, Adam (arXiv:1412.6980), section 7.2.

    Example:

    >>> import keras, tensorflow as tf
    >>> from tfgen.optimizers import Adam, averaged_weights
    >>> weights = keras.Variable([0.0])
    >>> optimizer = Adam(learning_rate=1.0, beta_1=0.5, beta_2=0.5, temporal_averaging=True)
    >>> for _ in range(2):
    ...     optimizer.apply([tf.constant([1.0])], [weights])
    >>> with averaged_weights(optimizer):
    ...     print(weights.numpy())
    [-1.6666666]
    >>> print(weights.numpy())
    [-2.]
    """
    if not required and averaging(optimizer) is None:
        yield
        return
    _required_averaging(optimizer)
    variables = list(unwrapped(optimizer)._trainable_variables)
    averages = [average_of(optimizer, variable) for variable in variables]
    before = [tf.convert_to_tensor(tf_variable(variable)) for variable in variables]
    try:
        _assign(variables, averages)
        yield
    finally:
        _assign(variables, before)


def share_of_first_weights(optimizer: keras.optimizers.Optimizer, steps: int) -> float:
    """The share of the weights after the first step in the moving average of the weights.

    Equation: momentum^(steps - 1); 0 without `use_ema`.

    Example:

    >>> from tfgen.optimizers import Adam
    >>> from tfgen.optimizers.averaging import share_of_first_weights
    >>> round(share_of_first_weights(Adam(use_ema=True, ema_momentum=0.999), 41), 2)
    0.96
    """
    if averaging(optimizer) != "ema":
        return 0.0
    optimizer = unwrapped(optimizer)
    updates = steps // (optimizer.gradient_accumulation_steps or 1)
    return optimizer.ema_momentum ** max(0, updates - 1)


class AveragingCallback(keras.callbacks.Callback):
    """After each epoch, evaluate and save the model with its averaged weights.

    Training is not affected. The metrics appear in the epoch's logs as `averaged_val_loss` and
    so on, where `keras.callbacks.EarlyStopping` and the history find them if this callback comes
    before them in the list.

    Args:
        validation_data: what `model.evaluate` takes: a data set, or a tuple of arrays. Without
            it nothing is evaluated.
        filepath: where to save; `{epoch}` and the names of the logs are filled in. A file
            with a name that ends in `.weights.h5` contains the weights only; with `.keras`, the
            whole model.

    Raises:
        InputError: neither argument given, a `filepath` with another ending, or, when training
            begins, an optimizer that keeps no averages.

    Source: Kingma & Ba, Adam (arXiv:1412.6980), section 7.2.

    Example:

    >>> import keras, numpy as np
    >>> from tfgen.optimizers import Adam, AveragingCallback
    >>> x = np.linspace(-1, 1, 64)[:, None]
    >>> model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1)])
    >>> model.compile(Adam(0.1, beta_2=0.9, temporal_averaging=True), "mse")
    >>> callback = AveragingCallback(validation_data=(x, 3 * x))
    >>> history = model.fit(x, 3 * x, epochs=2, verbose=0, callbacks=[callback])
    >>> sorted(history.history)
    ['averaged_val_loss', 'loss']
    """

    def __init__(
        self, validation_data: Any = None, filepath: str | os.PathLike[str] | None = None
    ) -> None:
        super().__init__()
        if validation_data is None and filepath is None:
            raise InputError("AveragingCallback: give validation_data, filepath, or both")
        if filepath is not None and not str(filepath).endswith((".weights.h5", ".keras")):
            raise InputError(
                f"filepath must be a name that ends in .weights.h5 or .keras, got {str(filepath)!r}"
            )
        self.validation_data = validation_data
        self.filepath = None if filepath is None else str(filepath)

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        _required_averaging(self.model.optimizer)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = {} if logs is None else logs
        with averaged_weights(self.model.optimizer):
            if self.validation_data is not None:
                found = self._evaluate()
                logs.update({f"averaged_val_{name}": value for name, value in found.items()})
            if self.filepath is not None:
                path = self.filepath.format(epoch=epoch + 1, **logs)
                whole = path.endswith(".keras")
                (self.model.save if whole else self.model.save_weights)(path)

    def _evaluate(self):
        data = self.validation_data
        data = data if isinstance(data, tuple) else (data,)
        return self.model.evaluate(*data, verbose=0, return_dict=True)


def _required_averaging(optimizer):
    kind = averaging(optimizer)
    if kind is None:
        raise InputError(
            f"the optimizer {type(unwrapped(optimizer)).__name__} keeps no averages of the "
            "weights: create it with temporal_averaging=True (tfgen.optimizers) or use_ema=True"
        )
    return kind


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _keep(optimizer, dtype):
    return kernels.representable(momentum(optimizer), dtype)
