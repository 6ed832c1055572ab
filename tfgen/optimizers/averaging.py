"""Running averages of the weights: the paper's, kept beside training, and Keras' `use_ema`."""

import contextlib

import keras
import tensorflow as tf

from tfgen.errors import InputError
from tfgen.optimizers import kernels
from tfgen.optimizers.state import native

SLOT = "temporal_average"


def update(optimizer, t):
    """Take the weights after step `t` into the averages that `optimizer` keeps, on one device."""
    variables = [native(v) for v in optimizer._trainable_variables]
    if optimizer.temporal_averaging and optimizer.beta_2 > 0:
        _update_temporal(optimizer, variables)
    if optimizer.use_ema:
        _update_ema(optimizer, t)


def _update_temporal(optimizer, variables):
    for pack in optimizer.packs:
        weights = pack.join({i: tf.convert_to_tensor(variables[i]) for i in pack.members})
        average = native(pack.slots[SLOT])
        kernels.average_in_place(average, weights, _keep(optimizer, average.dtype))
    for variable, slots in zip(variables, optimizer.own_slots, strict=True):
        if slots:
            average = native(slots[SLOT])
            kernels.average_in_place(average, variable, _keep(optimizer, average.dtype))


def moving_averages(optimizer):
    """(weight, its average) for the averages that `use_ema` keeps, zero before the first update."""
    pairs = zip(
        optimizer._trainable_variables, optimizer._model_variables_moving_average, strict=True
    )
    return [(native(v), native(average)) for v, average in pairs if average is not None]


def _update_ema(optimizer, t):
    averages = moving_averages(optimizer)
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


def overwrite(variable, average, begun=True):
    """Let a variable take its average, which may be of higher precision, once that has begun."""
    variable.assign(tf.where(begun, tf.cast(average, variable.dtype), variable))


def temporal_average(optimizer, variable):
    """The average of `variable` over the steps so far, as a tensor of its shape and dtype.

    θ̄_t = β₂ θ̄_{t-1} + (1 - β₂) θ_t from θ̄_0 = 0, read as θ̄_t / (1 - β₂^t). Before the first
    step it is the variable itself.

    Args:
        optimizer: an optimizer made with `temporal_averaging=True`.
        variable: one of the variables it trains.

    Raises:
        InputError: the optimizer keeps no averages.

    Source: Kingma & Ba, Adam (arXiv:1412.6980), section 7.2.

    Example:

    >>> import keras, tensorflow as tf
    >>> from tfgen.optimizers import Adam, temporal_average
    >>> weights = keras.Variable([0.0])
    >>> optimizer = Adam(learning_rate=1.0, beta_1=0.5, beta_2=0.5, temporal_averaging=True)
    >>> for _ in range(2):  # the weights become -1, then -2
    ...     optimizer.apply([tf.constant([1.0])], [weights])
    >>> temporal_average(optimizer, weights).numpy()  # (0.25·(-1) + 0.5·(-2)) / 0.75
    array([-1.6666666], dtype=float32)
    """
    optimizer = _with_averages(optimizer)
    weights = native(variable)
    steps = int(tf.convert_to_tensor(optimizer.iterations))
    if steps == 0 or optimizer.beta_2 == 0:
        return tf.convert_to_tensor(weights)
    total = optimizer.slot(variable, SLOT)
    share = 1 - _keep(optimizer, total.dtype) ** steps
    return tf.cast(total / kernels.scalar(share, total.dtype), weights.dtype)


@contextlib.contextmanager
def averaged_weights(optimizer):
    """Within the context, the trained variables hold their temporal averages.

    Afterwards they hold exactly what they held before; the optimizer's state is not touched, so
    training goes on as if nothing had happened. Do not train within the context.

    Args:
        optimizer: an optimizer made with `temporal_averaging=True`, or a
            `keras.optimizers.LossScaleOptimizer` around one.

    Raises:
        InputError: the optimizer keeps no averages.

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
    optimizer = _with_averages(optimizer)
    variables = list(optimizer._trainable_variables)
    averages = [temporal_average(optimizer, variable) for variable in variables]
    before = [tf.convert_to_tensor(native(variable)) for variable in variables]
    try:
        _assign(variables, averages)
        yield
    finally:
        _assign(variables, before)


class TemporalAveraging(keras.callbacks.Callback):
    """After each epoch, evaluate and save the model with its averaged weights.

    Training is not disturbed. The metrics appear in the epoch's logs as `averaged_val_loss` and
    so on, where `keras.callbacks.EarlyStopping` and the history find them if this callback stands
    before them in the list.

    Args:
        validation_data: what `model.evaluate` takes: a data set, or a tuple of arrays. Without
            it nothing is evaluated.
        filepath: where to save; `{epoch}` and the names of the logs are filled in. A name that
            ends in `.weights.h5` holds the weights alone, one in `.keras` the whole model.

    Raises:
        InputError: nothing to do, a `filepath` of neither kind, or, when training begins, an
            optimizer that keeps no averages.

    Source: Kingma & Ba, Adam (arXiv:1412.6980), section 7.2.

    Example:

    >>> import keras, numpy as np
    >>> from tfgen.optimizers import Adam, TemporalAveraging
    >>> x = np.linspace(-1, 1, 64)[:, None]
    >>> model = keras.Sequential([keras.Input([1]), keras.layers.Dense(1)])
    >>> model.compile(Adam(0.1, beta_2=0.9, temporal_averaging=True), "mse")
    >>> callback = TemporalAveraging(validation_data=(x, 3 * x))
    >>> history = model.fit(x, 3 * x, epochs=2, verbose=0, callbacks=[callback])
    >>> sorted(history.history)
    ['averaged_val_loss', 'loss']
    """

    def __init__(self, validation_data=None, filepath=None):
        super().__init__()
        if validation_data is None and filepath is None:
            raise InputError("TemporalAveraging: give validation_data, filepath, or both.")
        if filepath is not None and not str(filepath).endswith((".weights.h5", ".keras")):
            raise InputError(
                f"filepath={str(filepath)!r}: give a name that ends in .weights.h5 or .keras."
            )
        self.validation_data = validation_data
        self.filepath = None if filepath is None else str(filepath)

    def on_train_begin(self, logs=None):
        _with_averages(self.model.optimizer)

    def on_epoch_end(self, epoch, logs=None):
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


def _with_averages(optimizer):
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if not getattr(optimizer, "temporal_averaging", False):
        raise InputError(
            f"The optimizer {type(optimizer).__name__} keeps no averages of the weights: make a "
            "tfgen.optimizers.Adam or AdaMax with temporal_averaging=True."
        )
    return optimizer


def _assign(variables, values):
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _keep(optimizer, dtype):
    return kernels.representable(optimizer.beta_2, dtype)
